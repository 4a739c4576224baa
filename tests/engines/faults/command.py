"""The command itself, as a process that is handled like a forked instance."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Optional

ROOT = Path(__file__).parents[3]


class Command:
    """`carrel -c TOML live`; what it says goes to the journal."""

    def __init__(self, toml: Path, journal: Path, crash_at: str) -> None:
        arguments = [sys.executable, "-m", "pipelines.command_line", "-c", str(toml), "live"]
        with journal.open("ab") as output:
            self._process = subprocess.Popen(
                arguments, cwd=ROOT, env=os.environ | {"CARREL_CRASH_AT": crash_at}, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output,
            )  # fmt: skip
        self.pid, self.kill, self.terminate = self._process.pid, self._process.kill, self._process.terminate

    @property
    def exitcode(self) -> Optional[int]:
        """None while it runs."""
        return self._process.poll()

    def join(self, seconds: float) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
