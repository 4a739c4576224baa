"""The hoard breaker: a source that refuses too much stops being read, before its letters pile up.

The batch that goes over the limit is not committed. The bus or the archive keeps its messages, so that they are read
again, and rightly, once the cause is mended. What is counted belongs to a window: one hour of `carrel live`, one run
of `carrel replay`. Only the reader's own clock tells windows apart: what is refused has often no readable arrival.
A thousand an hour is meant of arrivals, as far as those of a window could be read: a backlog of a month, read in a
minute, may refuse more than one hour of it. A run is judged as a whole: by the bytes still to be read, what came is
taken for a part of all, so that a small bad file that happens to come first stops nothing. A `gap` is not counted: it
is the source's word that it has lost something, there is nothing to mend, and no record in it.

Its state lies in the work store and is part of each batch's transaction, so that no restart forgets it.
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Mapping, Optional, Sequence

from pipelines.work_store import WorkStore
from pipelines.work_transaction import Transaction
from schemas.chunks import ArrivalSpan
from schemas.rejects import Reason
from transforms.privacy.times import HOUR

LIVE, REPLAY = "live", "replay"
SHARE, FEWEST, AN_HOUR = 100, 100, 1_000  # one in so many messages, if at least so many; so many of any number
_REJECTED = "rejected/"


class BreakerOpenError(ValueError):
    """A source refuses too much to be read on; nothing of the batch was kept (exit code 1)."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(
            f"sources.{source}: refuses too much to be read on, mostly {reason}; nothing of this batch was kept: mend"
            f" it and run again, or take its letters as they are: carrel sources resume {source} --accept"
        )
        self.source = source
        self.reason = reason


@dataclass(frozen=True)
class Breaker:
    """What one reader knows of a source.

    Attributes:
      window: which hour, or the run that began then, ms UTC.
      messages, rejects: committed in this window.
      first, last: arrivals that could be read in this window, ms UTC; None before the first.
      reason: the reason that most of the messages were refused for when it opened; empty while it is closed.
      accepts_until: before this time (ms UTC) nothing is judged or counted, by the operator's word.
    """

    window: int = 0
    messages: int = 0
    rejects: int = 0
    first: Optional[int] = None
    last: Optional[int] = None
    reason: str = ""
    accepts_until: int = 0

    def after(self, spans: Sequence[ArrivalSpan], messages: int, rejects: int) -> "Breaker":
        """With one more batch."""
        firsts = [span.first_arrival for span in spans] + ([] if self.first is None else [self.first])
        lasts = [span.last_arrival for span in spans] + ([] if self.last is None else [self.last])
        return replace(
            self,
            messages=self.messages + messages,
            rejects=self.rejects + rejects,
            first=min(firsts, default=None),
            last=max(lasts, default=None),
            reason="",
        )

    def is_over(self, whole: float = 1.0) -> bool:
        """Whether this is too much, where the window has `whole` times what was read of it."""
        hours = 1 if self.first is None or self.last is None else (self.last - self.first) // HOUR + 1
        is_share = self.rejects >= FEWEST and self.rejects * SHARE > self.messages * whole
        return is_share or self.rejects >= AN_HOUR * hours * whole

    def judged(
        self, counts: Mapping[str, int], spans: Sequence[ArrivalSpan], *, window: int, now: int, whole: float = 1.0
    ) -> "Breaker":
        """With one more batch of some window: `reason` says why that is too much. Itself where nothing is to be judged.

        Args:
          counts: the batch's conservation counts of the source, by name.
          whole: how many times as much the window has as was read of it with this batch; 1 where that is not known.
        """
        if not counts or now < self.accepts_until:
            return self
        before = self if self.window == window else Breaker(window=window)
        reasons = _refused(counts)
        found = before.after(spans, counts.get("messages", 0), reasons.total())
        is_over = bool(reasons) and found.is_over(whole)
        return replace(found, reason=reasons.most_common(1)[0][0]) if is_over else found


def _refused(counts: Mapping[str, int]) -> "Counter[str]":
    """How many messages were refused, by reason; of several with as many the first by name comes first."""
    return Counter(
        {
            name.removeprefix(_REJECTED): amount
            for name, amount in sorted(counts.items())
            if name.startswith(_REJECTED) and name != f"{_REJECTED}{Reason.GAP}"
        }
    )


def breaker(store: WorkStore, reader: str, source: str) -> Breaker:
    """Where a source's breaker stands."""
    text = store.value(_key(reader, source))
    return Breaker() if text is None else Breaker(**json.loads(text))


def open_reason(store: WorkStore, source: str) -> str:
    """Why a source is not read on; empty when it is."""
    return next((found.reason for reader in (LIVE, REPLAY) if (found := breaker(store, reader, source)).reason), "")


def judge(
    store: WorkStore,
    transaction: Transaction,
    reader: str,
    source: str,
    counts: Mapping[tuple[str, str], int],
    spans: Sequence[ArrivalSpan],
    *,
    window: int,
    now: int,
    whole: float = 1.0,
) -> None:
    """Count a batch in its own transaction.

    Args:
      counts: the batch's conservation counts, (source, name) -> amount.
      window: which hour, or run, this is.
      whole: how many times as much the window has as was read of it with this batch; 1 where that is not known.

    Raises:
      BreakerOpenError: it refuses too much; the batch must not be committed.
    """
    before = breaker(store, reader, source)
    mine = {name: amount for (_, name), amount in counts.items()}
    found = before.judged(mine, spans, window=window, now=now, whole=whole)
    if found is before:
        return
    if found.reason:
        raise BreakerOpenError(source, found.reason)
    _keep(transaction, reader, source, found)


def open_breaker(store: WorkStore, reader: str, error: BreakerOpenError, *, window: int) -> None:
    """Remember, in a transaction of its own, that a source is not read on."""
    found = replace(breaker(store, reader, error.source), reason=error.reason, window=window)
    with store.transaction() as transaction:
        _keep(transaction, reader, error.source, found)


def close_breaker(store: WorkStore, source: str, *, accepts_until: int = 0) -> str:
    """Let a source be read again, counted from nothing.

    Args:
      accepts_until: until then (ms UTC) all that it refuses is taken as letters; 0 judges at once.

    Returns:
      Why it was stopped; empty when it was not.
    """
    reason = open_reason(store, source)
    with store.transaction() as transaction:
        for reader in (LIVE, REPLAY):
            _keep(transaction, reader, source, Breaker(accepts_until=accepts_until))
    return reason


def _keep(transaction: Transaction, reader: str, source: str, found: Breaker) -> None:
    transaction.set_value(_key(reader, source), json.dumps(asdict(found), sort_keys=True))


def _key(reader: str, source: str) -> str:
    return f"breaker/{reader}/{source}"
