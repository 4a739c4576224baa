"""The SQLite file of a counts store: its tables, its transactions, and its faults in one line each."""

import secrets
import sqlite3
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, Sequence

from pipelines.counts_rows import StoreAwayError, StoreError
from pipelines.counts_rules import DISK_FULL, OTHER_VERSION, RULE_BROKEN

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
    """CREATE TABLE IF NOT EXISTS source_stops(
      seq INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, source TEXT NOT NULL, reason TEXT NOT NULL,
      accepts_until INTEGER NOT NULL, day TEXT NOT NULL)""",
)
_UNWRITABLE = "cannot be written; give this user write access to the file and its folder"
_FAULTS = {
    sqlite3.SQLITE_FULL: DISK_FULL,
    sqlite3.SQLITE_IOERR_SHMSIZE: DISK_FULL,  # a file beside the database cannot grow
    sqlite3.SQLITE_READONLY: _UNWRITABLE,
    sqlite3.SQLITE_PERM: _UNWRITABLE,
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; check that its folder exists and can be written",
    sqlite3.SQLITE_NOTADB: "not a SQLite file, or corrupt; restore it or correct counts_store",
    sqlite3.SQLITE_CORRUPT: "corrupt; restore it from a backup",
    sqlite3.SQLITE_IOERR: "the disk reports an error; check it, then restore the file if need be",
    sqlite3.SQLITE_CONSTRAINT: RULE_BROKEN,
}


class _Session:
    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self._db.execute(query, values).fetchall()

    def write(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        self._db.executemany(statement, rows)


class SqliteDatabase:
    """One open file, a `CountsDatabase`; usable from several threads, never pickled.

    Args:
      path: the SQLite file.
      create: make the file and its tables when they are absent; the folder must exist.

    Attributes:
      store_id: made once with the file; keeps noise keys from being used with another, empty store.

    Raises:
      StoreError: missing, corrupt, not writable, of another kind or version; any later call: disk full,
        locked by another process for 30 s.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        self._path = path
        self._lock = threading.RLock()
        if not create and not path.is_file():
            raise self.refused("no such file; run `carrel replay` first or correct counts_store")
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
                raise self.refused("another kind of file; correct counts_store or move it away")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
        with self.transaction() as session:  # also proves that the file can be written
            if not tables:
                for statement in _SCHEMA:
                    session.rows(statement)
                made = [("version", _VERSION), ("store_id", secrets.token_hex(16))]
                session.write("INSERT OR IGNORE INTO store_meta VALUES(?, ?)", made)
            meta = dict(session.rows("SELECT key, value FROM store_meta"))
        if meta.get("version") != _VERSION or not meta.get("store_id"):
            raise self.refused(OTHER_VERSION)
        return str(meta["store_id"])

    def close(self) -> None:
        """Close the file; it cannot be used afterwards."""
        with self._lock:
            self._db.close()

    def refused(self, what: str) -> StoreError:
        """The error that says what is wrong with this file and what to do."""
        return StoreError(f"counts store {self._path}: {what}")

    def _explained(self, error: sqlite3.Error) -> StoreError:
        exactly = getattr(error, "sqlite_errorcode", None) or 0
        code = exactly if exactly in _FAULTS else exactly & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StoreAwayError(f"counts store {self._path}: another process holds it; wait for it and run again")
        return self.refused(_FAULTS.get(code, "SQLite refused to work on it; check the file, restore it if need be"))

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            # SQLite's own text may quote a value of a row; the line above never does.
            raise self._explained(error) from None

    @contextmanager
    def transaction(self) -> Iterator[_Session]:
        """All that is done within, or nothing of it; one at a time."""
        with self._lock, self._explaining():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield _Session(self._db)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def rows(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """All rows of a query, read at one moment."""
        with self._lock, self._explaining():
            return self._db.execute(query, values).fetchall()
