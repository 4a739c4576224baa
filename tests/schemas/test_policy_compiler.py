"""The compiler refuses what is unsafe, each with its own words."""

import pytest

from schemas.default_tables import default_tables
from schemas.policy_compiler import Capability, PolicyError, compile_policy, explain, policy_json_schema
from schemas.wire import ADAPTERS

HEAD = """
preset = "standard"
time_zone = "UTC"
[branches]
B01 = "north"
B02 = "north"
B03 = "south"
[dimensions]
material = ["book", "dvd"]
audience = ["adult"]
[zones]
"10001" = "zone-1"
[groups.shelf]
of = "material"
book = "print"
[groups.area]
of = "branch"
B01 = "a"
B02 = "a"
B03 = "b"
"""
TABLE = """
[[tables]]
name = "t"
kind = "circulation"
grain = "month"
dimensions = ["branch"]
measures = ["acts"]
parts = ["checkout"]
why = "a test"
"""
ALL = [Capability("s", frozenset(ADAPTERS["carrel-event"].fills), ADAPTERS["carrel-event"].fills)]


def compiled(text, capabilities=ALL):
    return compile_policy(text, capabilities)


def refusal(text, capabilities=ALL):
    with pytest.raises(PolicyError) as refused:
        compiled(text, capabilities)
    return " | ".join(refused.value.findings)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('preset = "standard"', 'preset = "formal"', "formal is not built yet"),
        ('preset = "standard"', 'preset = "other"', "preset"),
        ('preset = "standard"', 'preset = "standard"\nk = 4', "k: need 5 or more"),
        ('why = "a test"', 'why = "a test"\nk = 4\nclip = 2', "k: need 5 or more"),
        ('why = "a test"', 'why = "a test"\nsensitive = true\nk = 11', "sensitive table needs 20"),
        ('why = "a test"', 'why = "a test"\nclip = 11', "at most k - 1"),
        ('["branch"]', '["branch", "material", "audience", "daypart"]', "at most 3 dimensions"),
        ('["branch"]', '["branch", "branch"]', "names a dimension twice"),
        ('["branch"]', '["age_band", "patron_type"]', "at most one dimension that describes"),
        ('["branch"]', '["isbn"]', "never published"),
        ('["branch"]', '["colour"]', "not known"),
        ('["branch"]', '["branch", "home_zone"]', "together with where patrons live"),
        ('"month"', '"day"', "branch tables are monthly"),
        ('"month"\ndimensions = ["branch"]', '"day"\ndimensions = ["daypart"]', "hour of a date"),
        ('"month"', '"year"', "grain"),
        ('["acts"]', '["total"]', "invariant = true"),
        ('["acts"]', '["total", "acts"]\ninvariant = true', "beside acts"),
        (
            '["branch"]\nmeasures = ["acts"]',
            '["age_band"]\nmeasures = ["total"]\ninvariant = true',
            "describes the patron",
        ),
        (
            '"month"\ndimensions = ["branch"]\nmeasures = ["acts"]',
            '"day"\nmeasures = ["total"]\ninvariant = true',
            "monthly",
        ),
        ('["acts"]', '["median"]', "measure median is not known"),
        ('["acts"]', '["acts", "acts"]', "names a measure twice"),
        ('["checkout"]', '["theft"]', "part theft is not known"),
        ('["book", "dvd"]', '["book", "book"]', "names a code twice"),
        ('["book", "dvd"]', "[]", "is empty"),
        ('["book", "dvd"]', '["book", "other"]', "do not list it"),
        ('["book", "dvd"]', '["book", "d\\u0000"]', "codes are letters"),
        ('["book", "dvd"]', str([f"m{n}" for n in range(13)]).replace("'", '"'), "at most 12"),
        ('audience = ["adult"]', 'colour = ["red"]', "not a listed dimension"),
        ('of = "material"', 'of = "colour"', "`of` must name"),
        ('B03 = "b"', "", "every branch needs a group"),
        ('why = "a test"', 'why = "a test"\nstructural_zeros = [{branch = "B99"}]', "not in the table"),
        ('why = "a test"', 'why = "a test"\nwhen = 1', "when"),
        ("[branches]", "[branches", "is not TOML"),
    ],
)
def test_what_is_unsafe_is_refused_in_its_own_words(before, after, words):
    text = HEAD + TABLE
    assert before in text

    assert words in refusal(text.replace(before, after, 1))


