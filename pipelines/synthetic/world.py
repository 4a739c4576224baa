"""The synthetic library: who its patrons are and what they do. One random generator, no clock."""

import datetime as dt
import random
import zoneinfo
from dataclasses import dataclass, field
from typing import Optional, Sequence

START = dt.date(2026, 2, 1)
ZONE = zoneinfo.ZoneInfo("America/New_York")
BRANCHES = tuple(f"B{number:02d}" for number in range(1, 13))
BRANCH_WEIGHTS = (30, 22, 18, 15, 14, 12, 9, 7, 5, 4, 3, 2)
MATERIALS = (
    "book", "large-print", "audiobook", "dvd", "music", "magazine", "ebook", "eaudio", "game", "equipment", "kit", "map",
)  # fmt: skip
MATERIAL_WEIGHTS = (50, 4, 5, 15, 4, 6, 8, 4, 2, 1, 1, 0.3)
AUDIENCES = ("adult", "young-adult", "children")
PATRON_TYPES = ("adult", "teen", "child", "senior", "educator", "nonresident")
CAMPAIGNS = ("newsletter", "reading-challenge", "event-invitation", "fundraising", "welcome", "survey")
RESPONSES = ("opened", "clicked", "responded", "declined", "unsubscribed")
NOT_PATRONS = ("staff", "system", "test", "shadow")
ILS = ("carrel-event", "folio", "evergreen")
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
CANARY_WORDS = ("CANARYSMITH", "CANARYTITLE", "CANARYNOTE", "canary.mail")
_HOURS = (0, 0, 0, 0, 0, 0, 1, 2, 4, 8, 12, 12, 10, 10, 11, 13, 15, 14, 10, 6, 2, 1, 0, 0)


@dataclass(frozen=True)
class Person:
    """One account. `kind` other than patron is never counted."""

    ref: str
    source: str
    kind: str
    patron_type: str
    home: str
    born: dt.date
    postal: str
    is_canary: bool
    number: int


@dataclass(frozen=True)
class Act:
    """Something that happened; `part` is the action, change or response."""

    key: str
    source: str
    kind: str
    part: str
    person: Optional[Person]
    occurred: int
    branch: str = ""
    item: int = 0
    campaign: str = ""
    members: tuple[int, ...] = ()


@dataclass(frozen=True)
class Delivery:
    """One message about an act: add or retract, with its arrival (ms UTC)."""

    act: Act
    op: str
    arrived: int


@dataclass
class World:
    """Everything that the sample tells of."""

    people: list[Person] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    canaries: tuple[str, ...] = ()


def item_codes(item: int) -> tuple[str, str]:
    """Material and audience of an item, from its number alone."""
    chooser = random.Random(item)  # noqa: S311 - a synthetic world
    return chooser.choices(MATERIALS, MATERIAL_WEIGHTS)[0], chooser.choices(AUDIENCES, (6, 2, 3))[0]


