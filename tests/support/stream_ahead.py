"""`carrel stream` with clocks that a test moves: `python -m tests.support.stream_ahead TOML SIGN OPTIONS`.

The job is submitted three days ago, so that windows of today are whole. Once the file SIGN is there its workers' clock
runs six hours a second: the days that a silent subscription must prove go by. They run in this process (LOOPBACK), and
so nothing of the product knows of it.
"""

import sys
import time
from pathlib import Path
from types import SimpleNamespace

from pipelines import bus_reader, pubsub_bus_client
from pipelines.configuration import capabilities, load
from pipelines.stream import build
from pipelines.stream_options import stream_options
from schemas.policy_compiler import compile_policy

FASTER = 6 * 3600
DAYS = 3 * 86_400_000


class Clock:
    """The machine's clock until a sign is given, and a faster one from then on."""

    def __init__(self, sign: Path) -> None:
        self._sign, self._begun = sign, 0

    def time_ns(self) -> int:
        now = time.time_ns()
        if not self._begun and self._sign.exists():
            self._begun = now
        return now + (now - self._begun) * FASTER if self._begun else now


def main() -> None:
    toml, sign, *words = sys.argv[1:]
    bus_reader.time = SimpleNamespace(time_ns=Clock(Path(sign)).time_ns, monotonic=time.monotonic)  # type: ignore[attr-defined,assignment]
    pubsub_bus_client._WAIT = 1.0  # an empty subscription is asked again sooner
    deployment = load(Path(toml))
    policy = compile_policy(deployment.policy_text, capabilities(deployment))
    submitted = time.time_ns() // 1_000_000 - DAYS
    build(deployment, policy, stream_options(words).words, readers=1, now=submitted).run().wait_until_finish()


if __name__ == "__main__":
    main()
