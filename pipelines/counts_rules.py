"""The rules of a counts store, whatever keeps it: a number is published once, the first value wins.

Pure functions on what is there and what comes; each store calls them within its own transaction.
"""

from typing import Iterable, Optional

from pipelines.counts_rows import (
    DEFAULT_REASON,
    CountRow,
    LedgerRow,
    StoreError,
    count_rows,
    place,
    rows_hash,
)
from pipelines.iso_days import is_iso_day
from schemas.counts import ReleasedTable, WindowKey

STATUSES = ("published", "withheld", "structural_zero")
DISK_FULL = "the disk is full; free space and run again, nothing was half written"
RULE_BROKEN = "refused a row that breaks its rules; report this as a bug"
NOT_BEGUN = "published before it was begun; report this as a bug"
OTHER_VERSION = "written by another release; use that release or migrate it"


def stays(there: Optional[LedgerRow]) -> bool:
    """Whether a ledger row is kept when its window is begun.

    Only a void row whose reason starts with `DEFAULT_REASON` gives way: it came from a default
    `complete_from` that the operator has since declared better.
    """
    return there is not None and not (there.state == "void" and there.reason.startswith(DEFAULT_REASON))


def missing_rows(entry: LedgerRow, table: ReleasedTable, there: Iterable[CountRow]) -> Optional[list[CountRow]]:
    """The rows of a begun release that are not there yet, in (cell, measure) order.

    Args:
      entry: the ledger row of the window.
      there: rows of this release that the store holds.

    Returns:
      None when ledger or rows hold another release of this window (a void one counts): nothing may be written.
    """
    if entry.state == "void" or entry.rows_hash != rows_hash(table):
        return None
    rows = {(row.cell, row.measure): row for row in count_rows(table)}
    found = {(row.cell, row.measure): row for row in there}
    if any(rows.get(name) != row for name, row in found.items()):
        return None
    return [row for name, row in rows.items() if name not in found]


def keeps_the_rules(row: CountRow) -> bool:
    """What the SQL tables declare as CHECK: a known status, and no value if and only if withheld."""
    return row.status in STATUSES and (row.status == "withheld") == (row.value is None)


def names_twice(table: ReleasedTable) -> bool:
    """Whether a release names one number twice."""
    return len({place(row) for row in table.rows}) != len(table.rows)


def void_row(tenant: str, kind: str, key: WindowKey, policy_hash: str, reason: str) -> LedgerRow:
    """The ledger row of a window that is never published."""
    return LedgerRow(
        tenant=tenant,
        table_name=key.table,
        window_start=key.start,
        revision=0,
        event_kind=kind,
        window_end=key.end,
        state="void",
        completeness="void",
        reason=reason,
        policy_hash=policy_hash,
        mechanism="",
        charge=0.0,
        cells=0,
        rows_hash="",
        backfill=False,
    )


def iso(day: str) -> str:
    """The day itself.

    Raises:
      StoreError: it is not written YYYY-MM-DD.
    """
    if not is_iso_day(day):
        message = "counts store: a day is not written YYYY-MM-DD; pass the civil day of the run"
        raise StoreError(message)
    return day
