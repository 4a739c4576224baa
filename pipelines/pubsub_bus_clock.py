"""What the answers of a subscription prove: that nothing old is left in it, or that it may have dropped something.

A subscription has no order and no end. The service may give fewer messages than asked for, even none, while it holds
more, so that one such answer proves nothing. What proves something is that for long no old message came.
"""

from typing import Optional

from pipelines.bus import Gap
from transforms.privacy.times import GRACE

LONGEST_LEASE = 600_000  # ms; no message can be leased for longer without being asked for again


class PullClock:
    """The clock of one subscription.

    An answer is *calm* when nothing in it was published more than `GRACE` before the question. After `settling` ms of
    calm answers alone, an answer that was not full proves the clock: the time of its question less `GRACE`.

    Why that is safe: what is still out then was published within `GRACE`, or was leased to somebody else (a killed
    instance of ours, an answer that was lost on its way) all the time. Such leases run out within `LONGEST_LEASE`, one
    after the other at worst, and after them the subscription's own backoff: `settling` is the sum of these. One that
    begins later, by a loss on the way, ends within `GRACE`. What comes later still meets its published window as
    `closed`: counted and alarmed, never added.

    Under traffic so dense that each answer is full, the clock stands until one is not.

    Args:
      part: the subscription's name in positions.
      kept: ms for which messages that nobody took are kept.
      backoff: the longest that the subscription waits before it gives a message again, ms.
      proven: the clock as the work store knows it, ms UTC; None when nothing was proven yet.
    """

    def __init__(self, part: str, *, kept: int, backoff: int, proven: Optional[int]) -> None:
        self._part = part
        self._kept = kept
        self._settling = 2 * LONGEST_LEASE + backoff
        self._calm_since: Optional[int] = None
        self._read_until = None if proven is None else proven + GRACE
        self._proof: Optional[int] = None
        self._gaps: list[Gap] = []

    def failed(self) -> None:
        """An answer was lost or given back: whatever it held is leased for a while, and calm begins anew."""
        self._calm_since = self._proof = None

    def answered(self, issued: int, *, oldest: Optional[int], full: bool) -> None:
        """Take in one answer.

        Args:
          issued: time of the question, ms UTC.
          oldest: the earliest publish time in the answer, ms UTC; None of an empty one.
          full: whether as many messages came as were asked for.
        """
        self._look_for_gap(issued - self._kept)
        if oldest is not None and oldest < issued - GRACE:
            self._calm_since = self._proof = None
            return
        if self._calm_since is None or issued < self._calm_since:  # the wall clock was set back
            self._calm_since = issued
        self._read_until = max(self._read_until or 0, issued)
        if not full and issued - self._calm_since >= self._settling:
            self._proof = issued - GRACE

    def findings(self) -> tuple[Optional[int], tuple[Gap, ...]]:
        """The clock that was proven since this was last called, ms UTC, and the gaps that nobody kept yet."""
        proof, self._proof = self._proof, None
        return proof, tuple(self._gaps)

    def kept(self) -> None:
        """The gaps are committed."""
        self._gaps = []

    def _look_for_gap(self, dropped: int) -> None:
        """A gap when no calm answer came for longer than messages are kept.

        It reaches `GRACE` further than what is dropped by now, so that slow catching up tells few gaps, not many.
        """
        if self._read_until is not None and dropped > self._read_until:
            self._gaps.append(Gap(self._part, after=self._read_until - GRACE, until=dropped + GRACE))
            self._read_until = dropped + GRACE
