"""What one transaction changes in the work store."""

from types import TracebackType
from typing import Iterable, Mapping, Optional, Self, Sequence

from pipelines.work_database import Row, WorkDatabase
from pipelines.work_values import HeldByAnotherError, PendingSeal, Position, WorkStoreError
from schemas.chunks import ArrivalSpan
from schemas.counts import SealedTally, WindowKey
from schemas.rejects import SealedReject
from transforms.coders import ColumnsCoder

_RELEASED = ColumnsCoder("ReleasedTable")


class Transaction:
    """All changes of one batch; rolled back unless the block ends well and the epoch still holds."""

    def __init__(self, database: WorkDatabase, epoch: int) -> None:
        self._database = database
        self._epoch = epoch
        self._is_broken = False

    def __enter__(self) -> Self:
        self._database.begin()
        try:
            self._refuse_when_fenced()
        except BaseException:
            self._database.rollback()
            raise
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        value: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if kind is None and not self._is_broken:
            self._database.commit()
            return
        self._database.rollback()
        if kind is None:
            message = f"{self._database.name}: a part of this batch failed; nothing of it was kept, run again"
            raise WorkStoreError(message)

    def _refuse_when_fenced(self) -> None:
        """From here to the end of this transaction nobody else can raise the epoch."""
        query = f"SELECT value FROM meta WHERE key = 'epoch'{self._database.for_update}"  # noqa: S608 - a constant
        if self._database.rows(query) != [(str(self._epoch),)]:
            message = f"{self._database.name}: another instance took this store over; this one stops"
            raise HeldByAnotherError(message)

    def _change(self, statement: str, *values: object) -> int:
        return self._change_all(statement, [values])

    def _change_all(self, statement: str, rows: Iterable[Row]) -> int:
        try:
            return self._database.change(statement, rows)
        except BaseException:
            self._is_broken = True  # whoever goes on in spite of it must not commit the rest
            raise

    def set_value(self, key: str, value: Optional[str]) -> None:
        """Remember or forget a named value."""
        self._change("DELETE FROM meta WHERE key = ?", key)
        if value is not None:
            self._change("INSERT INTO meta VALUES(?, ?)", key, value)

    def advance(self, source: str, position: Position) -> None:
        """Move a file's position."""
        self._change(
            "INSERT INTO positions VALUES(?, ?, ?, ?, ?, ?) ON CONFLICT(source, part) DO UPDATE"
            " SET next = excluded.next, head = excluded.head, done = excluded.done, clock = excluded.clock",
            source,
            position.part,
            position.next,
            position.head,
            int(position.done),
            position.clock,
        )

    def prove(self, source: str, part: str, clock: int) -> None:
        """The part was read to its end at this time (ms UTC); kept apart from the arrival of what was read."""
        self._change(
            "INSERT INTO proofs VALUES(?, ?, ?) ON CONFLICT(source, part) DO UPDATE"
            " SET clock = CASE WHEN proofs.clock > excluded.clock THEN proofs.clock ELSE excluded.clock END",
            source,
            part,
            clock,
        )

    def note_gap(self, source: str, part: str, after: int, until: int) -> None:
        """Messages of a part are lost for good; windows that they may belong to are void."""
        self._change("INSERT INTO gaps VALUES(?, ?, ?, ?) ON CONFLICT DO NOTHING", source, part, after, until)

    def forget_positions(self, source: str, parts: Iterable[str]) -> None:
        """Read these files from their beginning again."""
        self._change_all("DELETE FROM positions WHERE source = ? AND part = ?", ((source, part) for part in parts))

    def append(self, lane_of: Mapping[WindowKey, str], tallies: Sequence[SealedTally]) -> None:
        """Append sealed tallies, each to its window's lane."""
        self._change_all(
            "INSERT INTO tallies(lane, table_name, window_start, window_end, rows, blob) VALUES(?, ?, ?, ?, ?, ?)",
            ((lane_of[t.key], t.key.table, t.key.start, t.key.end, t.rows, t.blob) for t in tallies),
        )

    def drop_window(self, lane: str, key: WindowKey) -> None:
        """Forget the tallies of one window."""
        self._change(
            "DELETE FROM tallies WHERE lane = ? AND table_name = ? AND window_start = ?",
            lane,
            key.table,
            key.start,
        )

    def drop_lane(self, lane: str) -> None:
        """Forget everything of one lane."""
        for table in ("tallies", "clocks", "batches"):
            self._change(f"DELETE FROM {table} WHERE lane = ?", lane)  # noqa: S608 - constants

    def keep_rejects(self, batch: str, day: str, rejects: Sequence[SealedReject]) -> None:
        """Keep sealed rejects until they are written out; a message refused before makes no second letter."""
        for reject in rejects:
            if self._change("INSERT INTO seen_rejects VALUES(?, ?) ON CONFLICT DO NOTHING", reject.seen, day):
                self._change(
                    "INSERT INTO rejects(batch, source, reason, clear, sealed) VALUES(?, ?, ?, ?, ?)",
                    batch,
                    reject.source,
                    reject.reason,
                    reject.clear,
                    reject.sealed,
                )

    def tidy(self, kept_since: str) -> None:
        """Let go of what would grow for ever and that nothing needs.

        Args:
          kept_since: the first day of which letters are kept, YYYY-MM-DD.
        """
        # Whoever brings a message again after its letter was deleted (a bus that is read from an earlier place, an
        # archive once more) makes one letter of it, as the first time: there are never two. What is accepted does not
        # look here: its acts are told apart by their own tags.
        self._change("DELETE FROM seen_rejects WHERE day < ?", kept_since)
        # Of the batches nothing but the sums is ever asked for, and these stay as they are.
        ((last,),) = self._database.rows("SELECT COALESCE(MAX(id), 0) FROM batches")
        self._change(
            "INSERT INTO batches(lane, epoch, source, name, amount) SELECT lane, ?, source, name,"
            " CAST(SUM(amount) AS BIGINT) FROM batches GROUP BY lane, source, name",
            self._epoch,
        )
        self._change("DELETE FROM batches WHERE id <= ?", last)

    def rejects_written(self, batch: str) -> None:
        """The dead letters of this batch are safe elsewhere."""
        self._change("DELETE FROM rejects WHERE batch = ?", batch)

    def count(self, lane: str, counts: Mapping[tuple[str, str], int]) -> None:
        """Add conservation counts: (source, name) -> amount."""
        self._change_all(
            "INSERT INTO batches(lane, epoch, source, name, amount) VALUES(?, ?, ?, ?, ?)",
            ((lane, self._epoch, source, name, amount) for (source, name), amount in sorted(counts.items())),
        )

    def widen(self, lane: str, span: ArrivalSpan) -> None:
        """Take in how far a batch reached; the clock itself stands still."""
        self._change(
            "INSERT INTO clocks VALUES(?, ?, ?, ?, ?, NULL, NULL, NULL) ON CONFLICT(lane, source) DO UPDATE SET"
            " first_arrival = CASE WHEN clocks.first_arrival < excluded.first_arrival"
            " THEN clocks.first_arrival ELSE excluded.first_arrival END,"
            " last_arrival = CASE WHEN clocks.last_arrival > excluded.last_arrival"
            " THEN clocks.last_arrival ELSE excluded.last_arrival END,"
            " last_event = CASE WHEN clocks.last_event > excluded.last_event"
            " THEN clocks.last_event ELSE excluded.last_event END",
            lane,
            span.source,
            span.first_arrival,
            span.last_arrival,
            span.last_event,
        )

    def set_clock(self, lane: str, source: str, clock: int) -> None:
        """Advance a source's clock (ms UTC); it never goes back."""
        self._change(
            "UPDATE clocks SET clock = ? WHERE lane = ? AND source = ? AND (clock IS NULL OR clock < ?)",
            clock,
            lane,
            source,
            clock,
        )

    def declare(self, lane: str, source: str, *, since: Optional[str], through: Optional[str]) -> None:
        """Keep the operator's word on where a source's data begin and end (ISO days)."""
        self._change(
            "INSERT INTO clocks VALUES(?, ?, NULL, NULL, NULL, NULL, NULL, NULL) ON CONFLICT DO NOTHING", lane, source
        )
        self._change(
            "UPDATE clocks SET complete_from = COALESCE(?, complete_from),"
            " complete_through = COALESCE(?, complete_through) WHERE lane = ? AND source = ?",
            since,
            through,
            lane,
            source,
        )

    def freeze(self, seal: PendingSeal) -> None:
        """Freeze a window's final rows: from now on these bytes and no others are published."""
        self._change(
            "INSERT INTO seals VALUES(?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            seal.table.key.table,
            seal.table.key.start,
            _RELEASED.encode(seal.table),
            seal.completeness,
            seal.reason,
            int(seal.backfill),
        )

    def unfreeze(self, key: WindowKey) -> None:
        """The frozen rows are published."""
        self._change("DELETE FROM seals WHERE table_name = ? AND window_start = ?", key.table, key.start)
