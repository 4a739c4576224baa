"""Pub/Sub as a bus: one subscription, pulled in batches, acknowledged after the commit.

A subscription has no positions: what was not acknowledged comes again, at times what was acknowledged too, and a tally
is a set. One batch is out at a time; a thread extends its leases while it is in work. What comes late or out of order
needs no care: its stamp is its publish time, and `PullClock` says when a window may be published.

Nothing is ever refused to the service, so that no message goes to the subscription's dead-letter topic in clear: one
that cannot be read is committed as a sealed reject and acknowledged like any other. Messages whose batch fails again
and again stop the bus one delivery before the service would move them.
"""

import datetime as dt
import re
import time
from typing import Any, Callable, Mapping, Optional, Sequence

from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.pubsub_v1 import Subscription

from pipelines.bus import BusBatch, BusError, Limits
from pipelines.pubsub_bus_client import PATIENCE, Pull, ask, connect
from pipelines.pubsub_bus_clock import PullClock
from pipelines.pubsub_bus_leases import Leases
from pipelines.work_values import Position
from schemas.chunks import RawChunk, Wrapping

_NAME = re.compile(r"projects/[^/\s]+/subscriptions/([^/\s]+)")
_AT_ONCE = 1_000  # messages in one answer: the service gives no more
_FEWEST_ATTEMPTS = 5  # that a dead-letter policy may allow; also what it means by 0
_HINTS: Mapping[type[exceptions.GoogleAPICallError], str] = {
    exceptions.NotFound: "is not there; make it, or correct its name",
    exceptions.PermissionDenied: "may not be read; grant roles/pubsub.subscriber and roles/pubsub.viewer on it",
    exceptions.Unauthenticated: "no valid credentials; check GOOGLE_APPLICATION_CREDENTIALS",
    exceptions.FailedPrecondition: "cannot be pulled; it must be a pull subscription that is attached to its topic",
    exceptions.InvalidArgument: "the service does not take the request; check the subscription's full name",
}


