"""`carrel live` on a real broker: what a replay of the same messages publishes, whatever dies meanwhile."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer

from pipelines.crash_points import LIVE_ONLY

pytestmark = pytest.mark.engine
ROOT = Path(__file__).parents[2]
DAY, HOUR = 86_400_000, 3_600_000
FEBRUARY, APRIL = 1_769_922_000_000, 1_775_016_000_000  # 2026-02-01 and 2026-04-01, New York
PARTITIONS = 3


def a_log(seed=1, events=6_000, mark=""):
    """Two months of one library: duplicates, retractions, late events, staff and faults; ids begin with the mark."""
    rng = random.Random(seed)
    lines = []
    for number in range(events):
        occurred = rng.randrange(FEBRUARY, APRIL)
        late = rng.choice([0, 0, 0, 0, HOUR, DAY, 3 * DAY])
        event = {
            "kind": "circulation", "event_id": f"{mark}e{number}", "occurred_at": occurred, "action": "checkout",
            "branch": rng.choice(["B01", "B02", "B03", "nowhere" if number % 400 == 0 else "B01"]),
            "material": rng.choice(["book", "dvd"]), "patron_ref": f"{mark}p{rng.randrange(900)}",
            "patron_kind": "staff" if number % 50 == 0 else "patron",
        }  # fmt: skip
        lines.append((occurred + late, event))
        if number % 20 == 0:
            lines.append((occurred + late + HOUR, event))
        if number % 30 == 0:
            lines.append((occurred + late + 2 * HOUR, event | {"op": "retract"}))
    lines.sort(key=lambda line: line[0])
    return [(arrived, json.dumps(event).encode()) for arrived, event in lines]


@pytest.fixture
def library(run, tmp_path, kafka):
    """A deployment that reads topics, and its twin with the same keys for replays."""

    def made(*topics):
        for topic in topics:
            kafka.make_topic(topic, PARTITIONS, **{"message.timestamp.type": "CreateTime", "retention.ms": -1})
        first = tmp_path / "live"
        run("init", first, "--secrets", tmp_path / "secrets")
        toml = first / "carrel.toml"
        (tmp_path / "kafka.properties").write_text(f"bootstrap.servers={kafka.brokers}\n")
        bus = f'bus = {{ kind = "kafka", topics = {json.dumps(topics)}, settings = "{tmp_path}/kafka.properties" }}\n'
        toml.write_text(toml.read_text().replace('adapter = "carrel-event"\n', f'adapter = "carrel-event"\n{bus}'))
        second = tmp_path / "replayed"
        shutil.copytree(first, second)
        return first, second

    return made


def publish(kafka, topic, log, seed=1):
    """In the order of arrival, each message to some partition, with its arrival as its time."""
    rng = random.Random(seed)
    producer = Producer({"bootstrap.servers": kafka.brokers, "log_level": 0})
    for arrived, line in log:
        producer.produce(topic, line, partition=rng.randrange(PARTITIONS), timestamp=arrived)
        producer.poll(0)
    assert producer.flush(30) == 0


def archive(path, log):
    records = [
        {"topic": "t", "partition": 0, "offset": at, "ts": arrived, "payload": line.decode()}
        for at, (arrived, line) in enumerate(log)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def start(deployment, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.command_line", "-c", str(deployment / "carrel.toml"), "live"],
        cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def end(process):
    lines = [process.stdout.readline()]  # told to stop before it has begun, a process just ends
    process.send_signal(signal.SIGTERM)
    lines += process.stdout
    assert (process.wait(timeout=60), process.stderr.read()) == (0, "")
    return [json.loads(line) for line in lines]


def rows(deployment, until="2026-04-01"):
    with sqlite3.connect(f"file:{deployment / 'counts.db'}?mode=ro", uri=True) as db:
        return db.execute(
            "SELECT * FROM released_counts WHERE window_end <= ? ORDER BY 3, 4, 7, 8", (until,)
        ).fetchall()


def wait_for(holds, seconds=90):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it did not come about in time"
        time.sleep(0.2)


def is_published(deployment):
    """Whether March is out in all tables: the last one waits for the proof that the topic has ended."""
    with sqlite3.connect(f"file:{deployment / 'counts.db'}?mode=ro", uri=True) as db:
        out = "SELECT COUNT(*) FROM release_ledger WHERE state = 'sealed' AND window_start = '2026-03-01' AND table_name LIKE '%_month'"
        return db.execute(out).fetchone() == (9,)


def replayed(run, deployment, log, tmp_path):
    path = archive(tmp_path / "archive.kcat", log)
    run(
        "-c", deployment / "carrel.toml", "replay", path, "--source", "carrel-event", "--complete-through", "2026-04-02"
    )
    return rows(deployment)


def test_live_publishes_what_a_replay_of_its_messages_publishes(run, kafka, library, tmp_path):
    deployment, twin = library("live.same")
    log = a_log()
    publish(kafka, "live.same", log)

    process = start(deployment)
    wait_for(lambda: is_published(deployment))
    events = end(process)

    expected = replayed(run, twin, log, tmp_path)
    assert len(expected) > 100
    assert rows(deployment) == expected
    assert {"live_started", "window_released", "key_destroyed", "live_stopped"} <= {event["event"] for event in events}


@pytest.mark.parametrize(
    "label",
    ["batch-read", "graph-run", "tallies-appended", "batch-committed", *LIVE_ONLY, "rows-frozen", "rows-published"],
)
def test_killed_at_a_labelled_point_live_goes_on_to_the_same_bytes(run, kafka, library, tmp_path, label):
    deployment, twin = library(f"live.{label}")
    log = a_log()
    publish(kafka, f"live.{label}", log)

    killed = start(deployment, CARREL_CRASH_AT=label)
    killed.communicate(timeout=90)
    process = start(deployment)
    wait_for(lambda: is_published(deployment))
    end(process)

    assert killed.returncode == -signal.SIGKILL
    assert rows(deployment) == replayed(run, twin, log, tmp_path)


def test_killed_at_random_while_messages_come_nothing_is_lost_or_doubled(run, kafka, library, tmp_path):
    deployment, twin = library("live.random", "live.unproven")
    log, rng = a_log(seed=7), random.Random(7)
    # These messages are older than the wall clock: an end that is proven between two thirds would make the next late.
    holds_the_proof = an_open_transaction(kafka, "live.unproven")
    for part in (log[: len(log) // 3], log[len(log) // 3 : 2 * len(log) // 3], log[2 * len(log) // 3 :]):
        publish(kafka, "live.random", part)
        run_and_kill(deployment, rng)
    holds_the_proof.abort_transaction(30)
    run_and_kill(deployment, rng)

    process = start(deployment)
    wait_for(lambda: is_published(deployment))
    end(process)

    assert rows(deployment) == replayed(run, twin, log, tmp_path)


def an_open_transaction(kafka, topic):
    producer = Producer({"bootstrap.servers": kafka.brokers, "transactional.id": topic, "log_level": 0})
    producer.init_transactions(60)
    producer.begin_transaction()
    producer.produce(topic, b"never committed", partition=0)
    producer.flush(30)
    return producer


def run_and_kill(deployment, rng):
    process = start(deployment)
    time.sleep(rng.uniform(2, 6))
    process.kill()
    process.communicate(timeout=30)


def test_a_second_instance_is_told_so(run, kafka, library):
    deployment, _ = library("live.two")
    first = start(deployment)
    assert "live_started" in first.stdout.readline()

    second = run("-c", deployment / "carrel.toml", "live", code=75)

    assert "another instance" in second.stderr
    first.terminate()
    assert first.wait(timeout=60) == 0


def test_a_topic_that_forgets_too_early_is_refused(run, kafka, library):
    deployment, _ = library("live.short")
    toml = deployment / "carrel.toml"
    kafka.make_topic("live.week", 1, **{"retention.ms": 7 * DAY})
    toml.write_text(toml.read_text().replace("live.short", "live.week"))

    refused = run("-c", toml, "live", code=2)

    assert "keeps messages 7 days and open windows need 45" in refused.stderr
