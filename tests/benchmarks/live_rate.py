"""`carrel live` on a real broker: events a second into committed tallies, publish to durable, recovery after kill -9.

Run: `.venv/bin/python tests/benchmarks/live_rate.py [EVENTS] [SECONDS]`; the default tables, one process.
"""

import contextlib
import json
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Iterator

from confluent_kafka import Producer

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.benchmarks.idle import CARREL, ROOT, state
from tests.support.kafka_server import KafkaServer

PARTITIONS = 4
RATES = (1_000, 5_000)  # events a second
LOOK = 0.005  # seconds between two looks at the work store


def some_payloads(amount: int) -> list[bytes]:
    """Checkouts of the last two hours, a third of them with all that a patron can have."""
    rng, now = random.Random(1), time.time_ns() // 1_000_000
    found = []
    for number in range(amount):
        event: dict[str, object] = {
            "kind": "circulation", "event_id": f"e{number}", "occurred_at": now - rng.randrange(7_200_000),
            "action": rng.choice(["checkout", "renewal"]), "branch": f"B{rng.randrange(1, 13):02}",
            "material": rng.choice(["book", "dvd", "audiobook"]), "audience": "adult",
            "patron_ref": f"p{rng.randrange(60_000)}",
        }  # fmt: skip
        if number % 3 == 0:
            event |= {"patron_type": "adult", "home_branch": f"B{rng.randrange(1, 13):02}", "birth_date": "1980-02-01"}
        found.append(json.dumps(event).encode())
    return found


def deployment(server: KafkaServer, directory: Path, topic: str, partitions: int) -> Path:
    """A deployment that reads one topic with the default tables."""
    server.make_topic(topic, partitions, retention_ms=-1)
    made = [*CARREL, "init", str(directory / topic), "--secrets", str(directory / f"{topic}-secrets")]
    subprocess.run(made, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (directory / "kafka.properties").write_text(f"bootstrap.servers={server.brokers}\n")
    toml = directory / topic / "carrel.toml"
    bus = f'bus = {{ kind = "kafka", topics = ["{topic}"], settings = "{directory}/kafka.properties" }}\n'
    toml.write_text(toml.read_text().replace('adapter = "carrel-event"\n', f'adapter = "carrel-event"\n{bus}'))
    return toml


@contextlib.contextmanager
def live(toml: Path) -> Iterator[subprocess.Popen[str]]:
    """A running `carrel live`, which has opened its stores and buses."""
    process = subprocess.Popen([*CARREL, "-c", str(toml), "live"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "live_started"
        yield process
    finally:
        process.terminate()
        process.wait(timeout=60)


def committed(database: sqlite3.Connection) -> int:
    """Messages that are durable."""
    (found,) = database.execute("SELECT COALESCE(SUM(next), 0) FROM positions").fetchone()
    return int(found)


def opened(toml: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{toml.parent / 'work.db'}?mode=ro", uri=True)


def throughput(server: KafkaServer, directory: Path, events: int) -> None:
    toml = deployment(server, directory, "throughput", PARTITIONS)
    producer = Producer({"bootstrap.servers": server.brokers, "linger.ms": 20, "log_level": 0})
    for number, payload in enumerate(some_payloads(events)):
        producer.produce("throughput", payload, partition=number // 100 % PARTITIONS)
        if number % 10_000 == 0:
            producer.flush(60)
    producer.flush(60)
    begun = time.monotonic()
    with live(toml) as process, contextlib.closing(opened(toml)) as database:
        started, (before, *_) = time.monotonic(), state(process.pid)
        while committed(database) < events:
            time.sleep(0.05)
        seconds, (after, memory, files) = time.monotonic() - started, state(process.pid)
    size = sum(one.stat().st_size for one in toml.parent.glob("work.db*")) / 1024**2
    windows = sqlite3.connect(toml.parent / "work.db").execute(
        "SELECT COUNT(DISTINCT table_name || window_start), SUM(rows) FROM tallies"
    )
    (open_windows, rows) = windows.fetchone()
    say(
        f"throughput: {events:,} events in {seconds:.1f} s = {events / seconds:,.0f}/s"
        f" ({(after - before) / events * 1e6:.1f} us CPU an event; start {started - begun:.1f} s),"
        f" {memory:.0f} MiB, {files} files"
    )
    say(f"work store: {size:.0f} MiB, {open_windows} open windows, {size * 1024**2 / rows:.0f} bytes a row")


def latency(server: KafkaServer, directory: Path, rate: int, seconds: int) -> None:
    """One partition, so that a message's offset is its number."""
    topic = f"latency-{rate}"
    toml = deployment(server, directory, topic, 1)
    payloads = some_payloads(rate * seconds)
    producer = Producer({"bootstrap.servers": server.brokers, "linger.ms": 0, "log_level": 0})
    published: list[float] = []
    waited: list[float] = []
    with live(toml), contextlib.closing(opened(toml)) as database:
        begun = time.monotonic()
        while len(waited) < len(payloads):
            now = time.monotonic()
            while len(published) < min(len(payloads), int((now - begun) * rate)):
                producer.produce(topic, payloads[len(published)], partition=0)
                published.append(time.monotonic())
            producer.poll(0)
            durable, seen = committed(database), time.monotonic()
            waited += [seen - at for at in published[len(waited) : durable]]
            time.sleep(LOOK)
    p50, p95 = (statistics.quantiles(waited, n=100)[at - 1] for at in (50, 95))
    say(
        f"publish to durable at {rate:,}/s over {seconds} s: p50 {p50:.2f} s, p95 {p95:.2f} s, most {max(waited):.2f} s"
    )


def recovery(server: KafkaServer, directory: Path) -> None:
    toml = deployment(server, directory, "recovery", 1)
    producer = Producer({"bootstrap.servers": server.brokers, "linger.ms": 0, "log_level": 0})
    payloads = iter(some_payloads(200_000))
    with live(toml) as process, contextlib.closing(opened(toml)) as database:
        while committed(database) < 1_000:
            producer.produce("recovery", next(payloads), partition=0)
            producer.poll(0.001)
        process.kill()
        process.wait()
        before = committed(database)
    for _ in range(5_000):
        producer.produce("recovery", next(payloads), partition=0)
    producer.flush(60)
    begun = time.monotonic()
    with live(toml), contextlib.closing(opened(toml)) as database:
        started = time.monotonic() - begun
        while committed(database) <= before:
            time.sleep(LOOK)
        say(f"kill -9: {started:.1f} s to open, {time.monotonic() - begun:.1f} s to the first commit")


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what it is for


def main() -> None:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 30
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        server = KafkaServer(directory / "kafka")
        server.start()
        try:
            throughput(server, directory, events)
            for rate in RATES:
                latency(server, directory, rate, seconds)
            recovery(server, directory)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
