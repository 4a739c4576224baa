"""The compiler takes what is safe, and refuses everything else, each with its own one-line message."""

import pytest
import tzdata

from schemas.default_tables import MEDIUM, default_tables
from schemas.policy_compiler import Capability, PolicyError, compile_policy, explain, policy_json_schema
from schemas.policy_file import TableFile

COLUMNS = frozenset(
    (
        "branch",
        "home_branch",
        "material",
        "audience",
        "patron_type",
        "home_zone",
        "birth_date",
        "campaign_type",
        "response",
        "postal_code",
    )
)
DAY = 86_400_000
CIRC = ("checkout", "renewal")
KINDS = ("circulation", "patron", "engagement")
ALL = (Capability("all", frozenset(KINDS), dict.fromkeys(KINDS, COLUMNS)),)

LISTS = {
    "branches": 'B01 = "north"\nB02 = "north"\nB03 = "island"',
    "dimensions": (
        'material = ["book", "dvd"]\naudience = ["adult"]\npatron_type = ["adult", "teen"]\n'
        'campaign_type = ["survey"]\nresponse = ["sent"]'
    ),
    "zones": '"10001" = "zone-1"\n"10002" = "zone-2"',
}


def table(name="t", kind="circulation", grain="month", dimensions=(), measures=("patrons",), parts=(), more=""):
    lists = "\n".join(
        f"{key} = [{', '.join(chr(34) + one + chr(34) for one in values)}]"
        for key, values in (("dimensions", dimensions), ("measures", measures), ("parts", parts))
    )
    return f'[[tables]]\nname = "{name}"\nkind = "{kind}"\ngrain = "{grain}"\nwhy = "because"\n{lists}\n{more}\n'


def policy(*tables, top="", preset="standard", zone="America/New_York", **lists):
    blocks = {**LISTS, **lists}
    body = "\n".join(f"[{name.replace('__', '.')}]\n{text}" for name, text in blocks.items())
    return f'preset = "{preset}"\ntime_zone = "{zone}"\n{top}\n{body}\n' + "\n".join(tables or (table(),))


def refused(text, capabilities=ALL):
    with pytest.raises(PolicyError) as caught:
        compile_policy(text, capabilities)
    assert all("\n" not in one for one in (*caught.value.findings, str(caught.value)))
    return caught.value.findings


def many(amount):
    return ", ".join(f'"c{at}"' for at in range(amount))


