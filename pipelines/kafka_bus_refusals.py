"""What brokers refuse altogether, and when it stops a source: at once while nothing ever worked, else when it lasts."""

import time

from confluent_kafka import KafkaError

from pipelines.bus import BusError

_LASTS = 60.0  # seconds: a broker that restarts may cut a connection while it signs in
_SIGNING_IN = frozenset({KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED})  # noqa: SLF001
_SECURING = frozenset({KafkaError._SSL})  # noqa: SLF001


class Refusals:
    """Told by the clients; refers to none of them, so that each is let go of by the thread that drops it.

    A client in a cycle would be let go of by whichever thread collects it: one of another client's aborts the process.
    """

    def __init__(self, source: str) -> None:
        self._source = source
        self._since: dict[str, float] = {}
        self._answered = False

    def __bool__(self) -> bool:
        return bool(self._since)

    def hear(self, error: KafkaError) -> None:
        """An error of no partition; of brokers that are down nothing is kept: they come back by themselves."""
        if error.code() in _SIGNING_IN:
            self.add("the brokers refuse to sign in; check sasl.username, sasl.password and sasl.mechanism")
        elif error.code() in _SECURING:
            self.add("no secure connection to the brokers; check security.protocol and the ssl settings")

    def add(self, what: str) -> None:
        """Something is refused: what, and what to do."""
        self._since.setdefault(what, time.monotonic())

    def answered(self) -> bool:
        """All was answered, nothing is refused any more; whether that was so before."""
        self._since.clear()
        before, self._answered = self._answered, True
        return before

    def judge(self) -> None:
        """Stop the source for what is refused.

        Raises:
          BusError: nothing ever worked, or it has lasted.
        """
        for what, first in self._since.items():
            if not self._answered or time.monotonic() - first > _LASTS:
                message = f"sources.{self._source}: kafka: {what}"
                raise BusError(message)
