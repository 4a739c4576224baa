"""What is held against a job after Flink has taken it, and how it is ended, against scripted answers."""

import os
import re
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import FlinkRunnerOptions

from pipelines.flink_checks import SUPPORTED, FlinkCheckError, check_job, need_no_job, wrong_settings
from pipelines.flink_rest import FlinkError, FlinkRest
from tests.support.flink_answers import answering

ROOT = Path(__file__).parents[2]
JOB = "a" * 32
FITS = {"flink-version": "1.19.0"}
GOOD = {
    "mode": "exactly_once",
    "interval": 30_000,
    "externalization": {"enabled": True, "delete_on_cancellation": False},
}
OTHER = {"jid": "b" * 32, "name": "other", "state": "RUNNING"}
GONE = {"jid": "c" * 32, "name": "carrel", "state": "CANCELED"}
BEFORE = {"c" * 32}


def told(completed, failed, too_early=1):
    """What Flink says of checkpoints: it counts those with the failed ones for which it was too early."""
    history = [{"status": "COMPLETED"}] * completed + [{"status": "FAILED"}] * failed
    return {"counts": {"completed": completed, "failed": failed + too_early}, "history": history}


def cluster(settings, state="RUNNING", checkpoints=None):
    running = {"jid": JOB, "name": "carrel", "state": "INITIALIZING"}
    return {
        "GET /jobs/overview": [{"jobs": [OTHER, GONE]}, {"jobs": [OTHER, GONE, running]}],
        f"GET /jobs/{JOB}": [{"state": "INITIALIZING"}, {"state": state}],
        f"GET /jobs/{JOB}/checkpoints/config": settings,
        f"GET /jobs/{JOB}/checkpoints": told(1, 0) if checkpoints is None else checkpoints,
        f"PATCH /jobs/{JOB}?mode=cancel": {},
    }


def test_a_job_with_the_checkpoints_asked_for_stays():
    with answering(cluster(GOOD)) as (rest, asked):
        assert check_job(rest, "carrel", 30_000, before=BEFORE) == JOB

    assert not [method for method, *_ in asked if method == "PATCH"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (None, "it makes no checkpoints, not one every 30000 ms"),
        ({**GOOD, "interval": 2**63 - 1}, "it makes no checkpoints"),
        ({**GOOD, "interval": 60_000}, "it makes a checkpoint every 60000 ms, not one every 30000 ms"),
        ({**GOOD, "mode": "at_least_once"}, "its checkpoints are not exactly-once"),
        ({**GOOD, "externalization": {"enabled": False}}, "its checkpoints go with it"),
        ({**GOOD, "externalization": {"enabled": True, "delete_on_cancellation": True}}, "its checkpoints go with it"),
        ({**GOOD, "externalization": {"enabled": True}}, "its checkpoints go with it"),
    ],
)
def test_a_job_with_other_checkpoints_is_cancelled(settings, said):
    with answering(cluster(settings)) as (rest, asked), pytest.raises(FlinkCheckError) as caught:
        check_job(rest, "carrel", 30_000, before=BEFORE)

    assert str(caught.value).startswith(f"flink: job carrel was cancelled: {said}")
    assert "\n" not in str(caught.value)
    assert asked[-1][:2] == ("PATCH", f"/jobs/{JOB}?mode=cancel")
    assert settings is None or wrong_settings(settings, 30_000)


WORKS, WAITS = [{"status": "RUNNING"}], [{"status": "RUNNING"}, {"status": "SCHEDULED"}]


@pytest.mark.parametrize(
    ("checkpoints", "tasks", "said"),
    [
        ([told(0, 1), None, told(0, 1), told(0, 2)], WORKS, "its checkpoints fail; is the disk full that they are"),
        ([told(0, 1, too_early=9)], WORKS, "no checkpoint is complete after 1 s; see the logs"),
        ([None], WORKS, "no checkpoint is complete after 1 s; see the logs"),
        ([told(0, 0, too_early=9)], WAITS, "its tasks have no slots after 1 s; are the TaskManagers up"),
    ],
)
def test_a_job_whose_checkpoints_do_not_get_complete_is_cancelled(checkpoints, tasks, said):
    answers = cluster({**GOOD, "interval": 1_000}, checkpoints=checkpoints)
    answers[f"GET /jobs/{JOB}"] = {"state": "RUNNING", "vertices": tasks}
    with answering(answers) as (rest, asked), pytest.raises(FlinkCheckError) as caught:
        check_job(rest, "carrel", 1_000, before=BEFORE, seconds=0.3 if len(checkpoints) == 1 else 60)

    assert str(caught.value).startswith(f"flink: job carrel was cancelled: {said}")
    assert asked[-1][:2] == ("PATCH", f"/jobs/{JOB}?mode=cancel")


