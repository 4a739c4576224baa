"""How fast messages come out of a real broker through the bus alone: the ceiling of the source.

Run: `.venv/bin/python tests/benchmarks/kafka_rate.py [MESSAGES]`; prints a line for each number of partitions.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

from confluent_kafka import Producer

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from pipelines.bus import Limits
from pipelines.kafka_bus import KafkaBus
from pipelines.kafka_bus_settings import BrokerSettings
from tests.support.kafka_messages import wall
from tests.support.kafka_server import KafkaServer

PAYLOAD = b"x" * 220  # about one circulation event as a JSON line
LIMITS = Limits(messages=50_000, seconds=0.5)


def fill(server: KafkaServer, topic: str, partitions: int, messages: int) -> None:
    server.make_topic(topic, partitions)
    settings = {"bootstrap.servers": server.brokers, "linger.ms": 20, "compression.type": "lz4", "log_level": 0}
    producer = Producer({**settings, "queue.buffering.max.messages": 1_000_000})
    for at in range(messages):
        if at % 10_000 == 0:
            producer.flush(30)
        producer.produce(topic, PAYLOAD, partition=at // 100 % partitions)
    producer.flush(60)


def rate(server: KafkaServer, topic: str, messages: int) -> str:
    """Messages a second, and CPU of this process for each message, from the first poll to the last message."""
    bus = KafkaBus("bench", [topic], BrokerSettings({"bootstrap.servers": server.brokers}), {}, now=wall)
    wall_clock, cpu = time.monotonic(), time.process_time()
    read = batches = 0
    while read < messages and time.monotonic() - wall_clock < 120:
        batch = bus.poll(LIMITS)
        read += 0 if batch is None else sum(len(chunk.blocks) for chunk in batch.chunks)
        batches += batch is not None
    seconds, used = time.monotonic() - wall_clock, time.process_time() - cpu
    bus.close()
    return f"{read / seconds:12,.0f} messages/s  {used / read * 1e6:5.2f} us CPU a message  {batches} batches"


def main() -> None:
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as directory:
        server = KafkaServer(Path(directory))
        server.start()
        try:
            for partitions in (1, 4):
                fill(server, f"bench-{partitions}", partitions, messages)
                print(f"{partitions} partitions: {rate(server, f'bench-{partitions}', messages)}", flush=True)  # noqa: T201 - what it is for
        finally:
            server.stop()
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")  # noqa: T201


if __name__ == "__main__":
    main()
