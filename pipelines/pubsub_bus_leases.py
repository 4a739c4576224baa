"""Leases on messages in work: extended by a timer thread, given up when the bus lets go of them."""

import threading
from typing import Callable, Mapping, Sequence

from google.api_core.exceptions import DeadlineExceeded, GoogleAPICallError, ServiceUnavailable
from google.pubsub_v1 import SubscriberClient

_AT_ONCE = 1_000  # ack ids in one request: the service takes 512 KiB
_PATIENCE = 10.0  # seconds for one request


class Leases:
    """What becomes of pulled messages. A failed request is no error: its messages come again, and count once.

    Args:
      subscription: its full name.
      held: ack ids of all messages that must not be given to others now; called by the timer thread.
    """

    def __init__(self, client: SubscriberClient, subscription: str, held: Callable[[], Sequence[str]]) -> None:
        self._client = client
        self._subscription = subscription
        self._held = held
        self._stopped = threading.Event()
        self._timer = threading.Thread(target=self._extend, name="pubsub-leases", daemon=True)
        self._seconds = 0

    def keep(self, seconds: int) -> None:
        """Begin to extend what is held to `seconds` of lease, each time a third of it is over."""
        self._seconds = seconds
        self._timer.start()

    def acknowledge(self, ids: Sequence[str]) -> None:
        """These need never come again."""
        self._tell(self._client.acknowledge, ids, {})

    def release(self, ids: Sequence[str]) -> None:
        """These may go to anybody, at once."""
        self._tell(self._client.modify_ack_deadline, ids, {"ack_deadline_seconds": 0})

    def stop(self) -> None:
        """Extend nothing more."""
        self._stopped.set()
        if self._timer.is_alive():
            self._timer.join(2 * _PATIENCE)

    def _extend(self) -> None:
        while not self._stopped.wait(self._seconds / 3):
            self._tell(self._client.modify_ack_deadline, self._held(), {"ack_deadline_seconds": self._seconds})

    def _tell(self, call: Callable[..., None], ids: Sequence[str], what: Mapping[str, int]) -> None:
        for start in range(0, len(ids), _AT_ONCE):
            request = {"subscription": self._subscription, "ack_ids": ids[start : start + _AT_ONCE], **what}
            try:
                call(request, retry=None, timeout=_PATIENCE)
            except (DeadlineExceeded, ServiceUnavailable):
                return  # the others would wait as long, for nothing
            except GoogleAPICallError:
                continue
