"""Where sealed letters are written: the deployment's directory, a topic, or a table.

Letters are committed with their batch first and written afterwards, again after a kill in between. So a write is
told apart by its batch and the number in it: file and table take it once. A topic may hold it twice, under the same
key `BATCH/NUMBER`, by which whoever reads it drops the second. What is written is the same everywhere: one line of
the directory, so that lines from a topic or table in a file there can be listed, opened and redriven.
"""

import datetime as dt
import os
from typing import Protocol, Sequence

from pipelines.configuration import Deployment
from pipelines.dead_letters import DeadLetterDirectory
from pipelines.kafka_bus_settings import broker_settings
from pipelines.letter import line_of
from pipelines.publisher import KafkaPublisher, Outgoing, Publisher, PubsubPublisher
from schemas.rejects import SealedReject

KEPT = 14  # days


class LettersOutput(Protocol):
    """A place for letters."""

    def write(self, batch_name: str, day: str, rejects: Sequence[SealedReject]) -> None:
        """Keep the rejects of one batch; durable when it returns.

        Args:
          batch_name: unique per batch; the same batch again has the same rejects.
          day: received day, YYYY-MM-DD.

        Raises:
          DeadLetterError, BusError: not all were kept; they stay in the work store. Where the
            place does not answer now, also a TryAgainError.
        """

    def holds(self, batch_name: str) -> bool:
        """Whether it has letters of a batch of this name; False where it cannot tell."""

    def purge(self, older_than_day: str) -> int:
        """Delete what was received before a day; how many files or rows. A topic forgets by its own retention."""


class TopicLetters:
    """A topic of Kafka or Pub/Sub."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    def write(self, batch_name: str, day: str, rejects: Sequence[SealedReject]) -> None:
        """See `LettersOutput`; at least once."""
        del day  # the clear part says it
        keys = [f"{batch_name}/{number}" for number in range(1, len(rejects) + 1)]
        self._publisher.send(
            [
                Outgoing(line_of(one).rstrip(b"\n"), key, (("letter", key),))
                for key, one in zip(keys, rejects, strict=True)
            ]
        )

    def holds(self, batch_name: str) -> bool:
        """A topic is not read back."""
        del batch_name
        return False

    def purge(self, older_than_day: str) -> int:
        """Nothing: set the topic's retention to 14 days."""
        del older_than_day
        return 0


def letters_output(deployment: Deployment) -> LettersOutput:
    """Where this deployment's letters go.

    Raises:
      BusError: the broker settings are not taken, or there are no credentials.
    """
    to = deployment.letters_to
    if to is None:
        return DeadLetterDirectory(deployment.dead_letters)
    if to.kind == "kafka":
        return TopicLetters(KafkaPublisher(broker_settings(to.settings, to.environment, os.environ), to.topic))
    if to.kind == "pubsub":
        return TopicLetters(PubsubPublisher(to.topic))
    from pipelines.letters_postgres import PostgresLetters  # noqa: PLC0415 - its library takes a while to import

    return PostgresLetters(to.address)


def kept_since(today: dt.date, *, kept: int = KEPT) -> str:
    """The first day of which letters are kept, YYYY-MM-DD."""
    return (today - dt.timedelta(days=kept)).isoformat()


def purge_letters(deployment: Deployment, output: LettersOutput, today: dt.date, *, kept: int = KEPT) -> int:
    """Delete letters that are older than some days: in the output, and what was taken from it into the directory."""
    limit = kept_since(today, kept=kept)
    gone = output.purge(limit)
    return gone if deployment.letters_to is None else gone + DeadLetterDirectory(deployment.dead_letters).purge(limit)
