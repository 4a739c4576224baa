"""Small archives and replays in this process: the wall clock is an argument, so that deadlines need no waiting."""

import datetime as dt
import json
import multiprocessing
import os
import random
import signal
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Iterable

from pipelines.configuration import capabilities, load
from pipelines.counts_opening import open_counts
from pipelines.initialise import init
from pipelines.invocation import _said
from pipelines.replay import Request, Summary, replay
from pipelines.work_store import WorkStore
from pipelines.work_values import Position
from schemas.policy_compiler import compile_policy

DAY = 86_400_000
_ZERO = dt.datetime(2026, 3, 1, 5, tzinfo=dt.UTC)  # midnight of the example library


def at(day: str, hours: float = 0) -> int:
    """An instant (ms UTC): hours after midnight in New York's winter."""
    return round((dt.datetime.fromisoformat(f"{day}T05:00:00+00:00").timestamp() + hours * 3600) * 1000)


def deployment(directory: Path, *, preset: str = "plain", sources: Iterable[str] = ("carrel-event",)) -> Path:
    """A fresh deployment in its folder; its archives lie in `archive/NAME/`."""
    init(directory, preset=preset, sources=tuple(sources), secrets=directory.parent / f"{directory.name}-secrets")
    open_counts(directory / "counts.db", create=True).close()
    (directory / "archive" / "carrel-event").mkdir(parents=True)
    return directory


def edit(file: Path, old: str, new: str) -> None:
    """Change a configuration or policy; what is to be changed must be there."""
    text = file.read_text()
    assert old in text, old
    file.write_text(text.replace(old, new, 1))


def replayed(directory: Path, *paths: Path, now: str = "2026-06-01", **asked: object) -> Summary:
    """Replay as the command does, on a day of one's choice."""
    found = load(directory / "carrel.toml")
    policy = compile_policy(found.policy_text, capabilities(found))
    return replay(found, policy, Request(paths=paths, **asked), now=at(now))  # type: ignore[arg-type]


def said_of_replay(directory: Path) -> tuple[str, int]:
    """The line that a person reads of a replay, and its exit code; empty and 0 of one that went well."""
    try:
        replayed(directory)
    except Exception as error:  # noqa: BLE001 - what a person reads of any error
        return _said(error)
    return "", 0


def checkouts(
    first: str, days: int, *, of: int = 40, seed: int = 1, delay: float | None = None
) -> list[dict[str, object]]:
    """Checkouts of two branches, in the order of arrival.

    Args:
      of: events a day.
      delay: the most hours between event and arrival; None writes no arrival.
    """
    rng = random.Random(seed)
    found = []
    for number in range(days * of):
        occurred = at(first) + number * DAY // of
        event: dict[str, object] = {
            "kind": "circulation",
            "action": "checkout",
            "event_id": f"{first}-{seed}-{number}",
            "occurred_at": occurred,
            "branch": rng.choice(("B01", "B02")),
            "material": "book",
            "patron_ref": f"p{rng.randrange(60)}",
        }
        if delay is not None:
            event["arrived_at"] = occurred + round(rng.random() * delay * 3_600_000)
        found.append(event)
    return sorted(found, key=lambda event: event.get("arrived_at", event["occurred_at"]))  # type: ignore[arg-type,return-value]


def write(path: Path, events: Iterable[dict[str, object]]) -> Path:
    """JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def keys(directory: Path) -> set[str]:
    """The names of the keys and tombstones that lie in the keyring."""
    ring = load(directory / "carrel.toml").keyring
    return {path.name.removeprefix("token-example-").removesuffix(".key") for path in ring.iterdir()} - {"store"}


def windows(directory: Path, lane: str = "open") -> set[str]:
    """The windows that hold acts, or erasures that wait for some, as `table start`."""
    with WorkStore(directory / "work.db", read_only=True) as store:
        return {f"{key.table} {key.start}" for key in store.stored(lane)}


def positions(directory: Path) -> dict[Path, Position]:
    """Where the files of the canonical source stand."""
    with WorkStore(directory / "work.db", read_only=True) as store:
        return {Path(part): position for part, position in store.positions("carrel-event").items()}


def begun(directory: Path, *paths: Path, crash_at: str = "", **asked: object) -> ForkProcess:
    """Replay in a child process, which shares this one's modules: it begins at once."""

    def run() -> None:
        if crash_at:
            os.environ["CARREL_CRASH_AT"] = crash_at
        replayed(directory, *paths, **asked)  # type: ignore[arg-type]

    child = multiprocessing.get_context("fork").Process(target=run, daemon=True)
    child.start()
    return child


def killed(directory: Path, label: str, *paths: Path, **asked: object) -> None:
    """Replay in a child process that is killed (SIGKILL) where it passes a labelled crash point."""
    child = begun(directory, *paths, crash_at=label, **asked)
    child.join(120)
    assert child.exitcode == -signal.SIGKILL, child.exitcode
