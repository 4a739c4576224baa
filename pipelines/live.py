"""`carrel live`: the batch loop over message buses, until it is told to stop.

Each step takes a bounded batch from every bus, commits tallies, positions, clocks and rejects in one
transaction, acknowledges after it, and releases what is due. Killed anywhere, it goes on where it stood.
"""

import hashlib
import time
from dataclasses import dataclass, field, replace
from typing import Callable, Dict, Optional, Sequence

from pipelines import table_history
from pipelines.breaker import LIVE, BreakerOpenError, judge, open_breaker, open_reason
from pipelines.bus import Bus, BusBatch, Limits
from pipelines.buses import open_buses
from pipelines.configuration import ConfigurationError, Deployment
from pipelines.counts_opening import open_counts
from pipelines.crash_points import crash_point
from pipelines.iso_days import utc_day
from pipelines.journal import Journal
from pipelines.key_life import KeyLife
from pipelines.letters_output import LettersOutput, kept_since, letters_output, purge_letters
from pipelines.loop import Totals, run_batch
from pipelines.planning import begin_afresh_without_keys
from pipelines.publication import finish_pending, release_due
from pipelines.reading import write_letters
from pipelines.replay import job_of, with_lookups
from pipelines.run import Run, Summary, begun
from pipelines.watch import Watch, watched
from pipelines.work_store import WorkStore
from pipelines.work_transaction import Transaction
from pipelines.work_values import OPEN
from schemas.chunks import ArrivalSpan
from schemas.policy import PrivacyPolicy
from transforms.privacy.times import HOUR, Zone

_PROOF_EVERY = 60_000  # ms: proofs of a quiet bus are written at most so often, unless they pass an hour


