"""A bus of several partitions without a server: what each poll gives, and which partitions there are, is written out."""

from collections.abc import Callable

from pipelines.bus import BusBatch, Gap, Limits
from pipelines.work_values import Position
from schemas.chunks import RawChunk, Wrapping


class ScriptedPartitions:
    """Gives its batches one a poll, then None.

    Attributes:
      names: the partitions that are read here; `at`: when they were last listed, ms UTC.
      asked: the limits of each poll; `while_polling` is called in each.
    """

    def __init__(self, *names: str, at: int | None = None) -> None:
        self.names, self.at = names, at
        self.asked: list[Limits] = []
        self.is_closed = False
        self.while_polling: Callable[[], object] = lambda: None
        self._next: dict[str, int] = {}
        self._batches: list[BusBatch | None] = []

    def put(
        self,
        stamps: dict[str, list[int]] | None = None,
        *,
        proven: dict[str, int] | None = None,
        lost: tuple[Gap, ...] = (),
    ) -> None:
        """Messages by the partition and their effective arrivals; ends that are proven; what was lost before them."""
        chunks, positions = [], []
        for part, arrivals in (stamps or {}).items():
            self._next[part] = self._next.get(part, 0) + len(arrivals)
            wrapping = Wrapping(part.partition("/")[0], tuple(arrivals))
            chunks.append(RawChunk("ils", b"", tuple(b"%d" % at for at in arrivals), "bus", wrapping=wrapping))
            positions.append(Position(part, self._next[part], b"head", done=False, clock=arrivals[-1]))
        for part in (proven or {}).keys() - (stamps or {}).keys():
            positions.append(Position(part, self._next.setdefault(part, 0), b"", done=False))
        self._batches.append(BusBatch(tuple(chunks), tuple(positions), proven or {}, lost))

    def pause(self) -> None:
        """A poll that gives nothing."""
        self._batches.append(None)

    def parts(self) -> tuple[str, ...]:
        return tuple(sorted(self.names))

    def listed(self) -> int | None:
        return self.at

    def poll(self, limits: Limits) -> BusBatch | None:
        self.asked.append(limits)
        self.while_polling()
        return self._batches.pop(0) if self._batches else None

    def ack(self, batch: BusBatch) -> None:
        raise AssertionError("positions are in the engine's checkpoint alone")

    def close(self) -> None:
        self.is_closed = True


class Reads:
    """A watch: the source is read, until a test says no."""

    def __init__(self):
        self.answer = True

    def may_read(self):
        return self.answer