def test_a_job_stays_whose_first_checkpoints_came_too_early_or_failed_once():
    checkpoints = [told(0, 0, too_early=9), told(0, 1, too_early=9), told(1, 1, too_early=9)]
    with answering(cluster(GOOD, checkpoints=checkpoints)) as (rest, asked):
        assert check_job(rest, "carrel", 30_000, before=BEFORE) == JOB

    assert not [method for method, *_ in asked if method == "PATCH"]


def test_a_job_that_has_ended_when_it_is_first_seen_is_told():
    ours = {"jid": JOB, "name": "carrel", "state": "FAILED"}
    answers = {**cluster(GOOD, "FAILED"), "GET /overview": FITS}
    answers["GET /jobs/overview"] = [{"jobs": [OTHER, GONE]}, {"jobs": [OTHER, GONE, ours]}]
    with answering(answers) as (rest, _), pytest.raises(FlinkCheckError, match="ended as it began"):
        check_job(rest, "carrel", 30_000, before=BEFORE)
    answers["GET /jobs/overview"] = [*[{"jobs": [OTHER, GONE]}] * 2, {"jobs": [OTHER, GONE, ours]}]
    with answering(answers) as (rest, _):
        before = need_no_job(rest, "carrel")
        with pytest.raises(FlinkCheckError, match="ended as it began"):
            check_job(rest, "carrel", 30_000, before=before)


def test_a_job_that_ends_before_its_first_checkpoint_is_told():
    answers = cluster(GOOD, checkpoints=told(0, 0))
    answers[f"GET /jobs/{JOB}"] = [{"state": "RUNNING"}, {"state": "RUNNING"}, {"state": "FAILED"}]
    with answering(answers) as (rest, _), pytest.raises(FlinkCheckError, match="ended as it began"):
        check_job(rest, "carrel", 30_000, before=BEFORE)


def test_a_job_that_ends_as_it_begins_or_never_comes_is_told():
    with answering(cluster(GOOD, "FAILED")) as (rest, _), pytest.raises(FlinkCheckError, match="ended as it began"):
        check_job(rest, "carrel", 30_000, before=BEFORE)
    with answering({"GET /jobs/overview": {"jobs": []}}) as (rest, _), pytest.raises(FlinkCheckError, match="not run"):
        check_job(rest, "carrel", 30_000, before=BEFORE, seconds=0)


def test_a_second_job_of_one_name_is_refused():
    with answering({"GET /overview": FITS, "GET /jobs/overview": [{"jobs": [GONE, OTHER]}]}) as (rest, _):
        need_no_job(rest, "carrel")
        with pytest.raises(FlinkCheckError, match=r"job other runs already \(b{32}\)"):
            need_no_job(rest, "other")


@pytest.mark.parametrize(
    ("overview", "said"),
    [
        ({"flink-version": "1.18.1"}, "is Flink 1.18.1"),
        ({"flink-version": "1.21.0-SNAPSHOT"}, "is Flink 1.21.0-SNAPSHOT"),
        ({"flink-version": "1.190.0"}, "is Flink 1.190.0"),
        ({"flink-version": "2.1.0"}, "is Flink 2.1.0"),
        ({"flink-version": "1.19.0 <script>"}, "does not say which Flink it is"),
        ({"flink-version": 1.19}, "does not say which Flink it is"),
        ({"flink-version": "<unknown>"}, "does not say which Flink it is"),
        ({"taskmanagers": 2}, "does not say which Flink it is"),
    ],
)
def test_a_flink_that_nobody_has_tried_is_refused(overview, said):
    with answering({"GET /overview": overview}) as (rest, asked), pytest.raises(FlinkCheckError) as caught:
        need_no_job(rest, "carrel")

    assert str(caught.value) == f"flink: {rest.address} {said}; this runs on 1.19 and 1.20, nothing was submitted"
    assert [method for method, *_ in asked] == ["GET"]


def test_what_is_supported_is_what_the_tests_run_what_deployments_name_and_what_beam_knows():
    tested = re.search("<flink.minor>(.*)</flink.minor>", (ROOT / "deploy/flink/pom.xml").read_text())[1]
    deployed = re.search(r"image: flink:(\d+\.\d+)", (ROOT / "deploy/kubernetes/flink.yaml").read_text())[1]

    assert set(SUPPORTED) == {tested, deployed}
    assert set(SUPPORTED) <= set(FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS)


