"""Since when each table is tallied, and in which cells.

A tally holds cell integers: under another list of codes they mean other cells. And a table that is new
has no acts of what was read before. So the work store remembers both of each table, and neither is
ever mixed or mistaken for a quiet month.
"""

import json
from dataclasses import asdict
from typing import Optional

from blake3 import blake3

from pipelines.configuration import ConfigurationError
from pipelines.run import Run, place_of
from pipelines.verification import read_again_from
from pipelines.work_values import OPEN, VERIFY
from schemas.counts import WindowKey
from schemas.policy import Table
from transforms.privacy.times import window_name
from transforms.windows import day_of

_TABLES = "tables"


def begin(run: Run, *, again: bool) -> None:
    """Take note of new and changed tables, before anything is read.

    Args:
      again: the operator reads the archives of open windows again: of a changed table the acts are forgotten.

    Raises:
      ConfigurationError: a table was changed while windows of it are open.
    """
    known = _known(run)
    ledger = run.ledger()
    tables = {}
    forgotten: list[WindowKey] = []
    for table in run.job.policy.tables:
        coding = coding_of(table, run.job.policy.time_zone)
        before = known.get(table.name)
        if before and before["coding"] == coding:
            tables[table.name] = before
            continue
        waiting = [key for key in run.store.windows(OPEN) if key.table == table.name and place_of(key) not in ledger]
        if before and waiting and not again:
            message = (
                f"policy.toml: table {table.name} was changed while its window {waiting[0].start} is open; undo the"
                " change, or read the archives of its open windows again: carrel replay --backfill FILE..."
            )
            raise ConfigurationError(message)
        forgotten += [key for key in run.store.stored(OPEN) if key.table == table.name and place_of(key) not in ledger]
        tables[table.name] = {"coding": coding, "since": _next_day(run, table)}
    if tables != known:
        with run.store.transaction() as transaction:
            for key in forgotten:
                transaction.drop_window(OPEN, key)
            transaction.set_value(_TABLES, json.dumps(tables, sort_keys=True))


def tallied_since(run: Run, table: Table) -> Optional[str]:
    """The first civil day of which the table has all acts; None when it was there before anything was read."""
    since: Optional[str] = _known(run)[table.name]["since"]
    return since


def extend(run: Run) -> None:
    """All files are read: where they reach from an earlier day to where their sources stand, so do the tables."""
    known = _known(run)
    tables = dict(known)
    for table in run.job.policy.tables:
        since = known[table.name]["since"]
        feeds = zip(run.feeds(table, OPEN), run.feeds(table, VERIFY), strict=True)
        feeds_read = [(before, again) for before, again in feeds if before.clock.last_arrival is not None]
        days = [read_again_from(run, before, again) for before, again in feeds_read]
        reach = all(again.clock.last_arrival == before.clock.last_arrival for before, again in feeds_read)
        if since and reach and days and None not in days:
            first = window_name("day", max(day for day in days if day is not None))
            tables[table.name] = {**known[table.name], "since": min(since, first)}
    if tables != known:
        with run.store.transaction() as transaction:
            transaction.set_value(_TABLES, json.dumps(tables, sort_keys=True))


def coding_of(table: Table, time_zone: str) -> str:
    """A hash of all that decides which acts a table tallies, and as which cell integers."""
    what = {name: value for name, value in asdict(table).items() if name in ("kind", "grain", "parts", "horizon")}
    what["dimensions"] = [asdict(dimension) for dimension in table.dimensions]
    return blake3(json.dumps([what, time_zone], sort_keys=True).encode()).hexdigest(length=16)


def _known(run: Run) -> dict[str, dict[str, Optional[str]]]:
    found: dict[str, dict[str, Optional[str]]] = json.loads(run.store.value(_TABLES) or "{}")
    return found


def _next_day(run: Run, table: Table) -> Optional[str]:
    """The day after the last arrival of the table's sources."""
    read = [feed.clock.last_arrival for feed in run.feeds(table, OPEN) if feed.clock.last_arrival is not None]
    return window_name("day", day_of(max(read), run.zone) + 1) if read else None
