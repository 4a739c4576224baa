"""Reads the files of a run and commits them batch by batch.

The files of a source in the order of arrival are read side by side: always the one that is furthest
behind, so that the source's clock, which is the lowest of them, may move while they are read.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Callable, Optional, Sequence

from pipelines import inputs
from pipelines.breaker import REPLAY, BreakerOpenError, judge, open_breaker
from pipelines.configuration import SourceConfig
from pipelines.crash_points import crash_point
from pipelines.inputs import InputError
from pipelines.letters_output import LettersOutput
from pipelines.loop import Totals, run_batch
from pipelines.progress import Step, Told
from pipelines.run import Begun, Planned, Run
from pipelines.work_store import WorkStore
from pipelines.work_transaction import Transaction
from pipelines.work_values import OPEN, Position
from schemas.chunks import ArrivalSpan
from schemas.wire import ADAPTERS
from transforms.privacy.times import GRACE

_HANDLES = 32  # files that are kept open; another one is opened again where it stands
_FIRST = 1  # bytes: of a file whose arrivals are not known yet, one chunk tells them


@dataclass(eq=False)
class Archive:
    """One file of a run.

    Attributes:
      clock: effective arrival of its last message, ms UTC; None as long as that is not known.
      floor: its first message may not have arrived before (ms UTC); None where anything may come.
      began: when the run began that reads it, ms UTC.
    """

    source: SourceConfig
    path: Path
    standing: inputs.Standing
    clock: Optional[int] = None
    floor: Optional[int] = None
    began: int = 0
    batches: Optional[Iterator[inputs.Batch]] = field(default=None, repr=False)

    def next_batch(self) -> inputs.Batch:
        """Read on."""
        if self.batches is None:
            size = _FIRST if self.source.ordered_by_arrival and self.clock is None else inputs.BATCH
            envelope = ADAPTERS[self.source.adapter].envelope
            self.batches = inputs.batches(self.path, self.source.name, envelope, self.standing, size=size)
        return next(self.batches)

    def in_order(self, position: Position, spans: Sequence[ArrivalSpan]) -> Position:
        """The position with the file's clock after these chunks.

        Raises:
          InputError: a message arrived before the one above it.
        """
        clock = self.floor if self.clock is None else self.clock
        for span in spans:
            if not span.in_order or (clock is not None and span.first_arrival < clock):
                message = (
                    f"{self.path.name}: after byte {self.standing.at} a message arrived before one that was read;"
                    " put the file in the order of arrival, or take ordered_by out of carrel.toml, then run again"
                )
                raise InputError(message)
            clock = span.last_arrival
        return replace(position, clock=clock if spans else self.clock)


def archive(run: Run, begun: Begun, file: Planned) -> Optional[Archive]:
    """A file with the place where reading begins; None when it is read already."""
    (source,) = (source for source in run.deployment.sources if source.name == file.source)
    known = run.store.positions(source.name).get(file.part)
    standing = inputs.standing(Path(file.part), known, run.job.keyring.open().seen())
    if standing is None:
        return None
    clock = run.store.clock(OPEN, source.name).clock
    # What is read again, or because it was named, may begin before what was read of the source.
    floor = None if known or file.is_named or begun.afresh or clock is None else clock - GRACE
    reached = known.clock if known and standing.at else None
    return Archive(source, Path(file.part), standing, reached, floor, begun.at)


def read_all(
    run: Run, letters: LettersOutput, archives: Sequence[Archive], due: Callable[[], None], told: Told
) -> None:
    """Read all files to their end.

    Args:
      due: called when the clock of a source has moved: windows may be due.
      told: is told of each batch.

    Raises:
      BreakerOpenError: a source refuses too much; its files stand before the batch that did.
    """

    def read_on(one: Archive) -> bool:
        is_done = _commit(run, letters, one, [file for file in archives if file.source is one.source])
        done = sum(min(file.standing.at, file.standing.size) for file in archives)
        total = sum(file.standing.size for file in archives)
        told(Step(one.source.name, archives.index(one) + 1, len(archives), done, total))
        return is_done

    for one in archives:
        if not one.source.ordered_by_arrival:
            while not read_on(one):
                pass
    left = [one for one in archives if one.source.ordered_by_arrival]
    opened: list[Archive] = []
    while left:
        one = min(left, key=lambda file: (file.clock is not None, file.clock or 0))
        was_unknown = one.clock is None
        if read_on(one):
            left.remove(one)
        opened = [*(file for file in opened if file is not one), one]
        for file in (*opened[:-_HANDLES], *((one,) if was_unknown else ())):
            file.batches = None
        opened = opened[-_HANDLES:]
        clock = _clock([file for file in archives if file.source is one.source], left)
        if clock is not None and _advance(run, one.source.name, clock):
            due()


def _clock(files: Sequence[Archive], left: Sequence[Archive]) -> Optional[int]:
    """The clock of a source: the lowest of its files that are not read to their end, or how far all of them reach."""
    waiting = [file.clock for file in files if file in left]
    known = [clock for clock in waiting if clock is not None]
    if len(known) < len(waiting):
        return None
    return min(known) if known else max((file.clock for file in files if file.clock is not None), default=None)


def _advance(run: Run, source: str, clock: int) -> bool:
    """Move a source's clock; whether it has moved."""
    before = run.store.clock(OPEN, source).clock
    if before is not None and clock <= before:
        return False
    with run.store.transaction() as transaction:
        transaction.set_clock(OPEN, source, clock)
    return True


def _commit(run: Run, letters: LettersOutput, one: Archive, of_source: Sequence[Archive]) -> bool:
    """Read and commit the next batch of a file; whether it was the last."""
    batch = one.next_batch()
    ends = [batch.end if file is one else file.standing for file in of_source]
    whole = sum(end.size for end in ends) / max(1, sum(min(end.at, end.size) for end in ends))
    crash_point("batch-read")
    part = str(one.path)
    place = f"{one.source.name}\0{part}\0{one.standing.at}\0{batch.end.at}\0{batch.done}\0{run.store.epoch}"
    position = Position(part, batch.end.at, batch.end.head, batch.done)

    def move(transaction: Transaction, spans: Sequence[ArrivalSpan], counts: Totals) -> None:
        name, now = one.source.name, run.job.now
        judge(run.store, transaction, REPLAY, name, counts, spans, window=one.began, now=now, whole=max(1.0, whole))
        accepted = position
        if one.source.ordered_by_arrival:
            accepted = one.in_order(position, spans)
            one.clock = accepted.clock
        transaction.advance(one.source.name, accepted)

    try:
        run_batch(
            run.job,
            run.store,
            source=one.source.name,
            chunks=batch.chunks,
            batch_name=hashlib.sha256(place.encode()).hexdigest()[:16],
            published=run.published(),
            verifying=True,
            move=move,
        )
    except BreakerOpenError as error:
        open_breaker(run.store, REPLAY, error, window=one.began)
        raise
    one.standing = batch.end
    if batch.done:
        one.batches = None  # and with it the open file
    write_letters(run.store, letters, run.job.day)
    return batch.done


def write_letters(store: WorkStore, letters: LettersOutput, day: str) -> None:
    """Write committed rejects out; the same batch is the same letters, so a kill in between does no harm."""
    for batch, rejects in store.pending_rejects().items():
        letters.write(batch, day, rejects)
        crash_point("rejects-written")
        with store.transaction() as transaction:
            transaction.rejects_written(batch)
