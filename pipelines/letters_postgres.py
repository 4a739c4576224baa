"""Dead letters in a table of PostgreSQL: a letter is a row, told apart by batch and number."""

from typing import Any, Callable, Sequence, TypeVar

import psycopg

from pipelines.letter import DeadLetterError, LettersAwayError, line_of
from pipelines.postgres_session import connected, fault_of
from schemas.rejects import SealedReject

_T = TypeVar("_T")
_SCHEMA = """CREATE TABLE IF NOT EXISTS carrel_dead_letters(
  batch TEXT NOT NULL, number INTEGER NOT NULL, day DATE NOT NULL, source TEXT NOT NULL, reason TEXT NOT NULL,
  line TEXT NOT NULL, PRIMARY KEY(batch, number))"""
_CREATING = 0x6C65_7474_6572  # the advisory lock of who makes the table
_INSERT = "INSERT INTO carrel_dead_letters VALUES(%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"


class PostgresLetters:
    """One database; a session for each write: letters are rare.

    Args:
      address: postgresql://USER@HOST/DATABASE, the password by PGPASSFILE or PGPASSWORD.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def write(self, batch_name: str, day: str, rejects: Sequence[SealedReject]) -> None:
        """See `LettersOutput`; once, all of a batch or none.

        Raises:
          DeadLetterError: the server does not take them.
        """
        rows = [
            (batch_name, number, day, one.source, one.reason, line_of(one).decode().rstrip("\n"))
            for number, one in enumerate(rejects, 1)
        ]

        def insert(cursor: "psycopg.Cursor[Any]") -> int:
            cursor.executemany(_INSERT, rows)
            return len(rows)

        if rows:
            self._do(insert)

    def holds(self, batch_name: str) -> bool:
        """Not asked of the server: a row that is there already is not written again."""
        del batch_name
        return False

    def purge(self, older_than_day: str) -> int:
        """Delete the rows of days before this one; how many.

        Raises:
          DeadLetterError: the server does not do it.
        """

        def delete(cursor: "psycopg.Cursor[Any]") -> int:
            return cursor.execute("DELETE FROM carrel_dead_letters WHERE day < %s", (older_than_day,)).rowcount

        return self._do(delete)

    def _do(self, work: Callable[["psycopg.Cursor[Any]"], _T]) -> _T:
        try:
            with (
                connected(self._address, "carrel dead letters", prepare_after=None) as session,
                session.transaction(),
                session.cursor() as cursor,
            ):
                cursor.execute("SET LOCAL lock_timeout = '30s'")
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_CREATING,))
                cursor.execute(_SCHEMA)
                return work(cursor)
        except psycopg.Error as error:
            text, passes = fault_of(error)
            message = f"dead letters in PostgreSQL: {text}"
            raise (LettersAwayError if passes else DeadLetterError)(message) from None
