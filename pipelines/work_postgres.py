"""The work store in a PostgreSQL database, in a schema of its own: `carrel_work`.

A session's advisory lock says who writes, as long as the session lives; the row of the epoch, locked by every
transaction, fences a writer whose session was taken from it. A lost session is never made anew here: its lock is
gone, so the process ends, and whoever starts it again goes on from what was committed.
"""

import contextlib
from contextlib import contextmanager
from typing import Any, Iterable, Iterator

import psycopg

from pipelines.postgres_session import PostgresSession, connected, fault_of
from pipelines.work_database import Row, schema
from pipelines.work_values import HeldByAnotherError, ServerAwayError, WorkStoreError

# Text sorts by code point, as in SQLite, whatever the database's own language.
_TEXT = 'TEXT COLLATE "C"'
_SCHEMA = schema(text=_TEXT, whole="BIGINT", blob="BYTEA", number="BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY")
_WHERE = "carrel_work"
_LOCK = 0x6361_7272_656C_776B  # the number of the advisory lock, for all databases alike
_PATIENCE = "5s"  # a killed writer's session is there until the server has noticed
_LOST = "the session with the server is lost; nothing of this batch was kept, run again when the server is back"
_IN_DOUBT = "the session was lost while committing; the batch is kept whole or not at all, run again to go on from it"


class PostgresWork:
    """A `WorkDatabase`.

    Args:
      address: postgresql://USER@HOST:PORT/DATABASE, without a password: libpq takes it from PGPASSFILE, PGPASSWORD
        or a service file. It leads to the server itself: behind a pooler a session's lock means nothing.
    """

    for_update = " FOR UPDATE"

    def __init__(self, address: str) -> None:
        self._address = address
        self.name = f"work store {address}"
        self._is_made = True
        self._session: PostgresSession

    def take(self) -> None:
        """Take the lock, refuse a server that forgets commits, make the tables."""
        with self._connected():
            self._set("lock_timeout", _PATIENCE)
            self._session.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
            self._set("lock_timeout", "30s")
            for setting in ("fsync", "synchronous_commit"):
                if self.rows("SELECT current_setting(?)", (setting,)) == [("off",)]:
                    message = f"{self.name}: {setting} is off, so a crash of the server would lose batches; set it on"
                    raise WorkStoreError(message)
            # As it is now it stays for this session, whatever is set on the server meanwhile.
            self.rows("SELECT set_config('synchronous_commit', current_setting('synchronous_commit'), false)")
            if self.rows("SELECT to_regnamespace(?) IS NULL", (_WHERE,)) == [(True,)]:
                self._session.execute(f"CREATE SCHEMA {_WHERE}")
            for statement in _SCHEMA:
                self._session.execute(statement.encode())

    def look(self) -> None:
        """Begin to read; tables that were never made are empty."""
        with self._connected():
            self._session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            self._is_made = self.rows("SELECT to_regclass(?) IS NOT NULL", (f"{_WHERE}.meta",)) == [(True,)]

    @contextmanager
    def _connected(self) -> Iterator[None]:
        with self._explaining():
            self._session = connected(self._address, "carrel work store")
            try:
                self._set("search_path", _WHERE)
                yield
            except BaseException:
                self._session.close()
                raise

    def _set(self, name: str, value: str) -> None:
        self._session.execute("SELECT set_config(%s, %s, false)", (name, value))

    def close(self) -> None:
        """End the session, and with it the lock."""
        self._session.close()

    def rows(self, statement: str, values: Row = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        if not self._is_made:
            return []
        with self._explaining():
            return self._session.execute(_marked(statement), values, binary=True).fetchall()

    def change(self, statement: str, rows: Iterable[Row]) -> int:
        """Do the statement once for each row of values."""
        with self._explaining(), self._session.cursor() as cursor:
            cursor.executemany(_marked(statement), rows)
            return cursor.rowcount

    def begin(self) -> None:
        """Begin, whatever the role's own defaults are."""
        with self._explaining():
            self._session.execute("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")

    def commit(self) -> None:
        """Commit; whether it came about is not known when the session is lost on the way."""
        try:
            with self._explaining():
                self._session.execute("COMMIT")
        except WorkStoreError:
            if self._session.closed:
                message = f"{self.name}: {_IN_DOUBT}"
                raise ServerAwayError(message) from None
            self.rollback()
            raise

    def rollback(self) -> None:
        """A server that has lost the session has undone it already."""
        with contextlib.suppress(psycopg.Error):
            self._session.execute("ROLLBACK")

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except psycopg.errors.LockNotAvailable:
            message = f"{self.name}: another instance holds this store; wait for it or stop it"
            raise HeldByAnotherError(message) from None
        except psycopg.Error as error:
            # The server's own text may quote a value of a row; this line never does.
            raise self._said(error) from None

    def _said(self, error: psycopg.Error) -> WorkStoreError:
        text, passes = fault_of(error)
        if passes and "_session" in self.__dict__ and self._session.closed:
            text = _LOST
        return (ServerAwayError if passes else WorkStoreError)(f"{self.name}: {text}")


def _marked(statement: str) -> bytes:
    return statement.replace("?", "%s").encode()
