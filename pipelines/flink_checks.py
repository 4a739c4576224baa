"""Holds a cluster and the job that it has taken against what was asked: a job whose checkpoints fail does not stay.

An option that a job server does not know is dropped in silence; what counts is what Flink says of the running job.
"""

import re
import time
from typing import Collection, Mapping, Sequence

from pipelines.flink_rest import ENDED, FlinkError, FlinkRest

# By their minor versions: the one that the tests run (deploy/flink/pom.xml), the one of deploy/kubernetes and compose.
SUPPORTED = ("1.19", "1.20")
_VERSION = re.compile(r"(\d{1,3}\.\d{1,3})(\.\d{1,3})?(-[\w.-]{1,30})?")
_RETENTION = "execution.checkpointing.externalized-checkpoint-retention: RETAIN_ON_CANCELLATION"
_FAILURES = 2  # of a job's first checkpoints, not of its tasks before; a lone one may be a worker that ended
_WAITING = frozenset({"CREATED", "SCHEDULED"})  # of a task: for a slot


class FlinkCheckError(ValueError):
    """The cluster may not have the job, or the job is not as it was asked for and was cancelled; one line says how."""


def need_no_job(rest: FlinkRest, name: str) -> Collection[str]:
    """Refuse a Flink that nobody has tried this with, and a second job of one name: it would publish the same windows.

    Returns:
      The ids of those that have ended, for `check_job`.

    Raises:
      FlinkCheckError: another version, or a job that runs.
      FlinkError: the cluster does not answer.
    """
    if wrong := wrong_version(rest.overview().get("flink-version")):
        message = f"flink: {rest.address} {wrong}; this runs on {' and '.join(SUPPORTED)}, nothing was submitted"
        raise FlinkCheckError(message)
    jobs = _called(rest, name)
    if alive := _alive(jobs):
        message = f"flink: job {name} runs already ({alive[0]}); stop it with a savepoint first"
        raise FlinkCheckError(message)
    return jobs.keys()


def check_job(rest: FlinkRest, name: str, interval: int, *, before: Collection[str], seconds: float = 300) -> str:
    """Wait for the job that was submitted, and cancel it unless it makes the checkpoints that were asked for.

    Args:
      name: of the job, as in `--job_name`; one job has it (`need_no_job`).
      interval: ms between checkpoints, as in `--checkpointing_interval`.
      before: the jobs of this name that had ended before, as `need_no_job` gives them.
      seconds: how long it may take to appear, and its first checkpoint to be complete once it is due.

    Returns:
      Its id.

    Raises:
      FlinkCheckError: no job in time, other checkpoints than asked, or none that gets complete.
      FlinkError: the cluster does not answer.
    """
    job = _appeared(rest, name, before, seconds)
    _need_alive(rest.wait_for(job, "RUNNING", "RESTARTING", *ENDED, seconds=seconds), name)
    try:
        settings = rest.checkpoint_settings(job)
    except FlinkError:  # that is what Flink answers of a job that makes none
        settings = {}
    if wrong := wrong_settings(settings, interval):
        wrong += "; does the job server match the SDK?"
    else:
        wrong = _first_checkpoint(rest, job, name, seconds + interval / 1_000)
    if wrong:
        rest.cancel(job)
        message = f"flink: job {name} was cancelled: {wrong}"
        raise FlinkCheckError(message)
    return job


def _appeared(rest: FlinkRest, name: str, before: Collection[str], seconds: float) -> str:
    """The id of the job that was submitted. It may have ended when it is first seen: that takes a tenth of a second."""
    until = time.monotonic() + seconds
    while True:
        if new := sorted(_called(rest, name).keys() - set(before)):
            return new[0]
        if time.monotonic() > until:
            message = (
                f"flink: job {name} does not run after {seconds:.0f} s; see the logs of job server and JobManager:"
                " have both the same Flink?"
            )
            raise FlinkCheckError(message)
        time.sleep(0.2)


def _need_alive(state: str, name: str) -> None:
    if state in ENDED:
        message = (
            f"flink: job {name} ended as it began: a savepoint that does not fit, or no right to write checkpoints"
        )
        raise FlinkCheckError(message)


def _first_checkpoint(rest: FlinkRest, job: str, name: str, seconds: float) -> str:
    """Wait until a checkpoint is complete; else what is wrong. Flink itself would start such a job again for ever."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        _need_alive(str(rest.job(job)["state"]), name)
        completed, failed = _checkpoints(rest, job)
        if completed:
            return ""
        if failed >= _FAILURES:
            return "its checkpoints fail; is the disk full that they are written to? See the JobManager's log"
        time.sleep(0.2)
    if any(one["status"] in _WAITING for one in rest.vertices(job)):
        return f"its tasks have no slots after {seconds:.0f} s; are the TaskManagers up, with slots for --parallelism?"
    return f"no checkpoint is complete after {seconds:.0f} s; see the logs of JobManager and TaskManagers"


def _checkpoints(rest: FlinkRest, job: str) -> tuple[int, int]:
    """How many are complete, and how many failed that had begun. Flink counts also those for which it was too early."""
    try:
        told = rest.checkpoints(job)
    except FlinkError:  # the job starts again; that the cluster is there was asked just before
        return 0, 0
    return told["counts"]["completed"], sum(one["status"] == "FAILED" for one in told["history"])


def wrong_version(version: object) -> str:
    """What is wrong with a version of Flink; empty for one that is supported.

    Args:
      version: as `flink-version` in `FlinkRest.overview`.
    """
    told = _VERSION.fullmatch(version) if isinstance(version, str) else None
    if told is None:
        return "does not say which Flink it is"
    return "" if told[1] in SUPPORTED else f"is Flink {told[0]}"


def wrong_settings(settings: Mapping[str, object], interval: int) -> str:
    """What is wrong with a job's checkpoints; empty when they are as asked.

    Args:
      settings: as `FlinkRest.checkpoint_settings` tells them.
      interval: ms.
    """
    kept = settings.get("externalization")
    if settings.get("interval") != interval:
        return f"it makes {_often(settings.get('interval'))}, not one every {interval} ms"
    if settings.get("mode") != "exactly_once":
        return "its checkpoints are not exactly-once"
    if not isinstance(kept, Mapping) or kept.get("enabled") is not True or kept.get("delete_on_cancellation", True):
        return f"its checkpoints go with it; set {_RETENTION} in Flink's configuration"
    return ""


def _often(interval: object) -> str:
    # Of a job without checkpoints Flink says the greatest number there is.
    known = isinstance(interval, int) and 0 < interval < 2**62
    return f"a checkpoint every {interval} ms" if known else "no checkpoints"


def running(rest: FlinkRest, name: str) -> Sequence[str]:
    """The ids of the jobs of this name that have not ended."""
    return _alive(_called(rest, name))


def _alive(jobs: Mapping[str, str]) -> Sequence[str]:
    return sorted(job for job, state in jobs.items() if state not in ENDED)


def _called(rest: FlinkRest, name: str) -> Mapping[str, str]:
    """The state of each job of this name, by id."""
    return {job: state for job, (called, state) in rest.named_jobs().items() if called == name}
