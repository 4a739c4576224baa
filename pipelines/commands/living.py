"""`carrel live`: from the buses to the counts until it is told to stop."""

import signal
import sys
import time

from pipelines.bus import Limits
from pipelines.invocation import DONE, FINDING, Invocation
from pipelines.journal import Journal
from pipelines.library_logs import hush_libraries
from pipelines.live import live as run_live


def live(run: Invocation) -> int:
    """Read on until SIGTERM or Ctrl-C; the batch in work is finished first. A finding: a source was not read on."""
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signal_number, _: told.append(signal_number))
    deployment = run.deployment()
    journal = Journal(sys.stdout)
    hush_libraries(journal)
    stopped = run_live(
        deployment,
        run.policy(deployment),
        now=lambda: time.time_ns() // 1_000_000,
        stopping=lambda: bool(told),
        journal=journal,
        limits=Limits(),
    )
    return FINDING if stopped else DONE
