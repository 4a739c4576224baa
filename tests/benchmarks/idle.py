"""What `carrel live` costs over a time: CPU, memory and open files of its process on a topic that is idle or trickles.

Run: `.venv/bin/python tests/benchmarks/idle.py [SECONDS [RATE]]`, RATE messages a second, by default none; prints a
line for each of six parts of that time.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from confluent_kafka import Producer

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.support.kafka_server import KafkaServer

ROOT = Path(__file__).parent.parent.parent
CARREL = [sys.executable, "-m", "pipelines.command_line"]
WARM_UP = 15  # seconds: the first look at the topic, the first proofs, lazily imported modules
PARTS = 6


def deployment(server: KafkaServer, directory: Path) -> Path:
    """A deployment whose one source is an empty topic of three partitions."""
    server.make_topic("idle", 3, retention_ms=-1)
    made = [*CARREL, "init", str(directory / "deployment"), "--secrets", str(directory / "secrets")]
    subprocess.run(made, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (directory / "kafka.properties").write_text(f"bootstrap.servers={server.brokers}\n")
    toml = directory / "deployment" / "carrel.toml"
    bus = f'bus = {{ kind = "kafka", topics = ["idle"], settings = "{directory}/kafka.properties" }}\n'
    toml.write_text(toml.read_text().replace('adapter = "carrel-event"\n', f'adapter = "carrel-event"\n{bus}'))
    return toml


def state(process: int) -> tuple[float, float, int]:
    """Seconds of CPU so far, resident MiB, open files; of all threads."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    memory = int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 1024**2
    return seconds, memory, len(list(Path(f"/proc/{process}/fd").iterdir()))


def watch(process: int, seconds: float) -> None:
    first, _, _ = before = state(process)
    for part in range(PARTS):
        time.sleep(seconds / PARTS)
        now = state(process)
        used = (now[0] - before[0]) / (seconds / PARTS)
        print(f"{(part + 1) * seconds / PARTS:6.0f} s  {used:6.2%} CPU  {now[1]:7.1f} MiB  {now[2]} files", flush=True)  # noqa: T201 - what it is for
        before = now
    print(f"in all {(before[0] - first) / seconds:.2%} of one core over {seconds:.0f} s")  # noqa: T201


def trickle(brokers: str, rate: float, ended: threading.Event) -> None:
    """Checkouts of now, some each second, by one of 5,000 patrons."""
    producer, number = Producer({"bootstrap.servers": brokers, "log_level": 0}), 0
    while not ended.wait(0.1):
        for _ in range(round(rate / 10)):
            number += 1
            event = {
                "kind": "circulation", "event_id": f"e{number}", "occurred_at": int(time.time() * 1000),  # noqa: TID251
                "action": "checkout", "branch": f"B{number % 12 + 1:02}", "material": "book",
                "patron_ref": f"p{number * 7919 % 5000}", "patron_kind": "patron",
            }  # fmt: skip
            producer.produce("idle", json.dumps(event).encode())
        producer.poll(0)
    producer.flush(30)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    rate, ended = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0, threading.Event()
    with tempfile.TemporaryDirectory() as name:
        server = KafkaServer(Path(name) / "kafka")
        server.start()
        try:
            toml = deployment(server, Path(name))
            live = subprocess.Popen([*CARREL, "-c", str(toml), "live"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
            try:
                assert live.stdout is not None
                assert json.loads(live.stdout.readline())["event"] == "live_started"
                if rate:
                    threading.Thread(target=trickle, args=(server.brokers, rate, ended), daemon=True).start()
                time.sleep(WARM_UP)
                watch(live.pid, seconds)
            finally:
                ended.set()
                live.terminate()
                live.wait(timeout=60)
        finally:
            server.stop()


if __name__ == "__main__":
    main()
