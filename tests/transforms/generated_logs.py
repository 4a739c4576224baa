"""Generated logs of a small library: policies, sources, and Hypothesis strategies for events of all kinds."""

import datetime as dt
import json
from functools import cache

from hypothesis import strategies as st
from rowwise import begins, window_of, zone

from schemas.events import ERASING, MODELS, PARTS
from schemas.policy import PrivacyPolicy
from schemas.policy_compiler import Capability, compile_policy
from schemas.source import SourceRules
from schemas.wire import ADAPTERS

ZONES = (
    "America/New_York",
    "Europe/Oslo",
    "America/Havana",
    "Africa/Cairo",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "UTC",
)
NOW = 1_800_000_000_000  # 2027-01-15
HOUR, DAY = 3_600_000, 86_400_000

_LISTS = """
time_zone = "{zone}"
k = 5
[branches]
B1 = "north"
B2 = "north"
B3 = "south"
[dimensions]
material = ["book", "dvd", "game"]
audience = ["adult", "child"]
patron_type = ["resident", "visitor"]
campaign_type = ["letter"]
response = ["opened"]
[zones]
"10001" = "zone-1"
"10002" = "zone-2"
[groups.shelf]
of = "material"
book = "print"
[groups.area]
of = "branch"
B1 = "a"
B2 = "b"
B3 = "b"
"""
# name, kind, grain, dimensions, measures, parts, further lines
_TABLES = (
    ("totals", "circulation", "month", "branch", "total_checkouts total_renewals patrons", "checkout renewal", "invariant = true"),
    ("materials", "circulation", "month", "branch material", "acts patrons", "checkout renewal", "k = 6"),
    ("days", "circulation", "day", "", "acts patrons", "checkout renewal", ""),
    ("day_types", "circulation", "day", "day_type", "patrons", "return checkout", "horizon_days = 0"),
    ("hours", "circulation", "month", "day_type daypart", "acts", "", ""),
    ("ages", "circulation", "month", "age_band audience", "acts patrons", "checkout", "clip = 2"),
    ("types", "circulation", "month", "patron_type action", "acts", "checkout renewal", ""),
    ("flows", "circulation", "month", "home_region region", "acts patrons", "checkout renewal", ""),
    ("shelves", "circulation", "month", "area shelf", "acts", "checkout", 'structural_zeros = [{area = "a", shelf = "print"}, {area = "b", shelf = "other"}]'),
    ("zones", "circulation", "month", "home_zone", "acts patrons", "checkout", ""),
    ("holds", "circulation", "month", "branch outcome", "acts patrons", "hold_placed hold_filled hold_expired", "horizon_days = 9"),
    ("changes", "patron", "month", "home_branch change", "patrons", "new expired", ""),
    ("answers", "engagement", "month", "campaign_type response", "patrons acts", "", "clip = 4"),
)  # fmt: skip
_PLAIN = ("materials", "changes", "answers")


@cache
def a_policy(time_zone: str = "America/New_York", preset: str = "standard") -> PrivacyPolicy:
    """Tables of every kind, grain, dimension and measure, with small thresholds."""
    text = f'preset = "{preset}"' + _LISTS.replace("{zone}", time_zone)
    for name, kind, grain, dimensions, measures, parts, more in _TABLES:
        if preset == "standard" or name in _PLAIN:
            text += f'[[tables]]\nname = "{name}"\nkind = "{kind}"\ngrain = "{grain}"\nwhy = "tests"\n'
            text += f"dimensions = {dimensions.split()}\nmeasures = {measures.split()}\nparts = {parts.split()}\n"
            text += more + ("\n" if "clip" in more else "\nclip = 3\n")
    fills = ADAPTERS["carrel-event"].fills
    return compile_policy(text, [Capability("s", frozenset(fills), fills)])


