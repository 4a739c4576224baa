"""What a counts store holds, whatever keeps it: its rows, how a release is named and hashed, its errors.

Pure values: no file, no clock, no database.
"""

import json
from dataclasses import dataclass, fields
from typing import Any, Optional, Sequence

from blake3 import blake3

from pipelines.try_again import TryAgainError
from schemas.counts import ReleasedRow, ReleasedTable

DEFAULT_REASON = "default "


class StoreError(ValueError):
    """The counts store cannot be used; one line says what, where and what to do."""


class StoreAwayError(StoreError, TryAgainError):
    """It cannot be used now: its server is away, or another process writes."""


@dataclass(frozen=True)
class LedgerRow:
    """One release of one window: the columns of `release_ledger`, in their order.

    Attributes:
      state: `sealing`, `sealed` or `void`.
      completeness: `complete`, `partial-declared` or `void`, with `reason`.
      cells: number of distinct cells; 0 when void.
      rows_hash: `rows_hash` of the released rows; empty when void.
      backfill: whether the operator asked for it with `--backfill`.
    """

    tenant: str
    table_name: str
    window_start: str
    revision: int
    event_kind: str
    window_end: str
    state: str
    completeness: str
    reason: str
    policy_hash: str
    mechanism: str
    charge: float
    cells: int
    rows_hash: str
    backfill: bool


@dataclass(frozen=True)
class CountRow:
    """One released number: the columns of `released_counts`, in their order."""

    release_id: str
    tenant: str
    table_name: str
    window_start: str
    window_end: str
    time_zone: str
    cell: str
    measure: str
    value: Optional[int]
    status: str
    mechanism: str
    revision: int


@dataclass(frozen=True)
class KeyReceipt:
    """That a key was destroyed: whose, what for, which month, why, on which day."""

    tenant: str
    purpose: str
    month: str
    why: str
    destroyed_day: str


@dataclass(frozen=True)
class Verification:
    """One replay's comparison with a published window; verdict: match, differs or unverifiable."""

    tenant: str
    table_name: str
    window_start: str
    revision: int
    verdict: str
    day: str


@dataclass(frozen=True)
class SourceStop:
    """One word on whether streaming jobs read a source; the last one of a source stands.

    Attributes:
      reason: the reason code that most messages were refused for; empty: it is read.
      accepts_until: before this time (ms UTC) all that it refuses is taken, by the operator's word; 0 without.
      day: when it was said, YYYY-MM-DD.
    """

    tenant: str
    source: str
    reason: str
    accepts_until: int
    day: str


def release_id(tenant: str, table: str, window_start: str, revision: int) -> str:
    """Name one release: 32 hex characters, BLAKE3 of the length-prefixed parts."""
    hasher = blake3()
    for part in (tenant, table, window_start, str(revision)):
        encoded = part.encode()
        hasher.update(len(encoded).to_bytes(8, "big") + encoded)
    return hasher.hexdigest(length=16)


def place(row: ReleasedRow) -> tuple[str, str]:
    """What names a number within its release: cell and measure."""
    return row.cell, row.measure


def rows_hash(table: ReleasedTable) -> str:
    """BLAKE3, 64 hex characters, over the rows as canonical JSON lines in (cell, measure) order."""
    hasher = blake3()
    for row in sorted(table.rows, key=place):
        line = {
            "cell": row.cell,
            "measure": row.measure,
            "value": None if row.value is None else int(row.value),
            "status": row.status,
            "mechanism": row.mechanism,
        }
        hasher.update(json.dumps(line, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    return hasher.hexdigest()


def count_rows(table: ReleasedTable) -> list[CountRow]:
    """The rows of `released_counts` that a release stands for, in (cell, measure) order."""
    key = table.key
    name = release_id(table.tenant, key.table, key.start, table.revision)
    head = (name, table.tenant, key.table, key.start, key.end, table.time_zone)
    return [
        CountRow(
            *head,
            cell=row.cell,
            measure=row.measure,
            value=None if row.value is None else int(row.value),
            status=row.status,
            mechanism=row.mechanism,
            revision=table.revision,
        )
        for row in sorted(table.rows, key=place)
    ]


def ledger_row(table: ReleasedTable, completeness: str, reason: str, *, backfill: bool) -> LedgerRow:
    """The ledger row of a release that is being sealed."""
    return LedgerRow(
        tenant=table.tenant,
        table_name=table.key.table,
        window_start=table.key.start,
        revision=table.revision,
        event_kind=table.kind,
        window_end=table.key.end,
        state="sealing",
        completeness=completeness,
        reason=reason,
        policy_hash=table.policy_digest,
        mechanism=table.mechanism,
        charge=table.charge,
        cells=len({row.cell for row in table.rows}),
        rows_hash=rows_hash(table),
        backfill=backfill,
    )


def column_names(row: type) -> str:
    """The columns of a kind of row, in their order, as SQL lists them."""
    return ", ".join(field.name for field in fields(row))


def ledger_row_of(columns: Sequence[Any]) -> LedgerRow:
    """A ledger row from its columns; `backfill`, the last, is a number where a database has it so."""
    return LedgerRow(*(*columns[:-1], bool(columns[-1])))