def test_an_address_of_something_else_is_one_line():
    with (
        answering({"GET /overview": ["jobs"]}) as (rest, _),
        pytest.raises(FlinkError, match="is no answer of Flink's"),
    ):
        need_no_job(rest, "carrel")
    with speaking(b"\0\0\x12\4\0\0\0\0\0") as address, pytest.raises(FlinkError, match="is the cluster up"):
        need_no_job(FlinkRest(address), "carrel")  # HTTP/2: a job server


@contextmanager
def speaking(words):
    """A server that says this to whoever comes, and shuts the connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak():
            with server.accept()[0] as one:
                one.recv(4096)
                one.sendall(words)

        speaker = threading.Thread(target=speak)
        speaker.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        speaker.join()


def test_a_stop_keeps_a_savepoint_and_never_drains():
    answers = {
        f"POST /jobs/{JOB}/stop": {"request-id": "7"},
        f"GET /jobs/{JOB}/savepoints/7": [
            {"status": {"id": "IN_PROGRESS"}},
            {"status": {"id": "COMPLETED"}, "operation": {"location": "file:/savepoint-1"}},
        ],
    }
    with answering(answers) as (rest, asked):
        assert rest.stop_with_savepoint(JOB, "file:///kept") == "file:/savepoint-1"

    assert asked[0] == ("POST", f"/jobs/{JOB}/stop", {"drain": False, "targetDirectory": "file:///kept"})


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"status": {"id": "COMPLETED"}, "operation": {"failure-cause": {"class": "X"}}}, "the savepoint failed"),
        ({"status": {"id": "IN_PROGRESS"}}, "no savepoint after 0 s"),
    ],
)
def test_a_stop_without_its_savepoint_is_told(answer, said):
    answers = {f"POST /jobs/{JOB}/stop": {"request-id": "7"}, f"GET /jobs/{JOB}/savepoints/7": answer}
    with answering(answers) as (rest, _), pytest.raises(FlinkError, match=said):
        rest.stop_with_savepoint(JOB, seconds=0.4 if "COMPLETED" in str(answer) else 0.1)


def test_a_cluster_that_does_not_answer_is_one_line():
    with answering({}) as (rest, _), pytest.raises(FlinkError, match=r"/jobs answers 404; is it the right cluster"):
        rest.jobs()
    with pytest.raises(FlinkError, match=r"^flink: http://127.0.0.1:\d+/jobs does not answer; is the cluster up\?$"):
        rest.jobs()
    with pytest.raises(FlinkError, match="need an address like"):
        FlinkRest("file:///etc").jobs()


def test_a_wait_ends():
    running = {f"GET /jobs/{JOB}": {"state": "RUNNING"}}
    with answering(running) as (rest, _), pytest.raises(FlinkError, match="is RUNNING after 0 s"):
        rest.wait_for(JOB, seconds=0)


STOPPED = {
    "GET /jobs/overview": {"jobs": [GONE, {"jid": JOB, "name": "carrel", "state": "RUNNING"}]},
    f"POST /jobs/{JOB}/stop": {"request-id": "7"},
    f"GET /jobs/{JOB}/savepoints/7": {"status": {"id": "COMPLETED"}, "operation": {"location": "file:/savepoint-1"}},
    f"GET /jobs/{JOB}": [{"state": "RUNNING"}, {"state": "FINISHED"}],
}


def upgrade(*words):
    script = ROOT / "deploy" / "flink" / "upgrade.sh"
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run([script, *words], env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_an_upgrade_submits_from_the_savepoint():
    with answering(STOPPED) as (rest, asked):
        done = upgrade(rest.address, "carrel", "echo", "carrel", "stream", "--", "--runner=X")

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "stopped with file:/savepoint-1",
        "carrel stream -- --runner=X --savepoint_path=file:/savepoint-1",
    ]
    assert [body for method, _, body in asked if method == "POST"] == [{"drain": False}]


def test_an_upgrade_that_cannot_stop_the_job_submits_nothing():
    failed = {"status": {"id": "COMPLETED"}, "operation": {}}
    with answering({**STOPPED, f"GET /jobs/{JOB}/savepoints/7": failed}) as (rest, _):
        done = [
            upgrade(rest.address, "carrel", "echo", "submitted"),
            upgrade(rest.address, "another", "echo", "submitted"),
            upgrade(rest.address, "carrel"),
        ]

    assert {(one.returncode, one.stdout) for one in done} == {(2, "")}
    assert [one.stderr.count("\n") for one in done] == [1, 1, 1]
    assert "the savepoint failed; the job runs on" in done[0].stderr
    assert "no job another runs at" in done[1].stderr
    assert "need REST, JOB and the COMMAND" in done[2].stderr
