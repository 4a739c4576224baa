"""The configuration of a Flink on this machine: all on loopback, small, with checkpoints that are kept."""

from pathlib import Path
from typing import Mapping

# Flink's own scripts would work these out; without them every part of the memory must be said.
_CONFIGURATION = """\
jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: {rpc}
jobmanager.bind-host: 127.0.0.1
blob.server.port: {blob}
rest.address: 127.0.0.1
rest.bind-address: 127.0.0.1
rest.port: {rest}
web.submit.enable: false
taskmanager.host: 127.0.0.1
taskmanager.bind-host: 127.0.0.1
taskmanager.rpc.port: 0
taskmanager.numberOfTaskSlots: {slots}
taskmanager.cpu.cores: 1.0
taskmanager.memory.task.heap.size: 384m
taskmanager.memory.task.off-heap.size: 64m
taskmanager.memory.framework.heap.size: 128m
taskmanager.memory.framework.off-heap.size: 128m
taskmanager.memory.network.min: 64m
taskmanager.memory.network.max: 64m
taskmanager.memory.managed.size: 64m
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.jvm-overhead.min: 128m
taskmanager.memory.jvm-overhead.max: 128m
heartbeat.interval: 1000
heartbeat.timeout: 30000
restart-strategy.type: fixed-delay
restart-strategy.fixed-delay.attempts: 1000
restart-strategy.fixed-delay.delay: 1 s
state.backend.type: {backend}
state.backend.local-recovery: false
state.checkpoints.num-retained: 2
state.checkpoints.dir: file://{directory}/checkpoints
state.savepoints.dir: file://{directory}/savepoints
execution.checkpointing.externalized-checkpoint-retention: RETAIN_ON_CANCELLATION
io.tmp.dirs: {directory}/work
"""

_SURVIVING = """\
high-availability.type: zookeeper
high-availability.zookeeper.quorum: 127.0.0.1:{zookeeper}
high-availability.zookeeper.client.session-timeout: 10000
high-availability.storageDir: file://{directory}/ha
high-availability.jobmanager.port: {rpc}
"""
_ZOOKEEPER = """\
clientPort={zookeeper}
clientPortAddress=127.0.0.1
dataDir={directory}/zookeeper
admin.enableServer=false
"""


def configure(directory: Path, ports: Mapping[str, int], *, slots: int, backend: str, survives: bool) -> None:
    """Write `conf/flink-conf.yaml`, and `conf/zoo.cfg` where jobs outlive their JobManager.

    Args:
      directory: of the cluster; everything it writes lies below.
      ports: by the names in `pipelines.flink_cluster.PORTS`.
      slots: tasks that a TaskManager runs at once.
      backend: where it keeps state: hashmap or rocksdb.
      survives: whether ZooKeeper keeps what the JobManager must know.
    """
    folder = directory / "conf"
    folder.mkdir(exist_ok=True)
    settings = {"directory": directory, "slots": slots, "backend": backend, **ports}
    text = _CONFIGURATION + (_SURVIVING if survives else "")
    (folder / "flink-conf.yaml").write_text(text.format(**settings))
    if survives:
        (folder / "zoo.cfg").write_text(_ZOOKEEPER.format(**settings))
