"""The work store: open tallies (sealed), positions, clocks and pending rejects, in one SQLite file.

One writer at a time: an OS lock says who, an epoch in every transaction fences a writer that lost it.
Everything a batch changes is one transaction, so that a kill loses the whole batch or nothing.
"""

import fcntl
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Iterable, Iterator, Mapping, Optional, Self, Sequence

from schemas.chunks import ArrivalSpan
from schemas.counts import ReleasedTable, SealedTally, WindowKey
from schemas.rejects import SealedReject
from transforms.coders import ColumnsCoder

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta(key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS positions(
  source TEXT, part TEXT, next INTEGER NOT NULL, head BLOB NOT NULL, done INTEGER NOT NULL, clock INTEGER,
  PRIMARY KEY(source, part));
CREATE TABLE IF NOT EXISTS clocks(
  lane TEXT, source TEXT, first_arrival INTEGER, last_arrival INTEGER, last_event INTEGER, clock INTEGER,
  complete_from TEXT, complete_through TEXT, PRIMARY KEY(lane, source));
CREATE TABLE IF NOT EXISTS proofs(source TEXT, part TEXT, clock INTEGER NOT NULL, PRIMARY KEY(source, part));
CREATE TABLE IF NOT EXISTS gaps(
  source TEXT, part TEXT, after INTEGER NOT NULL, until INTEGER NOT NULL, PRIMARY KEY(source, part, after, until));
CREATE TABLE IF NOT EXISTS tallies(
  id INTEGER PRIMARY KEY, lane TEXT NOT NULL, table_name TEXT NOT NULL, window_start TEXT NOT NULL,
  window_end TEXT NOT NULL, rows INTEGER NOT NULL, blob BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS tallies_window ON tallies(lane, table_name, window_start);
CREATE TABLE IF NOT EXISTS rejects(
  id INTEGER PRIMARY KEY, batch TEXT NOT NULL, source TEXT NOT NULL, reason TEXT NOT NULL,
  clear BLOB NOT NULL, sealed BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS seen_rejects(tag BLOB PRIMARY KEY, day TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS batches(
  id INTEGER PRIMARY KEY, lane TEXT NOT NULL, epoch INTEGER NOT NULL, source TEXT NOT NULL,
  name TEXT NOT NULL, amount INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS seals(
  table_name TEXT, window_start TEXT, frozen BLOB NOT NULL, completeness TEXT NOT NULL,
  reason TEXT NOT NULL, backfill INTEGER NOT NULL, PRIMARY KEY(table_name, window_start));
"""
_RELEASED = ColumnsCoder("ReleasedTable")


class WorkStoreError(ValueError):
    """The work store cannot be used; the text says what, where and what to do."""


class HeldByAnotherError(WorkStoreError):
    """Another instance holds the store (exit code 75)."""


@dataclass(frozen=True)
class Position:
    """Where reading of one file stands.

    Attributes:
      next: the byte to read next.
      head: tells this file, as far as it was read, from another one under the same name.
      done: whether it was read to its end.
      clock: effective arrival of its last message, ms UTC; None of a file that need not be in order.
    """

    part: str
    next: int
    head: bytes
    done: bool
    clock: Optional[int] = None


@dataclass(frozen=True)
class Clock:
    """What is known of one source's time, ms UTC; None when never read."""

    first_arrival: Optional[int]
    last_arrival: Optional[int]
    last_event: Optional[int]
    clock: Optional[int]
    complete_from: Optional[str]
    complete_through: Optional[str]


NEVER = Clock(None, None, None, None, None, None)


@dataclass(frozen=True)
class PendingSeal:
    """Final rows that are frozen and must reach the counts store before anything else is read."""

    table: ReleasedTable
    completeness: str
    reason: str
    backfill: bool


class WorkStore:
    """Exclusive access to one work store; use as a context manager.

    Args:
      read_only: look at it as it stands at one moment, whoever holds it; nothing of it is changed, not even its
        epoch. A store that nobody has made yet is empty.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self._is_read_only = read_only

    def __enter__(self) -> Self:
        if self._is_read_only:
            self._look()
        else:
            self._take()
        return self

    def _look(self) -> None:
        is_there = self.path.exists()
        where = f"{self.path.absolute().as_uri()}?mode=ro" if is_there else ":memory:"
        try:
            self._db = sqlite3.connect(where, uri=is_there, isolation_level=None, check_same_thread=False)
            if not is_there:
                self._db.executescript(_SCHEMA)
            self._db.execute("BEGIN")  # all that is read is of one moment: that of the next line
            self._db.execute("SELECT COUNT(*) FROM meta").fetchone()
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
            message = f"{self.path}: cannot be read (SQLite says {name}); check the file, its folder and their rights"
            raise WorkStoreError(message) from None

    def _take(self) -> None:
        try:
            self._lock = self.path.with_suffix(".lock").open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"{self.path.name}: another instance holds this store; wait for it or stop it"
            raise HeldByAnotherError(message) from None
        except OSError as error:
            message = f"{self.path}: cannot be opened ({error.strerror}); check the folder and its rights"
            raise WorkStoreError(message) from None
        try:
            self._db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA page_size=32768")  # of a new file: its rows are large blobs
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("INSERT OR IGNORE INTO meta VALUES('epoch', '0')")
            self._db.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'epoch'")
            self.epoch = self._epoch()
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._lock.close()
            raise self._said(error) from None
        self.path.chmod(0o600)

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._db.close()
        if not self._is_read_only:
            self._lock.close()

    def _said(self, error: sqlite3.Error) -> WorkStoreError:
        name = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
        what = "the disk is full" if name == "SQLITE_FULL" else f"SQLite says {name}"
        return WorkStoreError(f"{self.path.name}: {what}; nothing of this batch was kept, run again after mending it")

    def _epoch(self) -> int:
        return int(self._db.execute("SELECT value FROM meta WHERE key = 'epoch'").fetchone()[0])

    def transaction(self) -> "Transaction":
        """Begin the one transaction of a batch."""
        return Transaction(self)

    def value(self, key: str) -> Optional[str]:
        """A named value of the store itself."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def positions(self, source: str) -> dict[str, Position]:
        """Where each file of a source stands."""
        rows = self._db.execute("SELECT part, next, head, done, clock FROM positions WHERE source = ?", (source,))
        return {part: Position(part, at, head, bool(done), clock) for part, at, head, done, clock in rows}

    def clock(self, lane: str, source: str) -> Clock:
        """What the lane knows of a source's time."""
        row = self._db.execute(
            "SELECT first_arrival, last_arrival, last_event, clock, complete_from, complete_through"
            " FROM clocks WHERE lane = ? AND source = ?",
            (lane, source),
        ).fetchone()
        return NEVER if row is None else Clock(*row)

    def proofs(self, source: str) -> dict[str, int]:
        """Until when each part of a source was proven to have been read to its end, ms UTC."""
        return dict(self._db.execute("SELECT part, clock FROM proofs WHERE source = ?", (source,)))

    def gaps(self, source: str) -> list[tuple[int, int]]:
        """What a source has lost: arrival of the last message before and of the first one after, ms UTC."""
        rows = self._db.execute("SELECT after, until FROM gaps WHERE source = ? ORDER BY after, until", (source,))
        return [(after, until) for after, until in rows]

    def windows(self, lane: str) -> dict[WindowKey, int]:
        """The windows that hold anything, and how many acts; where it is none, only erasures wait for some."""
        rows = self._db.execute(
            "SELECT table_name, window_start, window_end, SUM(rows) FROM tallies WHERE lane = ?"
            " GROUP BY 1, 2, 3 ORDER BY 1, 2",
            (lane,),
        )
        return {WindowKey(*key): amount for *key, amount in rows}

    def blobs(self, lane: str, key: WindowKey) -> Iterator[bytes]:
        """The sealed tallies of one window."""
        rows = self._db.execute(
            "SELECT blob FROM tallies WHERE lane = ? AND table_name = ? AND window_start = ? ORDER BY id",
            (lane, key.table, key.start),
        )
        for (blob,) in rows:
            yield blob

    def pending_seals(self) -> list[PendingSeal]:
        """Windows whose final rows are frozen but not known to be published."""
        rows = self._db.execute(
            "SELECT frozen, completeness, reason, backfill FROM seals ORDER BY table_name, window_start"
        )
        return [PendingSeal(_RELEASED.decode(frozen), done, why, bool(back)) for frozen, done, why, back in rows]

    def pending_rejects(self) -> dict[str, list[SealedReject]]:
        """Sealed rejects that are not known to have reached the dead letters, by batch."""
        pending: dict[str, list[SealedReject]] = {}
        rows = self._db.execute("SELECT batch, source, reason, clear, sealed FROM rejects ORDER BY id")
        for batch, source, reason, clear, sealed in rows:
            pending.setdefault(batch, []).append(SealedReject(source, reason, clear, sealed, b""))
        return pending

    def totals(self, lane: str) -> dict[tuple[str, str], int]:
        """Exact conservation counts of a lane: (source, name) -> amount. For the operator's terminal only."""
        rows = self._db.execute(
            "SELECT source, name, SUM(amount) FROM batches WHERE lane = ? GROUP BY 1, 2 ORDER BY 1, 2", (lane,)
        )
        return {(source, name): amount for source, name, amount in rows}


class Transaction:
    """All changes of one batch; rolled back unless the block ends well and the epoch still holds."""

    def __init__(self, store: WorkStore) -> None:
        self._store = store
        self._db = store._db  # noqa: SLF001 - the two classes are one unit

    def __enter__(self) -> Self:
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise self._store._said(error) from None  # noqa: SLF001
        if self._store._epoch() != self._store.epoch:  # noqa: SLF001
            self._db.execute("ROLLBACK")
            message = f"{self._store.path.name}: another instance took this store over; this one stops"
            raise HeldByAnotherError(message)
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        try:
            self._db.execute("COMMIT" if kind is None else "ROLLBACK")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise self._store._said(error) from None  # noqa: SLF001
        if kind is not None and issubclass(kind, sqlite3.Error) and isinstance(value, sqlite3.Error):
            raise self._store._said(value) from None  # noqa: SLF001

    def set_value(self, key: str, value: Optional[str]) -> None:
        """Remember or forget a named value."""
        self._db.execute("DELETE FROM meta WHERE key = ?", (key,))
        if value is not None:
            self._db.execute("INSERT INTO meta VALUES(?, ?)", (key, value))

    def advance(self, source: str, position: Position) -> None:
        """Move a file's position."""
        self._db.execute(
            "INSERT INTO positions VALUES(?, ?, ?, ?, ?, ?) ON CONFLICT(source, part) DO UPDATE"
            " SET next = excluded.next, head = excluded.head, done = excluded.done, clock = excluded.clock",
            (source, position.part, position.next, position.head, position.done, position.clock),
        )

    def prove(self, source: str, part: str, clock: int) -> None:
        """The part was read to its end at this time (ms UTC); kept apart from the arrival of what was read."""
        self._db.execute(
            "INSERT INTO proofs VALUES(?, ?, ?) ON CONFLICT(source, part) DO UPDATE"
            " SET clock = MAX(clock, excluded.clock)",
            (source, part, clock),
        )

    def note_gap(self, source: str, part: str, after: int, until: int) -> None:
        """Messages of a part are lost for good; windows that they may belong to are void."""
        self._db.execute("INSERT OR IGNORE INTO gaps VALUES(?, ?, ?, ?)", (source, part, after, until))

    def forget_positions(self, source: str, parts: Iterable[str]) -> None:
        """Read these files from their beginning again."""
        self._db.executemany("DELETE FROM positions WHERE source = ? AND part = ?", ((source, part) for part in parts))

    def append(self, lane_of: Mapping[WindowKey, str], tallies: Sequence[SealedTally]) -> None:
        """Append sealed tallies, each to its window's lane."""
        self._db.executemany(
            "INSERT INTO tallies(lane, table_name, window_start, window_end, rows, blob) VALUES(?, ?, ?, ?, ?, ?)",
            ((lane_of[t.key], t.key.table, t.key.start, t.key.end, t.rows, t.blob) for t in tallies),
        )

    def drop_window(self, lane: str, key: WindowKey) -> None:
        """Forget the tallies of one window."""
        self._db.execute(
            "DELETE FROM tallies WHERE lane = ? AND table_name = ? AND window_start = ?",
            (lane, key.table, key.start),
        )

    def drop_lane(self, lane: str) -> None:
        """Forget everything of one lane."""
        for table in ("tallies", "clocks", "batches"):
            self._db.execute(f"DELETE FROM {table} WHERE lane = ?", (lane,))  # noqa: S608 - constants

    def keep_rejects(self, batch: str, day: str, rejects: Sequence[SealedReject]) -> None:
        """Keep sealed rejects until they are written out; a message refused before makes no second letter."""
        for reject in rejects:
            fresh = self._db.execute("INSERT OR IGNORE INTO seen_rejects VALUES(?, ?)", (reject.seen, day))
            if fresh.rowcount:
                self._db.execute(
                    "INSERT INTO rejects(batch, source, reason, clear, sealed) VALUES(?, ?, ?, ?, ?)",
                    (batch, reject.source, reject.reason, reject.clear, reject.sealed),
                )

    def rejects_written(self, batch: str) -> None:
        """The dead letters of this batch are safe elsewhere."""
        self._db.execute("DELETE FROM rejects WHERE batch = ?", (batch,))

    def count(self, lane: str, counts: Mapping[tuple[str, str], int]) -> None:
        """Add conservation counts: (source, name) -> amount."""
        self._db.executemany(
            "INSERT INTO batches(lane, epoch, source, name, amount) VALUES(?, ?, ?, ?, ?)",
            ((lane, self._store.epoch, source, name, amount) for (source, name), amount in sorted(counts.items())),
        )

    def widen(self, lane: str, span: ArrivalSpan) -> None:
        """Take in how far a batch reached; the clock itself stands still."""
        self._db.execute(
            "INSERT INTO clocks VALUES(?, ?, ?, ?, ?, NULL, NULL, NULL) ON CONFLICT(lane, source) DO UPDATE SET"
            " first_arrival = MIN(IFNULL(first_arrival, excluded.first_arrival), excluded.first_arrival),"
            " last_arrival = MAX(IFNULL(last_arrival, excluded.last_arrival), excluded.last_arrival),"
            " last_event = MAX(IFNULL(last_event, excluded.last_event), excluded.last_event)",
            (lane, span.source, span.first_arrival, span.last_arrival, span.last_event),
        )

    def set_clock(self, lane: str, source: str, clock: int) -> None:
        """Advance a source's clock (ms UTC); it never goes back."""
        self._db.execute(
            "UPDATE clocks SET clock = MAX(IFNULL(clock, ?), ?) WHERE lane = ? AND source = ?",
            (clock, clock, lane, source),
        )

    def declare(self, lane: str, source: str, *, since: Optional[str], through: Optional[str]) -> None:
        """Keep the operator's word on where a source's data begin and end (ISO days)."""
        self._db.execute(
            "INSERT OR IGNORE INTO clocks VALUES(?, ?, NULL, NULL, NULL, NULL, NULL, NULL)", (lane, source)
        )
        self._db.execute(
            "UPDATE clocks SET complete_from = IFNULL(?, complete_from),"
            " complete_through = IFNULL(?, complete_through) WHERE lane = ? AND source = ?",
            (since, through, lane, source),
        )

    def freeze(self, seal: PendingSeal) -> None:
        """Freeze a window's final rows: from now on these bytes and no others are published."""
        self._db.execute(
            "INSERT OR IGNORE INTO seals VALUES(?, ?, ?, ?, ?, ?)",
            (
                seal.table.key.table,
                seal.table.key.start,
                _RELEASED.encode(seal.table),
                seal.completeness,
                seal.reason,
                seal.backfill,
            ),
        )

    def unfreeze(self, key: WindowKey) -> None:
        """The frozen rows are published."""
        self._db.execute("DELETE FROM seals WHERE table_name = ? AND window_start = ?", (key.table, key.start))
