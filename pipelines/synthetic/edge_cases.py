"""What chance does not bring about for sure: heavy users, and acts at the edges of clocks and windows."""

import datetime as dt
from collections import defaultdict
from typing import Iterator, Optional

from pipelines.initialise import BRANCHES
from pipelines.synthetic.ordinary_life import Life
from pipelines.synthetic.world import (
    CLOSED_BRANCH,
    DAY,
    HOUR,
    ILS,
    Act,
    Person,
    World,
    clock_changes,
    hour_start,
    local_time,
    month_end,
)

ENOUGH = 70  # people: well over the 5 k that a total needs


def add_edges(life: Life, world: World) -> None:
    """Let every source have acts on the first and last day, around clock changes, and at the edge of being late."""
    after = hour_start(world.start + dt.timedelta(days=world.days), 0)
    for source in ILS:
        person = next((one for one in world.people if one.source == source and one.kind == "patron"), None)
        if person is None:
            continue
        for at in (hour_start(world.start, 9), after - 9 * HOUR, *_clock_edges(world, after)):
            life.tell(_checkout(life, person, at), "add", at + (source != "evergreen"))
        noon = hour_start(world.start, 12)
        life.tell(_checkout(life, person, noon, CLOSED_BRANCH), "add", noon)
        if source != "evergreen":
            _horizon_edges(life, person, world)


def _checkout(life: Life, person: Person, at: int, branch: str = "", item: int = 1) -> Act:
    return life.act(person, person.source, "circulation", "checkout", at, branch=branch or person.near, item=item)


def _clock_edges(world: World, after: int) -> Iterator[int]:
    """The last and first millisecond around each clock change and each turn of the month."""
    for change in clock_changes(world.start, world.days):
        yield from (change - HOUR, change - 1, change, change + HOUR - 1)
    turn = month_end(hour_start(world.start, 0))
    while turn < after:
        yield from (turn - 1, turn)
        turn = month_end(turn)


def _horizon_edges(life: Life, person: Person, world: World) -> None:
    """Arrivals in the last millisecond of a window's horizon (two days for circulation) and just after it."""
    at = hour_start(world.start, 12)
    for end in (hour_start(world.start + dt.timedelta(days=1), 0), month_end(at)):
        for arrived in (end + 2 * DAY - 1, end + 2 * DAY):
            life.tell(_checkout(life, person, at), "add", arrived)
    # Taken back in time, taken back too late, and taken back but sent again afterwards.
    month = month_end(at) + 2 * DAY
    for retracted, again in ((month - 1, None), (month, None), (month - HOUR, month - 1)):
        act = _checkout(life, person, at)
        life.tell(act, "add", at + 1)
        life.tell(act, "retract", retracted)
        if again is not None:
            life.tell(act, "add", again)


def add_heavy_users(life: Life, world: World) -> None:
    """Three who do by far the most: at a branch, in a small cell, and an account that is no patron's."""
    found = _smallest_branch_with_enough(world)
    if found is not None:
        branch, checkouts = found
        person = next(one for one in world.people if one.near == branch and one.kind == "patron")
        for moments in checkouts.values():
            for at in life.rng.choices(moments, k=len(moments) // 6 + 5):
                life.add(_checkout(life, person, at, branch, life.rng.randrange(len(world.items))))
    rare = next((at for at, item in enumerate(world.items) if item.material == "kit"), 1)
    fewest = (one for code in reversed(BRANCHES) for one in world.people if (one.near, one.kind) == (code, "patron"))
    staff = (one for one in world.people if one.kind == "staff")
    for one in (next(fewest, None), next(staff, None)):
        if one is not None and one.source:
            for _ in range(60):
                life.add(_checkout(life, one, life.moment(), item=rare))


def _smallest_branch_with_enough(world: World) -> Optional[tuple[str, dict[str, list[int]]]]:
    """The branch with the fewest checkouts whose totals could be published, and their times by month."""
    times: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    people: dict[str, dict[str, dict[str, set[str]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(set)))
    for one in world.deliveries:
        act = one.act
        if act.part == "checkout" and act.person and act.person.kind == "patron" and act.branch != CLOSED_BRANCH:
            month = f"{local_time(act.occurred):%Y-%m}"
            times[act.branch][month].append(act.occurred)
            people[act.branch][month][act.source].add(act.person.ref)
    able = {}
    for branch, months in times.items():
        # Months that have hardly begun have few people everywhere.
        full = {month: at for month, at in months.items() if max(map(len, people[branch][month].values())) >= ENOUGH}
        if full:
            able[branch] = full
    if not able:
        return None
    branch = min(able, key=lambda one: (sum(map(len, able[one].values())), one))
    return branch, able[branch]
