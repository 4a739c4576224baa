"""How Pub/Sub is asked for messages: a question that stays out while other things are done, and its answer."""

import functools
import logging
import os
from dataclasses import dataclass
from typing import Any, Sequence

import grpc  # type: ignore[import-untyped]
from google.api_core.exceptions import from_grpc_error
from google.api_core.gapic_v1.routing_header import to_grpc_metadata
from google.pubsub_v1 import PullRequest, PullResponse, SubscriberClient
from google.pubsub_v1.services.subscriber.transports.grpc import SubscriberGrpcTransport

PATIENCE = 10.0  # seconds for an answer that need not wait for messages
_WAIT = 20.0  # seconds for one that may
_CHANNEL = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),  # one message may have 10 MB
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
)


def connect() -> SubscriberClient:
    """A client of the service, or of the emulator that PUBSUB_EMULATOR_HOST names; nothing is sent yet.

    Raises:
      GoogleAuthError: there are no credentials.
    """
    emulator = os.environ.get("PUBSUB_EMULATOR_HOST")
    if emulator:
        client = SubscriberClient(transport=SubscriberGrpcTransport(channel=grpc.insecure_channel(emulator, _CHANNEL)))
    else:
        client = SubscriberClient(transport=functools.partial(SubscriberGrpcTransport, channel=_dial))
    # Turned to debug it would write whole answers.
    logging.getLogger(SubscriberGrpcTransport.__module__).setLevel(logging.WARNING)
    return client


def _dial(host: str, **given: Any) -> Any:
    return SubscriberGrpcTransport.create_channel(host, **{**given, "options": _CHANNEL})


@dataclass(frozen=True)
class Pull:
    """A question for messages.

    Attributes:
      issued: when it was asked, ms UTC.
      asked: how many messages at most.
      waits: whether the service may hold its answer back until there are messages.
    """

    issued: int
    asked: int
    waits: bool
    _future: Any

    def is_answered(self, seconds: float) -> bool:
        """Whether the answer, or an error, came; waits this long for it."""
        try:
            self._future.exception(timeout=seconds)
        except grpc.FutureTimeoutError:
            return False
        return True

    def messages(self) -> Sequence[Any]:
        """The received messages as protocol buffers: their wrapper costs more than all that is done with them.

        Raises:
          GoogleAPICallError: the service could not give any; DeadlineExceeded when it did not answer in time.
        """
        try:
            answer = self._future.result()
        except grpc.RpcError as error:
            raise from_grpc_error(error) from None
        messages: Sequence[Any] = PullResponse.pb(answer).received_messages
        return messages

    def leased(self) -> list[str]:
        """Ack ids of an answer that came; none of one that did not, or was an error."""
        if not self._future.done() or self._future.cancelled() or self._future.exception() is not None:
            return []
        return [one.ack_id for one in self.messages()]

    def cancel(self) -> None:
        """Ask no more."""
        self._future.cancel()


def ask(client: SubscriberClient, subscription: str, asked: int, *, waits: bool, issued: int) -> Pull:
    """Ask for messages and do not wait for the answer.

    One question that waits long is better than many that do not: what the service gives to one that is just given up
    is lost until its lease is over.
    """
    pull: Any = client.transport.pull
    future = pull.future(
        PullRequest(subscription=subscription, max_messages=asked, return_immediately=not waits),
        timeout=_WAIT if waits else PATIENCE,
        metadata=[to_grpc_metadata({"subscription": subscription})],
    )
    return Pull(issued, asked, waits, future)
