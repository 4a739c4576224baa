"""A bus without a server: gives what a test puts in, then proves its end at each poll."""

import json
from collections.abc import Callable, Iterable

from pipelines.bus import BusBatch, Limits
from pipelines.work_values import Position
from schemas.chunks import RawChunk, Wrapping
from transforms.privacy.times import GRACE

PART = "t/0"


class ScriptedBus:
    """One part of one source; `put` adds a batch, `fail` an exception that the next poll raises.

    Args:
      now: the wall clock, ms UTC, at which its end is proven.

    Attributes:
      answers: else it gives nothing and proves nothing, as if its brokers were gone.
    """

    def __init__(self, source: str, now: Callable[[], int]) -> None:
        self.acknowledged = self.closed = 0
        self.answers = True
        self._source, self._now = source, now
        self._script: list[BusBatch | Exception] = []
        self._next = 0

    def put(self, events: Iterable[tuple[int, dict[str, object]]]) -> None:
        """Messages as (arrival in ms UTC, event)."""
        stamps, payloads = zip(*((at, json.dumps(event).encode()) for at, event in events), strict=True)
        self._next += len(stamps)
        chunk = RawChunk(self._source, b"", payloads, "bus", wrapping=Wrapping("t", stamps))
        position = Position(PART, self._next, b"", done=False, clock=stamps[-1])
        self._script.append(BusBatch(chunks=(chunk,), positions=(position,)))

    def fail(self, error: Exception) -> None:
        self._script.append(error)

    def parts(self) -> tuple[str, ...]:
        return (PART,)

    def poll(self, limits: Limits) -> BusBatch | None:
        if not self.answers:
            return None
        if not self._script:
            return BusBatch(proven={PART: self._now() - GRACE})
        step = self._script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    def ack(self, batch: BusBatch) -> None:
        self.acknowledged += len(batch.chunks)

    def close(self) -> None:
        self.closed += 1
