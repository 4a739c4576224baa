"""The work store: open tallies (sealed), positions, clocks and pending rejects, in SQLite or PostgreSQL.

One writer at a time: a lock says who, an epoch in every transaction fences a writer that lost it.
Everything a batch changes is one transaction, so that a kill loses the whole batch or nothing.
"""

from pathlib import Path
from types import TracebackType
from typing import Iterator, Optional, Self

from pipelines.work_address import WorkAddress
from pipelines.work_database import WorkDatabase
from pipelines.work_sqlite import SqliteWork
from pipelines.work_transaction import Transaction
from pipelines.work_values import NEVER, Clock, PendingSeal, Position, WorkStoreError
from schemas.counts import WindowKey
from schemas.rejects import SealedReject
from transforms.coders import ColumnsCoder

_RELEASED = ColumnsCoder("ReleasedTable")


def _database(address: WorkAddress) -> WorkDatabase:
    if isinstance(address, Path):
        return SqliteWork(address)
    from pipelines.work_postgres import PostgresWork  # noqa: PLC0415 - imported only where it is used

    return PostgresWork(address)


class WorkStore:
    """Exclusive access to one work store; use as a context manager.

    Args:
      address: the path of a SQLite file, or postgresql://USER@HOST/DATABASE.
      read_only: look at it as it stands at one moment, whoever holds it; nothing of it is changed, not even its
        epoch. A store that nobody has made yet is empty.

    Attributes:
      epoch: of this writer; each one that takes the store raises it.
    """

    epoch: int

    def __init__(self, address: WorkAddress, *, read_only: bool = False) -> None:
        self._database = _database(address)
        self._is_read_only = read_only

    def __enter__(self) -> Self:
        if self._is_read_only:
            self._database.look()
            return self
        self._database.take()
        try:
            self._raise_epoch()
        except BaseException:
            self._database.close()
            raise
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._database.close()

    def _raise_epoch(self) -> None:
        self._database.begin()
        try:
            self._database.change("INSERT INTO meta VALUES('epoch', '0') ON CONFLICT DO NOTHING", [()])
            self._database.change(
                "UPDATE meta SET value = CAST(CAST(value AS BIGINT) + 1 AS TEXT) WHERE key = 'epoch'", [()]
            )
            self.epoch = int(self.value("epoch") or 0)
        except BaseException:
            self._database.rollback()
            raise
        self._database.commit()

    def transaction(self) -> Transaction:
        """Begin the one transaction of a batch."""
        if self._is_read_only:
            message = f"{self._database.name}: was opened to be read; report this as a bug"
            raise WorkStoreError(message)
        return Transaction(self._database, self.epoch)

    def value(self, key: str) -> Optional[str]:
        """A named value of the store itself."""
        rows = self._database.rows("SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    def positions(self, source: str) -> dict[str, Position]:
        """Where each file of a source stands."""
        rows = self._database.rows("SELECT part, next, head, done, clock FROM positions WHERE source = ?", (source,))
        return {part: Position(part, at, head, bool(done), clock) for part, at, head, done, clock in rows}

    def clock(self, lane: str, source: str) -> Clock:
        """What the lane knows of a source's time."""
        rows = self._database.rows(
            "SELECT first_arrival, last_arrival, last_event, clock, complete_from, complete_through"
            " FROM clocks WHERE lane = ? AND source = ?",
            (lane, source),
        )
        return Clock(*rows[0]) if rows else NEVER

    def proofs(self, source: str) -> dict[str, int]:
        """Until when each part of a source was proven to have been read to its end, ms UTC."""
        return dict(self._database.rows("SELECT part, clock FROM proofs WHERE source = ?", (source,)))

    def gaps(self, source: str) -> list[tuple[int, int]]:
        """What a source has lost: arrival of the last message before and of the first one after, ms UTC."""
        rows = self._database.rows("SELECT after, until FROM gaps WHERE source = ? ORDER BY after, until", (source,))
        return [(after, until) for after, until in rows]

    def windows(self, lane: str) -> dict[WindowKey, int]:
        """The windows that hold acts, and how many rows."""
        return {key: acts for key, acts in self.stored(lane).items() if acts}

    def stored(self, lane: str) -> dict[WindowKey, int]:
        """The windows that hold anything, and how many acts; where it is none, only erasures wait for some."""
        rows = self._database.rows(
            "SELECT table_name, window_start, window_end, CAST(SUM(rows) AS BIGINT) FROM tallies WHERE lane = ?"
            " GROUP BY 1, 2, 3 ORDER BY 1, 2",
            (lane,),
        )
        return {WindowKey(*key): amount for *key, amount in rows}

    def blobs(self, lane: str, key: WindowKey) -> Iterator[bytes]:
        """The sealed tallies of one window, oldest first; one at a time in memory."""
        numbers = self._database.rows(
            "SELECT id FROM tallies WHERE lane = ? AND table_name = ? AND window_start = ? ORDER BY id",
            (lane, key.table, key.start),
        )
        for number in numbers:
            for (blob,) in self._database.rows("SELECT blob FROM tallies WHERE id = ?", number):
                yield blob

    def pending_seals(self) -> list[PendingSeal]:
        """Windows whose final rows are frozen but not known to be published."""
        rows = self._database.rows(
            "SELECT frozen, completeness, reason, backfill FROM seals ORDER BY table_name, window_start"
        )
        return [PendingSeal(_RELEASED.decode(frozen), done, why, bool(back)) for frozen, done, why, back in rows]

    def pending_rejects(self) -> dict[str, list[SealedReject]]:
        """Sealed rejects that are not known to have reached the dead letters, by batch."""
        pending: dict[str, list[SealedReject]] = {}
        rows = self._database.rows("SELECT batch, source, reason, clear, sealed FROM rejects ORDER BY id")
        for batch, source, reason, clear, sealed in rows:
            pending.setdefault(batch, []).append(SealedReject(source, reason, clear, sealed, b""))
        return pending

    def totals(self, lane: str) -> dict[tuple[str, str], int]:
        """Exact conservation counts of a lane: (source, name) -> amount. For the operator's terminal only."""
        rows = self._database.rows(
            "SELECT source, name, CAST(SUM(amount) AS BIGINT) FROM batches WHERE lane = ? GROUP BY 1, 2 ORDER BY 1, 2",
            (lane,),
        )
        return {(source, name): amount for source, name, amount in rows}