@dataclass
class Live:
    """The loop and what it works with.

    Attributes:
      run: stores, policy, sources; its job's clock is set anew for each batch.
      buses: source name -> its bus, of those that are read.
      now: the wall clock, ms UTC.
      stopped: sources whose breaker is open: their buses are closed and keep what comes.
      purged: the last day on which old letters were deleted.
      looked: in which hour since 1970 it was last looked what is due.
    """

    run: Run
    buses: Dict[str, Bus]
    letters: LettersOutput
    journal: Journal
    watch: Watch
    now: Callable[[], int]
    limits: Limits
    stopped: set[str] = field(default_factory=set)
    purged: str = ""
    looked: int = 0

    def go_on(self, stopping: Callable[[], bool]) -> None:
        """Take, commit, acknowledge and release until told to stop; the step in work is finished first.

        Raises:
          BusError, WorkStoreError, StoreError, KeyringError: it cannot go on; what was committed stays.
        """
        self._at_this_time()
        finish_pending(self.run)
        write_letters(self.run.store, self.letters, self.run.job.day)
        self._release(tuple(self.buses))
        for source in tuple(self.buses):
            if reason := open_reason(self.run.store, source):
                self._stop_reading(source, reason)
        while not stopping():
            self.step()

    def step(self) -> None:
        """One round over all buses, and the releases that it makes due."""
        self._at_this_time()
        self._purge()
        if not self.buses:
            time.sleep(self.limits.seconds)  # as long as a bus would wait
        moved = [source for source, bus in tuple(self.buses.items()) if self._take(source, bus)]
        # Whatever becomes of its buses: the deadlines of keys come.
        if moved or self.run.job.now // HOUR != self.looked:
            self._release(moved)
        self.watch.round_done(self.run)

    def _purge(self) -> None:
        """Delete letters that are too old, and what the work store remembers of them, once a day."""
        if self.purged != self.run.job.day:
            today = utc_day(self.run.job.now)
            purge_letters(self.run.deployment, self.letters, today)
            with self.run.store.transaction() as transaction:
                transaction.tidy(kept_since(today))
            self.purged = self.run.job.day

    def _at_this_time(self) -> None:
        now = self.now()
        job = replace(self.run.job, now=now, day=utc_day(now).isoformat())
        self.run = replace(self.run, job=job, summary=Summary())

    def _take(self, source: str, bus: Bus) -> bool:
        """Commit what one bus has; whether its clock passed an hour, which is when windows may be due."""
        batch = bus.poll(self.limits)
        self._at_this_time()  # a machine that was asleep meanwhile must not find its messages ahead of its clock
        if batch is None or not (batch.chunks or batch.gaps or self._is_news(source, batch)):
            return False
        crash_point("batch-read")
        began = time.monotonic()
        before = self.run.store.clock(OPEN, source).clock or 0
        clock = self._clock(source, bus, batch)
        try:
            self._commit(source, batch, clock)
        except BreakerOpenError as error:
            open_breaker(self.run.store, LIVE, error, window=self.run.job.now // HOUR)
            self._stop_reading(source, error.reason)
            return False
        bus.ack(batch)
        crash_point("batch-acknowledged")
        write_letters(self.run.store, self.letters, self.run.job.day)
        self.watch.committed(time.monotonic() - began, self.run.job.now)
        for gap in batch.gaps:
            self.journal.note("gap_found", source=source, part=gap.part)
        return bool(batch.gaps) or (clock is not None and clock // HOUR > before // HOUR)

    def _stop_reading(self, source: str, reason: str) -> None:
        """The others go on; what this one was given goes back to its bus."""
        self.stopped.add(source)
        self.buses.pop(source).close()
        self.journal.note("breaker_open", source=source, reason=reason)

    def _is_news(self, source: str, batch: BusBatch) -> bool:
        """Whether a proof is worth a write: it passes an hour, or a minute has gone."""
        known = self.run.store.proofs(source)
        return any(
            clock // HOUR > known.get(part, 0) // HOUR or clock - known.get(part, 0) >= _PROOF_EVERY
            for part, clock in batch.proven.items()
        )

    def _commit(self, source: str, batch: BusBatch, clock: Optional[int]) -> None:
        now, store = self.run.job.now, self.run.store

        def move(transaction: Transaction, spans: Sequence[ArrivalSpan], counts: Totals) -> None:
            # A bus says itself how far its parts are: spans move nothing here.
            judge(store, transaction, LIVE, source, counts, spans, window=now // HOUR, now=now)
            for position in batch.positions:
                transaction.advance(source, position)
            for part, proof in batch.proven.items():
                transaction.prove(source, part, proof)
            for gap in batch.gaps:
                transaction.note_gap(source, gap.part, gap.after or 0, now if gap.until is None else gap.until)
            if clock is not None:
                transaction.set_clock(OPEN, source, clock)

        if batch.chunks:
            run_batch(
                self.run.job, store, source=source, chunks=batch.chunks, batch_name=_name(store, source, batch),
                published=self.run.published(), verifying=False, move=move,
            )  # fmt: skip
        else:
            with store.transaction() as transaction:
                move(transaction, (), {})

    def _clock(self, source: str, bus: Bus, batch: BusBatch) -> Optional[int]:
        """The lowest clock of all parts after this batch; None while one of them has none."""
        read = {part: position.clock for part, position in self.run.store.positions(source).items()}
        read |= {position.part: position.clock for position in batch.positions}
        proven = {**self.run.store.proofs(source), **batch.proven}
        return min((max(read.get(part) or 0, proven.get(part, 0)) for part in bus.parts()), default=0) or None

    def _release(self, moved: Sequence[str]) -> None:
        self.looked = self.run.job.now // HOUR
        keys = KeyLife(self.run.deployment, self.run.job.policy, self.run.store, self.run.counts, self.run.job.now)
        self.run.tell(keys.keep_deadlines())
        release_due(self.run, moved, backfill=False)
        self.run.tell(keys.end_released())
        for name in self.run.summary.released:
            self.journal.note("window_released", window=name)
        for name in self.run.summary.void:
            self.journal.note("window_void", window=name)
        for name in self.run.summary.differs:
            self.journal.note("window_differs", window=name)
        for name in self.run.summary.destroyed:
            self.journal.note("key_destroyed", key=name)


def live(
    deployment: Deployment,
    policy: PrivacyPolicy,
    *,
    now: Callable[[], int],
    stopping: Callable[[], bool],
    journal: Journal,
    limits: Limits,
) -> frozenset[str]:
    """Read the buses of a deployment until told to stop.

    Args:
      now: the wall clock, ms UTC.
      stopping: asked between two steps.

    Returns:
      The sources that were not read to the end, because they refuse too much.

    Raises:
      ConfigurationError, RetentionError, BusError, WorkStoreError, StoreError, KeyringError: one line each.
    """
    with WorkStore(deployment.work_store) as store, open_counts(deployment.counts_store) as counts:
        run = Run(deployment, job_of(deployment, policy, counts, now()), store, counts, Zone(policy.time_zone))
        if begun(store) is not None:
            message = "carrel live: a replay was cut short; finish it first: carrel replay"
            raise ConfigurationError(message)
        begin_afresh_without_keys(run)  # refuses when a needed key is missing
        table_history.begin(run, again=False)
        with watched(store, deployment.metrics) as watch, open_buses(deployment, policy, store, now) as buses:
            with store.transaction() as transaction:
                for source in deployment.sources:
                    transaction.declare(OPEN, source.name, since=source.complete_from, through=None)
            letters = letters_output(deployment)
            sources = len(buses)
            journal.note("live_started", sources=sources)
            loop = Live(with_lookups(run, tuple(buses)), buses, letters, journal, watch, now, limits)
            loop.go_on(stopping)
            journal.note("live_stopped", sources=sources)
            return frozenset(loop.stopped)


def _name(store: WorkStore, source: str, batch: BusBatch) -> str:
    """Names a batch by where it ends, so that its rejects are written once."""
    where = "\0".join(f"{position.part}\0{position.next}" for position in batch.positions)
    return hashlib.sha256(f"{source}\0{where}\0{store.epoch}".encode()).hexdigest()[:16]
