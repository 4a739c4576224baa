"""A Flink whose jobs outlive their JobManager, and what `carrel stream` says when its cluster fails it."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.flink_checks import check_job
from pipelines.flink_rest import FlinkError
from pipelines.maven_parts import PartsMissingError
from pipelines.processes import is_alive
from tests.engines.conftest import missing
from tests.engines.test_flink_cluster import wait_for
from tests.support.counting_pipeline import begun, counting, numbers
from tests.support.flink_answers import answering
from tests.support.flink_server import CHECKPOINTED, flink_server
from tests.support.listening import listening
from tests.support.small_disk import SmallDisk, SmallDiskMissingError

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A disk of 8 MiB, or None where there can be none."""
    try:
        made = SmallDisk(tmp_path_factory.mktemp("disk"), 8 << 20)
    except SmallDiskMissingError:
        yield None
        return
    yield made
    made.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, disk):
    """A cluster of this file's own: one TaskManager of two slots, and ZooKeeper. It sees the small disk."""
    try:
        within = () if disk is None else disk.launcher
        made = flink_server(tmp_path_factory.mktemp("flink"), slots=2, survives=True, within=within)
        made.start(1)
    except (PartsMissingError, FlinkError) as error:
        missing("flink", error)
        return
    yield made
    made.stop()


def reached(path):
    return max(numbers(path), default=0)


def answered(rest, job):
    """How many checkpoints; 0 while nobody answers."""
    try:
        return rest.completed(job)
    except FlinkError:
        return 0


@pytest.fixture
def submission(run, kafka, cluster, tmp_path):
    """Starts `carrel stream` on the cluster."""
    topic = f"fails.{tmp_path.name}"
    kafka.make_topic(topic, 1, **{"message.timestamp.type": "CreateTime", "retention.ms": -1})
    deployment = tmp_path / "library"
    run("init", deployment, "--secrets", tmp_path / "secrets")
    (tmp_path / "kafka.properties").write_text(f"bootstrap.servers={kafka.brokers}\n")
    toml = deployment / "carrel.toml"
    bus = f'bus = {{ kind = "kafka", topics = ["{topic}"], settings = "{tmp_path}/kafka.properties" }}'
    more = f'adapter = "carrel-event"\n{bus}\ncomplete_from = "2026-03-01"\n'
    toml.write_text(toml.read_text().replace('adapter = "carrel-event"\n', more))
    started = []

    def submitted(*options, flink=cluster.address, parallelism=2):
        given = {word.partition("=")[0] for word in options}
        words = [word for word in (*cluster.options, *CHECKPOINTED) if word.partition("=")[0] not in given]
        words += [f"--parallelism={parallelism}", *options]
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "pipelines.command_line", "-c", str(toml), "stream", "--flink", flink, "--", *words],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
        return started[-1]

    yield submitted
    for one in started:
        one.kill()
        one.wait(timeout=30)


def said(process):
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (2, "")
    return err


def checkpoints(rest, job):
    """The newest of a job; none while nobody answers."""
    try:
        return rest.checkpoints(job)["history"]
    except FlinkError:
        return []


def states(rest, name):
    return {state for called, state in rest.named_jobs().values() if called == name}


def test_what_does_not_fit_is_one_line_and_gets_no_job(cluster, submission):
    """Another Flink; a port of something else in the place of the job server's, one that speaks gRPC and one that does not."""
    other = {"GET /overview": {"flink-version": "1.18.1", "slots-total": 2}}
    before = cluster.rest.jobs()
    with answering(other) as (rest, asked):
        processes = [
            submission(flink=rest.address),
            submission(f"--job_endpoint=127.0.0.1:{cluster.ports['pool']}"),
            submission(f"--job_endpoint=127.0.0.1:{cluster.ports['rest']}", "--job_server_timeout=2"),
        ]
        errors = [said(one) for one in processes]

    assert (
        errors[0]
        == f"carrel: flink: {rest.address} is Flink 1.18.1; this runs on 1.19 and 1.20, nothing was submitted\n"
    )
    assert [method for method, *_ in asked] == ["GET"]
    for error in errors[1:]:
        assert re.fullmatch(r"carrel: stream: the engine did not take the job \(\w+\); is it up\? See its log\n", error)
    assert cluster.rest.jobs() == before


