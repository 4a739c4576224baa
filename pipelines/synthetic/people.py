"""Who has an account in the synthetic library, and what it lends."""

import datetime as dt
import random
import uuid
from itertools import accumulate
from typing import Optional, Sequence

from pipelines.initialise import AUDIENCES, BRANCHES, MATERIALS, PATRON_TYPES, ZONES
from pipelines.synthetic.world import BRANCH_WEIGHTS, FIRST_DAY, ILS, Item, Person, weighted
from schemas.policy import OTHER

_CODES = tuple(BRANCHES)
_BRANCH_SUMS = tuple(accumulate(BRANCH_WEIGHTS))
_MATERIALS = (*MATERIALS, OTHER)
_MATERIAL_SUMS = tuple(accumulate((50, 4, 5, 15, 4, 6, 8, 4, 2, 1, 1, 0.3, 3)))
_AUDIENCES = (*AUDIENCES, OTHER)
_AUDIENCE_SUMS = tuple(accumulate((6, 2, 3, 0.4)))
_GROWN_TYPES, _GROWN_SUMS = (PATRON_TYPES[0], *PATRON_TYPES[4:]), tuple(accumulate((20, 2, 1)))
_NOT_PATRONS = ("staff", "guest", "test", "system", "shadow")


def branch_by_use(rng: random.Random) -> str:
    """A branch, the busy ones more often."""
    return weighted(rng, _CODES, _BRANCH_SUMS)


def make_items(rng: random.Random, amount: int) -> list[Item]:
    """What the library lends: every fiftieth copy is in no export, so that nothing is known of it."""
    return [
        Item(weighted(rng, _MATERIALS, _MATERIAL_SUMS), weighted(rng, _AUDIENCES, _AUDIENCE_SUMS), is_listed=True)
        if number % 50
        else Item(OTHER, OTHER, is_listed=False)
        for number in range(amount)
    ]


def make_people(rng: random.Random, amount: int, sources: Sequence[str]) -> list[Person]:
    """The accounts; each ILS that is written holds those of some neighbouring branches."""
    ils = [name for name in ILS if name in sources]
    seats: dict[str, int] = {}
    people = []
    for number in range(amount):
        near = branch_by_use(rng)
        source = ils[_CODES.index(near) * len(ils) // len(_CODES)] if ils else ""
        seat = seats[source] = seats.get(source, -1) + 1
        people.append(_person(rng, number, seat, source, near))
    return people


def _person(rng: random.Random, number: int, seat: int, source: str, near: str) -> Person:
    """The account that is the `seat`-th of its source: what is rare comes to every source in turn."""
    kind = _NOT_PATRONS[seat // 60 % len(_NOT_PATRONS)] if seat % 60 == 13 else "patron"
    age = rng.choice((rng.randrange(4, 13), rng.randrange(13, 18), *(rng.randrange(18, 90) for _ in range(4))))
    born: Optional[dt.date] = FIRST_DAY.replace(year=FIRST_DAY.year - age) - dt.timedelta(days=rng.randrange(1, 360))
    patron_type = "child" if age < 13 else "teen" if age < 18 else "senior" if age >= 65 else ""
    patron_type = patron_type or weighted(rng, _GROWN_TYPES, _GROWN_SUMS)
    postal: Optional[str] = rng.choice((*ZONES, "99501"))
    home = near
    is_listed = kind != "patron" or seat % 60 != 7
    if not is_listed:
        home, patron_type, born, postal = OTHER, OTHER, None, None
    elif kind == "patron":
        home = OTHER if rng.random() < 0.03 else near
        patron_type = OTHER if rng.random() < 0.03 else patron_type
        born = None if rng.random() < 0.03 else born
    is_canary = seat % 200 == 3
    return Person(
        ref=_ref(rng, source, number, is_canary=is_canary),
        source=source,
        kind=kind,
        near=near,
        home=home,
        patron_type=patron_type,
        born=born,
        postal=postal,
        is_listed=is_listed,
        is_canary=is_canary,
        number=number,
    )


def _ref(rng: random.Random, source: str, number: int, *, is_canary: bool) -> str:
    """The id in the form of the system: a number in Evergreen, a UUID in FOLIO, else a barcode."""
    digits = rng.randrange(10**6)
    if source == "evergreen":
        return str(777_700_000 + number if is_canary else 500_000 + number)
    if is_canary:
        return f"CANARY777{number:08d}"
    if source == "folio":
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"carrel:sample:user:{digits}:{number}"))
    return f"2{digits:06d}{number:07d}"
