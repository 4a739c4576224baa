"""What is seen of a long run from outside: its health, its service manager's messages, its page of metrics."""

import os
import time
from contextlib import contextmanager
from typing import Callable, Iterator, Optional

from pipelines.configuration import ListensAt
from pipelines.health import Health
from pipelines.metrics import Work, page
from pipelines.metrics_server import served
from pipelines.run import Run
from pipelines.supervisor import Supervisor
from pipelines.work_store import WorkStore
from pipelines.work_values import OPEN

EVERY = 300.0  # seconds: the page is made anew at most so often, however often it is asked for


class Watch:
    """Fed by the loop in its own thread.

    The page is made there too, from the stores, and handed over whole: whoever asks for it touches no store.

    Args:
      shown: whether anybody can ask for the page; else none is made.
      clock: seconds that never go back.
    """

    def __init__(self, health: Health, work: Work, *, shown: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.health = health
        self.page = b""
        self._work = work
        self._is_shown = shown
        self._clock = clock
        self._made: Optional[float] = None

    def committed(self, seconds: float, now: int) -> None:
        """A batch was committed: how long it took, and the wall clock in ms UTC."""
        self._work.batches += 1
        self._work.seconds += seconds
        self._work.committed = now
        self.health.step()

    def round_done(self, run: Run) -> None:
        """All buses were asked and what was due is released."""
        if self._is_shown and (self._made is None or self._clock() - self._made >= EVERY):
            self._made = self._clock()
            self.page = page(run, self._work)
        self.health.round_done()


@contextmanager
def watched(store: WorkStore, at: Optional[ListensAt]) -> Iterator[Watch]:
    """A watch over a process that begins now; it answers at the configured address until the block ends.

    Raises:
      ConfigurationError: the address cannot be listened on.
    """
    watch = Watch(Health(Supervisor(os.environ)), Work(before=store.totals(OPEN)), shown=at is not None)
    try:
        if at is None:
            yield watch
        else:
            with served(at, watch.health, lambda: watch.page):
                yield watch
    finally:
        watch.health.stopping()