T = "table t: "
BRANCHES_BY_DAY = T + "branch tables are monthly, and so are tables of regions with a single branch"
NO_TOTAL_PATRON = T + "a total has no dimension that describes the patron"
BRANCH_AND_HOME = T + "a branch is never published together with where patrons live"
CODES = "codes are letters, digits, space and . _ + -, at most 64, first a letter or digit"
TOTAL = "invariant = true"
SUBTRACTED = "exact figures could be subtracted: each act is in one total"
SENSITIVE_PLACE = T + "a sensitive table is of the whole system: no branch, region or home"
MANY = (
    (), ("material",), ("audience",), ("material", "audience"), ("patron_type",), ("age_band",), ("home_zone",),
    ("home_branch",), ("day_type",), ("daypart",), ("day_type", "daypart"), ("branch",), ("branch", "material"),
)  # fmt: skip
GROUP = 'of = "material"\nbook = "print"\ndvd = "media"'
REFUSED = {
    "formal": (policy(preset="formal"), "preset: formal is not built yet: use standard or plain"),
    "unknown preset": (policy(preset="loud"), "preset: is unknown; use standard or plain"),
    "unknown key": (policy(top="colour = 1"), "colour: unknown key; remove it or check its spelling"),
    "key of two lines": (policy(top='"a\\nb" = 1'), "a b: unknown key; remove it or check its spelling"),
    "missing key": (policy().replace('preset = "standard"', ""), "preset: is missing; add it"),
    "wrong type": (policy(top='k = "11"'), "k: Input should be a valid integer"),
    "boolean for a number": (policy(top="k = true"), "k: Input should be a valid integer"),
    "unknown time zone": (
        policy(zone="America/Carrel"),
        "time_zone: not an IANA zone; give one such as America/New_York",
    ),
    "four dimensions": (
        policy(table(dimensions=("branch", "material", "audience", "day_type"))),
        T + "at most 3 dimensions",
    ),
    "dimension twice": (policy(table(dimensions=("material", "material"))), T + "names a dimension twice"),
    "two of the patron": (
        policy(table(dimensions=("patron_type", "age_band"))),
        T + "at most one dimension that describes the patron",
    ),
    "policy k": (policy(top="k = 4"), "k: need 5 or more"),
    "table k": (policy(table(more="k = 4\nclip = 1")), T + "k: need 5 or more"),
    "sensitive": (policy(table(more="k = 19\nsensitive = true")), T + "k: a sensitive table needs 20 or more"),
    "clip": (policy(table(more="clip = 11")), T + "clip: need at most k - 1, so that nobody dominates a cell"),
    "unknown dimension": (policy(table(dimensions=("shoe_size",))), T + "dimension shoe_size is not known"),
    "branch with zone": (policy(table(dimensions=("branch", "home_zone"))), BRANCH_AND_HOME),
    "region with zip3": (policy(table(dimensions=("region", "zip3"))), BRANCH_AND_HOME),
    "branch with grouped zone": (
        policy(table(dimensions=("branch", "side")), groups__side='of = "home_zone"\nzone-1 = "east"'),
        BRANCH_AND_HOME,
    ),
    "grouped branch with zone": (
        policy(table(dimensions=("area", "home_zone")), groups__area='of = "branch"\nB01 = "a"\nB02 = "b"\nB03 = "b"'),
        BRANCH_AND_HOME,
    ),
    "hour grain": (policy(table(grain="hour")), "tables.0.grain: Input should be 'day' or 'month'"),
    "quarter grain": (policy(table(grain="quarter")), "tables.0.grain: Input should be 'day' or 'month'"),
    "branch by day": (policy(table(grain="day", dimensions=("branch",))), BRANCHES_BY_DAY),
    "home branch by day": (policy(table(grain="day", dimensions=("home_branch",))), BRANCHES_BY_DAY),
    "one-branch region by day": (policy(table(grain="day", dimensions=("region",))), BRANCHES_BY_DAY),
    "hour of a date": (
        policy(table(grain="day", dimensions=("daypart",))),
        T + "the hour of a date is never published; use month",
    ),
    "total of patrons' kinds": (
        policy(table(dimensions=("patron_type",), measures=("total",), more=TOTAL)),
        NO_TOTAL_PATRON,
    ),
    "total of a group of patrons' kinds": (
        policy(
            table(dimensions=("band",), measures=("total",), more=TOTAL),
            groups__band='of = "patron_type"\nadult = "x"',
        ),
        NO_TOTAL_PATRON,
    ),
    "total by day": (policy(table(grain="day", measures=("total",), more=TOTAL)), T + "a total is monthly"),
    "total not declared": (
        policy(table(measures=("total",))),
        T + "a total is an exact figure: declare invariant = true",
    ),
    "total beside acts": (
        policy(table(measures=("total", "acts"), more=TOTAL)),
        T + "a total is never published beside acts over the same cells",
    ),
    "total beside acts of another table": (
        policy(
            table(name="a", dimensions=("branch",), measures=("total",), parts=("checkout",), more=TOTAL),
            table(dimensions=("area",), measures=("acts",), parts=("checkout", "renewal")),
            groups__area='of = "branch"\nB01 = "a"\nB02 = "b"\nB03 = "c"',
        ),
        T + "acts over the same cells as the total of a; keep one of them",
    ),
    "acts named before the total of their cells": (
        policy(
            table(measures=("acts",), parts=("checkout",)),
            table(name="a", measures=("total_checkouts",), parts=("checkout", "renewal"), more=TOTAL),
        ),
        T + "acts over the same cells as the total of a; keep one of them",
    ),
    "acts of one cell of a total": (
        policy(
            table(name="a", dimensions=("branch",), measures=("total",), parts=("checkout",), more=TOTAL),
            table(dimensions=("region",), measures=("acts",), parts=("checkout",)),
        ),
        T + "acts over the same cells as the total of a; keep one of them",
    ),
    "acts by action beside a total": (
        policy(
            table(name="a", measures=("total_checkouts",), parts=("checkout",), more=TOTAL),
            table(dimensions=("action",), measures=("acts",), parts=("checkout", "renewal")),
        ),
        T + "acts over the same cells as the total of a; keep one of them",
    ),
    "days of acts beside a total of the month": (
        policy(
            table(name="a", measures=("total",), parts=("checkout",), more=TOTAL),
            table(grain="day", measures=("acts",), parts=("checkout",)),
        ),
        T + "acts by day over the same cells as the total of a; keep one of them",
    ),
    "days of acts of a closed day type beside a total": (
        policy(
            table(name="a", measures=("total",), parts=("checkout",), more=TOTAL),
            table(grain="day", dimensions=("day_type",), measures=("acts",), parts=("checkout",)),
        ),
        T + "acts by day over the same cells as the total of a; keep one of them",
    ),
    "a total and its part": (
        policy(table(measures=("total", "total_checkouts"), parts=("checkout", "renewal"), more=TOTAL)),
        T + "total_checkouts counts each checkout that total of t counts; " + SUBTRACTED,
    ),
    "a part and its total": (
        policy(table(measures=("total_renewals", "total"), parts=("checkout", "renewal"), more=TOTAL)),
        T + "total counts each renewal that total_renewals of t counts; " + SUBTRACTED,
    ),
    "a total under two names": (
        policy(table(measures=("total", "total_checkouts"), parts=("checkout",), more=TOTAL)),
        T + "total_checkouts counts each checkout that total of t counts; " + SUBTRACTED,
    ),
    "totals of a branch and of the system": (
        policy(
            table(name="a", dimensions=("branch",), measures=("total_checkouts",), parts=("checkout",), more=TOTAL),
            table(measures=("total",), parts=("checkout", "renewal"), more=TOTAL),
        ),
        T + "total counts each checkout that total_checkouts of a counts; " + SUBTRACTED,
    ),
    "totals of two divisions into areas": (
        policy(
            table(name="a", dimensions=("region",), measures=("total",), parts=("checkout",), more=TOTAL),
            table(dimensions=("area",), measures=("total_checkouts",), parts=("checkout",), more=TOTAL),
            groups__area='of = "branch"\nB01 = "x"\nB02 = "y"\nB03 = "y"',
        ),
        T + "total_checkouts counts each checkout that total of a counts; " + SUBTRACTED,
    ),
    "total by material": (
        policy(table(dimensions=("branch", "material"), measures=("total",), more=TOTAL)),
        T + "a total is by branch or of the whole system",
    ),
    "total by hour": (
        policy(table(dimensions=("daypart",), measures=("total",), more=TOTAL)),
        T + "a total is by branch or of the whole system",
    ),
    "total by action": (
        policy(table(dimensions=("action",), measures=("total",), more=TOTAL)),
        T + "a total is by branch or of the whole system",
    ),
    "invariant without total": (policy(table(more=TOTAL)), T + "invariant: the table has no total; remove the line"),
    "sensitive by day": (
        policy(table(grain="day", more="sensitive = true")),
        T + "a sensitive table is monthly",
    ),
    "sensitive by region": (policy(table(dimensions=("region",), more="sensitive = true")), SENSITIVE_PLACE),
    "sensitive by home": (policy(table(dimensions=("home_zone",), more="sensitive = true")), SENSITIVE_PLACE),
    "sensitive by a group of homes": (
        policy(
            table(dimensions=("home_area",), more="sensitive = true"),
            groups__home_area='of = "home_branch"\nB01 = "x"',
        ),
        SENSITIVE_PLACE,
    ),
    "categories of a sensitive table divided by another": (
        policy(
            table(name="a", dimensions=("material",), more="sensitive = true"),
            table(dimensions=("branch", "material")),
        ),
        T + "divides what a publishes as sensitive; declare sensitive = true",
    ),
    "categories of a later sensitive table": (
        policy(
            table(dimensions=("material", "audience"), parts=("checkout", "renewal")),
            table(name="a", dimensions=("material",), parts=("checkout",), more="sensitive = true"),
        ),
        T + "divides what a publishes as sensitive; declare sensitive = true",
    ),
    "branch and its region": (
        policy(table(dimensions=("branch", "region"))),
        T + "dimensions branch and region divide the same thing; keep one of them",
    ),
    "material and a group of it": (
        policy(table(dimensions=("material", "audience", "shelf")), groups__shelf=GROUP),
        T + "dimensions material and shelf divide the same thing; keep one of them",
    ),
    "action and outcome in one": (
        policy(table(dimensions=("action", "outcome"), parts=("hold_placed", "hold_filled"))),
        T + "dimensions action and outcome divide the same thing; keep one of them",
    ),
    "same cells with another k and clip": (
        policy(table(name="a", dimensions=("material",)), table(dimensions=("material",), more="k = 5\nclip = 4")),
        T + "the same cells as a; publish them once",
    ),
    "same cells in other measures": (
        policy(
            table(name="a", dimensions=("material",), measures=("acts",)),
            table(dimensions=("material",), measures=("patrons",)),
        ),
        T + "the same cells as a; publish them once",
    ),
    "same cells in another order": (
        policy(
            table(name="a", dimensions=("material", "branch")),
            table(dimensions=("branch", "material"), more="horizon_days = 30"),
        ),
        T + "the same cells as a; publish them once",
    ),
    "one cell of two tables": (
        policy(table(name="a", dimensions=("branch",)), table(dimensions=("region",))),
        T + "its cell region=island is the cell branch=B03 of a; publish it once",
    ),
    "one cell of two divisions": (
        policy(
            table(name="a", dimensions=("branch", "material"), measures=("acts", "patrons")),
            table(dimensions=("region", "shelf"), measures=("acts",)),
            groups__shelf='of = "material"\nbook = "print"',
        ),
        T + "its cell region=island shelf=print is the cell branch=B03 material=book of a; publish it once",
    ),
    "one action of another table": (
        policy(
            table(name="a", parts=("checkout",)),
            table(dimensions=("action",), parts=("checkout", "renewal")),
        ),
        T + "its cell action=checkout is the cell (all) of a; publish it once",
    ),
    "an action that is all of a later table": (
        policy(
            table(name="a", dimensions=("action",), parts=("checkout", "renewal")),
            table(parts=("renewal",)),
        ),
        T + "its cell (all) is the cell action=renewal of a; publish it once",
    ),
    "a region whose other branches are closed": (
        policy(
            table(name="a", dimensions=("branch",), more='structural_zeros = [{branch = "B02"}]'),
            table(dimensions=("region",)),
            branches='B01 = "north"\nB02 = "north"\nB03 = "south"\nB04 = "south"',
        ),
        T + "its cell region=north is the cell branch=B01 of a; publish it once",
    ),
    "days of a region whose other branches are closed": (
        policy(
            table(grain="day", dimensions=("region",)),
            table(name="a", dimensions=("branch",), parts=CIRC, more='structural_zeros = [{branch = "B02"}]'),
            branches='B01 = "north"\nB02 = "north"\nB03 = "south"\nB04 = "south"',
        ),
        T + "region=north is a single branch, for a declares its others impossible; use month",
    ),
    "days of a home region whose other branches are closed": (
        policy(
            table(name="a", dimensions=("home_branch",), parts=CIRC, more='structural_zeros = [{home_branch = "B03"}]'),
            table(grain="day", dimensions=("home_region",)),
            branches='B01 = "north"\nB02 = "north"\nB03 = "south"\nB04 = "south"',
        ),
        T + "home_region=south is a single branch, for a declares its others impossible; use month",
    ),
    "the only branch that is not closed": (
        policy(
            table(name="a"),
            table(dimensions=("branch",), more='structural_zeros = [{branch = "B02"}, {branch = "B03"}]'),
        ),
        T + "the same cells as a; publish them once",
    ),
    "too many numbers of one act": (
        policy(
            *(table(name=f"t{at}", dimensions=names, measures=("acts", "patrons")) for at, names in enumerate(MANY))
        ),
        (
            "circulation: one act would change released numbers by epsilon 13, and 12 is the most:"
            " the noise of so many numbers averages out; leave out tables or measures"
        ),
    ),
    "same cells twice": (policy(table(name="a"), table()), T + "the same cells as a; publish them once"),
    "all parts by name": (
        policy(
            table(name="a", kind="patron"),
            table(kind="patron", parts=("opted_out", "deleted", "updated", "expired", "renewed", "new")),
        ),
        T + "the same cells as a; publish them once",
    ),
    "branch and one-branch regions": (
        policy(
            table(name="a", dimensions=("branch",)),
            table(dimensions=("region",)),
            branches='B01 = "north"\nB02 = "south"',
        ),
        T + "the same cells as a; publish them once",
    ),
    "region and a group like it": (
        policy(
            table(name="a", dimensions=("region",)),
            table(dimensions=("area",)),
            groups__area='of = "branch"\nB01 = "x"\nB02 = "x"\nB03 = "y"',
        ),
        T + "the same cells as a; publish them once",
    ),
    "one group of all": (
        policy(table(name="a"), table(dimensions=("region",)), branches='B01 = "all"\nB02 = "all"'),
        T + "the same cells as a; publish them once",
    ),
    "day type of a date": (
        policy(table(name="a", grain="day"), table(grain="day", dimensions=("day_type",))),
        T + "the same cells as a; publish them once",
    ),
    "outcome and action": (
        policy(
            table(name="a", dimensions=("outcome",), parts=("hold_placed", "hold_filled")),
            table(dimensions=("action",), parts=("hold_filled", "hold_placed")),
        ),
        T + "the same cells as a; publish them once",
    ),
    "one action": (
        policy(table(name="a", parts=("checkout",)), table(dimensions=("action",), parts=("checkout",))),
        T + "the same cells as a; publish them once",
    ),
    "plain with two": (
        policy(table(name="a"), table(dimensions=("material",)), preset="plain"),
        "plain: one table per event kind, or one could be subtracted; circulation has 2",
    ),
    "tables that are none": (
        f'preset = "plain"\ntime_zone = "UTC"\ntables = ["x"]\n[branches]\n{LISTS["branches"]}',
        "tables.0: need a table of keys and values",
    ),
    "plain by day": (
        policy(table(grain="day"), preset="plain"),
        T + "plain has one table per event kind and month, none by day; use month",
    ),
    "two of one name": (policy(table(), table(dimensions=("material",))), "tables: two have the same name"),
    "empty list": (policy(dimensions="material = []"), "dimensions.material: is empty; list its codes"),
    "no branches": (
        policy(branches=""),
        "branches: Dictionary should have at least 1 item after validation, not 0",
    ),
    "list not given": (
        policy(table(dimensions=("material",)), dimensions=""),
        T + "dimension material has no codes: list them in [dimensions]",
    ),
    "zones not given": (
        policy(table(dimensions=("home_zone",)), zones=""),
        T + "dimension home_zone has no codes: list them in [zones]",
    ),
    "code twice": (policy(dimensions='material = ["a", "a"]'), "dimensions.material: names a code twice"),
    "other by hand": (
        policy(dimensions='material = ["other"]'),
        "dimensions.material: `other` is always there; do not list it",
    ),
    "other as branch": (policy(branches='other = "x"'), "branches: `other` is always there; do not list it"),
    "other as region": (policy(branches='B01 = "other"'), "regions: `other` is always there; do not list it"),
    "other as zone": (policy(zones='"1" = "other"'), "zones: `other` is always there; do not list it"),
    "other as group": (
        policy(groups__g='of = "material"\nbook = "other"'),
        "groups.g: `other` is always there; do not list it",
    ),
    "bad characters": (policy(dimensions='material = ["a/b"]'), "dimensions.material: " + CODES),
    "code too long": (policy(dimensions=f'material = ["{"a" * 65}"]'), "dimensions.material: " + CODES),
    "empty code": (policy(dimensions='material = [""]'), "dimensions.material: " + CODES),
    "unlisted dimension": (
        policy(dimensions='title = ["Emma"]'),
        "dimensions.title: not a listed dimension; there are material, audience, patron_type, campaign_type, response",
    ),
    "thirteen materials": (
        policy(dimensions=f"material = [{many(13)}]"),
        "dimensions.material: at most 12 codes; group the rest as `other`",
    ),
    "too many cells": (
        policy(
            table(kind="engagement", dimensions=("campaign_type", "response")),
            dimensions=f"campaign_type = [{many(400)}]\nresponse = [{many(400)}]",
        ),
        T + "has more than 100000 cells",
    ),
    "unknown measure": (policy(table(measures=("median",))), T + "measure median is not known"),
    "total of no part": (
        policy(table(measures=("total_loans",), more=TOTAL)),
        T + "measure total_loans is not known",
    ),
    "measure twice": (policy(table(measures=("patrons", "patrons"))), T + "names a measure twice"),
    "unknown part": (policy(table(parts=("stolen",))), T + "part stolen is not known"),
    "part twice": (policy(table(parts=("checkout", "checkout"))), T + "names a part twice"),
    "outcome without holds": (
        policy(table(dimensions=("outcome",), parts=("checkout",))),
        T + "outcome is of holds: list the hold_ actions in parts",
    ),
    "change of a loan": (
        policy(table(dimensions=("change",))),
        T + "dimension change is of patron events only",
    ),
    "zero outside the table": (
        policy(table(dimensions=("material",), more='structural_zeros = [{branch = "B01"}]')),
        T + "structural_zeros: names a cell that is not in the table",
    ),
    "zero of an unknown code": (
        policy(table(dimensions=("branch",), more='structural_zeros = [{branch = "B99"}]')),
        T + "structural_zeros: names a cell that is not in the table",
    ),
    "zero of everything": (
        policy(table(more="structural_zeros = [{}]")),
        T + "structural_zeros: names a cell that is not in the table",
    ),
    "group under a taken name": (
        policy(groups__home_zone=GROUP),
        (
            "groups.home_zone: is the name of a dimension already, or no name;"
            " use another of lower-case letters, digits and _"
        ),
    ),
    "group of nothing": (
        policy(groups__g='book = "print"'),
        (
            "groups.g: `of` must name a dimension that events carry:"
            " audience, branch, campaign_type, home_branch, home_zone, material, patron_type, response"
        ),
    ),
    "empty group": (policy(groups__g='of = "home_branch"'), "groups.g: is empty; give code = group"),
    "group of an unlisted code": (
        policy(groups__g='of = "material"\nboook = "print"'),
        "groups.g: groups a code that material does not list",
    ),
    "branch without a group": (
        policy(groups__g='of = "branch"\nB01 = "x"'),
        "groups.g: every branch needs a group",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_unsafe_is_refused_in_its_own_words(case):
    text, expected = REFUSED[case]

    assert expected in refused(text)


@pytest.mark.parametrize(
    "name",
    [
        "title", "author", "isbn", "bib_id", "item", "barcode", "call_number", "url", "query", "session", "session_id",
        "workstation", "workstation_id", "staff", "staff_id", "patron_ref", "name", "email", "phone", "address",
        "postal_code", "birth_date", "birth_year", "gender", "sex", "race", "ethnicity", "disability", "school",
    ],
)  # fmt: skip
def test_what_names_an_item_a_session_or_a_person_is_never_a_dimension(name):
    assert refused(policy(table(dimensions=(name,)))) == (f"{T}dimension {name} is never published",)


def test_text_that_is_not_toml_is_one_finding():
    (only,) = refused("preset = [")

    assert only.startswith("is not TOML: ")


def test_all_findings_come_at_once_and_the_error_text_counts_them():
    with pytest.raises(PolicyError) as caught:
        compile_policy(policy(table(measures=("median", "mode"))), ALL)

    assert str(caught.value) == f"policy.toml: {T}measure median is not known (and 1 more)"


def test_a_table_that_no_source_can_fill_is_refused():
    loans = Capability("loans", frozenset({"circulation"}), {"circulation": frozenset({"branch"})})
    signups = Capability("crm", frozenset({"patron"}), {"patron": COLUMNS, "circulation": COLUMNS})

    assert refused(policy(table(kind="engagement")), [loans]) == (T + "no configured source gives engagement events",)
    assert refused(policy(table(dimensions=("branch", "age_band"))), [loans, signups]) == (
        T + "source loans cannot fill birth_date",
    )


def test_each_source_that_feeds_a_table_must_fill_it():
    poor = Capability("poor", frozenset({"circulation"}), {"circulation": frozenset({"branch"})})

    assert refused(policy(table(dimensions=("material",))), [poor, *ALL]) == (T + "source poor cannot fill material",)


@pytest.mark.parametrize(
    ("names", "finding"),
    [
        ({"brunch": {"B01"}}, ("sources.s.codes.brunch: no such dimension; use branch, home_branch, home_zone,"
         " material, audience, patron_type, campaign_type, response")),
        ({"material": {"book", "staff"}}, "sources.s.codes.material: leads to a code that the policy does not list"),
        ({"branch": {"other"}}, "sources.s.codes.branch: leads to a code that the policy does not list"),
    ],
)  # fmt: skip
def test_a_code_map_that_leads_nowhere_is_refused(names, finding):
    source = Capability("s", frozenset(KINDS), ALL[0].fills, {name: frozenset(codes) for name, codes in names.items()})

    with pytest.raises(PolicyError) as caught:
        compile_policy(policy(), [source])

    assert caught.value.findings == (finding,)
    assert str(caught.value) == f"carrel.toml: {finding}"  # where code maps stand


def test_a_code_map_may_lead_to_other_and_patron_types_to_those_who_are_not_patrons():
    names = {"material": frozenset({"book", "other"}), "patron_type": frozenset({"adult", "staff", "test"})}

    compile_policy(policy(), [Capability("s", frozenset(KINDS), ALL[0].fills, names)])


def test_defaults_come_from_the_event_kind():
    compiled = compile_policy(policy(*(table(name=kind, kind=kind) for kind in KINDS)), ALL)

    day = 86_400_000
    assert [(one.k, one.clip, one.horizon // day) for one in compiled.tables] == [(11, 10, 2), (11, 1, 7), (11, 5, 7)]


def test_a_sensitive_table_gets_k_20_or_the_policys_own_larger_one():
    assert compile_policy(policy(table(more="sensitive = true")), ALL).table("t").k == 20
    assert compile_policy(policy(table(more="sensitive = true"), top="k = 30"), ALL).table("t").k == 30


def test_numbers_that_the_table_names_stand():
    compiled = compile_policy(policy(table(more="k = 5\nclip = 4\nhorizon_days = 0")), ALL).table("t")

    assert (compiled.k, compiled.clip, compiled.horizon) == (5, 4, 0)


def test_region_and_home_region_group_the_branches():
    compiled = compile_policy(policy(table(dimensions=("home_region", "region"))), ALL)

    home, region = compiled.tables[0].dimensions
    assert (region.codes, region.column, region.grouping) == (("island", "north"), "branch", (1, 1, 0))
    assert (home.codes, home.column, home.grouping) == (("island", "north", "other"), "home_branch", (1, 1, 0, 2))
    assert home.patron_derived
    assert not region.patron_derived
    assert compiled.codes["branch"] == ("B01", "B02", "B03")
    assert compiled.codes["home_branch"] == ("B01", "B02", "B03", "other")


def test_groupings_send_what_they_leave_out_to_other_where_there_is_one():
    compiled = compile_policy(
        policy(
            table(name="a", dimensions=("paper",)),
            table(name="b", dimensions=("area",)),
            table(name="c", dimensions=("home_area",)),
            groups__paper='of = "material"\nbook = "print"',
            groups__area='of = "branch"\nB01 = "x"\nB02 = "y"\nB03 = "y"',
            groups__home_area='of = "home_branch"\nB01 = "x"',
        ),
        ALL,
    )

    paper, area, home = (one.dimensions[0] for one in compiled.tables)
    assert (paper.codes, paper.grouping, paper.patron_derived) == (("print", "other"), (0, 1, 1), False)
    assert (area.codes, area.grouping) == (("x", "y"), (0, 1, 1))
    assert (home.codes, home.grouping, home.patron_derived) == (("x", "other"), (0, 1, 1, 1), True)


def test_regions_of_several_branches_may_be_daily():
    text = policy(table(grain="day", dimensions=("region", "material")), branches='A = "n"\nB = "n"\nC = "s"\nD = "s"')

    assert compile_policy(text, ALL).table("t").n_cells == 6


def test_totals_count_their_own_parts():
    compiled = compile_policy(
        policy(
            table(name="a", measures=("total_checkouts", "total_renewals", "patrons"), parts=CIRC, more=TOTAL),
            table(name="b", kind="patron", measures=("total",), parts=("new", "renewed"), more=TOTAL),
        ),
        ALL,
    )

    assert [(one.name, one.kind, one.parts) for one in compiled.tables[0].measures + compiled.tables[1].measures] == [
        ("total_checkouts", "total", ("checkout",)),
        ("total_renewals", "total", ("renewal",)),
        ("patrons", "patrons", ("checkout", "renewal")),
        ("total", "total", ("new", "renewed")),
    ]


SAFE = {
    "days and months of the same cells": (table(name="a", measures=("acts",)), table(grain="day", measures=("acts",))),
    "days of home regions beside branches": (
        table(name="a", dimensions=("branch",)),
        table(grain="day", dimensions=("home_side",)),
    ),
    "margins": (table(name="a"), table(dimensions=("material",)), table(name="b", dimensions=("material", "audience"))),
    "a part beside the whole": (
        table(name="a", measures=("acts",), parts=CIRC),
        table(measures=("acts",), parts=("checkout",)),
    ),
    "a list and a grouping that share `other` only": (
        table(name="a", dimensions=("material",)),
        table(dimensions=("shelf",)),
    ),
    "one cell in different measures": (
        table(name="a", dimensions=("branch",), measures=("acts",)),
        table(dimensions=("region",), measures=("patrons",)),
    ),
    "totals of different acts over nested cells": (
        table(name="a", dimensions=("branch",), measures=("total",), parts=("checkout",), more=TOTAL),
        table(measures=("total",), parts=("renewal",), more=TOTAL),
    ),
    "a total beside acts of another kind of act": (
        table(name="a", dimensions=("branch",), measures=("total",), parts=("checkout",), more=TOTAL),
        table(dimensions=("branch",), measures=("acts",), parts=("hold_placed",)),
    ),
    "a total beside finer acts": (
        table(name="a", dimensions=("branch",), measures=("total",), parts=("checkout",), more=TOTAL),
        table(dimensions=("branch", "material"), measures=("acts",), parts=("checkout",)),
    ),
    "a total by area": (table(dimensions=("area",), measures=("total", "patrons"), more=TOTAL),),
    "a sensitive table beside a coarser one and other acts": (
        table(name="a", dimensions=("material", "audience"), parts=("checkout",), more="sensitive = true"),
        table(dimensions=("audience",), parts=("checkout",)),
        table(name="b", dimensions=("material", "audience", "branch"), parts=("renewal",)),
    ),
    "two sensitive tables": (
        table(name="a", dimensions=("material",), more="sensitive = true"),
        table(dimensions=("material", "audience"), more="sensitive = true"),
    ),
    "as many numbers as may be": tuple(
        table(name=f"t{at}", dimensions=names, measures=("acts", "patrons")) for at, names in enumerate(MANY[:12])
    ),
}


@pytest.mark.parametrize("case", SAFE)
def test_what_noise_covers_is_taken_under_standard(case):
    area = 'of = "branch"\nB01 = "x"\nB02 = "y"\nB03 = "y"'
    shelf = 'of = "material"\nbook = "paper"\ndvd = "paper"'
    side = 'of = "home_branch"\nB01 = "x"\nB02 = "x"\nB03 = "x"'

    assert compile_policy(
        policy(*SAFE[case], groups__area=area, groups__shelf=shelf, groups__home_side=side), ALL
    ).tables


def test_a_branch_that_is_closed_for_one_material_only_does_not_make_its_region_another_branch():
    more = 'structural_zeros = [{branch = "B02", material = "dvd"}]'
    tables = (table(name="a", dimensions=("branch", "material"), more=more), table(dimensions=("region",)))

    assert compile_policy(policy(*tables, branches='B01 = "n"\nB02 = "n"\nB03 = "s"\nB04 = "s"'), ALL).tables


def test_plain_takes_one_table_of_each_kind_with_totals_of_different_acts():
    tables = (
        table(name="a", dimensions=("branch",), measures=("total_checkouts", "total_renewals", "patrons"), parts=CIRC,
              more=TOTAL),
        table(name="b", kind="patron", dimensions=("change",)),
        table(name="c", kind="engagement", dimensions=("campaign_type",), measures=("acts",)),
    )  # fmt: skip

    assert len(compile_policy(policy(*tables, preset="plain"), ALL).tables) == 3


def test_a_structural_zero_of_an_action_that_does_not_count_is_not_in_the_table():
    more = 'structural_zeros = [{action = "renewal"}]'

    assert refused(policy(table(dimensions=("action",), parts=("checkout",), more=more))) == (
        T + "structural_zeros: names a cell that is not in the table",
    )


def test_change_publishes_only_the_parts_that_count():
    compiled = compile_policy(policy(table(kind="patron", dimensions=("change",), parts=("new", "expired"))), ALL)

    assert compiled.tables[0].dimensions[0].codes == ("new", "expired")


def test_structural_zeros_are_partial_cells():
    more = 'structural_zeros = [{material = "dvd", branch = "B03"}]'
    compiled = compile_policy(policy(table(dimensions=("branch", "material"), more=more)), ALL).table("t")

    assert [compiled.cell_json(cell) for cell in range(compiled.n_cells) if compiled.is_structural_zero(cell)] == [
        '{"branch":"B03","material":"dvd"}'
    ]


def test_only_standard_adds_noise():
    assert compile_policy(policy(), ALL).noise_scale == 2
    assert compile_policy(policy(preset="plain"), ALL).noise_scale is None


def test_the_digest_changes_with_the_policy_and_with_tzdata_and_with_nothing_else(monkeypatch):
    first = compile_policy(policy(), ALL).digest

    assert compile_policy("# a comment\n" + policy(), ALL).digest == first
    assert len(first) == 64
    others = {
        compile_policy(policy(table(more="k = 12")), ALL).digest,
        compile_policy(policy(preset="plain"), ALL).digest,
        compile_policy(policy(zone="Europe/Oslo"), ALL).digest,
        compile_policy(policy(zones='"10001" = "zone-1"'), ALL).digest,
    }
    monkeypatch.setattr(tzdata, "IANA_VERSION", "1900a")
    others.add(compile_policy(policy(), ALL).digest)
    assert len(others | {first}) == 6


def test_explain_names_each_tables_numbers_and_the_sums():
    compiled = compile_policy(
        policy(
            table(name="loans", dimensions=("material",), measures=("acts", "patrons"), parts=("checkout",)),
            table(name="holds", measures=("acts",), parts=("hold_placed",), more="clip = 4"),
            table(name="board", dimensions=("branch",), measures=("total", "patrons"), more=TOTAL),
        ),
        ALL,
    )

    lines = explain(compiled)

    assert lines[0].startswith("preset standard, zone America/New_York (tzdata ")
    assert lines[1:] == [
        (
            "loans: each month by material: acts, patrons; 3 cells, k 11, C 10, H 2 days,"
            " epsilon 1 per act, 5.5 per patron and cell. because"
        ),
        (
            "holds: each month by no dimension: acts; 1 cells, k 11, C 4, H 2 days,"
            " epsilon 0.5 per act, 2 per patron and cell. because"
        ),
        (
            "board: each month by branch: total, patrons; 3 cells, k 11, totals from 55 patrons on and if none has over"
            " a tenth, C 10, H 2 days,"
            " epsilon 0.5 per act, 0.5 per patron and cell. because"
        ),
        (
            "circulation: one act changes released numbers by epsilon 1.5 at most; one patron in one cell of each"
            " table by at most 8 a window (conditional on which cells are withheld)"
        ),
        "totals are exact figures, rounded to 10, declared as invariant: no epsilon covers them",
    ]


def test_explain_of_plain_claims_no_epsilon():
    lines = explain(compile_policy(policy(preset="plain"), ALL))

    assert lines[-1] == "no noise: threshold and clip only; nothing is claimed against subtraction of other data"
    assert "epsilon" not in "".join(lines)


def test_explain_of_a_policy_without_totals_does_not_speak_of_them():
    assert "totals" not in "".join(explain(compile_policy(policy(), ALL)))


def test_the_schema_for_editors_describes_every_key():
    schema = policy_json_schema()

    assert schema["additionalProperties"] is False
    tables = schema["$defs"]["TableFile"]["properties"]
    assert set(tables) == set(TableFile.model_fields)
    assert all("description" in one for one in tables.values())


@pytest.mark.parametrize("size", ["small", "medium", "large"])
@pytest.mark.parametrize("preset", ["standard", "plain"])
def test_default_tables_are_complete_and_plain_has_one_of_each_kind(size, preset):
    tables = default_tables(size, preset)

    assert all(one.why and one.k >= 5 and one.clip < one.k and one.horizon_days for one in tables)
    kinds = [one.kind for one in tables]
    assert sorted(set(kinds)) == sorted(KINDS)
    assert preset == "standard" or len(kinds) == 3


def test_default_numbers_are_the_compilers_own():
    unsaid = compile_policy(policy(*(table(name=kind, kind=kind) for kind in KINDS)), ALL)
    own = {one.kind: (one.k, one.clip, one.horizon) for one in unsaid.tables}

    assert own == {"circulation": (11, 10, 2 * DAY), "patron": (11, 1, 7 * DAY), "engagement": (11, 5, 7 * DAY)}
    assert [(one.k, one.clip, one.horizon_days * DAY) for one in MEDIUM] == [own[one.kind] for one in MEDIUM]


def test_an_unknown_size_is_refused():
    with pytest.raises(ValueError, match="need small, medium or large"):
        default_tables("huge", "standard")
