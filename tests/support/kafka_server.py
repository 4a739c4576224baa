"""A real Kafka broker for tests: one node, loopback, its own data folder; it dies with the process that started it."""

import signal
import subprocess
import time
import uuid
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from pipelines.maven_parts import jars_of
from tests.support.child_process import DIES_WITH_PARENT, free_port

POM = Path(__file__).parent.parent.parent / "deploy" / "kafka" / "pom.xml"
USER, PASSWORD = "reader", "right-horse-battery"
_SETTINGS = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{plain},SASL://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}{heard}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL://127.0.0.1:{sasl}{told}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT{doors}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_{user}="{password}";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS
log.dirs={directory}/log
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
log.retention.check.interval.ms=500
log.segment.delete.delay.ms=0
log.initial.task.delay.ms=0
"""


class KafkaServer:
    """One broker; `start` may be called again after `stop` or `kill`: data and ports stay.

    Args:
      doors: how many listeners more it has, each of which tells its clients to come through another port.

    Attributes:
      doors: of each the port that it listens on, and the port that clients are told: a proxy's.
      brokers: address without signing in.
      sasl_brokers: address for `USER` with `PASSWORD` (SASL/PLAIN).
      data: folder of its logs, one for each topic partition.
    """

    def __init__(self, directory: Path, doors: int = 0) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._jars = jars_of(POM)
        ports = {name: free_port() for name in ("plain", "sasl", "controller")}
        self.brokers = f"127.0.0.1:{ports['plain']}"
        self.sasl_brokers = f"127.0.0.1:{ports['sasl']}"
        directory.mkdir(parents=True, exist_ok=True)
        self.data = directory / "log"
        self._settings = directory / "server.properties"
        self.doors = [(free_port(), free_port()) for _ in range(doors)]
        listeners = {
            "heard": "".join(f",DOOR{at}://127.0.0.1:{port}" for at, (port, _) in enumerate(self.doors)),
            "told": "".join(f",DOOR{at}://127.0.0.1:{port}" for at, (_, port) in enumerate(self.doors)),
            "doors": "".join(f",DOOR{at}:PLAINTEXT" for at in range(doors)),
        }
        self._settings.write_text(
            _SETTINGS.format(directory=directory, user=USER, password=PASSWORD, **ports, **listeners)
        )
        cluster = uuid.uuid4().hex[:22]
        self._java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._settings)).wait(timeout=60)
        self.admin = AdminClient({"bootstrap.servers": self.brokers, "log_level": 0, "reconnect.backoff.max.ms": 500})

    def _java(self, main: str, *arguments: str) -> subprocess.Popen[bytes]:
        options = ["-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-XX:TieredStopAtLevel=1"]
        with (self._directory / "output.log").open("ab") as output:
            return subprocess.Popen(
                [*DIES_WITH_PARENT, "java", *options, "-cp", f"{self._jars}/*", main, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._directory,
            )

    def start(self) -> None:
        """Start and wait until it answers."""
        self._process = self._java("kafka.Kafka", str(self._settings))
        until = time.monotonic() + 90
        while time.monotonic() < until and self._process.poll() is None:
            try:
                if self.admin.list_topics(timeout=1).brokers:
                    return
            except KafkaException:
                continue
        output = (self._directory / "output.log").read_text(errors="replace")[-2000:]
        self.kill()
        raise AssertionError(f"the broker did not start: {output}")

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=30)
            self._process = None

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(timeout=30)
            self._process = None

    def make_topic(self, name: str, partitions: int = 1, **config: object) -> str:
        """Make a topic; settings as keywords, with _ for . (retention_ms=..., message_timestamp_type="LogAppendTime")."""
        settings = {key.replace("_", "."): str(value) for key, value in config.items()}
        for future in self.admin.create_topics([NewTopic(name, partitions, 1, config=settings)]).values():
            future.result(timeout=30)
        self._until(lambda topics: name in topics and len(topics[name].partitions) == partitions)
        return name

    def delete_topic(self, name: str) -> None:
        for future in self.admin.delete_topics([name]).values():
            future.result(timeout=30)
        self._until(lambda topics: name not in topics)

    def _until(self, holds) -> None:
        until = time.monotonic() + 30
        while not holds(self.admin.list_topics(timeout=5).topics):
            assert time.monotonic() < until, "the broker did not come to know the change"
