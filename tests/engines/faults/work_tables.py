"""The tables of a work store, asked and put back past the product: in a SQLite file or in PostgreSQL."""

import contextlib
import sqlite3
from pathlib import Path
from typing import Any, Iterator, Sequence, Union

import psycopg

Row = tuple[Any, ...]


class WorkTables:
    """One store.

    Args:
      where: its file, or the address of its database.
    """

    def __init__(self, where: Union[Path, str]) -> None:
        self._where = where

    def rows(self, query: str) -> list[Row]:
        """All rows of a query; none while nobody has made the store."""
        with contextlib.suppress(sqlite3.OperationalError, psycopg.errors.UndefinedTable), self._opened("ro") as store:
            return store.execute(query).fetchall()
        return []

    def put(self, table: str, rows: Sequence[Row]) -> None:
        """Make these the rows of a table, in one transaction. Nobody may hold the store."""
        mark = "?" if isinstance(self._where, Path) else "%s"
        with self._opened("rw") as store, store:
            cursor = store.cursor()
            cursor.execute(f"DELETE FROM {table}")
            for row in rows:
                cursor.execute(f"INSERT INTO {table} VALUES({', '.join([mark] * len(row))})", row)

    @contextlib.contextmanager
    def _opened(self, mode: str) -> Iterator[Any]:
        if isinstance(self._where, Path):
            store: Any = sqlite3.connect(f"file:{self._where}?mode={mode}", uri=True, timeout=30)
        else:
            store = psycopg.connect(self._where, options="-c search_path=carrel_work", connect_timeout=10)
        with contextlib.closing(store):
            yield store
