"""What the work store asks of a database, and its tables.

Statements are written once, in the SQL that SQLite and PostgreSQL share: placeholders are `?`, upserts are
`ON CONFLICT`, truth is 0 or 1, the larger of two is a CASE.
"""

from typing import Any, Iterable, Protocol, Sequence

Row = Sequence[object]

_TABLES = (
    "meta(key {text} PRIMARY KEY, value {text} NOT NULL)",
    """positions(
      source {text}, part {text}, next {whole} NOT NULL, head {blob} NOT NULL, done {whole} NOT NULL, clock {whole},
      PRIMARY KEY(source, part))""",
    """clocks(
      lane {text}, source {text}, first_arrival {whole}, last_arrival {whole}, last_event {whole}, clock {whole},
      complete_from {text}, complete_through {text}, PRIMARY KEY(lane, source))""",
    "proofs(source {text}, part {text}, clock {whole} NOT NULL, PRIMARY KEY(source, part))",
    """gaps(
      source {text}, part {text}, after {whole} NOT NULL, until {whole} NOT NULL,
      PRIMARY KEY(source, part, after, until))""",
    """tallies(
      id {number}, lane {text} NOT NULL, table_name {text} NOT NULL, window_start {text} NOT NULL,
      window_end {text} NOT NULL, rows {whole} NOT NULL, blob {blob} NOT NULL)""",
    """rejects(
      id {number}, batch {text} NOT NULL, source {text} NOT NULL, reason {text} NOT NULL,
      clear {blob} NOT NULL, sealed {blob} NOT NULL)""",
    "seen_rejects(tag {blob} PRIMARY KEY, day {text} NOT NULL){by_key}",
    """batches(
      id {number}, lane {text} NOT NULL, epoch {whole} NOT NULL, source {text} NOT NULL,
      name {text} NOT NULL, amount {whole} NOT NULL)""",
    """seals(
      table_name {text}, window_start {text}, frozen {blob} NOT NULL, completeness {text} NOT NULL,
      reason {text} NOT NULL, backfill {whole} NOT NULL, PRIMARY KEY(table_name, window_start))""",
)
_INDEX = "CREATE INDEX IF NOT EXISTS tallies_window ON tallies(lane, table_name, window_start)"


def schema(*, text: str, whole: str, blob: str, number: str, by_key: str = "") -> list[str]:
    """The statements that make the tables where they are absent.

    Args:
      text, whole, blob: how the database names a text that sorts by code point, a 64-bit integer, bytes.
      number: how it names a key that counts up by itself.
      by_key: what it says of a table that is only ever looked up by its key.
    """
    names = {"text": text, "whole": whole, "blob": blob, "number": number, "by_key": by_key}
    return [f"CREATE TABLE IF NOT EXISTS {table.format(**names)}" for table in _TABLES] + [_INDEX]


class WorkDatabase(Protocol):
    """One session with a database; usable from several threads. Every fault is a WorkStoreError of one line.

    Attributes:
      name: what a person calls it; holds no secret.
      for_update: what a SELECT says in order to keep its row from other writers until the transaction ends.
    """

    name: str
    for_update: str

    def take(self) -> None:
        """Become its only writer and make its tables; HeldByAnotherError when there is one."""

    def look(self) -> None:
        """Become a reader of one moment, whoever writes; what was never made is empty, and is not made."""

    def close(self) -> None:
        """End the session; who held the database no longer does."""

    def rows(self, statement: str, values: Row = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""

    def change(self, statement: str, rows: Iterable[Row]) -> int:
        """Do the statement once for each row of values; gives how many rows of the database were touched."""

    def begin(self) -> None:
        """Begin a transaction that writes."""

    def commit(self) -> None:
        """End it, durably; a fault undoes it."""

    def rollback(self) -> None:
        """Undo it, as far as the database has not done so by itself. Never fails."""
