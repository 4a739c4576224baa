"""The counts store: released numbers and the ledger of releases, in one SQLite file.

A number is published once. The first value of a (release, cell, measure) wins; another one changes
nothing and is reported as `differs`. Nothing here reads a clock: days are given by the caller.
"""

import sqlite3
from dataclasses import astuple, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Iterator, Literal, Optional, Self

from pipelines.counts_database import CountsDatabase
from pipelines.counts_rows import (
    DEFAULT_REASON,
    CountRow,
    KeyReceipt,
    LedgerRow,
    StoreError,
    Verification,
    count_rows,
    ledger_row,
    place,
    release_id,
    rows_hash,
)
from pipelines.iso_days import is_iso_day
from schemas.counts import ReleasedTable, WindowKey


def _names(row: type) -> str:
    return ", ".join(field.name for field in fields(row))


def _marks(row: type) -> str:
    return ", ".join("?" for _ in fields(row))


_LEDGER_KEY = "tenant = ? AND table_name = ? AND window_start = ? AND revision = ?"
_LEDGER = f"SELECT {_names(LedgerRow)} FROM release_ledger"  # noqa: S608 - names of our own columns
_COUNTS = f"SELECT {_names(CountRow)} FROM released_counts"  # noqa: S608 - names of our own columns
_INSERT_LEDGER = f"INSERT OR REPLACE INTO release_ledger({_names(LedgerRow)}) VALUES({_marks(LedgerRow)})"
_INSERT_COUNT = f"INSERT INTO released_counts({_names(CountRow)}) VALUES({_marks(CountRow)})"


def _iso(day: str) -> str:
    if not is_iso_day(day):
        message = "counts store: a day is not written YYYY-MM-DD; pass the civil day of the run"
        raise StoreError(message)
    return day


def _ledger_row(columns: tuple[Any, ...]) -> LedgerRow:
    return LedgerRow(*(*columns[:-1], bool(columns[-1])))


def _entry(database: sqlite3.Connection, where: tuple[str, str, str, int]) -> Optional[LedgerRow]:
    found = database.execute(f"{_LEDGER} WHERE {_LEDGER_KEY}", where).fetchone()
    return None if found is None else _ledger_row(found)


