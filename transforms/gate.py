"""The gate: what is to be published waits here for the proof that nothing more can come. No Beam, no I/O.

A window opens once every reader of every source that its table waits for has passed its publication time. A watermark
alone opens nothing: it jumps to the end of time when a job is drained or its input ends.
"""

from dataclasses import dataclass
from typing import Collection, Iterator, Optional, Sequence, Tuple

from schemas.counts import WindowKey
from schemas.gate import GAP, TICK, Passage, Waiting
from schemas.policy import Table
from transforms.privacy.times import DAY, GRACE, HOUR, TOLERANCE, Zone, publication_time, window_name
from transforms.windows import bounds, day_number, day_of, number_at, window_key

_SLACK = HOUR + GRACE  # of a publication time over window end + H, at most


@dataclass(frozen=True)
class GateFeed:
    """One source that a gate waits for.

    Attributes:
      kinds: event kinds of which it gives acts; tables of other kinds wait for its erasures only.
      begins: civil day number from which nothing is missing.
      by_default: whether that is only the day of the first message.
    """

    source: str
    kinds: Tuple[str, ...]
    begins: int
    by_default: bool


@dataclass(frozen=True)
class Gate:
    """The tables that wait for the same sources.

    Attributes:
      name: stable, of the sources' names.
    """

    name: str
    tables: Tuple[Table, ...]
    feeds: Tuple[GateFeed, ...]

    @property
    def begins(self) -> int:
        """The civil day number from which its windows are told: one that begins before another source is void."""
        return min(feed.begins for feed in self.feeds)


def opens_at(table: Table, key: WindowKey, zone: Zone) -> int:
    """The publication time of a window, ms UTC."""
    end = zone.start_of_day(day_number(key.end))
    return publication_time(end, table.horizon)


def windows_passed(table: Table, passage: Passage, begins: int, zone: Zone) -> Iterator[WindowKey]:
    """The windows whose publication time a reader's clock has passed, oldest first.

    Args:
      begins: civil day number: windows that end before it are nobody's.
    """
    day = begins
    if passage.after is not None:
        day = max(day, day_of(passage.after - table.horizon - _SLACK - DAY, zone))
    number = number_at(table, day)
    while True:
        published = publication_time(bounds(table, number, zone)[1], table.horizon)
        if published > passage.until:
            return
        if passage.after is None or published > passage.after:
            yield window_key(table, number)
        number += 1


def windows_lost(table: Table, after: int, until: int, zone: Zone) -> Iterator[WindowKey]:
    """The windows that messages lost between two arrivals (ms UTC) may belong to, oldest first."""
    # Those that had begun when the first message after them came, and were not yet over for the last one before.
    last = number_at(table, day_of(until + TOLERANCE, zone))
    for number in range(number_at(table, day_of(after - table.horizon, zone)), last + 1):
        yield window_key(table, number)


def void_reason(table: Table, key: WindowKey, feeds: Sequence[GateFeed], waiting: Collection[Waiting]) -> str:
    """Why a window is never published; empty where nothing speaks against it."""
    giving = [feed for feed in feeds if table.kind in feed.kinds]
    begins = max(feed.begins for feed in giving)
    if day_number(key.start) < begins:
        is_default = all(feed.by_default for feed in giving if feed.begins == begins)
        return f"{'default ' if is_default else ''}complete_from {window_name('day', begins)}"
    return "gap" if any(one.what == GAP for one in waiting) else ""


def is_open(feeds: Sequence[GateFeed], waiting: Collection[Waiting], policy: str) -> bool:
    """Whether all readers of all sources have passed the window's publication time.

    How many there are is what they say: readers that a savepoint brings back are as many as they were.

    Args:
      policy: digest of the policy that the window would be released under. The word of a reader that began under
        another one does not count: what it delivered before may not be in all tables of this one.
    """
    ticked = {(one.source, one.readers, one.reader) for one in waiting if one.what == TICK and one.policy == policy}
    return all(_have_all_told(feed.source, ticked) for feed in feeds)


def _have_all_told(source: str, ticked: Collection[Tuple[str, int, int]]) -> bool:
    said = {readers for name, readers, _ in ticked if name == source}
    return any(all((source, readers, reader) in ticked for reader in range(readers)) for readers in said)


def earliest_needed(
    tables: Sequence[Table], settled: Collection[Tuple[str, str]], begins: int, zone: Zone
) -> Optional[int]:
    """The first instant (ms UTC) of the oldest window that is not settled yet: from there a clean start reads.

    Args:
      settled: (table, window start) pairs that are published or void.
      begins: civil day number from which nothing is missing.

    Returns:
      None without tables.
    """
    starts = []
    for table in tables:
        number = number_at(table, begins)
        while (table.name, window_key(table, number).start) in settled:
            number += 1
        starts.append(bounds(table, number, zone)[0])
    return min(starts, default=None)
