"""`carrel stream` on a standalone Flink: how long each kind of kill stops it, and how checkpoints of an idle job grow.

Run: `.venv/bin/python tests/benchmarks/stream_recovery.py [ROUNDS] [IDLE_MINUTES]`.
A message that is refused comes five times a second to the one reader of a job on one TaskManager; its letter is the first
that can be seen of it. What is measured is the longest time without a new letter after a kill; what was killed is
started again at once. IDLE_MINUTES of 0 leave the idle job out.
"""

import contextlib
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Callable, Iterator, Optional

from confluent_kafka import Producer

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from pipelines.configuration import load
from pipelines.counts_opening import open_counts
from pipelines.counts_rows import SourceStop
from pipelines.flink_cluster import FlinkCluster
from pipelines.flink_rest import FlinkError
from tests.benchmarks.live_rate import deployment, say, some_payloads
from tests.benchmarks.stream_rate import submitted
from tests.support.flink_server import flink_server, running
from tests.support.kafka_server import KafkaServer

PARTITIONS, EVERY, SETTLED = 2, 0.2, 8.0  # seconds between two refused messages; of calm before a kill
WATCHED = 45.0  # seconds after one
A_YEAR = 31_536_000_000


class Refused:
    """Messages that are refused, one after the other, while it runs."""

    def __init__(self, server: KafkaServer, topic: str) -> None:
        self._producer = Producer({"bootstrap.servers": server.brokers, "linger.ms": 0, "log_level": 0})
        self._topic, self._ended = topic, threading.Event()
        self._thread = threading.Thread(target=self._come)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *raised: object) -> None:
        self._ended.set()
        self._thread.join()

    def _come(self) -> None:
        number = 0
        while not self._ended.wait(EVERY):
            payload = json.dumps({"kind": "poison", "number": number}).encode()
            self._producer.produce(self._topic, payload, partition=number % PARTITIONS)
            self._producer.poll(0)
            number += 1


def letters(toml: Path) -> int:
    return sum(1 for _ in (toml.parent / "dead-letters").rglob("*.jsonl"))


def until_more(toml: Path) -> float:
    """Seconds until another letter is there."""
    begun, before = time.monotonic(), letters(toml)
    while letters(toml) <= before:
        time.sleep(0.05)
    return time.monotonic() - begun


def after(toml: Path, kill: Callable[[], object]) -> float:
    """The longest time, in seconds, that a kill keeps letters from being written."""
    gaps: list[float] = []

    def watch() -> None:
        begun = time.monotonic()
        while time.monotonic() - begun < WATCHED:
            gaps.append(until_more(toml))

    time.sleep(SETTLED)
    until_more(toml)
    watching = threading.Thread(target=watch)
    watching.start()
    kill()  # in this thread: what it starts again dies with the thread that started it
    watching.join()
    return max(gaps)


@contextlib.contextmanager
def job(flink: FlinkCluster, toml: Path, savepoint: Optional[Path] = None) -> Iterator[str]:
    """A job that runs; it is left to the cluster's end where nobody is there to cancel it."""
    words = () if savepoint is None else (f"--savepoint_path={savepoint}",)
    with contextlib.suppress(FlinkError), submitted(flink, toml, 1, *words) as name:
        until_more(toml)
        yield name


def killed(server: KafkaServer, flink: FlinkCluster, toml: Path, rounds: int) -> None:
    def task_manager() -> None:
        flink.kill("taskmanager-1")
        flink.start_task_manager(1)

    def broker() -> None:
        server.kill()
        server.start()

    kinds = {"Python worker": lambda: flink.kill_worker(0), "TaskManager": task_manager, "broker": broker}
    with job(flink, toml) as name:
        for kind, kill in kinds.items():
            tell(kind, [after(toml, kill) for _ in range(rounds)])
        time.sleep(SETTLED)
        begun = time.monotonic()
        flink.kill("jobmanager")
        flink.start_job_manager()
        flink.wait(1)
        retained = flink.retained(name)
    with job(flink, toml, retained):
        tell("JobManager, submitted again from the checkpoint it left", [time.monotonic() - begun])


def survived(flink: FlinkCluster, toml: Path, rounds: int) -> None:
    def job_manager() -> None:
        flink.kill("jobmanager")
        flink.start_job_manager()

    with job(flink, toml):
        tell("JobManager with ZooKeeper", [after(toml, job_manager) for _ in range(rounds)])


def idle(flink: FlinkCluster, toml: Path, minutes: int) -> None:
    with submitted(flink, toml, 2) as name:
        time.sleep(60)
        first, begun = flink.rest.checkpoints(name), time.monotonic()
        time.sleep(minutes * 60)
        last, hours = flink.rest.checkpoints(name), (time.monotonic() - begun) / 3600
        sizes = [found["latest"]["completed"]["state_size"] for found in (first, last)]
        took = [found["latest"]["completed"]["end_to_end_duration"] for found in (first, last)]
        made = last["counts"]["completed"] - first["counts"]["completed"]
    say(
        f"idle for {minutes} minutes, two readers: {made} checkpoints, {sizes[0]:,} to {sizes[1]:,} bytes"
        f" = {(sizes[1] - sizes[0]) / hours / 1e6:.1f} MB an hour, {took[0]} to {took[1]} ms"
    )


def tell(kind: str, seconds: list[float]) -> None:
    say(f"{kind}: {statistics.median(seconds):.1f} s ({', '.join(f'{one:.1f}' for one in seconds)})")


def library(server: KafkaServer, directory: Path, topic: str) -> Path:
    """A deployment that takes all that is refused, and has some events to keep."""
    toml = deployment(server, directory, topic, PARTITIONS)
    found = load(toml)
    source = found.sources[0].name
    with open_counts(found.counts_store) as counts:
        until = time.time_ns() // 1_000_000 + A_YEAR
        counts.record_stop(SourceStop(found.tenant, source, "", until, "2026-01-01"))
    producer = Producer({"bootstrap.servers": server.brokers, "log_level": 0})
    for number, payload in enumerate(some_payloads(20_000)):
        producer.produce(topic, payload, partition=number % PARTITIONS)
    producer.flush(60)
    return toml


def main() -> None:
    """Measure and print."""
    rounds, minutes = (int(word) for word in (sys.argv[1:] or ("3", "10")))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        server = KafkaServer(directory)
        server.start()
        try:
            with running(flink_server(directory / "flink"), 1) as flink:
                toml = library(server, directory, "recovery")
                with Refused(server, "recovery"):
                    killed(server, flink, toml, rounds)
            with running(flink_server(directory / "survives", survives=True), 1) as flink:
                toml = library(server, directory, "survives")
                with Refused(server, "survives"):
                    survived(flink, toml, rounds)
            if minutes:
                with running(flink_server(directory / "idle")) as flink:
                    idle(flink, library(server, directory, "idle"), minutes)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
