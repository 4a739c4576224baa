"""One table of a policy: what it may not be, and what it compiles to."""

from dataclasses import dataclass, field, replace
from math import prod
from typing import FrozenSet, Iterator, List, Mapping, Sequence, Tuple

from schemas.events import PARTS
from schemas.policy import Dimension, Measure, Table
from schemas.policy_dimensions import DENIED, HOME_PLACES, OF_KIND, PLACES, is_branch_level
from schemas.policy_file import LISTED, SMALLEST_K, PolicyFile, TableFile

DAY = 86_400_000
SENSITIVE_K = 20
MOST_DIMENSIONS, MOST_CELLS = 3, 100_000
CLIP = {"circulation": 10, "patron": 1, "engagement": 5}
HORIZON_DAYS = {"circulation": 2, "patron": 7, "engagement": 7}
_NEEDS = {"age_band": "birth_date", "home_zone": "home_zone", "zip3": "home_zone"}
_NO_COLUMN = frozenset({"day_type", "daypart", *OF_KIND})


@dataclass(frozen=True)
class Capability:
    """What one configured source can fill.

    Attributes:
      source: its name.
      kinds: event kinds that it feeds.
      fills: event kind -> canonical columns.
      names: dimension -> policy codes that the source's code maps name.
    """

    source: str
    kinds: FrozenSet[str]
    fills: Mapping[str, FrozenSet[str]]
    names: Mapping[str, FrozenSet[str]] = field(default_factory=dict)


def table_findings(
    entry: TableFile, file: PolicyFile, dimensions: Mapping[str, Dimension], capabilities: Sequence[Capability]
) -> List[str]:
    """Why a table may not be as it is, one line each; empty when nothing speaks against it."""
    denied = [f"dimension {name} is never published" for name in entry.dimensions if name in DENIED]
    unknown = [
        f"dimension {name} is not known" for name in entry.dimensions if name not in dimensions and name not in DENIED
    ]
    if denied or unknown:
        return denied + unknown
    used = _used(entry, dimensions)
    return [
        *_number_findings(entry, file),
        *_dimension_findings(entry, file, used),
        *_total_findings(entry, used),
        *_sensitive_findings(entry, file, used),
        *_name_findings(entry, used),
        *_source_findings(entry, used, capabilities),
    ]


def _used(entry: TableFile, dimensions: Mapping[str, Dimension]) -> Sequence[Dimension]:
    """The table's dimensions; those that divide by part have the parts that count as their codes."""
    return tuple(
        replace(dimensions[name], codes=tuple(entry.parts)) if name in ("action", "change") and entry.parts
        else dimensions[name]
        for name in entry.dimensions
    )  # fmt: skip


def _number_findings(entry: TableFile, file: PolicyFile) -> Iterator[str]:
    k = _k(entry, file)
    if k < SMALLEST_K:
        yield f"k: need {SMALLEST_K} or more"
    if _clip(entry) > k - 1:
        yield "clip: need at most k - 1, so that nobody dominates a cell"


def _dimension_findings(entry: TableFile, file: PolicyFile, used: Sequence[Dimension]) -> Iterator[str]:
    columns = {one.column for one in used}
    if len(used) > MOST_DIMENSIONS:
        yield f"at most {MOST_DIMENSIONS} dimensions"
    if len(set(entry.dimensions)) != len(entry.dimensions):
        yield "names a dimension twice"
    elif (twins := _twins(used)) is not None:
        yield f"dimensions {twins[0]} and {twins[1]} divide the same thing; keep one of them"
    if sum(one.patron_derived for one in used) > 1:
        yield "at most one dimension that describes the patron"
    if "branch" in columns and HOME_PLACES & columns:
        yield "a branch is never published together with where patrons live"
    if entry.grain == "day" and any(is_branch_level(one, len(file.branches)) for one in used):
        yield "branch tables are monthly, and so are tables of regions with a single branch"
    if entry.grain == "day" and "daypart" in columns:
        yield "the hour of a date is never published; use month"
    if prod(len(one.codes) for one in used) > MOST_CELLS:
        yield f"has more than {MOST_CELLS} cells"
    for one in used:
        if one.column in ("home_zone", *LISTED) and not {*one.codes} - {"other"}:
            where = "zones" if one.column == "home_zone" else "dimensions"
            yield f"dimension {one.name} has no codes: list them in [{where}]"


