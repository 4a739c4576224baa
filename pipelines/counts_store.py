"""The counts store: released numbers and the ledger of releases, in one SQLite file.

A number is published once. The first value of a (release, cell, measure) wins; another one changes
nothing and is reported as `differs`. Nothing here reads a clock: days are given by the caller.
"""

import json
import secrets
import sqlite3
import threading
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Iterator, Literal, Optional, Self

from blake3 import blake3

from schemas.counts import ReleasedRow, ReleasedTable, WindowKey

DEFAULT_REASON = "default "
_VERSION = "1"
_BUSY_SECONDS = 30.0
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS store_meta(key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS released_counts(
      release_id TEXT NOT NULL, tenant TEXT NOT NULL, table_name TEXT NOT NULL, window_start TEXT NOT NULL,
      window_end TEXT NOT NULL, time_zone TEXT NOT NULL, cell TEXT NOT NULL, measure TEXT NOT NULL,
      value INTEGER, status TEXT NOT NULL CHECK(status IN ('published', 'withheld', 'structural_zero')),
      mechanism TEXT NOT NULL, revision INTEGER NOT NULL,
      PRIMARY KEY(release_id, cell, measure), CHECK((status = 'withheld') = (value IS NULL)))""",
    "CREATE INDEX IF NOT EXISTS released_window ON released_counts(table_name, window_start)",
    """CREATE TABLE IF NOT EXISTS release_ledger(
      tenant TEXT NOT NULL, table_name TEXT NOT NULL, window_start TEXT NOT NULL, revision INTEGER NOT NULL,
      event_kind TEXT NOT NULL, window_end TEXT NOT NULL,
      state TEXT NOT NULL CHECK(state IN ('sealing', 'sealed', 'void')),
      completeness TEXT NOT NULL, reason TEXT NOT NULL, policy_hash TEXT NOT NULL, mechanism TEXT NOT NULL,
      charge REAL NOT NULL, cells INTEGER NOT NULL, rows_hash TEXT NOT NULL, backfill INTEGER NOT NULL,
      PRIMARY KEY(tenant, table_name, window_start, revision))""",
    """CREATE TABLE IF NOT EXISTS key_receipts(
      tenant TEXT NOT NULL, purpose TEXT NOT NULL, month TEXT NOT NULL, why TEXT NOT NULL,
      destroyed_day TEXT NOT NULL, PRIMARY KEY(tenant, purpose, month, why, destroyed_day))""",
    """CREATE TABLE IF NOT EXISTS verifications(
      seq INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, table_name TEXT NOT NULL,
      window_start TEXT NOT NULL, revision INTEGER NOT NULL, verdict TEXT NOT NULL, day TEXT NOT NULL)""",
)
_LEDGER_KEY = "tenant = ? AND table_name = ? AND window_start = ? AND revision = ?"


class StoreError(ValueError):
    """The counts store cannot be used; one line says what, where and what to do."""


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


def _names(row: type) -> str:
    return ", ".join(field.name for field in fields(row))


_LEDGER_COLUMNS, _COUNT_COLUMNS = _names(LedgerRow), _names(CountRow)
_INSERT_LEDGER = (
    f"INSERT OR REPLACE INTO release_ledger({_LEDGER_COLUMNS}) VALUES({', '.join('?' * len(fields(LedgerRow)))})"
)
_INSERT_COUNT = f"INSERT INTO released_counts({_COUNT_COLUMNS}) VALUES({', '.join('?' * len(fields(CountRow)))})"


def release_id(tenant: str, table: str, window_start: str, revision: int) -> str:
    """Name one release: 32 hex characters, BLAKE3 of the length-prefixed parts."""
    hasher = blake3()
    for part in (tenant, table, window_start, str(revision)):
        encoded = part.encode()
        hasher.update(len(encoded).to_bytes(8, "big") + encoded)
    return hasher.hexdigest(length=16)


def rows_hash(table: ReleasedTable) -> str:
    """BLAKE3, 64 hex characters, over the rows as canonical JSON lines in (cell, measure) order."""
    hasher = blake3()
    for row in sorted(table.rows, key=_place):
        line = {
            "cell": row.cell,
            "measure": row.measure,
            "value": None if row.value is None else int(row.value),
            "status": row.status,
            "mechanism": row.mechanism,
        }
        hasher.update(json.dumps(line, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    return hasher.hexdigest()


def _place(row: ReleasedRow) -> tuple[str, str]:
    return row.cell, row.measure


def _iso(day: str) -> str:
    try:
        valid = date.fromisoformat(day).isoformat() == day
    except ValueError:
        valid = False
    if not valid:
        message = "counts store: a day is not written YYYY-MM-DD; pass the civil day of the run"
        raise StoreError(message)
    return day


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
        self._path = path
        self._lock = threading.RLock()
        if not create and not path.is_file():
            message = f"counts store {path}: no such file; run `carrel replay` first or correct counts_store"
            raise StoreError(message)
        try:
            self._db = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}",
                uri=True,
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
        except sqlite3.Error as error:
            raise self._explained(error) from None
        try:
            self.store_id = self._prepare(create=create)
        except BaseException:
            self._db.close()
            raise

    def _prepare(self, *, create: bool) -> str:
        with self._lock, self._explaining():
            found = self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            tables = {name for (name,) in found}
            if "released_counts" not in tables and (tables or not create):
                message = f"counts store {self._path}: another kind of file; correct counts_store or move it away"
                raise StoreError(message)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
        with self._transaction():  # also proves that the file can be written
            if not tables:
                for statement in _SCHEMA:
                    self._db.execute(statement)
                self._db.execute("INSERT OR IGNORE INTO store_meta VALUES('version', ?)", (_VERSION,))
                # The id keeps noise keys from being used with another, empty store.
                store_id = secrets.token_hex(16)
                self._db.execute("INSERT OR IGNORE INTO store_meta VALUES('store_id', ?)", (store_id,))
            meta = dict(self._db.execute("SELECT key, value FROM store_meta"))
        if meta.get("version") != _VERSION or not meta.get("store_id"):
            message = f"counts store {self._path}: written by another release; use that release or migrate it"
            raise StoreError(message)
        return str(meta["store_id"])

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
        with self._lock:
            self._db.close()

    def _explained(self, error: sqlite3.Error) -> StoreError:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        unwritable = "cannot be written; give this user write access to the file and its folder"
        held = "another process holds it; wait for it to end and run again"
        what = {
            sqlite3.SQLITE_FULL: "the disk is full; free space and run again, nothing was half written",
            sqlite3.SQLITE_READONLY: unwritable,
            sqlite3.SQLITE_PERM: unwritable,
            sqlite3.SQLITE_CANTOPEN: "cannot be opened; check that its folder exists and can be written",
            sqlite3.SQLITE_BUSY: held,
            sqlite3.SQLITE_LOCKED: held,
            sqlite3.SQLITE_NOTADB: "not a SQLite file, or corrupt; restore it or correct counts_store",
            sqlite3.SQLITE_CORRUPT: "corrupt; restore it from a backup",
            sqlite3.SQLITE_IOERR: "the disk reports an error; check it, then restore the file if need be",
            sqlite3.SQLITE_CONSTRAINT: "refused a row that breaks its rules; report this as a bug",
        }.get(code, "SQLite refused to work on it; check the file, restore it if need be")
        return StoreError(f"counts store {self._path}: {what}")

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            # SQLite's own text may quote a value of a row; the line above never does.
            raise self._explained(error) from None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, self._explaining():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _ledger_row(self, where: tuple[str, str, str, int]) -> Optional[LedgerRow]:
        found = self._db.execute(
            f"SELECT {_LEDGER_COLUMNS} FROM release_ledger WHERE {_LEDGER_KEY}",  # noqa: S608 - own names
            where,
        ).fetchone()
        return None if found is None else LedgerRow(*(*found[:-1], bool(found[-1])))

    def ledger(self, tenant: str) -> dict[tuple[str, str], LedgerRow]:
        """Give a tenant's first releases (revision 0), sorted: (table, window start) -> ledger row."""
        with self._lock, self._explaining():
            rows = self._db.execute(
                f"SELECT {_LEDGER_COLUMNS} FROM release_ledger WHERE tenant = ? AND revision = 0 "  # noqa: S608
                "ORDER BY table_name, window_start",
                (tenant,),
            ).fetchall()
        return {(row[1], row[2]): LedgerRow(*(*row[:-1], bool(row[-1]))) for row in rows}

    def begin(self, table: ReleasedTable, completeness: str, reason: str, backfill: bool) -> str:
        """Note that a window is being sealed; what is already in the ledger stays.

        Only a void row whose reason starts with `DEFAULT_REASON` gives way: it came from a default
        `complete_from` that the operator has since declared better.

        Returns:
          The state now in the ledger: `sealing`, `sealed` or `void`.

        Raises:
          StoreError: the table names one number twice; the store cannot be written.
        """
        if len({_place(row) for row in table.rows}) != len(table.rows):
            message = f"counts store {self._path}: a release names one number twice; report this as a bug"
            raise StoreError(message)
        where = (table.tenant, table.key.table, table.key.start, table.revision)
        with self._transaction():
            there = self._ledger_row(where)
            if there is not None and not (there.state == "void" and there.reason.startswith(DEFAULT_REASON)):
                return there.state
            cells = len({row.cell for row in table.rows})
            about = (table.kind, table.key.end, "sealing", completeness, reason, table.policy_digest)
            rest = (table.mechanism, table.charge, cells, rows_hash(table), int(backfill))
            self._db.execute(_INSERT_LEDGER, (*where, *about, *rest))
        return "sealing"

    def publish(self, table: ReleasedTable) -> Literal["sealed", "differs"]:
        """Insert the rows of a begun window and mark it sealed, all in one transaction.

        A second identical call changes nothing.

        Returns:
          `differs`, with nothing changed, when the ledger or the rows hold another release of this window
          (a void one counts); else `sealed`.

        Raises:
          StoreError: `begin` was not called; the store cannot be written.
        """
        key = table.key
        where = (table.tenant, key.table, key.start, table.revision)
        name = release_id(*where)
        rows: dict[tuple[str, str], tuple[object, ...]] = {
            _place(row): (
                *(name, table.tenant, key.table, key.start, key.end, table.time_zone, row.cell, row.measure),
                *(None if row.value is None else int(row.value), row.status, row.mechanism, table.revision),
            )
            for row in table.rows
        }
        with self._transaction():
            entry = self._ledger_row(where)
            if entry is None:
                message = f"counts store {self._path}: published before it was begun; report this as a bug"
                raise StoreError(message)
            if entry.state == "void" or entry.rows_hash != rows_hash(table):
                return "differs"
            there: dict[tuple[str, str], tuple[object, ...]] = {
                (row[6], row[7]): row
                for row in self._db.execute(
                    f"SELECT {_COUNT_COLUMNS} FROM released_counts WHERE release_id = ?",  # noqa: S608 - own names
                    (name,),
                )
            }
            if any(rows.get(place) != row for place, row in there.items()):
                return "differs"
            missing = [row for place, row in sorted(rows.items()) if place not in there]
            self._db.executemany(_INSERT_COUNT, missing)
            if entry.state != "sealed":
                self._db.execute(
                    f"UPDATE release_ledger SET state = 'sealed' WHERE {_LEDGER_KEY}",  # noqa: S608 - own names
                    where,
                )
        return "sealed"

    def void(self, tenant: str, kind: str, key: WindowKey, policy_hash: str, reason: str) -> None:
        """Note that a window is never published; what is already in the ledger stays."""
        where = (tenant, key.table, key.start, 0)
        with self._transaction():
            if self._ledger_row(where) is None:
                about = (kind, key.end, "void", "void", reason, policy_hash)
                self._db.execute(_INSERT_LEDGER, (*where, *about, "", 0.0, 0, "", 0))

    def record_verification(
        self, tenant: str, table: str, window_start: str, revision: int, verdict: str, day: str
    ) -> None:
        """Append one verification; `day` is the civil day of the run, YYYY-MM-DD."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO verifications(tenant, table_name, window_start, revision, verdict, day) "
                "VALUES(?, ?, ?, ?, ?, ?)",
                (tenant, table, window_start, revision, verdict, _iso(day)),
            )

    def verifications(self, tenant: str) -> tuple[Verification, ...]:
        """All verifications of a tenant, oldest first."""
        with self._lock, self._explaining():
            rows = self._db.execute(
                "SELECT tenant, table_name, window_start, revision, verdict, day FROM verifications "
                "WHERE tenant = ? ORDER BY seq",
                (tenant,),
            ).fetchall()
        return tuple(Verification(*row) for row in rows)

    def record_receipt(self, tenant: str, purpose: str, month: str, why: str, destroyed_day: str) -> None:
        """Note the destruction of a key; the same receipt twice is kept once."""
        with self._transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO key_receipts(tenant, purpose, month, why, destroyed_day) VALUES(?, ?, ?, ?, ?)",
                (tenant, purpose, month, why, _iso(destroyed_day)),
            )

    def receipts(self, tenant: str) -> tuple[KeyReceipt, ...]:
        """All receipts of a tenant, by purpose, month and day."""
        with self._lock, self._explaining():
            rows = self._db.execute(
                "SELECT tenant, purpose, month, why, destroyed_day FROM key_receipts WHERE tenant = ? "
                "ORDER BY purpose, month, destroyed_day, why",
                (tenant,),
            ).fetchall()
        return tuple(KeyReceipt(*row) for row in rows)

    def pinned_policy(self, tenant: str, kind: str, window_start: str, window_end: str) -> set[str]:
        """Policy hashes under which tables of this event kind were sealed for exactly this window."""
        with self._lock, self._explaining():
            rows = self._db.execute(
                "SELECT DISTINCT policy_hash FROM release_ledger WHERE tenant = ? AND event_kind = ? "
                "AND window_start = ? AND window_end = ? AND state = 'sealed'",
                (tenant, kind, window_start, window_end),
            ).fetchall()
        return {policy_hash for (policy_hash,) in rows}

    def rows(self, table: Optional[str] = None, month: Optional[str] = None) -> Iterator[CountRow]:
        """Released numbers by tenant, table, window, revision, cell, measure.

        Args:
          table: only this table.
          month: only windows that start in this month, YYYY-MM.
        """
        with self._lock, self._explaining():
            found = self._db.execute(
                f"SELECT {_COUNT_COLUMNS} FROM released_counts "  # noqa: S608 - names of our own columns
                "WHERE (?1 IS NULL OR table_name = ?1) AND (?2 IS NULL OR substr(window_start, 1, 7) = ?2) "
                "ORDER BY tenant, table_name, window_start, revision, cell, measure",
                (table, month),
            ).fetchall()
        return (CountRow(*row) for row in found)