class CountsStore:
    """Released counts and their ledger; usable from several threads, never pickled.

    Args:
      path: the SQLite file.
      create: make the file and its tables when they are absent; the folder must exist.

    Raises:
      StoreError: missing, corrupt, not writable, of another kind or version; any later call: disk full,
        locked by another process for 30 s.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self._file = CountsDatabase(path, create=create)
        self.store_id = self._file.store_id

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the store cannot be used afterwards."""
        self._file.close()

    def ledger(self, tenant: str) -> dict[tuple[str, str], LedgerRow]:
        """Give a tenant's first releases (revision 0), sorted: (table, window start) -> ledger row."""
        found = self._file.rows(
            f"{_LEDGER} WHERE tenant = ? AND revision = 0 ORDER BY table_name, window_start", (tenant,)
        )
        return {(row.table_name, row.window_start): row for row in map(_ledger_row, found)}

    def begin(self, table: ReleasedTable, completeness: str, reason: str, backfill: bool) -> str:
        """Note that a window is being sealed; what is already in the ledger stays.

        Only a void row whose reason starts with `DEFAULT_REASON` gives way: it came from a default
        `complete_from` that the operator has since declared better.

        Returns:
          The state now in the ledger: `sealing`, `sealed` or `void`.

        Raises:
          StoreError: the table names one number twice; the store cannot be written.
        """
        if len({place(row) for row in table.rows}) != len(table.rows):
            raise self._file.refused("a release names one number twice; report this as a bug")
        entry = ledger_row(table, completeness, reason, backfill=backfill)
        where = (entry.tenant, entry.table_name, entry.window_start, entry.revision)
        with self._file.transaction() as database:
            there = _entry(database, where)
            if there is not None and not (there.state == "void" and there.reason.startswith(DEFAULT_REASON)):
                return there.state
            database.execute(_INSERT_LEDGER, astuple(entry))
        return entry.state

    def publish(self, table: ReleasedTable) -> Literal["sealed", "differs"]:
        """Insert the rows of a begun window and mark it sealed, all in one transaction.

        A second identical call changes nothing.

        Returns:
          `differs`, with nothing changed, when the ledger or the rows hold another release of this window
          (a void one counts); else `sealed`.

        Raises:
          StoreError: `begin` was not called; the store cannot be written.
        """
        rows = {(row.cell, row.measure): row for row in count_rows(table)}
        where = (table.tenant, table.key.table, table.key.start, table.revision)
        with self._file.transaction() as database:
            entry = _entry(database, where)
            if entry is None:
                raise self._file.refused("published before it was begun; report this as a bug")
            if entry.state == "void" or entry.rows_hash != rows_hash(table):
                return "differs"
            found = database.execute(f"{_COUNTS} WHERE release_id = ?", (release_id(*where),))
            there = {(row.cell, row.measure): row for row in (CountRow(*columns) for columns in found)}
            if any(rows.get(name) != row for name, row in there.items()):
                return "differs"
            database.executemany(_INSERT_COUNT, [astuple(row) for name, row in rows.items() if name not in there])
            if entry.state != "sealed":
                database.execute(f"UPDATE release_ledger SET state = 'sealed' WHERE {_LEDGER_KEY}", where)  # noqa: S608
        return "sealed"

    def void(self, tenant: str, kind: str, key: WindowKey, policy_hash: str, reason: str) -> None:
        """Note that a window is never published; what is already in the ledger stays."""
        entry = LedgerRow(
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
        with self._file.transaction() as database:
            if _entry(database, (tenant, key.table, key.start, 0)) is None:
                database.execute(_INSERT_LEDGER, astuple(entry))

    def record_verification(
        self, tenant: str, table: str, window_start: str, revision: int, verdict: str, day: str
    ) -> None:
        """Append one verification; `day` is the civil day of the run, YYYY-MM-DD."""
        row = Verification(tenant, table, window_start, revision, verdict, _iso(day))
        with self._file.transaction() as database:
            database.execute(
                f"INSERT INTO verifications({_names(Verification)}) VALUES({_marks(Verification)})",
                astuple(row),
            )

    def verifications(self, tenant: str) -> tuple[Verification, ...]:
        """All verifications of a tenant, oldest first."""
        query = f"SELECT {_names(Verification)} FROM verifications WHERE tenant = ? ORDER BY seq"  # noqa: S608
        return tuple(Verification(*row) for row in self._file.rows(query, (tenant,)))

    def record_receipt(self, tenant: str, purpose: str, month: str, why: str, destroyed_day: str) -> None:
        """Note the destruction of a key; the same receipt twice is kept once."""
        row = KeyReceipt(tenant, purpose, month, why, _iso(destroyed_day))
        with self._file.transaction() as database:
            database.execute(
                f"INSERT OR IGNORE INTO key_receipts({_names(KeyReceipt)}) VALUES({_marks(KeyReceipt)})",
                astuple(row),
            )

    def receipts(self, tenant: str) -> tuple[KeyReceipt, ...]:
        """All receipts of a tenant, by purpose, month and day."""
        query = (
            f"SELECT {_names(KeyReceipt)} FROM key_receipts WHERE tenant = ? "  # noqa: S608 - our own names
            "ORDER BY purpose, month, destroyed_day, why"
        )
        return tuple(KeyReceipt(*row) for row in self._file.rows(query, (tenant,)))

    def pinned_policy(self, tenant: str, kind: str, window_start: str, window_end: str) -> set[str]:
        """Policy hashes under which tables of this event kind were sealed for exactly this window."""
        found = self._file.rows(
            "SELECT DISTINCT policy_hash FROM release_ledger WHERE tenant = ? AND event_kind = ? "
            "AND window_start = ? AND window_end = ? AND state = 'sealed'",
            (tenant, kind, window_start, window_end),
        )
        return {policy_hash for (policy_hash,) in found}

    def rows(self, table: Optional[str] = None, month: Optional[str] = None) -> Iterator[CountRow]:
        """Released numbers by tenant, table, window, revision, cell, measure.

        Args:
          table: only this table.
          month: only windows that start in this month, YYYY-MM.
        """
        found = self._file.rows(
            f"{_COUNTS} WHERE (?1 IS NULL OR table_name = ?1) AND (?2 IS NULL OR substr(window_start, 1, 7) = ?2) "
            "ORDER BY tenant, table_name, window_start, revision, cell, measure",
            (table, month),
        )
        return (CountRow(*row) for row in found)
