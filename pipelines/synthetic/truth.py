"""What the counts must be, told by separate simple code from the world itself: no file is read back.

Nothing here is shared with the product but the example library's list of branches and their regions.
"""

import csv
import datetime as dt
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import Callable, Iterator, NamedTuple

from pipelines.initialise import BRANCHES
from pipelines.synthetic.world import ZONE, Act, Delivery, World

_REGION = {**BRANCHES, "other": "other"}
_DAYPART = ("night",) * 6 + ("early",) * 3 + ("morning",) * 3 + ("afternoon",) * 5 + ("evening",) * 3 + ("late",) * 4
_OUTCOME = {"hold_placed": "placed", "hold_filled": "filled", "hold_cancelled": "cancelled", "hold_expired": "expired"}
_H = {kind: days * 86_400_000 for kind, days in (("circulation", 2), ("patron", 7), ("engagement", 7))}
_CLIP = {"circulation": 10, "patron": 1, "engagement": 5}
_OF_TOTAL = {"total_checkouts": "checkout", "total_renewals": "renewal"}
_CIRC = frozenset({"checkout", "renewal"})
_CHANGES = frozenset({"new", "renewed", "expired"})


class Civil(NamedTuple):
    """A civil hour of the library: its day and month by name, and when they end (ms UTC)."""

    date: dt.date
    hour: int
    day: str
    day_end: int
    month: str
    month_end: int


class Row(NamedTuple):
    """One line of truth.csv, and the largest part that one patron has in an unrounded total."""

    table_name: str
    window_start: str
    cell: str
    measure: str
    true_value: int
    distinct_patrons: int
    total: int
    largest: int


def _midnight(day: dt.date) -> int:
    return round(dt.datetime(day.year, day.month, day.day, tzinfo=ZONE).timestamp() * 1000)


@cache
def _civil(utc_hour: int) -> Civil:
    """The library's offset from UTC is whole hours, so an hour of UTC is an hour of the library."""
    local = dt.datetime.fromtimestamp(utc_hour * 3600, ZONE)
    date, month = local.date(), local.date().replace(day=1)
    day_end, month_end = date + dt.timedelta(days=1), (month + dt.timedelta(days=32)).replace(day=1)
    return Civil(date, local.hour, date.isoformat(), _midnight(day_end), month.isoformat(), _midnight(month_end))


def _band(act: Act, civil: Civil) -> str:
    assert act.person is not None  # noqa: S101 - acts of nobody are in no table
    day, born = civil.date, act.person.born
    if born is None:
        return "other"
    age = day.year - born.year - ((day.month, day.day) < (born.month, born.day))
    for limit, band in ((13, "0-12"), (18, "13-17"), (25, "18-24"), (45, "25-44"), (65, "45-64")):
        if age < limit:
            return band
    return "65+"


Codes = tuple[str, ...]
_Acts = Counter[tuple[str, str]]  # how many of each (source, patron)
_Table = tuple[str, str, frozenset[str], Codes, Callable[[Act, Civil, World], Codes], Codes]
# Name, event kind, parts that count, dimensions, their codes, measures.
_TABLES: tuple[_Table, ...] = (
    ("circ_branch_month", "circulation", _CIRC, ("branch",), lambda a, _c, _w: (a.branch,), ("total_checkouts", "total_renewals", "patrons")),
    ("circ_branch_material_month", "circulation", _CIRC, ("branch", "material"), lambda a, _c, w: (a.branch, w.items[a.item].material), ("acts", "patrons")),
    ("circ_system_day", "circulation", _CIRC, (), lambda _a, _c, _w: (), ("acts", "patrons")),
    ("circ_branch_daypart_month", "circulation", _CIRC, ("branch", "day_type", "daypart"), lambda a, c, _w: (a.branch, "weekend" if c.date.weekday() > 4 else "weekday", _DAYPART[c.hour]), ("acts",)),
    ("circ_age_month", "circulation", _CIRC, ("age_band", "audience"), lambda a, c, w: (_band(a, c), w.items[a.item].audience), ("acts", "patrons")),
    ("circ_ptype_month", "circulation", _CIRC, ("patron_type",), lambda a, _c, _w: (a.person.patron_type,), ("acts", "patrons")),  # type: ignore[union-attr]
    ("flow_month", "circulation", _CIRC, ("home_region", "region"), lambda a, _c, _w: (_REGION[a.person.home], _REGION[a.branch]), ("acts", "patrons")),  # type: ignore[union-attr]
    ("holds_month", "circulation", frozenset(_OUTCOME), ("branch", "outcome"), lambda a, _c, _w: (a.branch, _OUTCOME[a.part]), ("acts", "patrons")),
    ("registrations_month", "patron", _CHANGES, ("home_branch", "change"), lambda a, _c, _w: (a.person.home, a.part), ("patrons",)),  # type: ignore[union-attr]
    ("engagement_month", "engagement", frozenset(), ("campaign_type", "response"), lambda a, _c, _w: (a.campaign, a.part), ("patrons",)),
)  # fmt: skip