def some_rules(name: str = "ils", namespace: str = "cards", **changes: object) -> SourceRules:
    """A source of canonical events with code maps of its own."""
    given: dict[str, object] = {
        "adapter": "carrel-event",
        "kinds": tuple(MODELS),
        "id_profile": "opaque",
        "time_zone": None,
        "also_drop": (),
        "strip": (),
        "no_patron_ids": ("0", "guest"),
        "codes": {
            "branch": {"MAIN": "B1", "B2": "B3"},
            "material": {"bk": "book", "zz": "other"},
            "patron_type": {"R": "resident", "STF": "staff", "T": "test"},
            "home_zone": {"20001": "zone-2"},
        },
    }
    return SourceRules(name=name, namespace=namespace, **{**given, **changes})  # type: ignore[arg-type]


# Two sources share a namespace, a third has its own, writes numbers for ids and feeds two kinds only.
SOURCES = (
    some_rules(),
    some_rules("bus", codes={}, no_patron_ids=()),
    some_rules("crm", "contacts", id_profile="int", kinds=("circulation", "engagement")),
)


@cache
def instants(time_zone: str) -> st.SearchStrategy[int]:
    """Event times near the edges of days, months and clock changes, and anywhere in a quarter; ms UTC."""
    edges = [begins(dt.date.fromisoformat(day), time_zone) for day in (
        "2026-03-01", "2026-03-08", "2026-03-09", "2026-03-29", "2026-03-30", "2026-04-01", "2026-04-05", "2026-04-24",
        "2026-05-01", "2026-10-25", "2026-10-26", "2026-10-31", "2026-11-01", "2026-11-02",
    )]  # fmt: skip
    changes = st.sampled_from(_changes(time_zone) or edges)
    near = st.sampled_from(
        [-HOUR, -1000, -1, 0, 1, 999, 1000, HOUR - 1, HOUR, 2 * HOUR, 9 * HOUR, 17 * HOUR - 1, 20 * HOUR]
    )
    return st.one_of(
        st.builds(int.__add__, st.sampled_from(edges), near),
        st.builds(int.__add__, changes, near),
        st.integers(edges[0], edges[5]),
    )


@cache
def _changes(time_zone: str) -> list[int]:
    """The clock changes of 2026, to the second, ms UTC."""

    def offset(at: int) -> object:
        return dt.datetime.fromtimestamp(at, zone(time_zone)).utcoffset()

    found = []
    for day in range(1_767_225_600, 1_798_761_600, 86_400):
        low, high = day, day + 86_400
        if offset(low) != offset(high):
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(middle) == offset(low) else (low, middle)
            found.append(high * 1000)
    return found


def _arrival(draw: st.DrawFn, occurred: int, policy: PrivacyPolicy, kind: str) -> int | None:
    """None, soon after the event, or at the very edge of lateness of one of its tables."""
    if draw(st.integers(0, 2)):
        return draw(
            st.sampled_from([None, occurred, occurred + 1, occurred + HOUR, occurred - 900_000, occurred - 900_001])
        )
    table = draw(st.sampled_from(policy.tables_of(kind)))
    end = dt.date.fromisoformat(window_of(table, occurred, policy.time_zone).end)
    return begins(end, policy.time_zone) + table.horizon + draw(st.sampled_from([-1, 0, 1, -HOUR]))


def some(draw: st.DrawFn, usual: object, *seldom: object, odds: int = 10) -> object:
    """Once in so many draws one of the seldom values."""
    at = draw(st.integers(0, odds * len(seldom)))
    return seldom[at - 1] if 0 < at <= len(seldom) else usual