def test_where_a_disk_is_full_no_job_begins_and_one_that_runs_waits_for_room(cluster, disk, submission, tmp_path):
    if disk is None:
        missing("small disk", "no mount namespace may be made here")
    process = submission(*on(disk.folder / "full"), "--job_name=new", parallelism=1)
    words = (*CHECKPOINTED, *on(disk.folder), "--job_name=waiting", "--parallelism=1")
    counting(tmp_path, *cluster.options, *words).run()
    job = check_job(cluster.rest, "waiting", 500, before=())

    wait_for(lambda: disk.fill() or "FAILED" in {one["status"] for one in checkpoints(cluster.rest, job)})
    before, at = wait_for(lambda: answered(cluster.rest, job)), reached(tmp_path)
    disk.make_room()
    wait_for(lambda: answered(cluster.rest, job) > before and reached(tmp_path) > at)

    wait_for(lambda: set(range(2, at)) <= numbers(tmp_path))  # nothing is lost
    cluster.rest.cancel(job)
    assert said(process) == (
        "carrel: flink: job new was cancelled: its checkpoints fail; is the disk full that they are written to?"
        " See the JobManager's log\n"
    )
    wait_for(lambda: states(cluster.rest, "new") == {"CANCELED"})
    assert cluster.rest.wait_for(job) == "CANCELED"
    assert "java.io.IOException: No space left on device" in (cluster.directory / "log" / "jobmanager.log").read_text()


def on(folder):
    """The options of a job whose checkpoints lie there."""
    place = f"--state_backend_storage_path=file://{folder}/checkpoints"
    return "--state_backend=filesystem", place, "--checkpointing_interval=500"


def test_checkpoints_that_cannot_be_written_are_one_line(cluster, submission, tmp_path):
    (tmp_path / "file").write_text("no folder")

    process = submission("--state_backend=filesystem", f"--state_backend_storage_path=file://{tmp_path}/file/chk")

    assert re.fullmatch(r"carrel: flink: job carrel-\S+ ended as it began: .*\n", said(process))


def test_a_job_outlives_its_job_manager_without_being_submitted_again(cluster, tmp_path):
    words = (*cluster.options, *CHECKPOINTED, "--job_name=surviving", "--parallelism=2")
    counting(tmp_path, *words).run()
    job = check_job(cluster.rest, "surviving", 2_000, before=())
    wait_for(lambda: cluster.rest.completed(job) >= 2 and reached(tmp_path) > 5)
    before, at = begun(tmp_path), reached(tmp_path)

    cluster.kill("jobmanager")
    cluster.start_job_manager()
    wait_for(lambda: answered(cluster.rest, job) >= 1 and reached(tmp_path) > at + 6)

    assert min(after for _, after in begun(tmp_path) - before) > 0  # it went on, and did not begin again
    wait_for(lambda: set(range(2, at)) <= numbers(tmp_path))  # nothing is lost
    assert all(all(listening(pid).values()) for pid in cluster.pids.values())  # on loopback, ZooKeeper too
    cluster.rest.cancel(job)
    cluster.rest.wait_for(job)


def test_a_cluster_that_goes_while_a_job_is_submitted_is_one_line(cluster, submission):
    server = cluster.pids["jobserver"]
    os.kill(server, signal.SIGSTOP)
    try:
        process = submission()
        wait_for(lambda: f":{cluster.ports['job']}" in connections(process.pid))
        cluster.kill("jobmanager")
    finally:
        os.kill(server, signal.SIGCONT)

    assert re.fullmatch(r"carrel: .*(is the cluster up\?|is it up\? See its log)\n", said(process))
    assert is_alive(server)


def connections(pid):
    """The far ends of a process' connections, each as `:port`."""
    inodes = set()
    for one in Path(f"/proc/{pid}/fd").iterdir():
        try:
            inodes.add(str(one.readlink()))
        except OSError:
            continue
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    rows += [line.split() for line in Path(f"/proc/{pid}/net/tcp6").read_text().splitlines()[1:]]
    return {f":{int(row[2].rpartition(':')[2], 16)}" for row in rows if f"socket:[{row[9]}]" in inodes}
