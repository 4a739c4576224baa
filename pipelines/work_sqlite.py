"""The work store in one SQLite file (WAL, synchronous FULL); an OS lock beside it says who writes."""

import contextlib
import fcntl
import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Iterable, Iterator, Optional

from pipelines.work_database import Row, schema
from pipelines.work_values import HeldByAnotherError, WorkStoreError

_SCHEMA = schema(text="TEXT", whole="INTEGER", blob="BLOB", number="INTEGER PRIMARY KEY", by_key=" WITHOUT ROWID")
_FULL = ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")  # the second when a file beside the database cannot grow
_UNDONE = "nothing of this batch was kept, run again after mending it"


class SqliteWork:
    """A `WorkDatabase`."""

    for_update = ""  # whoever has begun a transaction that writes is alone

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = path.name
        self._lock: Optional[IO[str]] = None
        self._db: sqlite3.Connection

    def take(self) -> None:
        """Take the lock, then open the file, made if need be."""
        try:
            self._lock = self._path.with_suffix(".lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"{self.name}: another instance holds this store; wait for it or stop it"
            raise HeldByAnotherError(message) from None
        except OSError as error:
            message = f"{self._path}: cannot be opened ({error.strerror}); check the folder and its rights"
            raise WorkStoreError(message) from None
        try:
            with self._explaining():
                self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
                self._db.execute("PRAGMA page_size=32768")  # of a new file: its rows are large blobs
                self._db.execute("PRAGMA journal_mode=WAL")
                self._db.execute("PRAGMA synchronous=FULL")
                for statement in _SCHEMA:
                    self._db.execute(statement)
        except WorkStoreError:
            self._lock.close()
            raise
        self._path.chmod(0o600)

    def look(self) -> None:
        """Open the file to read; a store that nobody has made yet is empty."""
        is_there = self._path.exists()
        where = f"{self._path.absolute().as_uri()}?mode=ro" if is_there else ":memory:"
        try:
            self._db = sqlite3.connect(where, uri=is_there, isolation_level=None, check_same_thread=False)
            for statement in () if is_there else _SCHEMA:
                self._db.execute(statement)
            self._db.execute("BEGIN")  # all that is read is of one moment: that of the next line
            self._db.execute("SELECT COUNT(*) FROM meta").fetchone()
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
            message = f"{self._path}: cannot be read (SQLite says {name}); check the file, its folder and their rights"
            raise WorkStoreError(message) from None

    def close(self) -> None:
        """Close the file, then let the lock go."""
        self._db.close()
        if self._lock is not None:
            self._lock.close()

    def rows(self, statement: str, values: Row = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self._explaining():
            return self._db.execute(statement, values).fetchall()

    def change(self, statement: str, rows: Iterable[Row]) -> int:
        """Do the statement once for each row of values."""
        with self._explaining():
            return self._db.executemany(statement, rows).rowcount

    def begin(self) -> None:
        """Begin as the only writer."""
        with self._explaining():
            self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Commit, or undo what cannot be committed."""
        try:
            with self._explaining():
                self._db.execute("COMMIT")
        except WorkStoreError:
            self.rollback()
            raise

    def rollback(self) -> None:
        """SQLite may have undone it by itself, on a full disk for one."""
        with contextlib.suppress(sqlite3.Error):
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            # SQLite's own text may quote a value of a row; its name for the fault never does.
            name = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
            what = "the disk is full" if name in _FULL else f"SQLite says {name}"
            message = f"{self.name}: {what}; {_UNDONE}"
            raise WorkStoreError(message) from None
