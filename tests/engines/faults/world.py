"""One seed: a library that publishes, a `carrel live` that reads and is harmed, and what was seen."""

import itertools
import multiprocessing
import signal
import time
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Callable, Iterable, Optional, Sequence

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import OffsetSpec

from tests.engines.faults import instance, library, oracle
from tests.engines.faults.checker import asked, rows_of
from tests.engines.faults.command import Command
from tests.engines.faults.plan import Plan
from tests.engines.faults.seen import see
from tests.engines.faults.tcp_proxy import TcpProxy
from tests.engines.faults.work_tables import Row, WorkTables
from tests.support.kafka_server import KafkaServer
from tests.support.postgres_server import PostgresServer

MINUTE = 60_000
PATIENCE = 180.0  # seconds: what takes so long will not come about, however slow the machine is
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.engines.faults.warm"])


@dataclass
class World:
    """A deployment of its own on topics of its own.

    Args:
      broker: running.
      door: the proxy between the instances and the broker, and its address.
      template: a deployment to copy, its secrets beside it.
      server: holds the work store; None where that is a file.

    Attributes:
      published: how many messages were; published_at: at what time the last ones.
      stood: the rows of the positions before those.
    """

    plan: Plan
    broker: KafkaServer
    door: TcpProxy
    address: str
    template: Path
    home: Path
    mutation: str = ""
    running: "Optional[BaseProcess | Command]" = None
    twin: "Optional[BaseProcess | Command]" = None
    server: Optional[PostgresServer] = None
    published: int = 0
    published_at: int = oracle.BEGIN
    stood: Sequence[Row] = ()
    before: int = 0
    kills: int = 0
    started: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.oracle, self.observed, self.clock, self.full = (
            self.home / name for name in ("oracle.jsonl", "observed.jsonl", "clock", "full")
        )
        self.home.mkdir(parents=True)
        self.folder = library.made(self.template, self.home, "library")
        self.journal = self.folder / "journal.jsonl"
        names = [f"{self.home.name}-{number}" for number in range(self.plan.topics)]
        held = [f"{self.home.name}-held"] if self.plan.is_command else []
        library.make_topics(self.broker, (*names, *held), self.plan.partitions)
        self.parts = [f"{name}/{number}" for name in names for number in range(self.plan.partitions)]
        self.database = None if self.server is None else self.server.make_database()
        where = None if self.server is None else self.server.address(str(self.database))
        library.let_read(self.folder, (*names, *held), self.address, where)
        self.work = WorkTables(self.folder / "work.db" if where is None else where)
        self.clock.write_text(str(self.published_at))

    def live_through(self, strike: "Callable[[World, str, Any], None]") -> None:
        """Publish portion by portion, harmed after each; then all that is due is published."""
        portions = oracle.in_portions(
            oracle.some_messages(self.plan.seed, self.parts), len(self.plan.harms), self.plan.seed
        )
        oracle.write(self.oracle, self.plan.seed, portions)
        see(self.observed, "plan", plan=repr(self.plan))
        producer = self.transactional(self.home.name)
        # The machine's clock is months ahead of the stamps: an end that is proven would make what comes next late.
        held = self.transactional(f"{self.home.name}-held") if self.plan.is_command else None
        if held is not None:
            held.begin_transaction()
            held.produce(f"{self.home.name}-held", b"never committed", partition=0)
            held.flush(60)
        for portion, harms in zip(portions, self.plan.harms, strict=True):
            self.publish(producer, portion)
            for name, how in harms:
                strike(self, name, how)
                self.look()
        self.set_clock(oracle.OVER)
        if held is not None:
            held.abort_transaction(60)
        self.finish()
        if self.plan.is_replayed:
            self.replay(itertools.chain.from_iterable(portions))

    def replay(self, messages: Iterable[oracle.Message]) -> None:
        """Replay what the bus delivered in a library that has seen nothing yet."""
        twin, archive = library.made(self.template, self.home, "replayed"), self.home / "archive.kcat"
        library.write_archive(archive, messages)
        process = FORKS.Process(target=instance.run_replay, args=(twin, archive, oracle.OVER), daemon=True)
        process.start()
        process.join(PATIENCE)
        assert process.exitcode == 0, f"the replay ended with {process.exitcode}"

    def transactional(self, name: str) -> Producer:
        producer = Producer(
            {
                "bootstrap.servers": self.broker.brokers, "transactional.id": name, "transaction.timeout.ms": 600_000,
                "log_level": 0, "linger.ms": 0,
            }
        )  # fmt: skip
        producer.init_transactions(60)
        return producer

    def publish(self, producer: Producer, portion: Sequence[oracle.Message]) -> None:
        """In one transaction: its messages are there, and it is later, at one and the same moment for a reader."""
        later = max(message["sorted"] for message in portion)
        self.seal_before(later)
        self.stood = self.work.rows("SELECT * FROM positions")
        producer.begin_transaction()
        for message in portion:
            topic, _, number = message["part"].rpartition("/")
            payload = message["payload"].encode()
            producer.produce(topic, payload, partition=int(number), timestamp=message["stamp"])
            producer.poll(0)
        producer.flush(60)
        self.published += len(portion)
        self.published_at = later
        self.set_clock(later)
        producer.commit_transaction(60)

    def seal_before(self, later: int) -> None:
        """A window is to be sealed before its key's last day has come, whatever has died meanwhile."""
        if self.now() < oracle.GONE <= later and not self.plan.is_command:
            self.settle()
            wait_for(lambda: self.sealed() >= len(oracle.TABLES))

    def set_clock(self, now: int) -> None:
        fresh = self.clock.with_suffix(".new")
        fresh.write_text(str(now))
        fresh.replace(self.clock)  # never half written

    def now(self) -> int:
        """The time of the file; that of the command is later, always."""
        return int(self.clock.read_text())

    def begun(self, *, crash_at: str = "") -> "BaseProcess | Command":
        """A new process, perhaps beside another one."""
        if self.plan.is_command:
            return Command(self.folder / "carrel.toml", self.journal, crash_at)
        given = instance.Given(
            self.folder, self.clock, self.observed, self.journal, crash_at, self.mutation, self.plan.messages,
            self.plan.idle, self.full,
        )  # fmt: skip
        process = FORKS.Process(target=instance.run, args=(given,), daemon=True)
        process.start()
        return process

    def start(self, *, crash_at: str = "") -> "BaseProcess | Command":
        """The instance, if there is none yet; not waited for."""
        if self.running is None or self.running.exitcode is not None:
            self.before = lines(self.journal, "live_started")
            self.running = self.begun(crash_at=crash_at)
        return self.running

    def settle(self) -> "BaseProcess | Command":
        """The instance, once it has taken its store and opened its buses."""
        began = time.monotonic()
        self.start()
        wait_for(self._has_begun)
        process = self.running
        assert process is not None
        self.started.append(time.monotonic() - began)
        see(self.observed, "start", seconds=self.started[-1])
        assert process.exitcode is None, (process.exitcode, self.journal.read_text()[-500:])
        return process

    def _has_begun(self) -> bool:
        """Whether it has; one that may try again does, as a service manager would have it."""
        process = self.running
        assert process is not None
        if process.exitcode == 75:
            self.start()
            return False
        return lines(self.journal, "live_started") > self.before or process.exitcode is not None

    def kill(self) -> None:
        """End the instance as a power cut would, if it has not ended so by itself."""
        if self.running is not None:
            put_down(self.running)
            self.kills += self.running.exitcode == -signal.SIGKILL
            self.running = None

    def end(self) -> None:
        """Leave no process behind."""
        for process in (self.running, self.twin):
            if process is not None:
                put_down(process)
        if self.server is not None:
            self.server.drop_database(str(self.database))

    def finish(self) -> None:
        """Until every window is sealed and every partition read to its end."""
        self.settle()
        wait_for(self._is_over)
        self.stop()
        self.look()
        see(self.observed, "ends", at=self.ends())
        see(self.observed, "totals", totals=self.totals())

    def _is_over(self) -> bool:
        assert self.running is not None
        assert self.running.exitcode is None, self.journal.read_text()[-500:]
        return self.sealed() >= len(oracle.TABLES) * len(oracle.WINDOWS) and self.is_read()

    def is_read(self) -> bool:
        """What may be left is the marker that ends a partition's last transaction: it holds no message."""
        at = self.positions()
        return all(at.get(part, 0) >= end - 1 for part, end in self.ends().items())

    def is_written(self) -> bool:
        """Whether all is read, and the letters of all of it are where they belong."""
        return self.is_read() and self.work.rows("SELECT COUNT(*) FROM rejects") == [(0,)]

    def sealed(self) -> int:
        """How many windows of the oracle's are."""
        found = asked(self.folder, "SELECT window_start FROM release_ledger WHERE state = 'sealed'")
        return sum(start < oracle.MONTHS[-1] for (start,) in found)

    def read(self) -> int:
        """How many messages were."""
        return self.totals().get("messages", 0)

    def totals(self) -> dict[str, int]:
        """How many messages fell into each class."""
        return {name: int(amount) for name, amount in self.work.rows(_TOTALS)}

    def stop(self) -> None:
        """As an operator does: it ends in order."""
        process, self.running = self.settle(), None
        process.terminate()
        process.join(PATIENCE)
        assert process.exitcode == 0, (process.exitcode, self.journal.read_text()[-500:])

    def look(self) -> None:
        """See what an analyst would, and how far it is."""
        see(self.observed, "counts", now=self.now(), rows=rows_of(self.folder))
        see(self.observed, "positions", at=self.positions())

    def positions(self) -> dict[str, int]:
        found = self.work.rows("SELECT part, next FROM positions")
        return {part: at for part, at in found if part in self.parts}

    def ends(self) -> dict[str, int]:
        """How far each partition goes, the markers of transactions included."""
        wanted = {TopicPartition(*_place(part)): OffsetSpec.latest() for part in self.parts}
        asked = self.broker.admin.list_offsets(wanted, request_timeout=30)
        return {f"{place.topic}/{place.partition}": future.result(60).offset for place, future in asked.items()}


_TOTALS = "SELECT name, SUM(amount) FROM batches WHERE lane = 'open' GROUP BY 1"


def _place(part: str) -> tuple[str, int]:
    topic, _, number = part.rpartition("/")
    return topic, int(number)


def lines(path: Path, word: str) -> int:
    return path.read_text().count(word) if path.exists() else 0


def put_down(process: "BaseProcess | Command") -> None:
    """Kill a process; one that has ended is let be: its number may be another's by now."""
    if process.exitcode is None:
        process.kill()
    process.join(30)


def wait_for(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it did not come about in time"
        time.sleep(0.05)
