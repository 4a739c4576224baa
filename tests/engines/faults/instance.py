"""One running `carrel live`, in a process that was forked from one which has imported everything: it starts at once.

Its wall clock is a file, so that two months take a minute: the harness moves it as time would.
"""

import contextlib
import ctypes
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from pipelines import kafka_bus, publication, work_postgres
from pipelines import live as live_module
from pipelines.bus import Limits
from pipelines.configuration import capabilities, load
from pipelines.journal import Journal
from pipelines.library_logs import hush_libraries
from pipelines.live import live
from pipelines.replay import Request, replay
from pipelines.try_again import TryAgainError
from schemas.policy_compiler import compile_policy
from tests.engines.faults import full_disk, mutations
from tests.engines.faults.seen import see


@dataclass(frozen=True)
class Given:
    """What an instance is started with.

    Attributes:
      clock: file that holds the time, ms UTC.
      observed: file that what is seen is added to.
      crash_at: labelled crash point to die at; empty for none.
      mutation: name of a fault of `mutations`; empty for the product as it is.
      messages: most messages of a batch.
      idle: seconds between two looks whether a partition has ended.
      full: file that says, while it is there, that the disk has no room.
    """

    folder: Path
    clock: Path
    observed: Path
    journal: Path
    crash_at: str = ""
    mutation: str = ""
    messages: int = 50_000
    idle: float = 1.0
    full: Path = Path("full")


def run(given: Given) -> None:
    """Run until SIGTERM; exit code 75 when another instance is there, 2 when it refuses."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # with the fork server, which ends with the test run, killed or not
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    if given.crash_at:
        os.environ["CARREL_CRASH_AT"] = given.crash_at
    _tells_what_it_merges(given.observed)
    kafka_bus._IDLE = given.idle
    work_postgres._PATIENCE = "2s"
    # Two months pass, and the checker wants to see the letters of all: none is deleted, so none is forgotten either.
    live_module.purge_letters = lambda *_: None
    live_module.kept_since = lambda *_: ""
    mutations.ALL[given.mutation]()
    full_disk.heed(given.full, given.folder)
    with given.journal.open("a") as stream:
        journal = Journal(stream)
        hush_libraries(journal)
        deployment = load(given.folder / "carrel.toml")
        policy = compile_policy(deployment.policy_text, capabilities(deployment))
        try:
            live(
                deployment, policy, now=lambda: int(given.clock.read_text()), stopping=lambda: bool(told),
                journal=journal, limits=Limits(messages=given.messages, seconds=0.1),
            )  # fmt: skip
        except TryAgainError:
            sys.exit(75)
        except (ValueError, OSError) as error:
            stream.write(f"{error}\n")
            sys.exit(2)


def run_replay(folder: Path, archive: Path, now: int) -> None:
    """Replay an archive that is complete through March."""
    with (folder / "journal.jsonl").open("a") as stream:
        hush_libraries(Journal(stream))
        deployment = load(folder / "carrel.toml")
        policy = compile_policy(deployment.policy_text, capabilities(deployment))
        replay(deployment, policy, Request(paths=(archive,), complete_through="2026-03-31"), now=now)


def _tells_what_it_merges(observed: Path) -> None:
    """How many acts stand in a window, before any number is withheld: only the release itself knows."""
    product = publication.release_windows

    def spied(job, store, lane, due):  # type: ignore[no-untyped-def]
        released, sizes = product(job, store, lane, due)
        for key, (_, stand) in sizes.items():
            with contextlib.suppress(OSError):  # where the disk is full
                see(observed, "merged", table=key.table, start=key.start, stand=stand)
        return released, sizes

    publication.release_windows = spied
