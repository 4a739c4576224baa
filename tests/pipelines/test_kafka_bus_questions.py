"""What is asked of brokers: an answer that says nothing proves nothing."""

from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from confluent_kafka import OFFSET_END, OFFSET_INVALID

from pipelines.kafka_bus_questions import Questions
from pipelines.kafka_bus_settings import BrokerSettings

PARTS = [("t", 0), ("t", 1)]


@pytest.fixture
def asked(monkeypatch):
    """Questions to a broker that tells these offsets, without an error."""
    questions = Questions(BrokerSettings({"bootstrap.servers": "127.0.0.1:1"}), lambda _: None)

    def telling(*offsets):
        def list_offsets(wanted, **_):
            told = {}
            for part, offset in zip(wanted, offsets, strict=True):
                told[part] = Future()
                told[part].set_result(SimpleNamespace(offset=offset))
            return told

        monkeypatch.setattr(questions, "_admin", SimpleNamespace(list_offsets=list_offsets))
        return questions

    yield telling
    questions.close()


def test_an_end_that_the_client_does_not_know_is_none(asked):
    """Else everything that was read lay beyond it, and an end would be proven with messages still to come."""
    assert asked(7, OFFSET_INVALID).ends(PARTS, 1.0) == {("t", 0): 7}


def test_a_beginning_that_the_client_does_not_know_is_none(asked):
    assert asked(OFFSET_END, OFFSET_INVALID).since(PARTS, 0, 1.0) == {("t", 0): OFFSET_END}
