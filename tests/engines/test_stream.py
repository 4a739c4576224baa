"""The streaming graph on engines: what a replay of the same messages publishes, whatever dies meanwhile."""

import contextlib
import datetime as dt
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from pipelines.configuration import load
from pipelines.counts_opening import open_counts
from pipelines.flink_rest import FlinkError
from tests.attacks.test_canaries import hits
from tests.engines.test_live import PARTITIONS, a_log, archive, publish, wait_for
from tests.engines.test_live_pubsub import pulled, some_events
from tests.support.flink_server import CHECKPOINTED
from tests.support.kafka_messages import publish as messages
from tests.support.kafka_messages import wall
from tests.support.replaying import edit

pytestmark = [pytest.mark.engine, pytest.mark.timeout(2000)]
ROOT = Path(__file__).parents[2]
CARREL = (sys.executable, "-m", "pipelines.command_line")
MARK = "CANARY777"
LONG = 400  # seconds that a machine may take on which much else runs
TABLES_BY_MONTH, DAYS = 9, 28 + 31


@pytest.fixture
def library(run, tmp_path, kafka):
    """A deployment that reads topics, and its twin with the same keys and store for a replay."""

    def made(*topics, counts=None, twin_counts=None):
        for topic in topics:
            kafka.make_topic(topic, PARTITIONS, **{"message.timestamp.type": "CreateTime", "retention.ms": -1})
        first = tmp_path / "streamed"
        words = () if counts is None else ("--counts-store", counts)
        run("init", first, "--secrets", tmp_path / "secrets", *words)
        toml = first / "carrel.toml"
        (tmp_path / "kafka.properties").write_text(f"bootstrap.servers={kafka.brokers}\n")
        bus = f'bus = {{ kind = "kafka", topics = {json.dumps(topics)}, settings = "{tmp_path}/kafka.properties" }}\n'
        toml.write_text(toml.read_text().replace('adapter = "carrel-event"\n', f'adapter = "carrel-event"\n{bus}'))
        twin = tmp_path / "replayed"
        shutil.copytree(first, twin)
        if counts is not None:
            copy = twin / "carrel.toml"
            copy.write_text(copy.read_text().replace(counts, twin_counts))
        return first, twin

    return made


def submitted(deployment, *options, readers=2, flink=None):
    """The job's submission; it is ended afterwards, and with it what runs in its process."""
    looked = () if flink is None else ("--flink", flink)
    words = ("-c", deployment / "carrel.toml", "stream", "--readers", readers, *looked, "--", *options)
    return in_process(deployment, *CARREL, *words)


