"""Which acts stand, how many people and acts a cell has, and which numbers may be published."""

from itertools import chain
from typing import NamedTuple

import numpy as np

TOTAL_PEOPLE = 5  # a total needs this many times k people
TOTAL_SHARE = 10  # and no contributor with more than one part in this many


class CellCounts(NamedTuple):
    """Per cell, ascending; every array is int64 of the same length.

    Attributes:
      cell: cell code.
      patrons: distinct patrons, summed over namespaces.
      largest_space_patrons: distinct patrons of the namespace that has most: what k is held to.
      acts: acts, at most C of a patron.
      total: acts, unclipped.
      largest_contributor: acts of the patron who has most.
    """

    cell: np.ndarray
    patrons: np.ndarray
    largest_space_patrons: np.ndarray
    acts: np.ndarray
    total: np.ndarray
    largest_contributor: np.ndarray


def _halves(tags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """16-byte tags as two uint64 columns, big-endian, so that their order is the byte order."""
    pairs = np.ascontiguousarray(tags).view(">u8").astype(np.uint64).reshape(len(tags), 2)
    return pairs[:, 0], pairs[:, 1]


def _by_tag(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Row positions by tag. Tags are MACs, so the first half nearly always decides, and one fast sort does."""
    order: np.ndarray = np.argsort(high)
    ahead, behind = order[1:], order[:-1]
    if ((high[ahead] == high[behind]) & (low[ahead] != low[behind])).any():
        return np.lexsort((low, high))
    return order


def _starts(*columns: np.ndarray) -> np.ndarray:
    """Where sorted columns begin a new value."""
    new = np.ones(len(columns[0]), bool)
    new[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return new


def standing(act: np.ndarray, order: np.ndarray, retract: np.ndarray, n: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """The rows that stand: of one act the latest, unless that takes the act out again.

    The latest is by effective arrival; ties fall to the retraction, then to the larger value, then to
    the larger of each other column: never to a position, so that any order of the same rows gives the same.

    Args:
      act: (n, 16) uint8. order: int64. retract: bool. n: int64.
      others: every other column of the rows: integers, or (n, 16) uint8 tags.

    Returns:
      int64 row positions, in the order of the act tags; of rows that are equal throughout, the last.
    """
    if not len(act):
        return np.empty(0, np.int64)
    act_high, act_low = _halves(act)
    rows = _by_tag(act_high, act_low)
    first = _starts(act_high[rows], act_low[rows])
    # Of each act keep the rows with the largest value, column after column, until one row is left.
    ties = (half for column in others for half in (_halves(column) if column.ndim > 1 else (column,)))
    columns = chain((order, retract, n), ties, (np.arange(len(act)),))
    while not first.all():
        values = next(columns)[rows]
        starts = np.flatnonzero(first)
        largest = np.maximum.reduceat(values, starts)
        group = np.cumsum(first) - 1
        stays = values == largest[group]
        rows, group = rows[stays], group[stays]
        first = _starts(group)
    kept: np.ndarray = rows[~retract[rows] & (n[rows] > 0)]
    return kept


def count_cells(cell: np.ndarray, token: np.ndarray, space: np.ndarray, n: np.ndarray, clip: int) -> CellCounts:
    """Count people and acts per cell.

    Args:
      cell: int64. token: (n, 16) uint8, comparable within a cell. space: uint8 namespace. n: int64.
      clip: C, the most acts of one patron that count in one cell.
    """
    if not len(cell):
        empty = np.empty(0, np.int64)
        return CellCounts(empty, empty, empty, empty, empty, empty)
    high, low = _halves(token)
    rows = _by_person(high, low, space, cell)
    people = np.flatnonzero(_starts(high[rows], low[rows], space[rows], cell[rows]))
    per_person = np.add.reduceat(n[rows], people)
    of_person = rows[people]
    # From here on there is one row for each person in a cell.
    codes, at = np.unique(cell[of_person], return_inverse=True)
    spaces, space_at = np.unique(space[of_person], return_inverse=True)
    per_space = np.bincount(at * len(spaces) + space_at, minlength=len(codes) * len(spaces))
    by_cell = np.argsort(at, kind="stable")
    cells = np.searchsorted(at[by_cell], np.arange(len(codes)))
    per_person = per_person[by_cell]
    return CellCounts(
        cell=codes.astype(np.int64),
        patrons=np.bincount(at).astype(np.int64),
        largest_space_patrons=per_space.reshape(len(codes), len(spaces)).max(axis=1).astype(np.int64),
        acts=np.add.reduceat(np.minimum(per_person, clip), cells).astype(np.int64),
        total=np.add.reduceat(per_person, cells).astype(np.int64),
        largest_contributor=np.maximum.reduceat(per_person, cells).astype(np.int64),
    )


def _by_person(high: np.ndarray, low: np.ndarray, space: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Row positions with each person of each cell together.

    Tokens are bound to their cell, so that one sort by the token does it; where a token is met in two cells or
    namespaces after all, they are told apart by a full sort.
    """
    rows = _by_tag(high, low)
    ahead, behind = rows[1:], rows[:-1]
    same = (high[ahead] == high[behind]) & (low[ahead] == low[behind])
    if (same & ((cell[ahead] != cell[behind]) | (space[ahead] != space[behind]))).any():
        return np.lexsort((low, high, space, cell))
    return rows


def is_publishable(people: int, k: int) -> bool:
    """At least k distinct patrons of one namespace. Source: CMS cell size suppression (no 1-10); ONS."""
    return people >= k


def is_total_publishable(people: int, k: int, total: int, largest: int) -> bool:
    """An unclipped total: 5k people or more, and nobody with more than a tenth of it."""
    return people >= TOTAL_PEOPLE * k and largest * TOTAL_SHARE <= total


def round_to_10(value: int) -> int:
    """The nearest ten, half up."""
    return (value + 5) // 10 * 10
