"""`carrel replay`: archives in, counts out, and what came of it."""

from pathlib import Path
from typing import Optional, Sequence

from pipelines.breaker import BreakerOpenError
from pipelines.invocation import DONE, FINDING, Invocation, need_day, say_error
from pipelines.progress import progress
from pipelines.replay import Request
from pipelines.replay import replay as run_replay
from pipelines.report import print_summary, summary_json
from pipelines.terminal import say_json


def replay(
    run: Invocation,
    paths: Sequence[Path],
    *,
    source: Optional[str],
    complete_from: Optional[str],
    complete_through: Optional[str],
    backfill: bool,
    as_json: bool,
) -> int:
    """Read archives, release what is due, verify what was released."""
    need_day("--complete-from", complete_from)
    need_day("--complete-through", complete_through)
    deployment = run.deployment()
    policy = run.policy(deployment)
    request = Request(source, tuple(paths), complete_from, complete_through, backfill)
    try:
        with progress(quiet=as_json) as told:
            summary = run_replay(deployment, policy, request, now=run.now, told=told)
    except BreakerOpenError as error:
        say_error(str(error))
        return FINDING
    if as_json:
        say_json(summary_json(summary, policy))
    else:
        print_summary(summary, policy)
    return FINDING if summary.differs else DONE
