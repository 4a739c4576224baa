"""What is asked of brokers: an answer that says nothing proves nothing."""

from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from confluent_kafka import OFFSET_END, OFFSET_INVALID, KafkaError, KafkaException

from pipelines.bus import BusError
from pipelines.kafka_bus_questions import BrokersAwayError, Questions
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


@pytest.mark.parametrize(
    ("code", "is_away"), [(KafkaError._TIMED_OUT, True), (KafkaError.TOPIC_AUTHORIZATION_FAILED, False)]
)
def test_brokers_that_do_not_answer_may_do_so_later(asked, monkeypatch, code, is_away):
    """Told apart from a refusal: a service manager starts again what ended for the one, not for the other."""
    questions, answer = asked(), Future()
    answer.set_exception(KafkaException(KafkaError(code)))
    monkeypatch.setattr(questions._admin, "describe_configs", lambda wanted, **_: {wanted[0]: answer}, raising=False)

    with pytest.raises(BusError) as raised:
        questions.retention("t")

    assert isinstance(raised.value, BrokersAwayError) == is_away
