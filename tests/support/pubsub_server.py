"""Google's Pub/Sub emulator for tests: loopback, in memory; it dies with the process that started it."""

import itertools
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.api_core.exceptions import DeadlineExceeded
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports.grpc import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports.grpc import SubscriberGrpcTransport

from tests.support.child_process import free_port, start

_ROOTS = (
    "/usr/lib/google-cloud-sdk",
    "/usr/share/google-cloud-sdk",
    "/opt/google-cloud-sdk",
    "/snap/google-cloud-cli/current",
)
_JAR = "platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar"
_JAVA = ["java", "-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-XX:TieredStopAtLevel=1"]
_CHANNEL = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
_NUMBERS = itertools.count()


class PubsubMissingError(Exception):
    """There is no emulator here: no Java, or no Cloud SDK with the component `pubsub-emulator`."""


def _jars(root: str) -> list[Path]:
    return sorted(Path(root).glob(_JAR)) if root else []


def emulator_jar() -> Path:
    """The emulator below the root of the Cloud SDK."""
    if shutil.which("java") is None:
        raise PubsubMissingError("java is not installed")
    for root in (os.environ.get("CLOUDSDK_ROOT_DIR", ""), *_ROOTS):
        if found := _jars(root):
            return found[-1]
    if shutil.which("gcloud"):
        command = ["gcloud", "info", "--format=value(installation.sdk_root)"]
        told = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if found := _jars(told.stdout.strip()):
            return found[-1]
    raise PubsubMissingError("no Cloud SDK with the component pubsub-emulator was found")


@dataclass(frozen=True)
class Made:
    """A topic and its subscription, by their full names; `dead` is the subscription of its dead-letter topic."""

    topic: str
    subscription: str
    dead: str = ""


class PubsubServer:
    """One emulator; `host` is what PUBSUB_EMULATOR_HOST must be. One that runs already under that name is used."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.host = os.environ.get("PUBSUB_EMULATOR_HOST", "")
        self.is_ours = not self.host
        if self.is_ours:
            self._jar = emulator_jar()
            self.host = f"127.0.0.1:{free_port()}"
        self._channel = grpc.insecure_channel(self.host, _CHANNEL)
        self.publisher = PublisherClient(transport=PublisherGrpcTransport(channel=self._channel))
        self.subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=self._channel))

    def start(self) -> None:
        """Start and wait until it answers."""
        if self.is_ours:
            host, _, port = self.host.rpartition(":")
            command = [*_JAVA, "-jar", str(self._jar), f"--host={host}", f"--port={port}"]
            self._process = start(command, self._directory)
        try:
            grpc.channel_ready_future(self._channel).result(timeout=90)
        except grpc.FutureTimeoutError:
            self.stop()
            raise AssertionError("the emulator did not start") from None

    def pause(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self._channel.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=30)
            self._process = None

    def make(self, *, attempts: int = 0, lease: int = 10, **settings: object) -> Made:
        """A new topic with one subscription.

        Args:
          attempts: deliveries after which messages go to a dead-letter topic; 0 without one.
          lease: the subscription's ack deadline, seconds.
          settings: more of the subscription's fields.
        """
        name = f"events-{os.getpid()}-{next(_NUMBERS)}"
        topic, dead = f"projects/carrel-tests/topics/{name}", ""
        self.publisher.create_topic(name=topic)
        if attempts:
            dead = f"projects/carrel-tests/subscriptions/{name}-dead"
            self.publisher.create_topic(name=f"{topic}-dead")
            self.subscriber.create_subscription(name=dead, topic=f"{topic}-dead")
            settings["dead_letter_policy"] = {
                "dead_letter_topic": f"{topic}-dead",
                "max_delivery_attempts": attempts,
            }
        subscription = f"projects/carrel-tests/subscriptions/{name}"
        self.subscriber.create_subscription(
            request={"name": subscription, "topic": topic, "ack_deadline_seconds": lease, **settings}
        )
        return Made(topic, subscription, dead)

    def publish(self, made: Made, payloads: list[bytes], **message: object) -> None:
        """Publish some messages, some fields of each the same; returns when the emulator has them all."""
        for at in range(0, len(payloads), 1_000):
            some = [{"data": one, **message} for one in payloads[at : at + 1_000]]
            self.publisher.publish(topic=made.topic, messages=some)

    def left(self, subscription: str, *, seconds: float = 2.0) -> list[bytes]:
        """What the service would still deliver to anybody who asks within this time; it is taken with it."""
        found: list[bytes] = []
        until = time.monotonic() + seconds
        while (remaining := until - time.monotonic()) > 0:
            try:
                answer = self.subscriber.pull(
                    subscription=subscription, max_messages=100, retry=None, timeout=max(1.5, remaining)
                )
            except DeadlineExceeded:
                continue
            found += [one.message.data for one in answer.received_messages]
        return found
