"""A standalone Flink on this machine: a job reads without end, outlives a worker and goes on from a savepoint."""

import time

import pytest

from pipelines.flink_checks import check_job, need_no_job
from pipelines.processes import is_alive
from tests.support.counting_pipeline import begun, counting, numbers
from tests.support.flink_server import CHECKPOINTED
from tests.support.listening import listening

pytestmark = pytest.mark.engine


def wait_for(holds, seconds=150):
    until = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < until, "the job did not get on"
        time.sleep(0.1)
    return found


@pytest.fixture
def submit(flink, tmp_path):
    """Submits the job that counts and gives its id; it is cancelled afterwards."""
    jobs = []

    def submitted(*options):
        before = need_no_job(flink.rest, "counting")
        words = (*flink.options, *CHECKPOINTED, "--job_name=counting", "--parallelism=2", *options)
        counting(tmp_path, *words).run()
        jobs.append(check_job(flink.rest, "counting", 2_000, before=before))
        return jobs[-1]

    yield submitted
    for job in jobs:
        if flink.rest.job(job)["state"] in ("RUNNING", "RESTARTING", "FAILING"):
            flink.rest.cancel(job)
            flink.rest.wait_for(job)


def test_a_job_outlives_a_worker_and_goes_on_from_a_savepoint(flink, submit, tmp_path):
    job = submit()
    wait_for(lambda: flink.rest.completed(job) >= 2 and max(numbers(tmp_path), default=0) > 5)

    assert len(begun(tmp_path)) < len(numbers(tmp_path)) / 2  # readers live on from bundle to bundle
    assert flink.retained(job)
    assert all(all(listening(pid).values()) for pid in (*flink.pids.values(), *flink.workers()))
    assert set(flink.ports.values()) <= {port for pid in flink.pids.values() for port in listening(pid)}

    worker = flink.workers()[0]
    reached = max(numbers(tmp_path))
    flink.kill_worker()
    wait_for(lambda: not is_alive(worker))
    wait_for(lambda: flink.rest.exceptions(job) and max(numbers(tmp_path)) > reached + 6)
    before = begun(tmp_path)
    savepoint = flink.rest.stop_with_savepoint(job)

    assert flink.rest.wait_for(job) == "FINISHED"
    reached = max(numbers(tmp_path))

    submit(f"--savepoint_path={savepoint}")
    wait_for(lambda: max(numbers(tmp_path)) > reached + 2)

    assert min(after for _, after in begun(tmp_path) - before) > 0  # it went on, and did not begin again
    wait_for(lambda: set(range(2, reached)) <= numbers(tmp_path))  # nothing is lost
