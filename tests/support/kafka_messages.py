"""Puts messages into Kafka topics and gathers what a bus takes from them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from confluent_kafka import Producer

from pipelines.bus import Bus, BusBatch, Gap, Limits
from pipelines.work_values import Position

POLL = Limits(seconds=0.2)


def wall() -> int:
    """The wall clock, ms UTC."""
    return time.time_ns() // 1_000_000


def publish(brokers: str, topic: str, payloads: Mapping[int, list[bytes | None]], **message: object) -> None:
    """Write payloads, partition -> its messages in order; returns when the broker has them all."""
    producer = Producer({"bootstrap.servers": brokers, "log_level": 0, "message.timeout.ms": 60_000})
    for partition, values in payloads.items():
        for value in values:
            producer.produce(topic, value, partition=partition, **message)
            producer.poll(0)
    assert producer.flush(60) == 0


@dataclass
class Gathered:
    """All that came, in order."""

    batches: list[BusBatch] = field(default_factory=list)

    @property
    def payloads(self) -> list[bytes]:
        return [block for batch in self.batches for chunk in batch.chunks for block in chunk.blocks]

    @property
    def stamps(self) -> list[int]:
        return [stamp for batch in self.batches for chunk in batch.chunks for stamp in chunk.wrapping.stamps]

    @property
    def positions(self) -> dict[str, Position]:
        return {position.part: position for batch in self.batches for position in batch.positions}

    @property
    def proven(self) -> dict[str, int]:
        return {part: clock for batch in self.batches for part, clock in batch.proven.items()}

    @property
    def gaps(self) -> list[Gap]:
        return [gap for batch in self.batches for gap in batch.gaps]


def gather(bus: Bus, done: Callable[[Gathered], bool], *, limits: Limits = POLL, seconds: float = 60) -> Gathered:
    """Poll until enough has come."""
    gathered = Gathered()
    until = time.monotonic() + seconds
    while not done(gathered):
        assert time.monotonic() < until, f"after {seconds} s: {len(gathered.payloads)} messages, {gathered.positions}"
        batch = bus.poll(limits)
        if batch is not None:
            gathered.batches.append(batch)
            bus.ack(batch)
    return gathered


def amount(messages: int) -> Callable[[Gathered], bool]:
    return lambda gathered: len(gathered.payloads) >= messages


def all_proven(bus: Bus) -> Callable[[Gathered], bool]:
    return lambda gathered: bool(bus.parts()) and gathered.proven.keys() >= set(bus.parts())