def month_end(instant: int) -> int:
    """The instant at which the civil month of an instant ends."""
    local = dt.datetime.fromtimestamp(instant / 1000, ZONE)
    following = (local.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
    return round(dt.datetime(following.year, following.month, 1, tzinfo=ZONE).timestamp() * 1000)


def make_world(*, patrons: int, days: int, seed: int, sources: Sequence[str]) -> World:
    """Make the library's people and what they did."""
    rng = random.Random(seed)  # noqa: S311 - a synthetic world
    world = World()
    ils = [name for name in ILS if name in sources] or ["none"]
    for number in range(patrons):
        world.people.append(_person(rng, number, ils))
    world.canaries = tuple(person.ref for person in world.people if person.is_canary) + CANARY_WORDS
    start = round(dt.datetime(START.year, START.month, START.day, tzinfo=ZONE).timestamp() * 1000)
    maker = _Maker(rng, days, start, world)
    for person in world.people:
        if person.source != "none":
            maker.live(person)
    maker.heavy(world.people)
    if "salesforce" in sources:
        maker.campaigns(world.people)
    world.deliveries.sort(key=lambda one: (one.arrived, one.act.key, one.op))
    return world


def _person(rng: random.Random, number: int, ils: Sequence[str]) -> Person:
    home = rng.choices(BRANCHES, BRANCH_WEIGHTS)[0]
    source = ils[BRANCHES.index(home) * len(ils) // len(BRANCHES)]
    kind = rng.choice(NOT_PATRONS) if number % 97 == 13 else "guest" if number % 211 == 7 else "patron"
    age = rng.choice((rng.randrange(4, 13), rng.randrange(13, 18), *(rng.randrange(18, 90) for _ in range(4))))
    patron_type = "child" if age < 13 else "teen" if age < 18 else "senior" if age >= 65 else "adult"
    if patron_type == "adult":
        patron_type = rng.choices(("adult", "educator", "nonresident"), (20, 2, 1))[0]
    born = START.replace(year=START.year - age) - dt.timedelta(days=rng.randrange(1, 360))
    is_canary = number % 500 == 3
    ref = str(500_000 + number) if source == "evergreen" else f"2{rng.randrange(10**6):06d}{number:07d}"
    if is_canary:
        ref = str(777_700_000 + number) if source == "evergreen" else f"CANARY777{number:08d}"
    return Person(ref, source, kind, patron_type, home, born, str(10_001 + rng.randrange(12)), is_canary, number)


class _Maker:
    def __init__(self, rng: random.Random, days: int, start: int, world: World) -> None:
        self.rng = rng
        self.days = days
        self.start = start
        self.world = world
        self.serial = 0

    def _moment(self) -> int:
        """A moment in opening hours of a random civil day."""
        day = START + dt.timedelta(days=self.rng.randrange(self.days))
        hour = self.rng.choices(range(24), _HOURS)[0]
        local = dt.datetime(
            day.year, day.month, day.day, hour, self.rng.randrange(60), self.rng.randrange(60), tzinfo=ZONE
        )
        return round(local.timestamp() * 1000)

    def _arrival(self, act: Act) -> int:
        """Mostly seconds later, sometimes days; now and then after the window and its horizon."""
        if act.source in ("evergreen", "salesforce"):
            return act.occurred
        luck = self.rng.random()
        if luck < 0.004:
            return month_end(act.occurred) + (3 if act.kind == "circulation" else 9) * DAY
        if luck < 0.03:
            return act.occurred + self.rng.randrange(6 * HOUR, 5 * DAY)
        return act.occurred + self.rng.randrange(500, 5 * MINUTE)

    def _add(self, act: Act) -> None:
        arrived = self._arrival(act)
        self.world.deliveries.append(Delivery(act, "add", arrived))
        luck = self.rng.random()
        if luck < 0.01:
            again = arrived if act.source in ("evergreen", "salesforce") else arrived + self.rng.choice((0, 2 * HOUR))
            self.world.deliveries.append(Delivery(act, "add", again))
        elif luck < 0.016 and (act.source == "carrel-event" or (act.source == "folio" and act.part == "checkout")):
            self.world.deliveries.append(Delivery(act, "retract", arrived + self.rng.randrange(MINUTE, 2 * DAY)))

    def _act(self, person: Optional[Person], source: str, kind: str, part: str, at: int, **more: object) -> Act:
        self.serial += 1
        return Act(f"{self.serial:08d}", source, kind, part, person, at, **more)  # type: ignore[arg-type]

    def live(self, person: Person) -> None:
        """One person's circulation, registration and, where the ILS sends it, part in campaigns."""
        busy = min(40, int(self.rng.expovariate(1.0) * 2.5 * self.days / 30) + (1 if self.rng.random() < 0.5 else 0))
        for _ in range(busy):
            away = self.rng.random() < 0.12
            branch = self.rng.choices(BRANCHES, BRANCH_WEIGHTS)[0] if away else person.home
            item = self.rng.randrange(1, 20_000)
            part = self.rng.choices(
                ("checkout", "renewal", "return", "hold_placed", "hold_filled", "hold_cancelled", "hold_expired"),
                (58, 14, 8, 9, 7, 2, 2) if person.source != "evergreen" else (80, 20, 0, 0, 0, 0, 0),
            )[0]
            whose = None if part == "return" else person
            self._add(self._act(whose, person.source, "circulation", part, self._moment(), branch=branch, item=item))
        if person.source != "evergreen" and self.rng.random() < 0.18:
            change = self.rng.choices(("new", "renewed", "expired"), (5, 3, 2))[0]
            self._add(self._act(person, person.source, "patron", change, self._moment()))
        if person.source == "carrel-event" and self.rng.random() < 0.3:
            campaign, response = self.rng.choice(CAMPAIGNS), self.rng.choice(("sent", *RESPONSES))
            self._add(self._act(person, "carrel-event", "engagement", response, self._moment(), campaign=campaign))

    def heavy(self, people: Sequence[Person]) -> None:
        """Three people who do by far the most in one branch and material."""
        able = [one for one in people if one.kind == "patron" and one.source != "none" and one.home == "B12"][:3]
        for person in able:
            item = next(number for number in range(1, 20_000) if item_codes(number)[0] == "kit")
            for _ in range(60):
                self._add(
                    self._act(person, person.source, "circulation", "checkout", self._moment(), branch="B12", item=item)
                )

    def campaigns(self, people: Sequence[Person]) -> None:
        """Campaign members of the CRM system: sent to one by one, answered one by one or several at once."""
        member = 0
        waiting: list[tuple[Person, int, str]] = []
        for person in people:
            if person.kind != "patron" or self.rng.random() > 0.25:
                continue
            member += 1
            campaign = self.rng.choice(CAMPAIGNS)
            at = self._moment()
            self._add(self._act(person, "salesforce", "engagement", "sent", at, campaign=campaign, members=(member,)))
            if self.rng.random() < 0.4:
                waiting.append((person, member, campaign))
        while waiting:
            response, at = self.rng.choice(RESPONSES), self._moment()
            size = self.rng.choice((1, 1, 3))
            group, waiting = waiting[:size], waiting[size:]
            for person, number, campaign in group:
                act = self._act(person, "salesforce", "engagement", response, at, campaign=campaign, members=(number,))
                self._add(act)
