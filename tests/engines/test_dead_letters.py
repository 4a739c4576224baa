"""Dead letters in a topic or a table, and redriven to the topic that their source is read from."""

import base64
import datetime as dt
import io
import json
import time

import pytest
from confluent_kafka import Consumer, TopicPartition

from pipelines.bus import Limits
from pipelines.buses import open_buses
from pipelines.configuration import capabilities, load
from pipelines.dead_letters import DeadLetterDirectory
from pipelines.journal import Journal
from pipelines.letter import DeadLetterError
from pipelines.letters_output import letters_output, purge_letters
from pipelines.letters_postgres import PostgresLetters
from pipelines.live import live
from pipelines.try_again import TryAgainError
from pipelines.work_store import WorkStore
from schemas.policy_compiler import compile_policy
from schemas.rejects import SealedReject
from tests.support.kafka_messages import amount, gather, publish, wall
from tests.support.replaying import checkouts, deployment, edit, replayed, write

pytestmark = pytest.mark.engine
SOURCE = 'adapter = "carrel-event"\n'
BRANCH = 'B02 = "north"\n'
REJECTS = [
    SealedReject("ils", reason, json.dumps({"reason": reason, "source": "ils"}).encode(), sealed, b"")
    for reason, sealed in (("gap", b"one"), ("gap", b"two"), ("oversize", b""))
]


@pytest.fixture
def library(tmp_path):
    """A deployment whose policy lacks a branch, and 30 events of it among others; `configured` writes a key of it."""
    directory = deployment(tmp_path / "library")
    edit(directory / "policy.toml", BRANCH, "")
    return directory


def configured(directory, line):
    toml = directory / "carrel.toml"
    kept = [one for one in toml.read_text().splitlines() if not one.startswith("dead_letters")]
    toml.write_text("\n".join([line, *kept]) + "\n")


def settings(kafka, directory):
    (directory / "kafka.properties").write_text(f"bootstrap.servers={kafka.brokers}\n")
    return directory / "kafka.properties"


def refused(directory):
    """Replay what is refused in part; how many letters there must be."""
    events = checkouts("2026-03-01", 20, of=4)
    replayed(directory, write(directory.parent / "log.jsonl", events))
    return [event for event in events if event["branch"] == "B02"]


