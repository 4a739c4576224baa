"""The hoard breaker of a streaming job: what `pipelines.breaker` is for `carrel live`, without a work store.

Each worker process counts in memory, an hour of its readers' clock at a time: a job with several may refuse as much
in each of them. The chunk that goes over the limit fails its bundle before one of its messages is sealed, so that
nothing of the bundle is kept. That the source is stopped is written to the counts store first: the readers that the
engine then starts again find it there, and leave the source alone; its clock stands, and what waits for it is held.
"""

import threading
from dataclasses import dataclass
from typing import Mapping, Optional

from pipelines.breaker import Breaker, BreakerOpenError
from pipelines.configuration import Deployment
from pipelines.counts_opening import open_counts
from pipelines.counts_rows import SourceStop
from pipelines.counts_store import CountsStore
from pipelines.iso_days import utc_day
from schemas.chunks import ArrivalSpan
from transforms.privacy.times import HOUR

_HOURS: dict[tuple[str, str], Breaker] = {}  # by tenant and source: chains of transforms come and go
_LOCK = threading.Lock()


def stands(counts: CountsStore, tenant: str) -> dict[str, SourceStop]:
    """The last word on each source that was ever stopped or resumed, by its name."""
    return {stop.source: stop for stop in counts.stops(tenant)}


def resume(counts: CountsStore, tenant: str, source: str, *, now: int, accepts_until: int) -> str:
    """Let streaming jobs read a source again.

    Args:
      now: ms UTC.
      accepts_until: until then (ms UTC) all that it refuses is taken as letters; 0 judges at once.

    Returns:
      Why it was stopped; empty when it was not.
    """
    last = stands(counts, tenant).get(source)
    reason = "" if last is None else last.reason
    if reason or accepts_until:
        counts.record_stop(SourceStop(tenant, source, "", accepts_until, utc_day(now).isoformat()))
    return reason


@dataclass(frozen=True)
class JudgeRefusals:
    """Counts what a source refuses, where the graph runs."""

    deployment: Deployment

    def __call__(self, source: str, counts: Mapping[str, int], span: Optional[ArrivalSpan], read_at: int) -> None:
        """Count a decoded chunk.

        Args:
          counts: its conservation counts by name.
          read_at: the reader's clock, ms UTC.

        Raises:
          BreakerOpenError: it refuses too much; nothing of the bundle may be kept.
        """
        place, window = (self.deployment.tenant, source), read_at // HOUR
        with _LOCK:
            before = _HOURS.get(place, Breaker())
            found = before.judged(counts, () if span is None else (span,), window=window, now=read_at)
            if found.reason:
                found = Breaker(window=window, accepts_until=self._stop(source, found.reason, read_at))
            _HOURS[place] = found

    def _stop(self, source: str, reason: str, read_at: int) -> int:
        """Until when the operator takes all that it refuses, ms UTC; where he does not, it is stopped."""
        tenant = self.deployment.tenant
        with open_counts(self.deployment.counts_store) as counts:
            last = stands(counts, tenant).get(source)
            if last is not None and read_at < last.accepts_until:
                return last.accepts_until
            if last is None or not last.reason:
                counts.record_stop(SourceStop(tenant, source, reason, 0, utc_day(read_at).isoformat()))
        raise BreakerOpenError(source, reason)
