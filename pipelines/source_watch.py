"""What a reader of a streaming job looks at beside its bus: whether its source is stopped, and when keys end.

It is asked before each poll, also when nothing comes: a job whose sources all stand still keeps the deadlines of its
keys. Its own clock is the machine's.
"""

import time
from dataclasses import dataclass, field
from typing import Optional

from pipelines.bus_reader import now
from pipelines.configuration import Deployment
from pipelines.counts_opening import open_counts
from pipelines.counts_store import CountsStore
from pipelines.stream_breaker import stands
from pipelines.stream_keys import StreamKeys
from pipelines.try_again import TryAgainError
from transforms.privacy.times import HOUR

_LOOK_EVERY = 60.0  # seconds: a look may cost a query


@dataclass
class SourceWatch:
    """The watch of one source's readers; pickled before it has looked.

    Attributes:
      keys: the keys that its readers end each hour; None where another source's readers do.
    """

    source: str
    deployment: Deployment
    keys: Optional[StreamKeys]
    _looked: float = field(default=-_LOOK_EVERY, init=False)
    _may_read: bool = field(default=False, init=False)
    _hour: int = field(default=0, init=False)

    def may_read(self) -> bool:
        """Whether the source is read; as it was at the last look, while the counts store does not answer."""
        if time.monotonic() - self._looked >= _LOOK_EVERY:
            self._looked = time.monotonic()
            try:
                with open_counts(self.deployment.counts_store) as counts:
                    self._look(counts)
            except TryAgainError:
                pass
        return self._may_read

    def _look(self, counts: CountsStore) -> None:
        stop = stands(counts, self.deployment.tenant).get(self.source)
        self._may_read = stop is None or not stop.reason
        at = now()
        if self.keys is not None and at // HOUR != self._hour:
            self.keys.end(counts, at)
            self._hour = at // HOUR
