"""Holds a job that Flink has taken against what was asked of it: a job without the right checkpoints does not stay.

An option that a job server does not know is dropped in silence; what counts is what Flink says of the running job.
"""

import time
from typing import Mapping, Sequence

from pipelines.flink_rest import ENDED, FlinkError, FlinkRest

_RETENTION = "execution.checkpointing.externalized-checkpoint-retention: RETAIN_ON_CANCELLATION"


class FlinkCheckError(ValueError):
    """The job is not as it was asked for, and was cancelled; one line says how."""


def need_no_job(rest: FlinkRest, name: str) -> None:
    """Refuse a second job of one name, which would publish the same windows.

    Raises:
      FlinkCheckError: one runs.
      FlinkError: the cluster does not answer.
    """
    if jobs := running(rest, name):
        message = f"flink: job {name} runs already ({jobs[0]}); stop it with a savepoint first"
        raise FlinkCheckError(message)


def check_job(rest: FlinkRest, name: str, interval: int, *, seconds: float = 300) -> str:
    """Wait for the job that was submitted, and cancel it unless its checkpoints are as asked.

    Args:
      name: of the job, as in `--job_name`; one job has it (`need_no_job`).
      interval: ms between checkpoints, as in `--checkpointing_interval`.
      seconds: how long it may take to appear.

    Returns:
      Its id.

    Raises:
      FlinkCheckError: other checkpoints than asked, or no job in time.
      FlinkError: the cluster does not answer.
    """
    until = time.monotonic() + seconds
    while not (jobs := running(rest, name)):
        if time.monotonic() > until:
            message = f"flink: job {name} does not run after {seconds:.0f} s; see the logs of job server and JobManager"
            raise FlinkCheckError(message)
        time.sleep(0.2)
    job = jobs[0]
    if rest.wait_for(job, "RUNNING", "RESTARTING", *ENDED, seconds=seconds) in ENDED:
        message = (
            f"flink: job {name} ended as it began: a savepoint that does not fit, or no right to write checkpoints"
        )
        raise FlinkCheckError(message)
    try:
        settings = rest.checkpoint_settings(job)
    except FlinkError:  # that is what Flink answers of a job that makes none
        settings = {}
    if wrong := wrong_settings(settings, interval):
        rest.cancel(job)
        message = f"flink: job {name} was cancelled: {wrong}; does the job server match the SDK?"
        raise FlinkCheckError(message)
    return job


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
    return sorted(job for job, (called, state) in rest.named_jobs().items() if called == name and state not in ENDED)