def _standing(world: World) -> dict[tuple[str, str, str], list[tuple[Act, Civil]]]:
    """By grain, kind and part: the acts of patrons, at branches that there are, that stand when a window is counted."""
    by_act: dict[str, list[Delivery]] = defaultdict(list)
    for one in world.deliveries:
        act = one.act
        if act.person and act.person.kind == "patron" and (act.branch in BRANCHES or act.kind != "circulation"):
            by_act[act.key].append(one)
    found = defaultdict(list)
    for messages in by_act.values():
        act = messages[0].act
        civil = _civil(act.occurred // 3_600_000)
        for grain, end in (("day", civil.day_end), ("month", civil.month_end)):
            if _stands(messages, end + _H[act.kind]):
                found[grain, act.kind, act.part].append((act, civil))
    return found


def _stands(messages: list[Delivery], too_late: int) -> bool:
    """Whether the last message that came in time says that the act happened; of two at once `retract` is the last."""
    in_time = [(one.arrived, one.op) for one in messages if one.arrived < too_late]
    return bool(in_time) and max(in_time)[1] == "add"


def truth_rows(world: World) -> Iterator[Row]:
    """Every cell of every default table with at least one standing act, table by table.

    `distinct_patrons` are those of the namespace with the most of them: the threshold counts within one.
    """
    standing = _standing(world)
    for name, kind, parts, dimensions, codes_of, measures in _TABLES:
        grain = "day" if name == "circ_system_day" else "month"
        people: dict[tuple[str, Codes], dict[str, _Acts]] = defaultdict(lambda: defaultdict(Counter))
        for (at_grain, of, part), acts in standing.items():
            if (at_grain, of) == (grain, kind) and (part in parts or not parts):
                for act, civil in acts:
                    where = (civil.day if grain == "day" else civil.month, codes_of(act, civil, world))
                    people[where][part][act.source, act.person.ref] += 1  # type: ignore[union-attr]
        for (start, codes), by_part in people.items():
            cell = ",".join(f'"{key}":"{code}"' for key, code in sorted(zip(dimensions, codes, strict=True)))
            for measure in measures:
                counted: _Acts = Counter()
                for part, found in by_part.items():
                    if _OF_TOTAL.get(measure, part) == part:
                        counted.update(found)
                if counted:
                    yield Row(name, start, f"{{{cell}}}", measure, *_numbers(measure, kind, counted))


def _numbers(measure: str, kind: str, acts: _Acts) -> tuple[int, int, int, int]:
    """True value after clip or rounding, distinct patrons, total, largest part of one patron."""
    total = sum(acts.values())
    value = len(acts)
    if measure == "acts":
        value = sum(min(count, _CLIP[kind]) for count in acts.values())
    elif measure in _OF_TOTAL:
        value = (total + 5) // 10 * 10
    return value, max(Counter(source for source, _ in acts).values()), total, max(acts.values())


def write_truth(world: World, path: Path) -> None:
    """Write truth.csv."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(Row._fields[:6])
        writer.writerows(row[:6] for row in sorted(truth_rows(world)))
