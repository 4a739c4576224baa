"""Which windows are due, held or void: the calendar of tables, clocks and declarations. No I/O, no Beam."""

from dataclasses import dataclass
from typing import Iterator, Optional, Sequence

from pipelines.work_values import Clock
from schemas.counts import WindowKey
from schemas.policy import Table
from transforms.privacy.times import Zone, publication_time, window_name
from transforms.windows import bounds, day_number, day_of, may_hold, number_at, window_key

DAY = 86_400_000
FOREVER = 1 << 62
SLACK = 3  # days: how far the operator's word may reach beyond a source's last event


@dataclass(frozen=True)
class Feed:
    """One source of a table, with what is known of its time; `ended` sources hold nothing back."""

    source: str
    clock: Clock
    ended: bool
    gaps: tuple[tuple[int, int], ...] = ()  # arrivals (ms UTC) between which messages are lost
    has_proof: bool = False  # a bus proved that all was read: silence is no missing file
    only_erases: bool = False  # it gives no acts: where it began says nothing of them


@dataclass(frozen=True)
class DueWindow:
    """A window whose time has come: `void` is the reason it is never published, else empty."""

    key: WindowKey
    completeness: str
    reason: str
    void: str


def since_day(feed: Feed, zone: Zone) -> tuple[Optional[int], bool]:
    """The first civil day from which a source is complete, and whether that is only the default."""
    if feed.clock.complete_from:
        return day_number(feed.clock.complete_from), False
    if feed.clock.first_arrival is None:
        return None, True
    return day_of(feed.clock.first_arrival, zone), True


def due_windows(
    table: Table, feeds: Sequence[Feed], zone: Zone, *, oldest: Optional[int] = None
) -> Iterator[DueWindow]:
    """The windows of a table that all its sources have passed, oldest first.

    A window is proven complete when every source's clock has reached its publication time, and
    declared complete when the operator's word covers its last day. One that begins before a source
    is complete, or that lost messages may belong to, is void. Windows that begin after the last event are due only
    where buses proved the silence or the operator declared it: the clock of an archive also moves by stragglers,
    while the file with the next month's events is still to come.

    Args:
      oldest: first civil day of the earliest window that holds acts: they may have happened before anything arrived.
    """
    active = [feed for feed in feeds if not feed.ended or feed.clock.first_arrival is not None]
    since = [since_day(feed, zone) for feed in active if not feed.only_erases]
    if not since or any(day is None for day, _ in since):
        return
    begins = max(day for day, _ in since if day is not None)
    is_default = all(default for day, default in since if day == begins)
    clock = min(FOREVER if feed.ended else (feed.clock.clock or 0) for feed in active)
    through = min(FOREVER if feed.ended else day_number(feed.clock.complete_through or "1970-01-01") for feed in active)
    waited_for = [feed for feed in active if not feed.ended]
    is_proven = bool(waited_for) and all(feed.has_proof for feed in waited_for)
    last = max(feed.clock.last_event or 0 for feed in active)
    arrived = [feed.clock.first_arrival for feed in active if feed.clock.first_arrival is not None]
    first = min((day_of(instant, zone) for instant in arrived), default=begins)
    number = number_at(table, min(first, begins, first if oldest is None else oldest))
    while True:
        start, end = bounds(table, number, zone)
        proven = clock >= publication_time(end, table.horizon)
        declared = day_of(end - 1, zone) <= through
        is_silence = (declared and through < FOREVER) or (proven and is_proven)
        if not (proven or declared) or (start > last and not is_silence):
            return
        void = ""
        if day_of(start, zone) < begins:
            origin = "default " if is_default else ""
            void = f"{origin}complete_from {window_name('day', begins)}"
        elif any(may_hold(start, end + table.horizon, after, until) for feed in active for after, until in feed.gaps):
            void = "gap"
        reason = "" if proven else f"complete_through {window_name('day', min(through, day_of(last, zone) + SLACK))}"
        yield DueWindow(window_key(table, number), "complete" if proven else "partial-declared", reason, void)
        number += 1