def _twins(used: Sequence[Dimension]) -> "Tuple[str, str] | None":
    """Two dimensions of one column: a cell of one code each says no more than the finer code, or cannot be."""
    seen: dict[str, str] = {}
    for one in used:
        column = "part" if one.column in OF_KIND else one.column
        if column in seen:
            return seen[column], one.name
        seen[column] = one.name
    return None


def _total_findings(entry: TableFile, used: Sequence[Dimension]) -> Iterator[str]:
    if not any(name.startswith("total") for name in entry.measures):
        if entry.invariant:
            yield "invariant: the table has no total; remove the line"
        return
    if any(one.patron_derived for one in used):
        yield "a total has no dimension that describes the patron"
    elif any(one.column != "branch" for one in used):
        yield "a total is by branch or of the whole system"
    if entry.grain != "month":
        yield "a total is monthly"
    if not entry.invariant:
        yield "a total is an exact figure: declare invariant = true"
    if "acts" in entry.measures:
        yield "a total is never published beside acts over the same cells"


def _sensitive_findings(entry: TableFile, file: PolicyFile, used: Sequence[Dimension]) -> Iterator[str]:
    if not entry.sensitive:
        return
    if _k(entry, file) < SENSITIVE_K:
        yield f"k: a sensitive table needs {SENSITIVE_K} or more"
    if entry.grain != "month":
        yield "a sensitive table is monthly"
    if any(one.column in PLACES for one in used):
        yield "a sensitive table is of the whole system: no branch, region or home"


def _name_findings(entry: TableFile, used: Sequence[Dimension]) -> Iterator[str]:
    if any(one.column == "outcome" for one in used) and not (
        entry.parts and all(part.startswith("hold_") for part in entry.parts)
    ):
        yield "outcome is of holds: list the hold_ actions in parts"
    if len(set(entry.parts)) != len(entry.parts):
        yield "names a part twice"
    if len(set(entry.measures)) != len(entry.measures):
        yield "names a measure twice"
    for name in entry.measures:
        if name not in ("patrons", "acts") and not _total_parts(name, entry):
            yield f"measure {name} is not known"
    for part in entry.parts:
        if part not in PARTS[entry.kind]:
            yield f"part {part} is not known"
    codes = {one.name: one.codes for one in used}
    for zero in entry.structural_zeros:
        if not zero or any(code not in codes.get(name, ()) for name, code in zero.items()):
            yield "structural_zeros: names a cell that is not in the table"


def _source_findings(entry: TableFile, used: Sequence[Dimension], capabilities: Sequence[Capability]) -> Iterator[str]:
    feeding = [one for one in capabilities if entry.kind in one.kinds]
    if not feeding:
        yield f"no configured source gives {entry.kind} events"
    for one in used:
        if feeding and OF_KIND.get(one.name, entry.kind) != entry.kind:
            yield f"dimension {one.name} is of {OF_KIND[one.name]} events only"
    needed = {_NEEDS.get(one.column, one.column) for one in used} - _NO_COLUMN
    for source in feeding:
        for column in sorted(needed - source.fills.get(entry.kind, frozenset())):
            yield f"source {source.source} cannot fill {column}"


def _k(entry: TableFile, file: PolicyFile) -> int:
    if entry.k is not None:
        return entry.k
    return max(file.k, SENSITIVE_K) if entry.sensitive else file.k


def _clip(entry: TableFile) -> int:
    return CLIP[entry.kind] if entry.clip is None else entry.clip


def _total_parts(name: str, entry: TableFile) -> Tuple[str, ...]:
    """Which acts a total counts: `total` all of the table's, `total_checkouts` the checkouts."""
    parts = tuple(entry.parts) or PARTS[entry.kind]
    if name == "total":
        return parts
    return tuple(part for part in parts if name == f"total_{part}s")


def table_of(entry: TableFile, file: PolicyFile, dimensions: Mapping[str, Dimension]) -> Table:
    """The compiled form of a table without findings."""
    parts = tuple(entry.parts)
    measures = tuple(
        Measure(name, name, parts) if name in ("patrons", "acts") else Measure(name, "total", _total_parts(name, entry))
        for name in entry.measures
    )
    days = HORIZON_DAYS[entry.kind] if entry.horizon_days is None else entry.horizon_days
    return Table(
        name=entry.name,
        kind=entry.kind,
        grain=entry.grain,
        dimensions=tuple(_used(entry, dimensions)),
        measures=measures,
        parts=parts,
        k=_k(entry, file),
        clip=_clip(entry),
        horizon=days * DAY,
        structural_zeros=tuple(tuple(sorted(zero.items())) for zero in entry.structural_zeros),
        why=entry.why,
    )
