"""How far a replay is: a bar on a terminal, a plain line for each new file elsewhere, nothing for scripts.

What is told is a source's name, a number and sizes: no file's name, no event.
"""

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Callable, Iterator

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Step:
    """Where a replay stands.

    Attributes:
      source: whose file a batch was read of; empty once all are read and windows are released.
      file: number of the file, from 1.
      files: how many there are.
      done: bytes of all files that are committed.
      total: bytes of all files.
    """

    source: str
    file: int
    files: int
    done: int
    total: int


Told = Callable[[Step], None]


def tell_nobody(step: Step) -> None:
    """Take a step and say nothing."""


@contextmanager
def progress(*, quiet: bool) -> Iterator[Told]:
    """Give what a replay tells its steps to.

    Args:
      quiet: for scripts.
    """
    if quiet:
        yield tell_nobody
    elif sys.stdout.isatty():
        with _bar() as told:
            yield told
    else:
        yield _lines()


def _name(step: Step) -> str:
    return f"read {step.source}, file {step.file} of {step.files}" if step.source else "releasing what is due"


def _lines() -> Told:
    said = {""}

    def told(step: Step) -> None:
        name = _name(step)
        if name not in said:
            said.add(name)
            of = f" ({step.done / MEGABYTE:.1f} of {step.total / MEGABYTE:.1f} MB)" if step.source else ""
            sys.stdout.write(f"{name}{of}\n")
            sys.stdout.flush()

    return told


@contextmanager
def _bar() -> Iterator[Told]:
    from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn  # noqa: PLC0415

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def told(step: Step) -> None:
            bar.update(task, description=_name(step), completed=step.done, total=step.total)

        yield told
