"""Erasure: who is deleted or opts out leaves every window that is still open, whenever the acts come.

An erase row travels like an act: under the month's key, then the window's, in a sealed tally. It stands for
no cell. At release every act of its patron is taken from the merged set, so no order of arrival matters, and
no list of erased patrons is kept: the rows end with their window. What is published does not change.
"""

from dataclasses import replace
from typing import Iterator, Mapping, Optional, Sequence, Tuple

import numpy as np

from schemas.counts import ERASED, Tally
from schemas.events import ERASING, PARTS
from schemas.generalized import CellBatch
from schemas.personal import PersonalBatch
from schemas.policy import PrivacyPolicy, Table
from schemas.pseudonymized import ERASURE, PseudonymizedBatch
from transforms.privacy.times import Zone
from transforms.privacy.tokens import MonthKey, subkey, unbound
from transforms.windows import late_for


def longest_horizon(policy: PrivacyPolicy) -> int:
    """H of the table that waits longest, ms."""
    return max((table.horizon for table in policy.tables), default=0)


def erasures(batch: PersonalBatch, *, zone: Zone, horizon: int) -> Optional[PersonalBatch]:
    """The erasing events of a batch, one row for each month that has a window open at their arrival.

    Args:
      horizon: the longest H, ms: a window that ended longer ago is closed in every table.

    Returns:
      A batch of kind `ERASURE` whose events happen at the start of their month; None where nobody is erased.
    """
    rows = _erasing(batch)
    if not len(rows):
        return None
    first, last = zone.month_of(batch.arrived_at[rows] - horizon), zone.month_of(batch.arrived_at[rows])
    months = [range(since, until + 1) for since, until in zip(first.tolist(), last.tolist(), strict=True)]
    starts = np.array([zone.start_of_month(month) for open_then in months for month in open_then], np.int64)
    expanded = batch.take(np.repeat(rows, [len(open_then) for open_then in months]))
    return replace(expanded, kind=ERASURE, occurred_at=starts, late_everywhere=np.zeros(len(starts), bool))


def id_map_name(namespace: str) -> str:
    """Under what name the lookups of a source hold its map into another namespace."""
    return f"erases/{namespace}"


def erasures_elsewhere(
    batch: PersonalBatch, ids: Mapping[str, Mapping[str, str]], namespace: str
) -> Optional[PersonalBatch]:
    """The erasing events of a batch as ones of another namespace, where the map knows their patrons.

    Args:
      ids: patron id -> that person's ids in the other namespace, as its keys; all normalised.
    """
    found = [(row, theirs) for row in _erasing(batch) for theirs in sorted(ids.get(batch.patron_ids[row] or "", ()))]
    if not found:
        return None
    elsewhere = batch.take(np.array([row for row, _ in found]))
    # One event may erase several ids: each is an erasure of its own.
    act_ids = tuple(f"{len(theirs)} {theirs} {act}" for (_, theirs), act in zip(found, elsewhere.act_ids, strict=True))
    patron_ids = tuple(theirs for _, theirs in found)
    return replace(elsewhere, kind=ERASURE, namespace=namespace, patron_ids=patron_ids, act_ids=act_ids)


def _erasing(batch: PersonalBatch) -> np.ndarray:
    """Positions of the events that erase somebody."""
    if batch.kind == ERASURE:
        return np.arange(len(batch))
    if batch.kind != "patron":
        return np.empty(0, np.int64)
    erases = np.array([part in ERASING for part in PARTS["patron"]])[batch.part]
    return np.flatnonzero(erases & np.array([patron_id is not None for patron_id in batch.patron_ids], bool))


def erase_rows(batch: PseudonymizedBatch, *, policy: PrivacyPolicy, zone: Zone, space: int) -> Iterator[CellBatch]:
    """One row for each window, of every table, that is open at the arrival of an erasing event.

    Args:
      batch: of kind `ERASURE`.
      space: the number of its namespace.
    """
    for table in policy.tables:
        rows, windows = _open_windows(table, batch, zone)
        if len(rows):
            yield CellBatch(
                table=table.name,
                window=windows,
                cell=np.full(len(rows), ERASED, np.int64),
                token=batch.token[rows],
                act=batch.act[rows],
                order=batch.arrived_at[rows],
                retract=batch.retract[rows],
                part=np.zeros(len(rows), np.uint8),
                space=np.full(len(rows), space, np.uint32),
                n=np.ones(len(rows), np.int64),
            )


def _open_windows(table: Table, batch: PseudonymizedBatch, zone: Zone) -> Tuple[np.ndarray, np.ndarray]:
    """Positions of erasing rows, and for each the number of a window of its month that is open at its arrival."""
    month = zone.month_of(batch.occurred_at)
    if table.grain == "day":
        # Of the month's days those from the first that can be open to the day of arrival.
        since = np.maximum(zone.day_of(batch.occurred_at), zone.day_of(batch.arrived_at - table.horizon))
        after_month = [zone.day_of(np.array([zone.start_of_month(one + 1)]))[0] for one in month.tolist()]
        until = np.minimum(np.array(after_month, np.int64), zone.day_of(batch.arrived_at) + 1)
        days = [np.arange(first, end) for first, end in zip(since.tolist(), until.tolist(), strict=True)]
        rows = np.repeat(np.arange(len(batch)), [len(some) for some in days])
        windows = np.concatenate(days)
    else:
        rows, windows = np.arange(len(batch)), month
    is_open = ~late_for(table, windows, batch.arrived_at[rows], zone)
    return rows[is_open], windows[is_open].astype(np.int32)


def without_erased(union: Tally, month: MonthKey) -> Tally:
    """A window's standing acts without those of erased patrons, and without the erase rows.

    Args:
      union: what `transforms.tally.merge` gives.
      month: the key of the window's month.
    """
    erases = union.cell == ERASED
    if not erases.any():
        return union
    key = window_token_key(month, union.key.table, union.key.start, union.key.end)
    tokens = unbound(union.token, union.cell, key)
    gone = _is_among(tokens, tokens[erases])
    return union.take(np.flatnonzero(~gone))


def window_token_key(month: MonthKey, *window: str) -> bytes:
    """The AES key that binds tokens to a window: its table, start and end."""
    return subkey(month, "window-token", *window)[:16]


def _is_among(tokens: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    found: Sequence[bytes] = sorted({one.tobytes() for one in wanted})
    whole = np.ascontiguousarray(tokens).view("V16").reshape(len(tokens))
    among: np.ndarray = np.isin(whole, np.frombuffer(b"".join(found), "V16"))
    return among
