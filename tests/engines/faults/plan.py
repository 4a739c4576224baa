"""What a seed does, drawn before anything is done."""

import random
from dataclasses import dataclass

from pipelines.crash_points import LABELS, LIVE_ONLY, STORE_ONLY

POINTS = tuple(label for label in (*LABELS, *LIVE_ONLY, *STORE_ONLY) if label not in ("run-planned", "keys-destroyed"))


@dataclass(frozen=True)
class Plan:
    """What a seed does, decided before anything is done.

    Attributes:
      partitions: of each topic.
      messages: most of a batch.
      harms: for each portion of messages what the nemesis does after it is published: name, number or label.
      is_command: it is the command that runs, by the machine's own clock.
    """

    seed: int
    topics: int
    partitions: int
    messages: int
    idle: float
    harms: tuple[tuple[tuple[str, object], ...], ...]
    is_command: bool = False

    @staticmethod
    def of(seed: int) -> "Plan":
        rng = random.Random(f"plan {seed}")
        harms = tuple(tuple(_harm(rng) for _ in range(rng.choice((1, 1, 2)))) for _ in range(rng.randrange(3, 6)))
        return Plan(
            seed, rng.choice((1, 1, 2)), rng.randrange(1, 4), rng.choice((100, 400, 50_000)), rng.choice((0.3, 1.0)),
            harms,
        )  # fmt: skip

    @staticmethod
    def of_command(seed: int) -> "Plan":
        rng = random.Random(f"plan {seed}")
        harms: list[tuple[str, object]] = [("kill", round(rng.uniform(1, 5), 2)), ("crash", "tallies-appended:1")]
        rng.shuffle(harms)
        return Plan(seed, 1, 2, 50_000, 5.0, (*((harm,) for harm in harms), (("second", 0), ("cut", 0.5))), True)


def _harm(rng: random.Random) -> tuple[str, object]:
    name = rng.choice(("kill", "kill", "crash", "crash", "crash", "pause", "cut", "second", "zombie", "stop", "clock"))
    match name:
        case "kill":
            return name, round(rng.uniform(0, 1.5), 2)
        case "crash":
            return name, f"{rng.choice(POINTS)}:{rng.choice((1, 1, 2))}"
        case "clock":
            return name, rng.randrange(-10, 30)
        case _:
            return name, round(rng.uniform(0.1, 1.0), 2)