@contextlib.contextmanager
def in_process(deployment, *words):
    with (deployment / "submission.log").open("ab") as log:
        process = subprocess.Popen(
            list(map(str, words)), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


@contextlib.contextmanager
def on_flink(flink, deployment, *options):
    """A job on the cluster, cancelled afterwards, unless nobody is there to do it."""
    before = set(flink.rest.jobs())
    words = (*flink.options, *CHECKPOINTED, "--parallelism=2", *options)
    with submitted(deployment, *words, flink=flink.address) as process:
        wait_for(lambda: process.poll() is not None, LONG)
        assert process.returncode == 0, (deployment / "submission.log").read_text()
        (job,) = set(flink.rest.jobs()) - before
        try:
            yield job
        finally:
            if "jobmanager" in flink.pids:
                flink.rest.cancel(job)


def wait_for_checkpoints(flink, job, more=2):
    before = completed(flink, job)
    wait_for(lambda: completed(flink, job) >= before + more, LONG)


def completed(flink, job):
    """How many checkpoints; 0 while the job starts again, when Flink does not tell."""
    with contextlib.suppress(FlinkError):
        return flink.rest.completed(job)
    return 0


def ledger(deployment):
    config = load(deployment / "carrel.toml")
    with open_counts(config.counts_store) as counts:
        return counts.ledger(config.tenant)


def rows(deployment):
    with open_counts(load(deployment / "carrel.toml").counts_store) as counts:
        return list(counts.rows())


def released(deployment, until="2026-04-01"):
    return [row for row in rows(deployment) if row.window_end <= until]


def is_published(deployment):
    """Whether February and March are out in all tables; an engine releases windows in no order."""
    out = [
        table for (table, start), row in ledger(deployment).items() if start < "2026-04-01" and row.state == "sealed"
    ]
    return len(out) == 2 * TABLES_BY_MONTH + DAYS


def letters(run, deployment):
    told = json.loads(run("-c", deployment / "carrel.toml", "deadletters", "list", "--json").stdout)
    return sorted((one["source"], one["reason"], one["letters"]) for one in told)


def replay(run, twin, log, tmp_path):
    path = archive(tmp_path / "archive.kcat", log)
    words = ("replay", path, "--source", "carrel-event", "--complete-through", "2026-04-02")
    run("-c", twin / "carrel.toml", *words)
    return released(twin)


def test_on_prism_the_same_log_gives_the_same_bytes_also_when_all_state_is_lost(run, kafka, prism, library, tmp_path):
    deployment, twin = library("stream.prism")
    log = a_log()
    publish(kafka, "stream.prism", log)
    on_prism = ("--runner=PrismRunner", f"--prism_location={prism}")

    with submitted(deployment, *on_prism):
        wait_for(lambda: len(ledger(deployment)) > 20, LONG)
    assert not is_published(deployment)
    with submitted(deployment, *on_prism, readers=1):  # a clean start reads again what open windows need
        wait_for(lambda: is_published(deployment), LONG)

    expected = replay(run, twin, log, tmp_path)
    assert len(expected) > 100
    assert released(deployment) == expected
    assert letters(run, deployment) == letters(run, twin)


def test_on_a_flink_inside_its_job_server_the_same_log_gives_the_same_bytes(
    run, kafka, embedded_flink, library, tmp_path
):
    deployment, twin = library("stream.embedded")
    log = a_log()
    publish(kafka, "stream.embedded", log)

    with submitted(deployment, *embedded_flink.options, *CHECKPOINTED, "--parallelism=2"):
        wait_for(lambda: is_published(deployment), LONG)

    expected = replay(run, twin, log, tmp_path)
    assert len(expected) > 100
    assert released(deployment) == expected
    assert letters(run, deployment) == letters(run, twin)


def test_on_flink_a_subscription_is_read_once_and_acknowledged_when_a_checkpoint_holds_it(run, pubsub, flink, tmp_path):
    made, deployment = pubsub.make(), tmp_path / "library"
    run("init", deployment, "--secrets", tmp_path / "secrets")
    on_pubsub(deployment, made.subscription)
    good = [json.dumps(event).encode() for event in some_events(wall())]
    bad = [b'{"kind": "poison", "n": "%s%d"}' % (MARK.encode(), number) for number in range(90)]

    pubsub.publish(made, good + bad[:30])
    with on_flink(flink, deployment) as job:
        wait_for(lambda: count_letters(run, deployment) >= 30, LONG)
        flink.kill("taskmanager-1")
        pubsub.publish(made, good + bad[30:60])
        flink.start_task_manager(1)
        wait_for(lambda: count_letters(run, deployment) >= 60, LONG)
        flink.kill_worker(0)
        pubsub.publish(made, good + bad[60:])
        wait_for(lambda: count_letters(run, deployment) >= 90, LONG)
        wait_for_checkpoints(flink, job, 3)
    kill_workers(flink)  # with them go the leases of what was not acknowledged

    assert pubsub.left(made.subscription, seconds=25) == []
    assert count_letters(run, deployment) == 90
    nothing_is_told(flink, tmp_path)


def test_on_prism_a_subscription_gives_what_a_replay_of_its_messages_gives(run, pubsub, prism, tmp_path):
    made = pubsub.make()
    kept = made.subscription + "-archive"
    pubsub.subscriber.create_subscription(name=kept, topic=made.topic)
    deployment, twin = tmp_path / "streamed", tmp_path / "replayed"
    run("init", deployment, "--secrets", tmp_path / "secrets")
    shutil.copytree(deployment, twin)
    on_pubsub(deployment, made.subscription)
    payloads = [json.dumps(event).encode() for event in some_events(wall())] + [b'{"kind": "poison"}']
    pubsub.publish(made, payloads)
    today = dt.datetime.fromtimestamp(wall() / 1000, ZoneInfo("America/New_York")).date()

    toml, sign = deployment / "carrel.toml", tmp_path / "days-go-by"
    words = ("--runner=PrismRunner", f"--prism_location={prism}", "--job_server_timeout=3600")
    with in_process(deployment, sys.executable, "-m", "tests.support.stream_ahead", toml, sign, *words):
        wait_for(lambda: count_letters(run, deployment) == 1, LONG)
        wait_for(lambda: pubsub.left(made.subscription, seconds=2) == [], LONG)
        sign.touch()
        wait_for(lambda: ("circ_system_day", f"{today}") in ledger(deployment), LONG)
    path = tmp_path / "pulled.jsonl"
    path.write_text(pulled(pubsub, kept, len(payloads)))
    words = ("--source", "carrel-event", "--complete-from", today - dt.timedelta(days=2), "--complete-through", today)
    run("-c", twin / "carrel.toml", "replay", path, *words)

    ours = {where for where, row in ledger(deployment).items() if row.state == "sealed"}
    expected = [row for row in rows(twin) if (row.table_name, row.window_start) in ours]
    assert any(row.status == "published" for row in expected)
    assert [row for row in rows(deployment) if (row.table_name, row.window_start) in ours] == expected
    assert letters(run, deployment) == letters(run, twin)


def test_on_flink_a_source_that_refuses_too_much_is_left_to_its_bus_until_it_is_resumed(run, kafka, flink, library):
    deployment, _ = library("stream.refused")
    toml = deployment / "carrel.toml"
    bad = [b'{"kind": "poison", "n": "%s%d"}' % (MARK.encode(), number) for number in range(150)]
    publish(kafka, "stream.refused", a_log(events=300))
    messages(kafka.brokers, "stream.refused", {0: bad}, timestamp=wall())

    with on_flink(flink, deployment) as job:
        wait_for(lambda: stopped(deployment) == ["unknown_kind"], LONG)
        wait_for_checkpoints(flink, job)
        failures = len(flink.rest.exceptions(job))
        wait_for_checkpoints(flink, job, 4)
        assert len(flink.rest.exceptions(job)) == failures, "it is left alone, and the job lives"
        told = json.loads(run("-c", toml, "status", "--json", code=1).stdout)
        assert told["breakers"] == {"carrel-event": "unknown_kind"}
        assert count_letters(run, deployment) == 0, "nothing of the bundle is kept"

        run("-c", toml, "sources", "resume", "carrel-event", "--accept")
        kill_workers(flink)  # readers that are made anew look at once, the others once a minute
        wait_for(lambda: count_letters(run, deployment) == 150, LONG)
    assert stopped(deployment) == ["unknown_kind", ""]


def on_pubsub(deployment, subscription):
    bus = f'bus = {{ kind = "pubsub", subscription = "{subscription}" }}\nstate_is_only_copy = true\n'
    edit(deployment / "carrel.toml", 'adapter = "carrel-event"\n', f'adapter = "carrel-event"\n{bus}')


def kill_workers(flink):
    for pid in flink.workers():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def stopped(deployment):
    config = load(deployment / "carrel.toml")
    with open_counts(config.counts_store) as counts:
        return [stop.reason for stop in counts.stops(config.tenant)]


def count_letters(run, deployment):
    return sum(amount for *_, amount in letters(run, deployment))


def nothing_is_told(flink, tmp_path):
    """No id and no key is in checkpoints, job graph or logs."""
    keys = [path.read_bytes()[:32] for path in (tmp_path / "secrets").rglob("*.key")]
    assert keys
    files = [path for path in flink.directory.rglob("*") if path.is_file()]
    assert any("checkpoints" in path.parts for path in files)
    for path in files:
        data = path.read_bytes()
        assert hits(data + path.name.encode(), (MARK,)) == [], path.name
        assert not any(key in data or key.hex().encode() in data for key in keys), path.name
