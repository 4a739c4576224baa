"""Makes the synthetic library: the same numbers and seed make the same world."""

import random
from typing import Sequence

from pipelines.synthetic.edge_cases import add_edges, add_heavy_users
from pipelines.synthetic.ordinary_life import Life
from pipelines.synthetic.people import make_items, make_people
from pipelines.synthetic.world import World, first_day, hour_start

MOST_ITEMS, FEWEST_ITEMS = 20_000, 400


def make_world(*, patrons: int, days: int, seed: int, sources: Sequence[str]) -> World:
    """The library's people, what they did, and what was told of it, in the order of arrival."""
    rng = random.Random(seed)  # noqa: S311 - a synthetic world
    world = World(first_day(days), days)
    world.items = make_items(rng, max(FEWEST_ITEMS, min(MOST_ITEMS, patrons)))
    world.people = make_people(rng, patrons, sources)
    life = Life(rng, world)
    for person in world.people:
        if person.source:
            life.borrow(person)
            life.register(person)
            life.respond(person)
    add_heavy_users(life, world)
    add_edges(life, world)
    if "salesforce" in sources:
        # A source that begins later than its month would lose the month.
        for person in [one for one in world.people if one.kind == "patron"][:1]:
            life.send(person, hour_start(world.start, 9), "welcome")
        life.campaigns(world.people)
    world.deliveries.sort(key=lambda one: (one.arrived, one.act.key, one.op))
    return world