def opened(run, directory, lines, tmp_path):
    """The messages that lines from a topic or table hold: put into a file of the directory, they open as any other."""
    (directory / "dead-letters").mkdir(exist_ok=True)
    (directory / "dead-letters" / "2026-06-01_taken.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
    key = directory.parent / f"{directory.name}-secrets" / "recipient.key"
    run("-c", directory / "carrel.toml", "deadletters", "open", "--key", key, "--output", tmp_path / "opened.jsonl")
    found = [json.loads(line) for line in (tmp_path / "opened.jsonl").read_text().splitlines()]
    return [json.loads(base64.b64decode(one["payload"])) for one in found]


def consumed(kafka, topic, wanted):
    """The first messages of a topic as (key, value)."""
    consumer = Consumer({"bootstrap.servers": kafka.brokers, "group.id": "test", "log_level": 0})
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = []
    while len(found) < wanted:
        messages = consumer.consume(wanted, timeout=60)
        assert messages, f"{len(found)} of {wanted} messages came"
        found += [(one.key(), one.value()) for one in messages if one.error() is None]
    consumer.close()
    return found


def test_letters_go_to_a_kafka_topic_under_keys_that_a_repeated_write_has_too(run, kafka, library, tmp_path):
    topic = kafka.make_topic("letters")
    configured(
        library, f'dead_letters = {{ kind = "kafka", topic = "{topic}", settings = "{settings(kafka, library)}" }}'
    )
    lost = refused(library)
    assert not list((library / "dead-letters").glob("*.jsonl"))

    output = letters_output(load(library / "carrel.toml"))
    for _ in range(2):
        output.write("batch", "2026-03-01", REJECTS)
    found = consumed(kafka, topic, len(lost) + 2 * len(REJECTS))

    assert len({key for key, _ in found}) == len(lost) + len(REJECTS)
    assert [key for key, _ in found[-3:]] == [b"batch/1", b"batch/2", b"batch/3"]
    assert opened(run, library, [line for _, line in found[: len(lost)]], tmp_path) == lost


def test_letters_go_to_a_pubsub_topic(run, pubsub, library, tmp_path):
    made = pubsub.make()
    configured(library, f'dead_letters = {{ kind = "pubsub", topic = "{made.topic}" }}')
    lost = refused(library)

    found = pubsub.left(made.subscription)
    assert sorted(json.dumps(event) for event in opened(run, library, found, tmp_path)) == sorted(map(json.dumps, lost))


def test_letters_go_to_a_table_of_postgresql_once_and_are_purged(run, postgres, postgres_database, library, tmp_path):
    configured(library, f'dead_letters = {{ kind = "postgresql", address = "{postgres.address(postgres_database)}" }}')
    lost = refused(library)
    found = load(library / "carrel.toml")
    output = letters_output(found)
    for _ in range(2):
        output.write("batch", "2026-03-01", REJECTS)

    with postgres.connect(postgres_database) as session:
        rows = session.execute(
            "SELECT batch, number, line FROM carrel_dead_letters ORDER BY day DESC, number"
        ).fetchall()
    assert len(rows) == len(lost) + len(REJECTS)
    assert [row[:2] for row in rows[-3:]] == [("batch", 1), ("batch", 2), ("batch", 3)]
    assert opened(run, library, [row[2].encode() for row in rows[: len(lost)]], tmp_path) == lost
    assert purge_letters(found, output, dt.date(2026, 3, 16)) == len(REJECTS)
    run("-c", library / "carrel.toml", "deadletters", "purge", "--older-than", "0")


def test_what_cannot_be_written_is_one_line_and_stays_in_the_work_store(run, kafka, library, tmp_path):
    configured(
        library, f'dead_letters = {{ kind = "kafka", topic = "nowhere", settings = "{settings(kafka, library)}" }}'
    )
    events = checkouts("2026-03-01", 20, of=4)
    log = write(tmp_path / "log.jsonl", events)
    stopped = run("-c", library / "carrel.toml", "replay", log, "--source", "carrel-event", code=2)
    assert stopped.stderr.startswith("carrel: kafka: topic nowhere: ")
    assert stopped.stderr.count("\n") == 1

    configured(library, 'dead_letters = "dead-letters"')
    run("-c", library / "carrel.toml", "replay", log, "--source", "carrel-event")
    letters = DeadLetterDirectory(library / "dead-letters").list()
    assert sum(one.letters for one in letters) == sum(event["branch"] == "B02" for event in events)


def test_a_server_that_is_not_there_is_one_line(postgres):
    for address, said, is_away in (
        (postgres.address("nowhere"), "refuses this user or database", False),
        ("postgresql://carrel@127.0.0.1:1/letters", "the server cannot be reached", True),
    ):
        with pytest.raises(DeadLetterError, match=said) as raised:
            PostgresLetters(address).write("batch", "2026-03-01", REJECTS)
        assert "\n" not in str(raised.value)
        assert isinstance(raised.value, TryAgainError) == is_away


def mended(run, directory, bus):
    """Letters, then the branch and the bus, then all letters to the bus; what they held."""
    lost = refused(directory)
    edit(directory / "policy.toml", 'B01 = "north"\n', 'B01 = "north"\n' + BRANCH)
    edit(
        directory / "carrel.toml",
        'adapter = "carrel-event"\n',
        f'adapter = "carrel-event"\n{bus}\nstate_is_only_copy = true\n',
    )
    key = directory.parent / f"{directory.name}-secrets" / "recipient.key"
    said = run("-c", directory / "carrel.toml", "deadletters", "redrive", "--key", key, "--to-bus").stdout
    assert f"{len(lost)} letters into its bus" in said
    (count,) = DeadLetterDirectory(directory / "dead-letters").list()
    assert (count.letters, count.redriven) == (len(lost), len(lost))
    return lost


def delivered(directory, wanted):
    """What the buses of a deployment give."""
    found = load(directory / "carrel.toml")
    policy = compile_policy(found.policy_text, capabilities(found))
    with WorkStore(found.work_store) as store, open_buses(found, policy, store, wall) as buses:
        (bus,) = buses.values()
        return [json.loads(payload) for payload in gather(bus, amount(wanted)).payloads]


def test_redriven_letters_come_from_the_kafka_topic_of_their_source(run, kafka, library):
    topic = kafka.make_topic("redriven", **{"retention.ms": -1})
    lost = mended(
        run, library, f'bus = {{ kind = "kafka", topics = ["{topic}"], settings = "{settings(kafka, library)}" }}'
    )
    assert delivered(library, len(lost)) == lost


def test_redriven_letters_come_from_the_pubsub_topic_of_their_source(run, pubsub, library):
    made = pubsub.make()
    lost = mended(run, library, f'bus = {{ kind = "pubsub", subscription = "{made.subscription}" }}')
    came = delivered(library, len(lost))
    assert sorted(map(json.dumps, came)) == sorted(map(json.dumps, lost))


def lived(directory, until):
    """Run live in this process until the journal has an event, or a number of letters is there; what it gave back."""
    found = load(directory / "carrel.toml")
    stream, deadline = io.StringIO(), time.monotonic() + 90

    def stopping():
        assert time.monotonic() < deadline, stream.getvalue()
        return until(stream.getvalue())

    stopped = live(
        found,
        compile_policy(found.policy_text, capabilities(found)),
        now=wall,
        stopping=stopping,
        journal=Journal(stream),
        limits=Limits(),
    )
    return set(stopped)


@pytest.mark.parametrize("kind", ["kafka", "pubsub"])
def test_a_stopped_source_gives_its_messages_back_and_they_are_read_once_it_is_resumed(run, request, library, kind):
    engine = request.getfixturevalue(kind)
    lost = [json.dumps(event | {"branch": "B02"}).encode() for event in checkouts("2026-03-01", 30, of=5)]
    if kind == "kafka":
        topic = engine.make_topic("hoard", **{"retention.ms": -1})
        publish(engine.brokers, topic, {0: lost})
        bus = f'bus = {{ kind = "kafka", topics = ["{topic}"], settings = "{settings(engine, library)}" }}'
    else:
        made = engine.make()
        engine.publish(made, lost)
        bus = f'bus = {{ kind = "pubsub", subscription = "{made.subscription}" }}'
    edit(library / "carrel.toml", SOURCE, f"{SOURCE}{bus}\nstate_is_only_copy = true\n")

    assert lived(library, lambda said: "breaker_open" in said) == {"carrel-event"}
    directory = DeadLetterDirectory(library / "dead-letters")
    assert sum(one.letters for one in directory.list()) < 100  # what came before there were too many

    run("-c", library / "carrel.toml", "sources", "resume", "carrel-event", "--accept")
    assert lived(library, lambda _: sum(one.letters for one in directory.list()) == len(lost)) == set()
