"""`carrel stream` on a standalone Flink: events a second, CPU of each process, size and duration of checkpoints.

Run: `.venv/bin/python tests/benchmarks/stream_rate.py [FEW] [MANY]`; the default tables, with 1 slot and with 2.
Two months of a library are on the broker when the job is submitted; it is done when all their windows are published.
What starting and publishing cost is the same for few events and for many: the difference is what events cost.
"""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Iterator, NamedTuple

from confluent_kafka import Producer

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from pipelines.flink_cluster import FlinkCluster
from pipelines.processes import child_ids
from tests.benchmarks.idle import CARREL, ROOT
from tests.benchmarks.live_rate import PARTITIONS, deployment, say
from tests.support.flink_server import CHECKPOINTED, flink_server, running
from tests.support.kafka_server import KafkaServer

TICKS = os.sysconf("SC_CLK_TCK")
FEBRUARY, APRIL = 1_769_922_000_000, 1_775_016_000_000  # 2026-02-01 and 2026-04-01, New York
WINDOWS = 2 * 9 + 28 + 31  # of tables by month and of the one by day


class Run(NamedTuple):
    """What one job took."""

    events: int
    seconds: float
    cpu: dict[str, float]
    checkpoint: str


def publish(server: KafkaServer, topic: str, events: int) -> None:
    """Checkouts in the order of their arrival, which is when they happened."""
    rng = random.Random(1)
    producer = Producer({"bootstrap.servers": server.brokers, "linger.ms": 20, "log_level": 0})
    for number in range(events):
        occurred = FEBRUARY + (APRIL - FEBRUARY) * number // events
        event = {
            "kind": "circulation", "event_id": f"e{number}", "occurred_at": occurred,
            "action": rng.choice(["checkout", "renewal"]), "branch": f"B{rng.randrange(1, 13):02}",
            "material": rng.choice(["book", "dvd", "audiobook"]), "audience": "adult",
            "patron_ref": f"p{rng.randrange(60_000)}",
        }  # fmt: skip
        partition = number // 100 % PARTITIONS
        producer.produce(topic, json.dumps(event).encode(), partition=partition, timestamp=occurred)
        if number % 10_000 == 0:
            producer.flush(60)
    producer.flush(60)


def cpu(pid: int) -> float:
    """Seconds that a process has worked, in user and system."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS
    return 0.0


def parts(flink: FlinkCluster) -> dict[str, float]:
    """CPU seconds so far of what the job runs on."""
    found = {name: cpu(pid) for name, pid in flink.pids.items() if name not in ("pool", "jobserver")}
    return found | {"python workers": sum(map(cpu, child_ids(flink.pids["pool"])))}


@contextlib.contextmanager
def submitted(flink: FlinkCluster, toml: Path, slots: int, *more: str) -> Iterator[str]:
    """A job on the cluster, cancelled afterwards."""
    words = [*flink.options, *CHECKPOINTED, f"--parallelism={slots}", *more]
    command = [*CARREL, "-c", str(toml), "stream", "--readers", str(slots), "--flink", flink.address, "--", *words]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        while not flink.rest.jobs():
            time.sleep(0.1)
        (job,) = flink.rest.jobs()
        yield job
        flink.rest.cancel(job)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def published(toml: Path) -> int:
    """Windows before April that are out."""
    with contextlib.closing(sqlite3.connect(f"file:{toml.parent / 'counts.db'}?mode=ro", uri=True)) as database:
        asked = "SELECT COUNT(*) FROM release_ledger WHERE state = 'sealed' AND window_start < '2026-04-01'"
        (found,) = database.execute(asked).fetchone()
    return int(found)


def measured(server: KafkaServer, directory: Path, slots: int, events: int) -> Run:
    """One job on a cluster of its own."""
    topic = f"stream-{slots}-{events}"
    toml = deployment(server, directory, topic, PARTITIONS)
    publish(server, topic, events)
    with running(flink_server(directory / topic / "flink"), slots) as flink:
        begun, before = time.monotonic(), parts(flink)
        with submitted(flink, toml, slots) as job:
            while published(toml) < WINDOWS:
                time.sleep(0.1)
            seconds, after = time.monotonic() - begun, parts(flink)
            last = flink.rest.checkpoints(job)["latest"]["completed"] or {}
            size, took = last.get("state_size", 0), last.get("end_to_end_duration", 0)
        spent = {part: after[part] - before.get(part, 0.0) for part in after}
        return Run(events, seconds, spent, f"{size:,} bytes in {took} ms")


def main() -> None:
    """Measure and print."""
    few, many = (int(word) for word in (sys.argv[1:] or ("100000", "1000000")))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        server = KafkaServer(directory)
        server.start()
        try:
            for slots in (1, 2):
                little, much = (measured(server, directory, slots, events) for events in (few, many))
                more = much.events - little.events
                rate = more / (much.seconds - little.seconds)
                say(f"{slots} slots: {little.seconds:.1f} s for {few:,} events, {much.seconds:.1f} s for {many:,}:")
                say(f"  {rate:,.0f} events/s beyond what is the same for both")
                for part in sorted(much.cpu):
                    each = (much.cpu[part] - little.cpu.get(part, 0.0)) / more * 1e6
                    say(f"  {part}: {each:.1f} CPU seconds a million events")
                say(f"  last checkpoint: {much.checkpoint}")
        finally:
            server.stop()


if __name__ == "__main__":
    main()
