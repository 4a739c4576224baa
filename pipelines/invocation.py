"""One run of the command line: its configuration, its clock, and how it ends.

    0 done, 1 a finding, 2 bad usage, configuration or policy, 75 another instance holds a store, or a store's
    server is away: the same command may do later

An error is one line: what is wrong, where, what to do. Only texts that were written here are shown;
those of other libraries may quote an event, so that of such an error only its place is told.
Imports nothing heavy: help must come at once.
"""

import errno
import os
import shutil
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable, NoReturn

import typer

from pipelines.iso_days import is_iso_day, is_iso_month, utc_day
from pipelines.try_again import TryAgainError

if TYPE_CHECKING:
    from pipelines.configuration import Deployment
    from schemas.policy import PrivacyPolicy

DONE, FINDING, USAGE, HELD = 0, 1, 2, 75
STOPPED, NO_READER = 130, 141  # as a shell tells of a program that Ctrl-C or a closed pipe ended
_OURS = ("pipelines", "schemas", "transforms")
_ADVICE = {
    errno.ENOSPC: "free space and run again",
    errno.ENOENT: "check the path",
    errno.EEXIST: "name another one",
    errno.EISDIR: "name a file",
    errno.ENOTDIR: "check the path",
}


class UsageError(ValueError):
    """The command's words are wrong; exit code 2."""


@dataclass(frozen=True)
class Invocation:
    """What one run is given.

    Attributes:
      configuration: path of `carrel.toml`.
      now: the wall clock, ms since 1970 UTC, read once.
    """

    configuration: Path
    now: int

    @property
    def day(self) -> str:
        """The UTC day of this run, YYYY-MM-DD."""
        return utc_day(self.now).isoformat()

    def deployment(self) -> "Deployment":
        """The deployment that the configuration describes."""
        from pipelines.configuration import load  # noqa: PLC0415

        return load(self.configuration)

    def policy(self, deployment: "Deployment") -> "PrivacyPolicy":
        """Its policy, compiled for what its sources can fill."""
        from pipelines.configuration import capabilities  # noqa: PLC0415
        from schemas.policy_compiler import compile_policy  # noqa: PLC0415

        return compile_policy(deployment.policy_text, capabilities(deployment))


def need_day(option: str, day: str | None) -> None:
    """Refuse what is no day: nothing else reaches a store."""
    if day is not None and not is_iso_day(day):
        message = f"{option}: no such day; write YYYY-MM-DD"
        raise UsageError(message)


def need_month(option: str, month: str | None) -> None:
    """Refuse what is no month."""
    if month is not None and not is_iso_month(month):
        message = f"{option}: no such month; write YYYY-MM"
        raise UsageError(message)


def guarded(context: typer.Context, work: Callable[[Invocation], int]) -> NoReturn:
    """Do a command's work and end with its exit code; every error becomes one line."""
    try:
        code = work(context.obj)
        sys.stdout.flush()
    except KeyboardInterrupt:
        fail("stopped; what was committed stays, the same command goes on from there", STOPPED)
    except BrokenPipeError:
        # Whoever read our output has gone: say nothing, not even when Python flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(NO_READER) from None
    except Exception as error:  # noqa: BLE001 - the one place where a person learns of any error
        fail(*_said(error))
    raise typer.Exit(code)


def fail(text: str, code: int = USAGE) -> NoReturn:
    """End with one line on standard error."""
    say_error(text)
    raise typer.Exit(code)


def say_error(text: str) -> None:
    """One line on standard error; on a terminal in red, and broken between words."""
    line = " ".join(f"carrel: {text}".split())
    if sys.stderr.isatty():
        line = textwrap.fill(line, shutil.get_terminal_size().columns, break_long_words=False, break_on_hyphens=False)
        line = line if os.environ.get("NO_COLOR") else typer.style(line, fg="red")
    sys.stderr.write(line + "\n")


def _said(error: Exception) -> tuple[str, int]:
    """The line and the exit code of an error."""
    if isinstance(error, ValueError) and type(error).__module__.partition(".")[0] in _OURS:
        # The engine adds the name of the step where it came up; that helps nobody here.
        text = str(error).partition("\n")[0].partition(" [while running")[0]
        return text or "refused; run `carrel check`", HELD if isinstance(error, TryAgainError) else USAGE
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename is not None else ""
        advice = _ADVICE.get(error.errno or 0, "check its rights and the disk")
        return f"{where}{error.strerror or 'input/output error'}; {advice}", USAGE
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "?"
    fault = f"internal fault, {type(error).__name__} at {place}"
    return f"{fault}; nothing of this step was kept, please report it", USAGE
