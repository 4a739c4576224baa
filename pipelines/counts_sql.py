"""A counts store in SQL: one set of statements for SQLite and PostgreSQL; a `CountsDatabase` runs them."""

from contextlib import AbstractContextManager
from dataclasses import astuple, fields
from typing import Any, Iterator, Literal, Optional, Protocol, Self, Sequence

from pipelines.counts_rows import (
    CountRow,
    KeyReceipt,
    LedgerRow,
    SourceStop,
    StoreError,
    Verification,
    column_names,
    ledger_row,
    ledger_row_of,
    release_id,
)
from pipelines.counts_rules import NOT_BEGUN, iso, missing_rows, names_twice, stays, void_row
from pipelines.crash_points import crash_point
from schemas.counts import ReleasedTable, WindowKey


class Session(Protocol):
    """What a statement is run in; every `?` stands for a value."""

    def rows(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """All rows of a query."""

    def write(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Run a statement once for each row of values."""


class CountsDatabase(Protocol):
    """An open database with the tables of a counts store; its faults are `StoreError`, one line each."""

    store_id: str

    def close(self) -> None:
        """Let go of it."""

    def refused(self, what: str) -> StoreError:
        """The error that says what is wrong with this store and what to do."""

    def transaction(self) -> AbstractContextManager[Session]:
        """All that is done within, or nothing of it; one writer at a time, in any process."""

    def rows(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """All rows of a query, read at one moment."""


def _insert(table: str, row: type) -> str:
    return f"INSERT INTO {table}({column_names(row)}) VALUES({', '.join('?' for _ in fields(row))})"


_LEDGER_COLUMNS = "tenant, table_name, window_start, revision"
_LEDGER_KEY = "tenant = ? AND table_name = ? AND window_start = ? AND revision = ?"
_LEDGER = f"SELECT {column_names(LedgerRow)} FROM release_ledger"  # noqa: S608 - names of our own columns
_COUNTS = f"SELECT {column_names(CountRow)} FROM released_counts"  # noqa: S608 - names of our own columns
_PUT_LEDGER = (
    f"{_insert('release_ledger', LedgerRow)} ON CONFLICT({_LEDGER_COLUMNS}) DO UPDATE SET "
    f"{', '.join(f'{field.name} = excluded.{field.name}' for field in fields(LedgerRow))}"
)
_SEAL = f"UPDATE release_ledger SET state = 'sealed' WHERE {_LEDGER_KEY}"  # noqa: S608 - names of our own columns
_INSERT_COUNT = _insert("released_counts", CountRow)
_INSERT_STOP = _insert("source_stops", SourceStop)
_INSERT_VERIFICATION = _insert("verifications", Verification)
_INSERT_RECEIPT = f"{_insert('key_receipts', KeyReceipt)} ON CONFLICT DO NOTHING"


def _ledger_values(row: LedgerRow) -> tuple[object, ...]:
    return (*astuple(row)[:-1], int(row.backfill))


def _entry(session: Session, where: tuple[str, str, str, int]) -> Optional[LedgerRow]:
    found = session.rows(f"{_LEDGER} WHERE {_LEDGER_KEY}", where)
    return ledger_row_of(found[0]) if found else None


class SqlCounts:
    """A `CountsStore` in a database.

    Args:
      database: open, with its tables; it is closed with the store.
    """

    def __init__(self, database: CountsDatabase) -> None:
        self._database = database
        self.store_id = database.store_id

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    def ledger(self, tenant: str) -> dict[tuple[str, str], LedgerRow]:
        found = self._database.rows(
            f"{_LEDGER} WHERE tenant = ? AND revision = 0 ORDER BY table_name, window_start", (tenant,)
        )
        return {(row.table_name, row.window_start): row for row in map(ledger_row_of, found)}

    def begin(self, table: ReleasedTable, completeness: str, reason: str, backfill: bool) -> str:
        if names_twice(table):
            raise self._database.refused("a release names one number twice; report this as a bug")
        entry = ledger_row(table, completeness, reason, backfill=backfill)
        where = (entry.tenant, entry.table_name, entry.window_start, entry.revision)
        with self._database.transaction() as session:
            there = _entry(session, where)
            if there is not None and stays(there):
                return there.state
            session.write(_PUT_LEDGER, [_ledger_values(entry)])
        return entry.state

    def publish(self, table: ReleasedTable) -> Literal["sealed", "differs"]:
        where = (table.tenant, table.key.table, table.key.start, table.revision)
        with self._database.transaction() as session:
            entry = _entry(session, where)
            if entry is None:
                raise self._database.refused(NOT_BEGUN)
            found = session.rows(f"{_COUNTS} WHERE release_id = ?", (release_id(*where),))
            missing = missing_rows(entry, table, (CountRow(*columns) for columns in found))
            if missing is None:
                return "differs"
            if missing:
                session.write(_INSERT_COUNT, [astuple(row) for row in missing])
            crash_point("rows-inserted")
            if entry.state != "sealed":
                session.write(_SEAL, [where])
        return "sealed"

    def void(self, tenant: str, kind: str, key: WindowKey, policy_hash: str, reason: str) -> None:
        entry = void_row(tenant, kind, key, policy_hash, reason)
        with self._database.transaction() as session:
            if _entry(session, (tenant, key.table, key.start, 0)) is None:
                session.write(_PUT_LEDGER, [_ledger_values(entry)])

    def record_verification(
        self, tenant: str, table: str, window_start: str, revision: int, verdict: str, day: str
    ) -> None:
        row = Verification(tenant, table, window_start, revision, verdict, iso(day))
        with self._database.transaction() as session:
            session.write(_INSERT_VERIFICATION, [astuple(row)])

    def verifications(self, tenant: str) -> tuple[Verification, ...]:
        query = f"SELECT {column_names(Verification)} FROM verifications WHERE tenant = ? ORDER BY seq"  # noqa: S608
        return tuple(Verification(*row) for row in self._database.rows(query, (tenant,)))

    def record_receipt(self, tenant: str, purpose: str, month: str, why: str, destroyed_day: str) -> None:
        row = KeyReceipt(tenant, purpose, month, why, iso(destroyed_day))
        with self._database.transaction() as session:
            session.write(_INSERT_RECEIPT, [astuple(row)])

    def receipts(self, tenant: str) -> tuple[KeyReceipt, ...]:
        query = (
            f"SELECT {column_names(KeyReceipt)} FROM key_receipts WHERE tenant = ? "  # noqa: S608 - our own names
            "ORDER BY purpose, month, destroyed_day, why"
        )
        return tuple(KeyReceipt(*row) for row in self._database.rows(query, (tenant,)))

    def record_stop(self, stop: SourceStop) -> None:
        iso(stop.day)
        with self._database.transaction() as session:
            session.write(_INSERT_STOP, [astuple(stop)])

    def stops(self, tenant: str) -> tuple[SourceStop, ...]:
        query = f"SELECT {column_names(SourceStop)} FROM source_stops WHERE tenant = ? ORDER BY seq"  # noqa: S608
        return tuple(SourceStop(*row) for row in self._database.rows(query, (tenant,)))

    def pinned_policy(self, tenant: str, kind: str, window_start: str, window_end: str) -> set[str]:
        found = self._database.rows(
            "SELECT DISTINCT policy_hash FROM release_ledger WHERE tenant = ? AND event_kind = ? "
            "AND window_start = ? AND window_end = ? AND state = 'sealed'",
            (tenant, kind, window_start, window_end),
        )
        return {policy_hash for (policy_hash,) in found}

    def rows(self, table: Optional[str] = None, month: Optional[str] = None) -> Iterator[CountRow]:
        wanted = {"table_name = ?": table, "substr(window_start, 1, 7) = ?": month}
        values = tuple(value for value in wanted.values() if value is not None)
        where = " AND ".join(test for test, value in wanted.items() if value is not None)
        found = self._database.rows(
            f"{_COUNTS} {'WHERE ' + where if where else ''} "
            "ORDER BY tenant, table_name, window_start, revision, cell, measure",
            values,
        )
        return (CountRow(*row) for row in found)