@st.composite
def events(draw: st.DrawFn, policy: PrivacyPolicy, of: str = "") -> list[dict[str, object]]:
    """One event, or a crowd of patrons who do the same at the same time: enough for a threshold or one too few."""
    kind = of or draw(st.sampled_from(["circulation", "circulation", "circulation", "patron", "engagement"]))
    occurred = draw(instants(policy.time_zone))
    event: dict[str, object] = {
        "kind": kind,
        "occurred_at": occurred,
        "arrived_at": _arrival(draw, occurred, policy, kind),
        "op": some(draw, "add", "retract"),
        "patron_kind": some(draw, "patron", "staff", "guest", "test"),
        "patron_type": some(draw, "resident", "R", "STF", None, "odd", "T"),
        "home_branch": some(draw, "B1", "MAIN", None, "odd", "B3"),
        "birth_date": some(
            draw, "2000-02-29", None, "2008-03-08", "2026-05-01", "1900-01-01", "2013-11-01", "2026-02-30"
        ),
        "postal_code": some(draw, "10001", "10002", "20001", None, "99999"),
    }
    if kind == "circulation":
        event["action"] = some(draw, "checkout", *PARTS["circulation"], odds=3)
        event["branch"] = some(draw, "B1", "B2", "MAIN", None, "B3", "odd")
        event["material"] = some(draw, "book", "bk", "dvd", None, "odd", "zz")
        event["audience"] = some(draw, "adult", "child", None, "odd")
    elif kind == "patron":
        event["change"] = some(draw, "new", *PARTS["patron"])
    else:
        event["campaign_type"] = some(draw, "letter", None, "odd")
        event["response"] = some(draw, "opened", None, "odd")
    crowd = draw(st.sampled_from([1, 1, 1, 4, 5, 6, 11, 24, 25, 30, 30]))
    first = draw(st.integers(0, 30))
    act = draw(st.sampled_from([0, 1, 20, 100, 200, 300, 400, 500]))
    found = []
    for at in range(crowd):
        ref: object = (
            str(first + at)
            if crowd > 1
            else some(draw, str(first), None, "0", "guest", "7 7", "x\u0430", "00" + str(first), odds=2)
        )
        found.append({**event, "patron_ref": ref, "event_id": f"e{act + at}"})
    return found


def line(event: dict[str, object]) -> bytes:
    """A canonical JSON line; of absent values some are left out and some are null."""
    left_out = {name for name in event if event[name] is None and name < "m"}
    return json.dumps({name: value for name, value in event.items() if name not in left_out}).encode()


@st.composite
def logs(draw: st.DrawFn, policy: PrivacyPolicy, most: int = 12) -> list[tuple[SourceRules, bytes]]:
    """Lines of several sources in any order, some of them twice."""
    found = []
    for crowd in draw(st.lists(events(policy), max_size=most)):
        rules = draw(st.sampled_from(SOURCES))
        found += [(rules, line(event)) for event in crowd]
        if not draw(st.integers(0, 3)):
            found += found[-draw(st.integers(1, len(crowd))) :]
    return found


@st.composite
def erasing_lines(draw: st.DrawFn, policy: PrivacyPolicy) -> list[tuple[SourceRules, bytes]]:
    """Lines by which a few patrons are deleted or opt out, some taken back."""
    found = []
    for at in range(draw(st.integers(1, 4))):
        occurred = draw(instants(policy.time_zone))
        event: dict[str, object] = {
            "kind": "patron",
            "change": draw(st.sampled_from(sorted(ERASING))),
            "event_id": f"x{draw(st.sampled_from([0, at]))}",
            "op": some(draw, "add", "retract", odds=4),
            "occurred_at": occurred,
            "arrived_at": _arrival(draw, occurred, policy, "circulation"),
            "patron_ref": some(draw, str(draw(st.integers(0, 12))), None),
        }
        found.append((draw(st.sampled_from(SOURCES[:2])), line(event)))
    return found


def an_event(**changes: object) -> dict[str, object]:
    """One plain event: a patron's checkout, registration or answer, an hour before `NOW`."""
    kind = changes.get("kind", "circulation")
    own: dict[object, dict[str, object]] = {
        "circulation": {"action": "checkout", "branch": "B1", "material": "book", "audience": "adult"},
        "patron": {"change": "new"},
        "engagement": {"campaign_type": "letter", "response": "opened"},
    }
    event = {"kind": kind, "event_id": "e1", "occurred_at": NOW - HOUR, "patron_ref": "17", "patron_type": "resident"}
    return event | own.get(kind, {}) | changes


def a_line(**changes: object) -> bytes:
    """The line of `an_event`."""
    return json.dumps(an_event(**changes)).encode()
