"""Whether a long run is ready (stores are open, the first round is done) and healthy (its loop makes steps)."""

import time
from typing import Callable

from pipelines.supervisor import Supervisor

PATIENCE = 600.0  # seconds: a month's end with many large windows takes minutes, not ten of them


class Health:
    """Written by the loop, read by whoever asks, from any thread.

    Args:
      supervisor: is told of each change.
      clock: seconds that never go back.
    """

    def __init__(self, supervisor: Supervisor, clock: Callable[[], float] = time.monotonic) -> None:
        self._supervisor = supervisor
        self._clock = clock
        self._step = clock()
        self._is_ready = False

    def step(self) -> None:
        """A step was made: something was read and committed, or there was nothing to read."""
        self._step = self._clock()
        self._supervisor.going_on()

    def round_done(self) -> None:
        """All buses were asked and what was due is released."""
        self.step()
        if not self._is_ready:
            self._is_ready = True
            self._supervisor.ready()

    def stopping(self) -> None:
        """The loop ends: no longer ready."""
        self._is_ready = False
        self._supervisor.stopping()

    @property
    def is_ready(self) -> bool:
        """Whether the first round is done and the loop is not ending."""
        return self._is_ready

    @property
    def is_healthy(self) -> bool:
        """Whether the last step was made within the last ten minutes."""
        return self._clock() - self._step <= PATIENCE
