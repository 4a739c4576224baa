"""Runs the command on a terminal of a given size, as a person sees it."""

import errno
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def on_terminal(*words: object, columns: int = 80, **environment: str) -> tuple[str, int]:
    """All that the terminal showed, with its escapes, and the exit code."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    plain = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    with subprocess.Popen(
        [sys.executable, "-m", "pipelines.command_line", *map(str, words)],
        cwd=ROOT, env={**plain, "TERM": "xterm-256color", **environment}, stdin=theirs, stdout=theirs, stderr=theirs,
    ) as child:  # fmt: skip
        os.close(theirs)
        shown = bytearray()
        while piece := _read(ours):
            shown += piece
        code = child.wait(timeout=300)
    os.close(ours)
    return shown.decode().replace("\r\n", "\n"), code


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 65536)
    except OSError as error:  # Linux says so when the last writer has gone
        if error.errno == errno.EIO:
            return b""
        raise
