"""`carrel status`: where everything stands."""

from pipelines.invocation import DONE, FINDING, Invocation
from pipelines.status import print_status, status_of
from pipelines.terminal import say_json


def status(run: Invocation, *, as_json: bool) -> int:
    """Show sources, clocks, windows and keys. A finding: a source is not read on, because it refuses too much."""
    deployment = run.deployment()
    found = status_of(deployment, run.policy(deployment), now=run.now)
    if as_json:
        say_json(found)
    else:
        print_status(found)
    return FINDING if found["breakers"] else DONE
