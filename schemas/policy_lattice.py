"""What the tables of a policy say together: an attacker has them all, and subtracts and averages.

A table divides the acts of its kind: by column (branch, material, ...) into blocks of codes, and by part
(checkout, renewal, ...). One block of each column is a cell. Noise covers the sums of cells (`standard`);
it does not cover a number that is published twice, and exact figures have none.
"""

from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from typing import Dict, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Tuple

from schemas.events import PARTS
from schemas.policy import OTHER, Table
from schemas.policy_dimensions import OF_KIND
from schemas.policy_file import PolicyFile

EPSILON = 0.5  # of one number with noise scale 2 (privacy.md 5)
# 24 numbers: of 30 independent ones with this noise, the mean is the true value two times out of three.
MOST_EPSILON = 12
PART = "part"

Block = FrozenSet[object]  # base codes, as positions, that are published as one
_Division = Mapping[str, Mapping[Block, str]]  # column -> block -> `dimension=code` as published


@dataclass(frozen=True)
class _Node:
    """A table, and whether it was declared sensitive."""

    table: Table
    is_sensitive: bool

    @property
    def parts(self) -> FrozenSet[str]:
        return frozenset(self.table.parts or PARTS[self.table.kind])

    def has(self, measure: str) -> bool:
        return any(one.kind == measure for one in self.table.measures)


def lattice_findings(file: PolicyFile, tables: Sequence[Table]) -> List[str]:
    """Why the tables may not be published together, one line each.

    Args:
      tables: the compiled tables of `file`, in its order.
    """
    nodes = [_Node(table, entry.sensitive) for table, entry in zip(tables, file.tables, strict=True)]
    findings = []
    if len({table.name for table in tables}) != len(tables):
        findings.append("tables: two have the same name")
    for first, second in combinations(nodes, 2):
        if first.table.kind == second.table.kind:
            findings += [
                *_published_twice(first, second),
                *_beside_total(first, second),
                *_beside_total(second, first),
                *_beside_sensitive(first, second),
                *_beside_sensitive(second, first),
                *_beside_closed_branches(first, second),
                *_beside_closed_branches(second, first),
            ]
    findings += _total_findings(tables)
    findings += _plain_findings(tables) if file.preset == "plain" else _budget_findings(tables)
    return findings


def _published_twice(first: _Node, second: _Node) -> Iterator[str]:
    """Two noisy numbers of one set of acts: their mean has less noise than the policy says."""
    a, b = _divisions(first.table, second.table)
    if first.table.grain != second.table.grain:
        return
    if _shape(a) == _shape(b):
        yield f"table {second.table.name}: the same cells as {first.table.name}; publish them once"
    elif any(first.has(measure) and second.has(measure) for measure in ("patrons", "acts")):
        twin = _shared(a, b)
        if twin is not None:
            yield (
                f"table {second.table.name}: its cell {twin[1]} is the cell {twin[0]} of {first.table.name};"
                " publish it once"
            )


def _beside_total(exact: _Node, clipped: _Node) -> Iterator[str]:
    """Acts over the cells of a total: the difference is what the clip took, and shows who is heavy."""
    counted = {part for one in exact.table.measures if one.kind == "total" for part in one.parts}
    if not (clipped.has("acts") and counted & clipped.parts):
        return
    a, b = _divisions(exact.table, clipped.table)
    if _shared(_without_parts(a), _without_parts(b)) is not None:
        days = "" if clipped.table.grain == exact.table.grain else "by day "
        yield (
            f"table {clipped.table.name}: acts {days}over the same cells as the total of {exact.table.name};"
            " keep one of them"
        )


def _beside_sensitive(sensitive: _Node, other: _Node) -> Iterator[str]:
    """The categories that one table guards, divided by another with a smaller k."""
    if not sensitive.is_sensitive or other.is_sensitive or not sensitive.parts & other.parts:
        return
    guarded, divided = _divisions(sensitive.table, other.table)
    if set(guarded) <= set(divided):
        yield (
            f"table {other.table.name}: divides what {sensitive.table.name} publishes as sensitive;"
            " declare sensitive = true"
        )


def _beside_closed_branches(daily: _Node, other: _Node) -> Iterator[str]:
    """Days of a region of which another table says that only one branch is open: days of that branch."""
    division, _ = _divisions(daily.table, other.table)
    for column in ("branch", "home_branch") if daily.table.grain == "day" else ():
        for block, name in division.get(column, {}).items():
            if len(block) == 1 and not name.endswith(f"={OTHER}"):
                yield (
                    f"table {daily.table.name}: {name} is a single branch, for {other.table.name} declares its others"
                    " impossible; use month"
                )


def _divisions(first: Table, second: Table) -> Tuple[_Division, _Division]:
    """How each of two tables divides the acts, without the codes that one of them declares impossible."""
    impossible: Dict[str, Block] = {}
    for table in (first, second):
        for column, codes in _impossible(table).items():
            impossible[column] = impossible.get(column, frozenset()) | codes
    return _division(first, impossible), _division(second, impossible)


