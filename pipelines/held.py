"""What a run leaves open, and the commands that would settle it: each can be copied as it is printed."""

import shlex
from pathlib import Path
from typing import Iterator, Mapping

from pipelines.calendar_windows import SLACK, since_day
from pipelines.iso_days import utc_day
from pipelines.key_life import KeyLife
from pipelines.publication import is_regained
from pipelines.run import Run, name_of, place_of
from pipelines.work_values import OPEN
from schemas.counts import WindowKey
from schemas.policy import Table
from transforms.privacy.times import window_name
from transforms.windows import day_number, day_of

_DEFAULT_FILE = Path("carrel.toml")


def name_held(run: Run, keys: KeyLife) -> None:
    """Name the windows that wait for their sources' clocks, and say what would release them."""
    ledger = run.ledger()
    kept_back = set(run.summary.unpinned)
    held = [key for key in run.store.windows(OPEN) if place_of(key) not in ledger and name_of(key) not in kept_back]
    run.summary.held = [name_of(key) for key in held]
    tables = {table.name: table for table in run.job.policy.tables}
    waiting = [(key, tables[key.table]) for key in held if key.table in tables]
    for source in _never_read(run, waiting):
        run.summary.advice.append(f"tables of source {source} wait: it was never read")
    for command in _commands(run, "--complete-through", _through(run, waiting)):
        run.summary.advice.append(f"to release them if nothing is missing: {command}")
    ends = keys.first_deadline({key.month for key in held})
    if ends is not None:
        run.summary.advice.append(
            f"what is still held when its key ends is void; the first key ends on {utc_day(ends)}"
        )
    for command in _commands(run, "--complete-from", _since(run)):
        run.summary.advice.append(f"if the logs are complete from an earlier day: {command}")


def _never_read(run: Run, waiting: list[tuple[WindowKey, Table]]) -> list[str]:
    feeds = [feed for _, table in waiting for feed in run.feeds(table, OPEN) if not feed.ended]
    return list(dict.fromkeys(feed.source for feed in feeds if feed.clock.last_event is None))


def _through(run: Run, waiting: list[tuple[WindowKey, Table]]) -> dict[str, str]:
    """For each source the day through which it would have to be complete; none where that is too far ahead."""
    needed: dict[str, str] = {}
    for key, table in waiting:
        feeds = [feed for feed in run.feeds(table, OPEN) if not feed.ended]
        last_day = day_number(key.end) - 1
        known = [day_of(feed.clock.last_event, run.zone) for feed in feeds if feed.clock.last_event is not None]
        if len(known) == len(feeds) and all(last_day <= day + SLACK for day in known):
            for feed in feeds:
                needed[feed.source] = max(needed.get(feed.source, ""), window_name("day", last_day))
    return needed


def _since(run: Run) -> dict[str, str]:
    """For each source whose default beginning cost a window: the first day of the earliest such month, or day."""
    tables = {table.name: table for table in run.job.policy.tables}
    lost: dict[str, list[str]] = {}
    for row in run.ledger().values():
        if row.table_name in tables and is_regained(run, row):
            for feed in run.feeds(tables[row.table_name], OPEN):
                day, is_default = since_day(feed, run.zone)
                if is_default and not feed.only_erases and day is not None and day > day_number(row.window_start):
                    lost.setdefault(feed.source, []).append(row.window_start)
    return {
        source: min((start for start in starts if start.endswith("-01")), default=min(starts))
        for source, starts in lost.items()
    }


def _commands(run: Run, option: str, days: Mapping[str, str]) -> Iterator[str]:
    """One command for all sources where it does the same for each; else one for each source."""
    named = run.deployment.file
    carrel = "carrel" if named == _DEFAULT_FILE else f"carrel -c {shlex.quote(str(named))}"
    wanted = {source.name for source in run.deployment.sources if not source.ended}
    if days and set(days) >= wanted and len(set(days.values())) == 1:
        yield f"{carrel} replay {option} {next(iter(days.values()))}"
        return
    for source, day in days.items():
        yield f"{carrel} replay --source {source} {option} {day}"
