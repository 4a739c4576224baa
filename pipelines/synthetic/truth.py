"""What the counts must be, told by separate simple code from the world itself: no file is read back."""

import csv
import datetime as dt
from collections import defaultdict
from pathlib import Path
from typing import Callable, Iterator

from pipelines.synthetic.world import ZONE, Act, Delivery, World, item_codes

_REGION = {
    f"B{n:02d}": "north" if n < 5 else "center" if n < 9 else "south" if n < 12 else "island" for n in range(1, 13)
}
_DAYPART = ("night",) * 6 + ("early",) * 3 + ("morning",) * 3 + ("afternoon",) * 5 + ("evening",) * 3 + ("late",) * 4
_OUTCOME = {"hold_placed": "placed", "hold_filled": "filled", "hold_cancelled": "cancelled", "hold_expired": "expired"}
_H_DAYS = {"circulation": 2, "patron": 7, "engagement": 7}
_CLIP = {"circulation": 10, "patron": 1, "engagement": 5}
_CIRC = frozenset({"checkout", "renewal"})


def _local(instant: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(instant / 1000, ZONE)


def _band(act: Act) -> str:
    assert act.person is not None  # noqa: S101 - returns are in no table
    day, born = _local(act.occurred).date(), act.person.born
    age = day.year - born.year - ((day.month, day.day) < (born.month, born.day))
    for limit, band in ((13, "0-12"), (18, "13-17"), (25, "18-24"), (45, "25-44"), (65, "45-64")):
        if age < limit:
            return band
    return "65+"


def _daypart(act: Act) -> tuple[tuple[str, str], ...]:
    local = _local(act.occurred)
    weekend = "weekend" if local.weekday() > 4 else "weekday"
    return (("branch", act.branch), ("day_type", weekend), ("daypart", _DAYPART[local.hour]))


Cell = tuple[tuple[str, str], ...]
_TABLES: tuple[tuple[str, str, frozenset[str], Callable[[Act], Cell], tuple[str, ...]], ...] = (
    ("circ_branch_month", "circulation", _CIRC, lambda a: (("branch", a.branch),), ("total_checkouts", "total_renewals", "patrons")),
    ("circ_branch_material_month", "circulation", _CIRC, lambda a: (("branch", a.branch), ("material", item_codes(a.item)[0])), ("acts", "patrons")),
    ("circ_system_day", "circulation", _CIRC, lambda _: (), ("acts", "patrons")),
    ("circ_branch_daypart_month", "circulation", _CIRC, _daypart, ("acts",)),
    ("circ_age_month", "circulation", _CIRC, lambda a: (("age_band", _band(a)), ("audience", item_codes(a.item)[1])), ("acts", "patrons")),
    ("circ_ptype_month", "circulation", _CIRC, lambda a: (("patron_type", a.person.patron_type),), ("acts", "patrons")),  # type: ignore[union-attr]
    ("flow_month", "circulation", _CIRC, lambda a: (("home_region", _REGION[a.person.home]), ("region", _REGION[a.branch])), ("acts", "patrons")),  # type: ignore[union-attr]
    ("holds_month", "circulation", frozenset(_OUTCOME), lambda a: (("branch", a.branch), ("outcome", _OUTCOME[a.part])), ("acts", "patrons")),
    ("registrations_month", "patron", frozenset({"new", "renewed", "expired"}), lambda a: (("change", a.part), ("home_branch", a.person.home)), ("patrons",)),  # type: ignore[union-attr]
    ("engagement_month", "engagement", frozenset(), lambda a: (("campaign_type", a.campaign), ("response", a.part)), ("patrons",)),
)  # fmt: skip


def _window(act: Act, name: str) -> tuple[str, int]:
    """The window's first day, and the instant at which it ends."""
    day = _local(act.occurred).date()
    if name == "circ_system_day":
        first, after = day, day + dt.timedelta(days=1)
    else:
        first = day.replace(day=1)
        after = (first + dt.timedelta(days=32)).replace(day=1)
    return first.isoformat(), round(dt.datetime(after.year, after.month, after.day, tzinfo=ZONE).timestamp() * 1000)


def truth_rows(world: World) -> Iterator[tuple[str, str, str, str, int, int]]:
    """(table, window start, cell, measure, true value, distinct patrons), sorted."""
    for name, kind, parts, cell_of, measures in _TABLES:
        latest: dict[str, Delivery] = {}
        for delivery in world.deliveries:
            act = delivery.act
            if (
                act.kind != kind
                or (parts and act.part not in parts)
                or act.person is None
                or act.person.kind != "patron"
            ):
                continue
            if delivery.arrived >= _window(act, name)[1] + _H_DAYS[kind] * 86_400_000:
                continue
            known = latest.get(act.key)
            if known is None or (delivery.arrived, delivery.op) > (known.arrived, known.op):
                latest[act.key] = delivery
        people: dict[tuple[str, Cell, str], dict[tuple[str, str], int]] = defaultdict(lambda: defaultdict(int))
        for delivery in latest.values():
            act = delivery.act
            if delivery.op == "retract":
                continue
            for measure in measures:
                if measure == "total_checkouts" and act.part != "checkout":
                    continue
                if measure == "total_renewals" and act.part != "renewal":
                    continue
                where = (_window(act, name)[0], cell_of(act), measure)
                people[where][act.source, act.person.ref] += 1  # type: ignore[union-attr]
        for (start, cell, measure), counts in sorted(people.items()):
            spaces: dict[str, int] = defaultdict(int)
            for source, _ in counts:
                spaces[source] += 1
            value = len(counts)
            if measure == "acts":
                value = sum(min(count, _CLIP[kind]) for count in counts.values())
            elif measure != "patrons":
                value = (sum(counts.values()) + 5) // 10 * 10
            text = "{" + ",".join(f'"{key}":"{code}"' for key, code in sorted(cell)) + "}"
            yield name, start, text, measure, value, max(spaces.values())


def write_truth(world: World, path: Path) -> None:
    """Write truth.csv."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("table_name", "window_start", "cell", "measure", "true_value", "distinct_patrons"))
        writer.writerows(sorted(truth_rows(world)))