def _blocks(table: Table) -> Dict[str, Dict[Block, str]]:
    found: Dict[str, Dict[Block, str]] = {}
    for one in table.dimensions:
        if one.column in OF_KIND or (one.column == "day_type" and table.grain == "day"):
            continue
        groups: Dict[int, set[object]] = defaultdict(set)
        for position, group in enumerate(one.grouping or range(len(one.codes))):
            groups[group].add(position)
        found[one.column] = {frozenset(codes): f"{one.name}={one.codes[group]}" for group, codes in groups.items()}
    return found


def _impossible(table: Table) -> Dict[str, Block]:
    """Per column the codes that a structural zero of one dimension rules out."""
    found: Dict[str, Block] = {}
    columns = {one.name: one.column for one in table.dimensions}
    blocks = _blocks(table)
    for zero in table.structural_zeros:
        column = columns[zero[0][0]]
        for block, name in blocks.get(column, {}).items():
            if len(zero) == 1 and name == "=".join(zero[0]):
                found[column] = found.get(column, frozenset()) | block
    return found


def _division(table: Table, impossible: Mapping[str, Block]) -> _Division:
    """The blocks of each column that is divided at all, and the parts."""
    parts = table.parts or PARTS[table.kind]
    by_part = next((one.name for one in table.dimensions if one.column in OF_KIND), None)
    found: Dict[str, Dict[Block, str]] = {
        PART: {frozenset({part}): f"{by_part}={part}" for part in parts} if by_part else {frozenset(parts): ""}
    }
    for column, blocks in _blocks(table).items():
        alive = {block - impossible.get(column, frozenset()): name for block, name in blocks.items()}
        alive.pop(frozenset(), None)
        if len(alive) > 1:
            found[column] = alive
    return found


def _shape(division: _Division) -> Mapping[str, FrozenSet[Block]]:
    """What a table's cells are, whatever dimensions and groups are called."""
    return {column: frozenset(blocks) for column, blocks in division.items()}


def _without_parts(division: _Division) -> _Division:
    return {column: blocks for column, blocks in division.items() if column != PART}


def _shared(a: _Division, b: _Division) -> Optional[Tuple[str, str]]:
    """A cell that two divisions have in common, by the name that each gives it; None when there is none.

    A column that only one of them divides has no block in common with the undivided column of the other.
    `other` does not count: it is in every list, and no policy could keep a list and a grouping of it apart.
    """
    names: Tuple[List[str], List[str]] = ([], [])
    for column in sorted({*a, *b}):
        ours, theirs = a.get(column, {}), b.get(column, {})
        same = [(ours[block], theirs[block]) for block in ours if block in theirs]
        same = [pair for pair in same if not all(name.endswith(f"={OTHER}") for name in pair)]
        if not same:
            return None
        for at, name in enumerate(min(same)):
            names[at].append(name)
    first, second = (" ".join(filter(None, found)) or "(all)" for found in names)
    return first, second


def _total_findings(tables: Sequence[Table]) -> Iterator[str]:
    """Exact figures have no noise: of two that count the same act, one could be subtracted from the other."""
    counted: Dict[Tuple[str, str], str] = {}
    for table in tables:
        for measure in table.measures:
            if measure.kind != "total":
                continue
            where = f"{measure.name} of {table.name}"
            twice = [part for part in measure.parts if (table.kind, part) in counted]
            if twice:
                other = counted[table.kind, twice[0]]
                yield (
                    f"table {table.name}: {measure.name} counts each {twice[0]} that {other} counts;"
                    " exact figures could be subtracted: each act is in one total"
                )
            counted |= {(table.kind, part): where for part in measure.parts}


def _plain_findings(tables: Sequence[Table]) -> Iterator[str]:
    for kind in PARTS:
        number = sum(table.kind == kind for table in tables)
        if number > 1:
            yield f"plain: one table per event kind, or one could be subtracted; {kind} has {number}"
    for table in tables:
        if table.grain != "month":
            yield f"table {table.name}: plain has one table per event kind and month, none by day; use month"


def epsilon_per_act(table: Table) -> float:
    """What one act can change the table's numbers by."""
    return EPSILON * sum(one.kind != "total" for one in table.measures)


def epsilon_of_an_act(kind: str, tables: Sequence[Table]) -> float:
    """The most that one act of a kind can change all released numbers by: it touches the tables of its part."""
    return max(
        sum(epsilon_per_act(table) for table in tables if table.kind == kind and part in (table.parts or (part,)))
        for part in PARTS[kind]
    )


def _budget_findings(tables: Sequence[Table]) -> Iterator[str]:
    for kind in PARTS:
        spent = epsilon_of_an_act(kind, tables)
        if spent > MOST_EPSILON:
            yield (
                f"{kind}: one act would change released numbers by epsilon {spent:g}, and {MOST_EPSILON} is the most:"
                " the noise of so many numbers averages out; leave out tables or measures"
            )
