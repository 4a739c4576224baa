"""A stream on a standalone Flink whose parts are killed -9 in any order: the bytes of a replay, nothing twice or early."""

import datetime as dt
import os
import random
import time
from zoneinfo import ZoneInfo

import pytest

from tests.engines.test_live import FEBRUARY, HOUR, PARTITIONS, a_log
from tests.engines.test_stream import (
    LONG,
    MARK,
    is_published,
    ledger,
    letters,
    library,  # noqa: F401 - a fixture
    nothing_is_told,
    on_flink,
    released,
    replay,
    wait_for,
    wait_for_checkpoints,
)
from tests.support.held_topic import HeldTopic

pytestmark = [pytest.mark.engine, pytest.mark.timeout(2000)]
KINDS = ("taskmanager", "worker", "broker", "jobmanager")
SEEDS, FIRST = int(os.environ.get("SEEDS", "4")), int(os.environ.get("FIRST", "100"))


@pytest.fixture
def stream(run, kafka, postgres, library, tmp_path):  # noqa: F811 - the fixture
    """Lives through some kills on a cluster, and compares with a replay in the end."""

    def lived(flink, name, kills, seed):
        database = postgres.make_database()
        addresses = [postgres.address(database), postgres.address(f"twin_of_{database}")]
        deployment, twin = library(name, counts=addresses[0], twin_counts=addresses[1])
        with postgres.connect() as session:
            session.autocommit = True
            session.execute(f"CREATE DATABASE twin_of_{database} TEMPLATE {database}")
        log, rng = a_log(seed=seed, events=50_000, mark=MARK), random.Random(seed)
        topic = HeldTopic(kafka.brokers, name, PARTITIONS, FEBRUARY)
        steps = len(kills) + 1
        parts = [log[at * len(log) // steps : (at + 1) * len(log) // steps] for at in range(steps)]

        topic.come(parts.pop(0))
        pending, options = list(kills), ()
        while not is_published(deployment):
            with on_flink(flink, deployment, *options) as job:
                wait_for_checkpoints(flink, job)
                while pending and "jobmanager" in flink.pids:
                    part = parts.pop(0)
                    topic.come(part)
                    time.sleep(rng.uniform(0, 2))
                    kill(flink, kafka, pending.pop(0), rng)
                    none_is_early(deployment, part[-1][0])
                    if "jobmanager" in flink.pids:
                        wait_for_checkpoints(flink, job)
                if "jobmanager" in flink.pids:
                    topic.let_go()
                    wait_for(lambda: is_published(deployment), LONG)
            if "jobmanager" not in flink.pids:
                options = (f"--savepoint_path={flink.retained(job)}",)
                flink.start_job_manager()
                flink.wait(2)

        expected = replay(run, twin, log, tmp_path)
        assert len(expected) > 100
        assert released(deployment) == expected
        assert letters(run, deployment) == letters(run, twin)
        nothing_is_told(flink, tmp_path)

    return lived


def kill(flink, kafka, what, rng):
    """Kill one part and start it again, but a JobManager that nothing keeps the jobs of."""
    if what == "taskmanager":
        number = rng.randrange(2) + 1
        flink.kill(f"taskmanager-{number}")
        flink.start_task_manager(number)
    elif what == "worker":
        wait_for(flink.workers, LONG)
        flink.kill_worker(rng.randrange(len(flink.workers())))
    elif what == "broker":
        kafka.kill()
        kafka.start()
    else:
        flink.kill("jobmanager")
        if flink.survives:
            flink.start_job_manager()
            flink.wait(2)


def none_is_early(deployment, stamp):
    """Nothing is out before the shortest H and the grace have passed after its window."""
    zone = ZoneInfo("America/New_York")
    early = [
        row
        for row in ledger(deployment).values()
        if dt.datetime.fromisoformat(row.window_end).replace(tzinfo=zone).timestamp() * 1000 + 49 * HOUR > stamp
    ]
    assert early == []


def test_on_flink_whatever_is_killed_the_same_log_gives_the_same_bytes(flink, stream):
    stream(flink, "stream.flink", KINDS, seed=3)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(FIRST, FIRST + SEEDS))
def test_on_flink_kills_of_any_order_for_long(request, stream, seed):
    """Every second one on a cluster whose jobs ZooKeeper keeps."""
    rng = random.Random(seed)
    flink = request.getfixturevalue("lasting_flink" if seed % 2 else "flink")
    stream(flink, f"stream.kills.{seed}", rng.choices(KINDS, k=5), seed)
