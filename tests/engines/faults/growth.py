"""A long quiet life: messages come steadily, nothing is harmed, and each second it is seen how large the instance is."""

import json
import random
import time
from pathlib import Path

from confluent_kafka import Producer

from tests.engines.faults import oracle
from tests.engines.faults.seen import see
from tests.engines.faults.world import World, wait_for

_MESSAGES, _HOURS = 40, 3  # each second: messages, and how far the library's clock goes


def grow(world: World, seconds: float) -> None:
    """Publish to a world for some time; then all of it is read, and the instance is stopped."""
    rng, number, began = random.Random(world.plan.seed), 0, time.monotonic()
    producer = Producer({"bootstrap.servers": world.broker.brokers, "log_level": 0})
    process = world.settle()
    assert process.pid is not None
    while (at := time.monotonic() - began) < seconds:
        now = world.now() + _HOURS * oracle.HOUR
        for _ in range(_MESSAGES):
            number += 1
            payload = json.dumps(oracle.an_act(rng, f"grown-{number}", now)["event"])
            topic, _, partition = rng.choice(world.parts).rpartition("/")
            producer.produce(topic, payload.encode(), partition=int(partition), timestamp=now)
        assert producer.flush(60) == 0
        world.set_clock(now)
        see(world.observed, "size", at=at, **size_of(process.pid))
        time.sleep(1)
    wait_for(world.is_read)
    world.stop()


def size_of(pid: int) -> dict[str, int]:
    """Resident bytes, open descriptors and threads of a process."""
    folder = Path(f"/proc/{pid}")
    stated = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    return {
        "rss": int(stated["VmRSS"].split()[0]) << 10,
        "descriptors": len(list((folder / "fd").iterdir())),
        "threads": int(stated["Threads"]),
    }
