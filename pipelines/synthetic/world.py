"""The synthetic library as plain values: its calendar, accounts, items, acts and messages. No clock, no file."""

import datetime as dt
import random
import zoneinfo
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple, Optional

ZONE = zoneinfo.ZoneInfo("America/New_York")
# A sample ends in spring 2026, so that no reader's clock is behind it.
FIRST_DAY, AFTER_LAST_DAY = dt.date(2026, 2, 1), dt.date(2026, 5, 2)
BRANCH_WEIGHTS = (30, 22, 18, 15, 14, 12, 9, 7, 5, 4, 3, 0.4)
ILS = ("carrel-event", "folio", "evergreen")
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
CLOSED_BRANCH = "B99"  # in no policy: what happens there is rejected
CANARY_WORDS = ("CANARYSMITH", "CANARYTITLE", "CANARYNOTE", "canary.mail")


@dataclass(frozen=True, slots=True)
class Person:
    """One account.

    Attributes:
      ref: the patron's id in the ILS.
      source: the ILS that holds the account; empty where none is written.
      kind: only a `patron` is counted.
      near: the branch that the person mostly visits.
      home, patron_type: codes; `other` where the account has none, or one that no policy lists.
      born, postal: None where the account does not say.
      is_listed: whether exports name the account; where they do not, nothing but its id is known.
      number: position among all accounts.
    """

    ref: str
    source: str
    kind: str
    near: str
    home: str
    patron_type: str
    born: Optional[dt.date]
    postal: Optional[str]
    is_listed: bool
    is_canary: bool
    number: int


class Item(NamedTuple):
    """One copy: codes, `other` where no policy lists them; `is_listed`: whether exports name it."""

    material: str
    audience: str
    is_listed: bool


@dataclass(frozen=True, slots=True)
class Act:
    """Something that happened, at `occurred` (ms UTC); `part` is the action, change or response.

    Attributes:
      key: names the act.
      person: None where the record names nobody.
      item: position in `World.items`.
      renewed: the checkout that a renewal prolongs, where the log holds it; `count`: which renewal it is.
      member: number of the campaign member; `transaction`: members of one are written as one message.
    """

    key: str
    source: str
    kind: str
    part: str
    person: Optional[Person]
    occurred: int
    branch: str = ""
    item: int = 0
    renewed: "Optional[Act]" = None
    count: int = 0
    campaign: str = ""
    member: int = 0
    transaction: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message about an act: `op` is add or retract, `arrived` when the bus took it (ms UTC)."""

    act: Act
    op: str
    arrived: int


@dataclass
class World:
    """Everything that the sample tells of, in the order of arrival."""

    start: dt.date
    days: int
    people: list[Person] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)

    def told_by(self, source: str) -> list[Delivery]:
        """The messages of one source."""
        return [one for one in self.deliveries if one.act.source == source]


def first_day(days: int) -> dt.date:
    """Where a sample begins: on the first of a month, so that no month is lost for want of its first days."""
    if FIRST_DAY + dt.timedelta(days=days) <= AFTER_LAST_DAY:
        return FIRST_DAY
    return (AFTER_LAST_DAY - dt.timedelta(days=days)).replace(day=1)


@cache
def hour_start(day: dt.date, hour: int) -> int:
    """The instant (ms UTC) at which a clock hour of a civil day begins."""
    return round(dt.datetime(day.year, day.month, day.day, hour, tzinfo=ZONE).timestamp() * 1000)


def local_time(instant: int) -> dt.datetime:
    """The library's clock time."""
    return dt.datetime.fromtimestamp(instant / 1000, ZONE)


def month_end(instant: int) -> int:
    """The instant at which the civil month of an instant ends."""
    following = (local_time(instant).date().replace(day=1) + dt.timedelta(days=32)).replace(day=1)
    return hour_start(following, 0)


def clock_changes(start: dt.date, days: int) -> list[int]:
    """The instants at which the library's clocks are changed."""
    first, after = hour_start(start, 0), hour_start(start + dt.timedelta(days=days), 0)
    hours = range(first + HOUR, after, HOUR)
    return [at for at in hours if local_time(at).utcoffset() != local_time(at - 1).utcoffset()]


def weighted(rng: random.Random, codes: tuple[str, ...], sums: tuple[float, ...]) -> str:
    """One of the codes; `sums` are the running sums of their weights."""
    return rng.choices(codes, cum_weights=sums)[0]
