"""Labelled places where a test may kill the process: `CARREL_CRASH_AT=label` or `label:n` (the nth time)."""

import os
import signal
from collections import Counter

LABELS = (
    "run-planned",
    "batch-read",
    "graph-run",
    "tallies-appended",
    "positions-advanced",
    "batch-committed",
    "rejects-written",
    "rows-frozen",
    "ledger-begun",
    "rows-published",
    "seal-done",
    "keys-destroyed",
)
LIVE_ONLY = ("batch-acknowledged",)
STORE_ONLY = ("rows-inserted",)  # before they are sealed
_passed: Counter[str] = Counter()


def crash_point(label: str) -> None:
    """Kill this process here when the environment asks for it; otherwise do nothing."""
    wanted = os.environ.get("CARREL_CRASH_AT")
    if not wanted:
        return
    name, _, number = wanted.partition(":")
    _passed[label] += 1
    if name == label and _passed[label] == int(number or 1):
        os.kill(os.getpid(), signal.SIGKILL)
