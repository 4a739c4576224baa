"""Processes by their ids, as the kernel tells of them: who lives, who began when, whose child one is."""

import os
import signal
import time
from pathlib import Path
from typing import Optional

_ENDING = 30.0  # seconds that a group has to end before it is killed


def _fields(pid: int) -> list[str]:
    """What /proc/PID/stat says from the third field on; the second is the name, in brackets, and may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def started_at(pid: int) -> Optional[int]:
    """When a process began, in ticks since the machine did: with its id it names one process for ever."""
    fields = _fields(pid)
    return int(fields[19]) if fields else None


def is_alive(pid: int) -> bool:
    """Whether it is there, and no zombie."""
    fields = _fields(pid)
    return bool(fields) and fields[0] not in "ZX"


def child_ids(parent: int) -> list[int]:
    """The living children of a process, oldest first."""
    all_ids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    found = [pid for pid in all_ids if is_alive(pid) and _fields(pid)[1:2] == [str(parent)]]
    return sorted(found, key=lambda pid: (started_at(pid) or 0, pid))


def end_group(leader: int, how: signal.Signals) -> None:
    """End a process that leads a group, with the group; what resists SIGTERM for long is killed."""
    for step in (how, signal.SIGKILL):
        try:
            os.killpg(leader, step)
        except ProcessLookupError:
            return
        until = time.monotonic() + _ENDING
        while time.monotonic() < until:
            _reap(leader)
            if not is_alive(leader):
                break
            time.sleep(0.02)


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # another process started it
        return
