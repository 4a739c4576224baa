"""The PostgreSQL database of a counts store: its tables, its transactions, and its faults in one line each.

Tables and columns are those of SQLite. A text column sorts by code point, as there.
"""

import logging
import secrets
import threading
from contextlib import contextmanager, suppress
from typing import Any, Callable, Iterator, Optional, Sequence, TypeVar

import psycopg

from pipelines.counts_rows import StoreAwayError, StoreError
from pipelines.counts_rules import OTHER_VERSION, RULE_BROKEN
from pipelines.postgres_session import PostgresSession, connected, fault_of

_T = TypeVar("_T")
_VERSION = "1"
_SCHEMA = (
    'CREATE TABLE IF NOT EXISTS store_meta("key" TEXT PRIMARY KEY, value TEXT NOT NULL)',
    """CREATE TABLE IF NOT EXISTS released_counts(
      release_id TEXT COLLATE "C" NOT NULL, tenant TEXT COLLATE "C" NOT NULL, table_name TEXT COLLATE "C" NOT NULL,
      window_start TEXT COLLATE "C" NOT NULL, window_end TEXT COLLATE "C" NOT NULL, time_zone TEXT NOT NULL,
      cell TEXT COLLATE "C" NOT NULL, measure TEXT COLLATE "C" NOT NULL, value BIGINT,
      status TEXT NOT NULL CHECK(status IN ('published', 'withheld', 'structural_zero')),
      mechanism TEXT NOT NULL, revision INTEGER NOT NULL,
      PRIMARY KEY(release_id, cell, measure), CHECK((status = 'withheld') = (value IS NULL)))""",
    "CREATE INDEX IF NOT EXISTS released_window ON released_counts(table_name, window_start)",
    """CREATE TABLE IF NOT EXISTS release_ledger(
      tenant TEXT COLLATE "C" NOT NULL, table_name TEXT COLLATE "C" NOT NULL,
      window_start TEXT COLLATE "C" NOT NULL, revision INTEGER NOT NULL,
      event_kind TEXT NOT NULL, window_end TEXT NOT NULL,
      state TEXT NOT NULL CHECK(state IN ('sealing', 'sealed', 'void')),
      completeness TEXT NOT NULL, reason TEXT NOT NULL, policy_hash TEXT NOT NULL, mechanism TEXT NOT NULL,
      charge DOUBLE PRECISION NOT NULL, cells INTEGER NOT NULL, rows_hash TEXT NOT NULL, backfill INTEGER NOT NULL,
      PRIMARY KEY(tenant, table_name, window_start, revision))""",
    """CREATE TABLE IF NOT EXISTS key_receipts(
      tenant TEXT COLLATE "C" NOT NULL, purpose TEXT COLLATE "C" NOT NULL, month TEXT COLLATE "C" NOT NULL,
      why TEXT COLLATE "C" NOT NULL, destroyed_day TEXT COLLATE "C" NOT NULL,
      PRIMARY KEY(tenant, purpose, month, why, destroyed_day))""",
    """CREATE TABLE IF NOT EXISTS verifications(
      seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant TEXT NOT NULL, table_name TEXT NOT NULL,
      window_start TEXT NOT NULL, revision INTEGER NOT NULL, verdict TEXT NOT NULL, day TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS source_stops(
      seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant TEXT NOT NULL, source TEXT NOT NULL,
      reason TEXT NOT NULL, accepts_until BIGINT NOT NULL, day TEXT NOT NULL)""",
)
_CREATING = 0x6361_7272_656C  # the advisory lock of who makes the tables
# One writer at a time, while readers go on; LOCAL, since behind a pooler the session is not ours alone. A writer that
# was stopped in the middle is ended by the server before another one has waited in vain.
_BEGIN = (
    "BEGIN ISOLATION LEVEL READ COMMITTED",
    "SET LOCAL lock_timeout = '30s'",
    "SET LOCAL idle_in_transaction_session_timeout = '20s'",
    "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'",
)
_BROKEN_RULE = "23"  # the class of the codes of constraints
_ONE_WRITER = "LOCK TABLE release_ledger IN SHARE ROW EXCLUSIVE MODE"


