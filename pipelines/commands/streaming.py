"""`carrel stream`: hands the streaming graph to an engine."""

import logging
import signal
import sys
from typing import Any, NoReturn, Optional, Sequence

import apache_beam as beam

from pipelines.flink_checks import check_job, need_no_job
from pipelines.flink_rest import FlinkError, FlinkRest
from pipelines.invocation import DONE, Invocation, UsageError, say_error
from pipelines.stream import build
from pipelines.stream_options import StreamOptions, stream_options
from pipelines.terminal import say

_NAME, _SAVEPOINT, _PATIENCE = "--job_name=", "--savepoint_path=", "--job_server_timeout="
_A_YEAR = 31_536_000  # seconds: whoever waits for a job would be cut off after one minute
_NOT_CHECKED = "stream: whether Flink makes the checkpoints that were asked for is not looked at without --flink URL"


def stream(run: Invocation, options: Sequence[str], *, readers: int, flink: Optional[str]) -> int:
    """Submit the job. Where it runs in this process (Prism) or nobody tells of it, stay until SIGTERM or Ctrl-C."""
    judged = stream_options(options)
    if flink is not None and judged.engine != "flink":
        message = "--flink: only a job for Flink is looked at there; leave it out"
        raise UsageError(message)
    deployment = run.deployment()
    name, words = _named(judged.words, f"carrel-{deployment.tenant}")
    if flink is None and judged.engine != "dataflow" and not any(word.startswith(_PATIENCE) for word in words):
        words = (*words, f"{_PATIENCE}{_A_YEAR}")
    logging.disable(logging.CRITICAL)
    root = build(
        deployment,
        run.policy(deployment),
        words,
        readers=readers,
        now=run.now,
        is_restored=any(word.startswith(_SAVEPOINT) for word in words),
    )
    if flink is not None:
        return _on_flink(root, FlinkRest(flink), name, judged)
    if judged.engine == "flink":
        say_error(_NOT_CHECKED)
    result = _submitted(root)
    if judged.engine == "prism":
        signal.signal(signal.SIGTERM, lambda *_: _end(result))
    if judged.engine != "dataflow":
        result.wait_until_finish()
    return DONE


def _on_flink(root: beam.Pipeline, rest: FlinkRest, name: str, judged: StreamOptions) -> int:
    """Submit, and hold the job against what was asked; it then runs without this process."""
    try:
        before = need_no_job(rest, name)
        _submitted(root)
        job = check_job(rest, name, judged.checkpoints or 0, before=before)
    except FlinkError as error:
        raise UsageError(str(error)) from None
    say(f"{name} runs on Flink as job {job}")
    return DONE


def _submitted(root: beam.Pipeline) -> Any:
    try:
        return root.run()
    except Exception as error:  # noqa: BLE001 - an engine's own text may hold addresses and stack traces
        message = f"stream: the engine did not take the job ({type(error).__name__}); is it up? See its log"
        raise UsageError(message) from None


def _named(words: Sequence[str], otherwise: str) -> tuple[str, Sequence[str]]:
    """The job's name, and the options with it."""
    for word in words:
        if word.startswith(_NAME):
            return word.removeprefix(_NAME), words
    return otherwise, (*words, f"{_NAME}{otherwise}")


def _end(result: Any) -> NoReturn:
    result.cancel()
    sys.exit(DONE)
