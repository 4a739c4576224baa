"""What people do in the synthetic library, and how the messages about it arrive."""

import datetime as dt
import random
from itertools import accumulate
from typing import Any, Optional, Sequence

from pipelines.initialise import CAMPAIGNS, RESPONSES
from pipelines.synthetic.people import branch_by_use
from pipelines.synthetic.world import (
    CLOSED_BRANCH,
    DAY,
    HOUR,
    MINUTE,
    Act,
    Delivery,
    Person,
    World,
    hour_start,
    month_end,
    weighted,
)
from schemas.policy import OTHER

# Renewals also come from robots at night; the hour that spring takes away has no weight on any day.
_HOURS = tuple(
    accumulate((0.2, 0.2, 0, 0.3, 0.1, 0, 1, 2, 4, 8, 12, 12, 10, 10, 11, 13, 15, 14, 10, 6, 2, 1, 0.3, 0.3))
)
_PARTS = ("checkout", "renewal", "return", "hold_placed", "hold_filled", "hold_cancelled", "hold_expired")
_PART_SUMS = tuple(accumulate((58, 14, 8, 9, 7, 2, 2)))
_EVERGREEN_SUMS = tuple(accumulate((80, 20)))
_CHANGES, _CHANGE_SUMS = ("new", "renewed", "expired"), tuple(accumulate((5, 3, 2)))
_ANSWERS = (*RESPONSES[1:], OTHER)
_ANSWER_SUMS = tuple(range(1, len(_ANSWERS) + 1))
_KINDS_OF_CAMPAIGN = (*CAMPAIGNS, OTHER)
_STAMPED = ("carrel-event", "folio")  # sources whose messages carry their arrival
_RETRACTS = {"carrel-event": (*_PARTS, *_CHANGES, "sent", *_ANSWERS), "folio": ("checkout", "hold_placed")}


class Life:
    """Adds acts and messages to a world, by one random generator."""

    def __init__(self, rng: random.Random, world: World) -> None:
        self.rng = rng
        self._world = world
        self._serial = 0
        self._members = 0
        self._transactions = 0

    def moment(self) -> int:
        """A moment of a random civil day, mostly in opening hours."""
        day = self._world.start + dt.timedelta(days=self.rng.randrange(self._world.days))
        hour = self.rng.choices(range(24), cum_weights=_HOURS)[0]
        return hour_start(day, hour) + self.rng.randrange(HOUR)

    def act(self, person: Optional[Person], source: str, kind: str, part: str, at: int, **more: Any) -> Act:
        """A new act."""
        self._serial += 1
        return Act(f"{self._serial:08d}", source, kind, part, person, at, **more)

    def tell(self, act: Act, op: str, arrived: int) -> None:
        """One message about an act."""
        self._world.deliveries.append(Delivery(act, op, arrived))

    def add(self, act: Act) -> bool:
        """The messages about an act: some come late, twice, or are taken back; returns whether it stands."""
        arrived = self._arrival(act)
        self.tell(act, "add", arrived)
        luck = self.rng.random()
        if luck < 0.01:
            self.tell(act, "add", arrived if act.source not in _STAMPED else arrived + self.rng.choice((0, 2 * HOUR)))
        elif luck < 0.016 and act.part in _RETRACTS.get(act.source, ()):
            self.tell(act, "retract", arrived + self.rng.randrange(MINUTE, 2 * DAY))
            return False
        return True

    def _arrival(self, act: Act) -> int:
        """Mostly minutes later, sometimes days; now and then after the month and its horizon."""
        if act.source not in _STAMPED:
            return act.occurred
        luck = self.rng.random()
        if luck < 0.004:
            return month_end(act.occurred) + (3 if act.kind == "circulation" else 9) * DAY
        if luck < 0.03:
            return act.occurred + self.rng.randrange(6 * HOUR, 5 * DAY)
        return act.occurred + self.rng.randrange(500, 5 * MINUTE)

    def borrow(self, person: Person) -> None:
        """One person's circulation."""
        busy = min(40, int(self.rng.expovariate(1.0) * 2.5 * self._world.days / 30) + (self.rng.random() < 0.5))
        sums = _EVERGREEN_SUMS if person.source == "evergreen" else _PART_SUMS
        last: Optional[Act] = None
        count = 0
        for at in sorted(self.moment() for _ in range(busy)):
            part = weighted(self.rng, _PARTS[: len(sums)], sums)
            branch = branch_by_use(self.rng) if self.rng.random() < 0.12 else person.near
            branch = CLOSED_BRANCH if self.rng.random() < 0.001 else branch
            item = self.rng.randrange(len(self._world.items))
            more: dict[str, Any] = {"branch": branch, "item": item}
            if part == "renewal" and last:
                count += 1
                more = {"branch": last.branch, "item": last.item, "renewed": last, "count": count}
            # A return names nobody, and now and then neither does a checkout.
            nobody = part == "return" or (
                part == "checkout" and person.source in _STAMPED and self.rng.random() < 0.003
            )
            act = self.act(None if nobody else person, person.source, "circulation", part, at, **more)
            stands = self.add(act)
            if part == "checkout":
                last, count = (act, 0) if stands and not nobody else (None, 0)

    def register(self, person: Person) -> None:
        """Now and then the ILS tells of a change of the account."""
        if person.source != "evergreen" and self.rng.random() < 0.18:
            change = weighted(self.rng, _CHANGES, _CHANGE_SUMS)
            self.add(self.act(person, person.source, "patron", change, self.moment()))

    def respond(self, person: Person) -> None:
        """Part in a campaign of the ILS itself."""
        if person.source == "carrel-event" and self.rng.random() < 0.3:
            response = "sent" if self.rng.random() < 0.2 else weighted(self.rng, _ANSWERS, _ANSWER_SUMS)
            campaign = self.rng.choice(_KINDS_OF_CAMPAIGN)
            act = self.act(person, "carrel-event", "engagement", response, self.moment(), campaign=campaign)
            self.add(act)

    def send(self, person: Person, at: int, campaign: str) -> Act:
        """A campaign of the CRM system reaches a person, who becomes its member."""
        self._members += 1
        self._transactions += 1
        act = self.act(
            person, "salesforce", "engagement", "sent", at,
            campaign=campaign, member=self._members, transaction=f"{self._transactions:08x}-send",
        )  # fmt: skip
        self.add(act)
        return act

    def campaigns(self, people: Sequence[Person]) -> None:
        """Campaigns of the CRM system: sent one by one, answered one by one or several at once."""
        sent = []
        for person in people:
            if person.kind == "patron" and self.rng.random() < 0.25:
                act = self.send(person, self.moment(), self.rng.choice(_KINDS_OF_CAMPAIGN))
                if self.rng.random() < 0.4:
                    sent.append(act)
        while sent:
            response, at = weighted(self.rng, _ANSWERS, _ANSWER_SUMS), self.moment()
            size = self.rng.choice((1, 1, 3))
            self._transactions += 1
            for act in sent[:size]:
                self.add(
                    self.act(
                        act.person, "salesforce", "engagement", response, at,
                        campaign=act.campaign, member=act.member, transaction=f"{self._transactions:08x}",
                    )
                )  # fmt: skip
            sent = sent[size:]
