"""Where letters go is configured in one key; whatever it is, live deletes what is older than 14 days."""

import json
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from confluent_kafka import KafkaError
from google.api_core.exceptions import DeadlineExceeded, Forbidden, NotFound, ServiceUnavailable

from pipelines import publisher as publishers
from pipelines.bus import BusError
from pipelines.configuration import ConfigurationError, load
from pipelines.dead_letters import DeadLetterDirectory
from pipelines.letters_address import LettersAddress
from pipelines.letters_output import TopicLetters
from pipelines.publisher import KafkaPublisher, Outgoing, PubsubPublisher
from pipelines.try_again import TryAgainError
from schemas.rejects import SealedReject
from tests.support.replaying import at, deployment
from tests.support.scripted_live import ScriptedLive

DAY = 86_400_000
REJECT = SealedReject("ils", "gap", json.dumps({"reason": "gap", "source": "ils"}).encode(), b"sealed", b"")


@pytest.fixture
def library(tmp_path):
    return deployment(tmp_path / "library")


def configured(directory, line):
    toml = directory / "carrel.toml"
    toml.write_text(f"{line}\n" + toml.read_text().replace("dead_letters", "# dead_letters"))
    return load(toml)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ('{ kind = "kafka", topic = "t", settings = "k" }', ("kafka", "t", "k", "")),
        ('{ kind = "pubsub", topic = "projects/p/topics/t" }', ("pubsub", "projects/p/topics/t", None, "")),
        ('{ kind = "postgresql", address = "postgresql://a@b/c" }', ("postgresql", "", None, "postgresql://a@b/c")),
    ],
)
def test_a_table_names_another_place_and_the_directory_stays_for_what_is_taken_from_it(library, table, expected):
    found = configured(library, f"dead_letters = {table}")
    kind, topic, settings, address = expected
    path = None if settings is None else library / settings
    assert found.letters_to == LettersAddress(kind, topic, path, {}, address)
    assert found.dead_letters == library / "dead-letters"


def test_a_path_is_a_directory(library):
    found = configured(library, 'dead_letters = "elsewhere"')
    assert (found.dead_letters, found.letters_to) == (library / "elsewhere", None)


@pytest.mark.parametrize(
    "table",
    [
        '{ kind = "rabbit" }',
        '{ kind = "kafka" }',
        '{ kind = "kafka", topic = "t", address = "postgresql://a@b/c" }',
        '{ kind = "pubsub", topic = "t", settings = "k" }',
        '{ kind = "postgresql", topic = "t" }',
        '{ kind = "postgresql", address = "postgresql://a:SECRET@b/c" }',
        '{ kind = "postgresql", address = "SECRET" }',
        "7",
    ],
)
def test_another_place_that_is_not_whole_is_one_line(library, table):
    with pytest.raises(ConfigurationError, match="dead_letters") as raised:
        configured(library, f"dead_letters = {table}")
    assert "\n" not in str(raised.value)
    assert "SECRET" not in str(raised.value)


class Kept:
    """A publisher that keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []

    def send(self, messages: list[Outgoing]) -> None:
        self.sent += messages


def test_a_letter_in_a_topic_is_the_line_of_the_directory_under_its_batch_and_number(tmp_path: Path) -> None:
    topic, directory = Kept(), DeadLetterDirectory(tmp_path / "dead")
    for output in (TopicLetters(topic), directory, TopicLetters(topic)):
        output.write("batch", "2026-03-01", [REJECT, REJECT])

    lines = (tmp_path / "dead" / "2026-03-01_batch.jsonl").read_bytes().splitlines()
    assert [one.data for one in topic.sent] == lines * 2
    assert [one.key for one in topic.sent] == ["batch/1", "batch/2"] * 2


def test_live_deletes_letters_older_than_14_days_once_a_day(library, monkeypatch):
    live = ScriptedLive(library / "carrel.toml", monkeypatch, at("2026-03-20"))
    letters = DeadLetterDirectory(library / "dead-letters")
    for day in ("2026-03-05", "2026-03-06", "2026-03-07"):
        letters.write(f"b-{day}", day, [REJECT])
    seen = []

    def look(days: int = 0) -> None:
        seen.append([one.day for one in letters.list()])
        live.now += days * DAY

    live.run(look, lambda: look(1), look, look)
    assert seen == [
        ["2026-03-05", "2026-03-06", "2026-03-07"],
        ["2026-03-06", "2026-03-07"],
        ["2026-03-07"],
        ["2026-03-07"],
    ]


@pytest.mark.parametrize(
    ("error", "is_away"),
    [(ServiceUnavailable("CANARY"), True), (DeadlineExceeded("CANARY"), True), (Forbidden("CANARY"), False), (NotFound("CANARY"), False)],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_service_that_does_not_answer_is_to_be_tried_again_and_one_that_refuses_is_not(monkeypatch, error, is_away):
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
    publisher = PubsubPublisher("projects/example/topics/letters")
    monkeypatch.setattr(publisher._client, "publish", Mock(side_effect=error))

    with pytest.raises(BusError, match="not all messages were taken") as raised:
        publisher.send([Outgoing(b"letter")])

    assert isinstance(raised.value, TryAgainError) == is_away
    assert "CANARY" not in str(raised.value)


@pytest.mark.parametrize(
    ("codes", "is_away"),
    [
        ((), True),  # no answer at all
        ((KafkaError._MSG_TIMED_OUT, KafkaError._TRANSPORT), True),
        ((KafkaError._MSG_TIMED_OUT, KafkaError.TOPIC_AUTHORIZATION_FAILED), False),
        ((KafkaError._UNKNOWN_TOPIC,), False),
    ],
)
def test_brokers_that_do_not_answer_are_to_be_tried_again_and_ones_that_refuse_are_not(monkeypatch, codes, is_away):
    class Client:
        def __init__(self, _):
            self.told = []

        def produce(self, *_, on_delivery, **__):
            self.told.append(on_delivery)

        def flush(self, _):
            for code in codes:
                self.told[0](KafkaError(code), None)
            return 0 if codes else 1

    monkeypatch.setattr(publishers, "Producer", Client)
    publisher = KafkaPublisher(SimpleNamespace(asking=dict), "letters")

    with pytest.raises(BusError, match="not all messages were taken") as raised:
        publisher.send([Outgoing(b"letter")])

    assert isinstance(raised.value, TryAgainError) == is_away