class PubsubBus:
    """One source of messages; see `Bus`.

    Args:
      source: the source's name.
      subscription: its full name, projects/P/subscriptions/S.
      positions, proofs: part -> how many messages were taken, part -> its clock, from the work store.
      now: the wall clock, ms UTC.

    Raises:
      BusError: not such a name, or no credentials.
    """

    def __init__(
        self,
        source: str,
        subscription: str,
        positions: Mapping[str, Position],
        proofs: Mapping[str, int],
        *,
        now: Callable[[], int],
    ) -> None:
        self._source = source
        self._subscription = subscription
        name = _NAME.fullmatch(subscription)
        self._part = name[1] if name else "subscription"
        if not name:
            raise self._refused("its name is not projects/PROJECT/subscriptions/NAME; correct it")
        self._count = positions[self._part].next if self._part in positions else 0
        self._proven = proofs.get(self._part)
        self._now = now
        try:
            self._client = connect()
        except GoogleAuthError:
            raise self._refused(_HINTS[exceptions.Unauthenticated]) from None
        self._leases = Leases(self._client, subscription, self._leased)
        self._held: list[str] = []
        self._also: Callable[[], Sequence[str]] = tuple
        self._is_closed = False
        self._pull: Optional[Pull] = None
        self._ask_at_once = False
        self._opened: Optional[tuple[str, PullClock]] = None

    def parts(self) -> tuple[str, ...]:
        """The subscription's short name."""
        return (self._part,)

    def retention_ms(self) -> int:
        """How long a message can be read again after it was acknowledged, ms; 0 when it is dropped at once.

        Raises:
          BusError: the service did not say.
        """
        try:
            settings = self._settings()
        except exceptions.GoogleAPICallError as error:
            hint = _HINTS.get(type(error), "the service does not answer; check the network and try again")
            raise self._refused(hint) from None
        own = settings.message_retention_duration if settings.retain_acked_messages else None
        return max(_ms(own), _ms(settings.topic_message_retention_duration))

    def poll(self, limits: Limits) -> Optional[BusBatch]:
        """Take what is there, within the limits and one answer; None when nothing came, was proven or is lost.

        A batch before it that was not acknowledged has failed: it is given back and comes again.

        Raises:
          BusError: no such subscription, not allowed, or messages whose batches failed too often.
        """
        until = time.monotonic() + limits.seconds
        taken: list[Any] = []
        try:
            self._opened = self._opened or self._open()
            self._give_back(self._opened[1])
            self._fill(taken, self._opened[1], limits, until)
        except exceptions.GoogleAPICallError as error:
            if hint := _HINTS.get(type(error)):
                raise self._refused(hint) from None
            if self._opened:
                self._opened[1].failed()
            time.sleep(max(0.0, until - time.monotonic()))
        return self._batch(taken, *self._opened) if self._opened else None

    def ack(self, batch: BusBatch) -> None:
        """The batch is committed: its messages need not come again. Where that fails, they come and change nothing."""
        self.acknowledge(self.hand_on(batch))

    def hand_on(self, batch: BusBatch) -> tuple[str, ...]:
        """The batch is in somebody's care who acknowledges it later, perhaps after others; its ack ids."""
        self._held = []
        for position in batch.positions:
            self._count = position.next
        if self._opened:
            self._opened[1].kept()
        return batch.receipts if isinstance(batch.receipts, tuple) else ()

    def acknowledge(self, ids: Sequence[str]) -> None:
        """These need not come again. After `close` nothing is told: they come, and change nothing."""
        if ids and not self._is_closed:
            self._leases.acknowledge(ids)

    def lease_also(self, held: Callable[[], Sequence[str]]) -> None:
        """Extend the leases of these ack ids too, and give them back at the end."""
        self._also = held

    def listed(self) -> Optional[int]:
        """A subscription has no partitions to be seen."""
        return None

    def close(self) -> None:
        """Give back what is not acknowledged, so that another instance gets it at once, and hang up."""
        self._is_closed = True
        self._leases.stop()
        if self._pull is not None:
            self._pull.cancel()
        self._leases.release(self._leased())
        self._held, self._pull = [], None
        self._client.transport.close()

    def _refused(self, what: str) -> BusError:
        return BusError(f"sources.{self._source}: pubsub: {self._part}: {what}")

    def _settings(self) -> Subscription:
        return self._client.get_subscription(subscription=self._subscription, retry=None, timeout=PATIENCE)

    def _open(self) -> tuple[str, PullClock]:
        """The topic's short name and the clock, once the service has told how the subscription is set."""
        settings = self._settings()
        kept = max(_ms(settings.message_retention_duration), _ms(settings.topic_message_retention_duration))
        backoff = _ms(settings.retry_policy.maximum_backoff) if settings.retry_policy else 0
        self._leases.keep(settings.ack_deadline_seconds)
        clock = PullClock(self._part, kept=kept, backoff=backoff, proven=self._proven)
        return settings.topic.rpartition("/")[2], clock

    def _leased(self) -> list[str]:
        """Ack ids of all that is out: what is in work, and an answer that was not looked at yet."""
        pull = self._pull  # before the other: what moves over in between is told twice, not left out
        return [*(pull.leased() if pull else ()), *self._held, *self._also()]

    def _give_back(self, clock: PullClock) -> None:
        if self._held:
            self._leases.release(self._held)
            self._held = []
            clock.failed()

    def _fill(self, taken: list[Any], clock: PullClock, limits: Limits, until: float) -> None:
        """Add messages to those taken until there are enough, or it is time."""
        size = 0
        while len(taken) < limits.messages and size < limits.size:
            pull = self._pull = self._pull or self._ask(min(limits.messages - len(taken), _AT_ONCE))
            if not pull.is_answered(max(0.0, until - time.monotonic())):
                return
            try:
                messages = pull.messages()
            except exceptions.DeadlineExceeded:
                self._pull = None
                if not pull.waits:
                    raise
                self._ask_at_once = True  # nothing came, or nobody is there: who is there answers a short question
                continue
            except exceptions.GoogleAPICallError:
                self._pull = None
                raise
            self._held += [one.ack_id for one in messages]
            self._pull = None
            taken += messages
            size += sum(len(one.message.data) for one in messages)
            oldest = min((_stamp(one) for one in messages), default=None)
            clock.answered(pull.issued, oldest=oldest, full=len(messages) == pull.asked)
            self._check_attempts(max((one.delivery_attempt for one in messages), default=0))

    def _ask(self, asked: int) -> Pull:
        waits, self._ask_at_once = not self._ask_at_once, False
        return ask(self._client, self._subscription, asked, waits=waits, issued=self._now())

    def _check_attempts(self, attempts: int) -> None:
        """Stop while the service would still deliver once more before it moves a message to its dead-letter topic.

        The last delivery itself is taken: to refuse it would be what moves it.
        """
        if attempts < _FEWEST_ATTEMPTS - 1:
            return
        policy = self._settings().dead_letter_policy
        if policy and attempts == (policy.max_delivery_attempts or _FEWEST_ATTEMPTS) - 1:
            raise self._refused(
                f"a message was delivered {attempts} times and no batch with it was committed; the service will move it"
                " in clear to its dead-letter topic: remove that policy, mend what stops the batches, start again"
            )

    def _batch(self, taken: Sequence[Any], topic: str, clock: PullClock) -> Optional[BusBatch]:
        proof, gaps = clock.findings()
        if not taken and not gaps and proof is None:
            return None
        position = Position(self._part, self._count + len(taken), b"", done=False)
        return BusBatch(
            chunks=(_chunk(self._source, topic, taken),) if taken else (),
            positions=(position,) if taken else (),
            proven={} if proof is None else {self._part: proof},
            gaps=gaps,
            receipts=tuple(one.ack_id for one in taken),
        )


def _chunk(source: str, topic: str, taken: Sequence[Any]) -> RawChunk:
    messages = [one.message for one in taken]
    keys = tuple(one.ordering_key.encode() or None for one in messages)
    headers = tuple(tuple((name, value.encode()) for name, value in sorted(one.attributes.items())) for one in messages)
    wrapping = Wrapping(
        topic=topic,
        stamps=tuple(map(_stamp, taken)),
        keys=keys if any(keys) else (),
        headers=headers if any(headers) else (),
    )
    return RawChunk(source, b"", tuple(one.data for one in messages), form="bus", wrapping=wrapping)


def _stamp(received: Any) -> int:
    """When the service took the message, ms UTC."""
    time_ = received.message.publish_time
    return int(time_.seconds * 1000 + time_.nanos // 1_000_000)


def _ms(duration: Optional[dt.timedelta]) -> int:
    return 0 if duration is None else duration // dt.timedelta(milliseconds=1)
