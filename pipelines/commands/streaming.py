"""`carrel stream`: hands the streaming graph to an engine."""

import logging
import signal
from typing import Sequence

from pipelines.invocation import DONE, Invocation
from pipelines.stream import build


def stream(run: Invocation, options: Sequence[str], *, readers: int) -> int:
    """Submit the job; where it runs in this process (Prism), stay until SIGTERM or Ctrl-C."""
    deployment = run.deployment()
    logging.disable(logging.CRITICAL)
    root = build(deployment, run.policy(deployment), options, readers=readers, now=run.now)
    result = root.run()
    signal.signal(signal.SIGTERM, lambda *_: result.cancel())
    result.wait_until_finish()
    return DONE