def test_a_table_that_no_source_can_fill_is_refused():
    salesforce = [Capability("crm", frozenset({"engagement"}), ADAPTERS["salesforce"].fills)]
    poor = [Capability("ils", frozenset({"circulation"}), {"circulation": frozenset({"material"})})]

    assert "no configured source gives circulation" in refusal(HEAD + TABLE, salesforce)
    assert "source ils cannot fill branch" in refusal(HEAD + TABLE, poor)


def test_tables_that_describe_the_same_set_are_published_once():
    twin = TABLE.replace('"t"', '"u"')

    assert "the same cells as t" in refusal(HEAD + TABLE + twin)
    assert "two have the same name" in refusal(HEAD + TABLE + TABLE)


def test_plain_has_one_table_per_event_kind():
    other = TABLE.replace('"t"', '"u"').replace('["branch"]', '["material"]')

    assert "plain: one table" in refusal((HEAD + TABLE + other).replace("standard", "plain"))
    assert compiled(HEAD + TABLE + other).noise_scale == 2


def test_too_many_cells_are_refused():
    branches = "\n".join(f'X{n} = "north"' for n in range(9000))
    text = (
        (HEAD + TABLE)
        .replace("[branches]", f"[branches]\n{branches}")
        .replace('["branch"]', '["branch", "daypart", "action"]')
        .replace('parts = ["checkout"]\n', "")
    )

    assert "100000 cells" in refusal(text.replace('B03 = "b"', 'B03 = "b"\n' + branches.replace('"north"', '"a"')))


def test_a_policy_compiles_to_closed_cells_and_a_stable_hash():
    text = HEAD + TABLE.replace('["branch"]', '["region", "shelf"]').replace(
        "why", 'structural_zeros = [{shelf = "print"}]\nwhy'
    )
    policy = compiled(text)
    table = policy.table("t")

    assert [table.cell_json(cell) for cell in range(table.n_cells)][0] == '{"region":"north","shelf":"print"}'
    assert table.is_structural_zero(0)
    assert not table.is_structural_zero(1)
    assert policy.digest == compiled(text).digest != compiled(text.replace("a test", "another")).digest
    assert policy.tables_of("patron") == ()
    with pytest.raises(KeyError):
        policy.table("none")
    area = compiled(HEAD + TABLE.replace('["branch"]', '["area"]'))
    assert area.table("t").n_cells == 2


def test_sensitive_tables_have_k_20_and_explain_says_what_is_spent():
    text = HEAD + TABLE.replace('["branch"]', '["material"]').replace("why", "sensitive = true\nwhy")
    total = (
        TABLE.replace('"t"', '"u"').replace('["acts"]', '["total_checkouts"]').replace("why", "invariant = true\nwhy")
    )
    policy = compiled(text)

    assert policy.table("t").k == 20
    assert any("epsilon 0.5" in line for line in explain(policy))
    assert compiled(HEAD + total).table("u").measures[0].parts == ("checkout",)
    assert not any("epsilon" in line for line in explain(compiled(text.replace("standard", "plain"))))


def test_the_default_tables_come_in_three_sizes():
    assert [len(default_tables(size, "standard")) for size in ("small", "medium", "large")] == [10, 10, 11]
    assert len(default_tables("medium", "plain")) == 3
    with pytest.raises(ValueError, match="size"):
        default_tables("huge", "standard")


def test_editors_get_a_json_schema():
    assert "tables" in policy_json_schema()["properties"]
