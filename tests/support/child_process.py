"""What every server that tests start needs: a free port, and an end with the test run, killed or not."""

import socket
import subprocess
import sys
from pathlib import Path

# Asks the kernel to end this process with its parent; then becomes the program.
DIES_WITH_PARENT = (
    sys.executable,
    "-c",
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execvp(sys.argv[1], sys.argv[1:])",
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(command: list[str], directory: Path) -> "subprocess.Popen[bytes]":
    """Start a server in its folder; what it says goes to `output.log` there."""
    with (directory / "output.log").open("ab") as output:
        return subprocess.Popen(
            [*DIES_WITH_PARENT, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=directory,
        )