class PostgresDatabase:
    """A database session, a `CountsDatabase`; usable from several threads, never pickled. A lost one is made anew.

    Args:
      address: postgresql://USER@HOST:PORT/DATABASE, without a password: libpq takes it from PGPASSFILE,
        PGPASSWORD or a service file.
      create: make the tables when they are absent; the database must exist.

    Attributes:
      store_id: made once with the tables; keeps noise keys from being used with another, empty store.

    Raises:
      StoreError: cannot be reached, no tables, of another version; any later call: lost, disk full, not allowed,
        locked by another process for 30 s.
    """

    def __init__(self, address: str, *, create: bool) -> None:
        self._address = address
        self._lock = threading.RLock()
        with self._explaining():
            self._connection = self._connect()
        try:
            self.store_id = self._prepare(create=create)
        except BaseException:
            self._connection.close()
            raise

    def _connect(self) -> PostgresSession:
        logging.getLogger("psycopg").disabled = True  # it repeats the server's text, which may quote a value
        return connected(self._address, "carrel", prepare_after=None)

    def _prepare(self, *, create: bool) -> str:
        with self._explaining():
            if self._meta() is None and create:
                with self._connection.transaction():
                    self._connection.execute("SELECT pg_advisory_xact_lock(%s)", (_CREATING,))
                    for statement in _SCHEMA:
                        self._connection.execute(statement)
                    for named in (("version", _VERSION), ("store_id", secrets.token_hex(16))):
                        self._connection.execute("INSERT INTO store_meta VALUES(%s, %s) ON CONFLICT DO NOTHING", named)
            meta = self._meta()
        if meta is None:
            raise self.refused(
                "there is no counts store; `carrel init --counts-store` makes one, or correct the address"
            )
        if meta.get("version") != _VERSION or not meta.get("store_id"):
            raise self.refused(OTHER_VERSION)
        return meta["store_id"]

    def _meta(self) -> Optional[dict[str, str]]:
        query = "SELECT to_regclass('store_meta') IS NOT NULL AND to_regclass('released_counts') IS NOT NULL"
        if self._connection.execute(query).fetchall() != [(True,)]:
            return None
        return dict(self._connection.execute('SELECT "key", value FROM store_meta').fetchall())

    def close(self) -> None:
        """End the session; it cannot be used afterwards."""
        with self._lock:
            self._connection.close()

    def refused(self, what: str) -> StoreError:
        """The error that says what is wrong with this database and what to do."""
        return StoreError(f"counts store {self._address}: {what}")

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            # The server's own text may quote a value of a row; this line never does.
            if (error.sqlstate or "").startswith(_BROKEN_RULE):
                raise self.refused(RULE_BROKEN) from None
            text, passes = fault_of(error)
            message = f"counts store {self._address}: {text}"
            raise (StoreAwayError if passes else StoreError)(message) from None

    def _fresh(self, do: Callable[[PostgresSession], _T]) -> _T:
        """Do what begins a transaction, or is one; once more in a new session when the old one was lost before it."""
        with suppress(psycopg.OperationalError, psycopg.InterfaceError):
            if not self._connection.closed:
                return do(self._connection)
        if not self._connection.closed:
            return do(self._connection)  # not lost: what it refuses, it refuses again
        self._connection = self._connect()
        meta = self._meta()
        if meta is None or meta.get("store_id") != self.store_id:
            raise self.refused("the server came back with another counts store; check what it was restored from")
        return do(self._connection)

    @contextmanager
    def transaction(self) -> Iterator["_Session"]:
        """All that is done within, or nothing of it; one writer at a time, in any process."""
        with self._lock, self._explaining():
            connection = self._fresh(_begin)
            try:
                connection.execute(_ONE_WRITER)
                yield _Session(connection)
                connection.execute("COMMIT")
            except BaseException:
                with suppress(psycopg.Error):
                    connection.execute("ROLLBACK")
                raise

    def rows(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """All rows of a query, read at one moment."""
        with self._lock, self._explaining():
            return self._fresh(lambda connection: _Session(connection).rows(query, values))


def _begin(connection: PostgresSession) -> PostgresSession:
    for statement in _BEGIN:
        connection.execute(statement)
    return connection


class _Session:
    def __init__(self, connection: PostgresSession) -> None:
        self._connection = connection

    def rows(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        return self._connection.execute(query.replace("?", "%s").encode(), values).fetchall()

    def write(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        text = statement.replace("?", "%s").encode()
        if len(rows) == 1:  # its fault keeps its code, which a pipeline loses when the session ends
            self._connection.execute(text, rows[0])
            return
        with self._connection.cursor() as cursor:
            cursor.executemany(text, rows)
