"""What a seed does, drawn before anything is done."""

import random
from dataclasses import dataclass

from pipelines.crash_points import LABELS, LIVE_ONLY, STORE_ONLY

POINTS = tuple(label for label in (*LABELS, *LIVE_ONLY, *STORE_ONLY) if label not in ("run-planned", "keys-destroyed"))
ANYWHERE = (
    "kill", "kill", "crash", "crash", "crash", "pause", "cut", "second", "zombie", "stop", "clock", "full", "full",
    "again",
)  # fmt: skip
OF_A_SERVER = ("server", "server", "usurp")
_SERVED, _REPLAYED = 4, 5  # of so many seeds one has its work store on a server, one is replayed
Harm = tuple[str, object]


@dataclass(frozen=True)
class Plan:
    """What a seed does.

    Attributes:
      partitions: of each topic.
      messages: most of a batch.
      idle: seconds between two looks whether a partition has ended.
      harms: for each portion of messages what the nemesis does after it is published.
      is_command: it is the command that runs, by the machine's own clock.
      is_served: the work store is in PostgreSQL.
      is_replayed: its messages are replayed at the end.
    """

    seed: int
    topics: int
    partitions: int
    messages: int
    idle: float
    harms: tuple[tuple[Harm, ...], ...]
    is_command: bool = False
    is_served: bool = False
    is_replayed: bool = False

    @staticmethod
    def of(seed: int) -> "Plan":
        rng = random.Random(f"plan {seed}")
        is_served = seed % _SERVED == _SERVED - 1
        names = (*ANYWHERE, *OF_A_SERVER * 2) if is_served else ANYWHERE
        harms = tuple(
            tuple(_harm(rng, names) for _ in range(rng.choice((1, 1, 1, 2)))) for _ in range(rng.randrange(3, 5))
        )
        return Plan(
            seed, rng.choice((1, 1, 2)), rng.randrange(1, 4), rng.choice((100, 400, 50_000)), rng.choice((0.3, 1.0)),
            harms, is_served=is_served, is_replayed=seed % _REPLAYED == 0,
        )  # fmt: skip

    @staticmethod
    def of_command(seed: int) -> "Plan":
        rng = random.Random(f"plan {seed}")
        harms: list[Harm] = [("kill", round(rng.uniform(1, 5), 2)), ("crash", "tallies-appended:1")]
        rng.shuffle(harms)
        return Plan(seed, 1, 2, 50_000, 5.0, (*((harm,) for harm in harms), (("second", 0), ("cut", 0.5))), True)


def _harm(rng: random.Random, names: tuple[str, ...]) -> Harm:
    name = rng.choice(names)
    match name:
        case "kill":
            return name, round(rng.uniform(0, 1.5), 2)
        case "crash":
            return name, f"{rng.choice(POINTS)}:{rng.choice((1, 1, 2))}"
        case "clock":
            return name, rng.choice((-60, 60, rng.randrange(-10, 30)))
        case "full":
            return name, (rng.choice(("all", "all", "counts", "letters")), rng.choice((0, 500, 40_000, 200_000)))
        case "server":
            return name, (rng.choice(("kill", "stop")), round(rng.uniform(0.1, 2.0), 2))
        case _:
            return name, round(rng.uniform(0.1, 1.0), 2)
