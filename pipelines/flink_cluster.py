"""A standalone Flink cluster on this machine: JobManager, TaskManagers, job server and a pool of Python workers.

All listen on loopback, write below one folder and are ended by their process ids. For trials and tests: a deployment
runs the same parts under its own supervisor (docs/runbooks/flink.md).
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence

from pipelines.flink_configuration import configure
from pipelines.flink_rest import FlinkError, FlinkRest
from pipelines.processes import child_ids, end_group, is_alive, started_at

CHECKOUT = Path(__file__).parent.parent
POM = CHECKOUT / "deploy" / "flink" / "pom.xml"
LOOPBACK = POM.parent / "loopback"  # classes that stand before Beam's own: its README says why
PORTS = ("rest", "rpc", "blob", "job", "artifact", "expansion", "pool", "zookeeper")
JAVA = 17
_ZOOKEEPER = "org.apache.flink.shaded.zookeeper3.org.apache.zookeeper.server.ZooKeeperServerMain"
_FOR = 90.0  # seconds in which all of it must answer
_KNOWN = "cluster.json"
# Below the ports that the kernel gives to outgoing connections: a part that is started again finds its own free.
_FIRST_PORT, _LAST_PORT = 20_000, 32_000
_OPENS = [
    f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in ("lang", "nio", "util", "time", "util.concurrent")
]
_LOG = [
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
]


@dataclass
class FlinkCluster:
    """One cluster, whose files all lie in a folder.

    Parts, by name: jobmanager, taskmanager-1 and so on, jobserver, pool, perhaps zookeeper.

    Attributes:
      directory: conf, log, checkpoints, savepoints; only this user may look into it.
      jars: the folder of Flink's parts (`pipelines.maven_parts.jars_of`).
      slots: tasks that a TaskManager runs at once.
      backend: where it keeps state: hashmap or rocksdb.
      survives: whether jobs outlive their JobManager: a ZooKeeper keeps what it must know of them.
      ports: by the names in `PORTS`; one that is not given is found.
      pids: the process of each part, which leads a group of its own.
      launcher: words put before each command.
      java: options more of each Java process.
    """

    directory: Path
    jars: Path
    slots: int = 1
    backend: str = "hashmap"
    survives: bool = False
    ports: dict[str, int] = field(default_factory=dict)
    pids: dict[str, int] = field(default_factory=dict)
    launcher: Sequence[str] = ()
    java: Sequence[str] = ()

    @classmethod
    def known(cls, directory: Path, jars: Path) -> "FlinkCluster":
        """The cluster that was started in a folder, or what is left of it.

        Raises:
          FlinkError: none was.
        """
        try:
            found = json.loads((directory / _KNOWN).read_text())
        except OSError:
            message = f"flink: no cluster was started in {directory}"
            raise FlinkError(message) from None
        pids = {name: pid for name, pid in found["pids"].items() if started_at(pid) == found["started"][name]}
        of = (found["slots"], found["backend"], found["survives"])
        return cls(directory, jars, *of, ports=found["ports"], pids=pids)

    @staticmethod
    def is_known(directory: Path) -> bool:
        """Whether one was started in this folder and not ended."""
        return (directory / _KNOWN).exists()

    @property
    def address(self) -> str:
        """Address of Flink's REST interface."""
        return f"http://127.0.0.1:{self.ports['rest']}"

    @property
    def rest(self) -> FlinkRest:
        """Flink's REST interface."""
        return FlinkRest(self.address)

    @property
    def options(self) -> list[str]:
        """The options of Beam that submit a job to this cluster."""
        return [
            "--runner=PortableRunner",
            f"--job_endpoint=127.0.0.1:{self.ports['job']}",
            f"--artifact_endpoint=127.0.0.1:{self.ports['artifact']}",
            "--environment_type=EXTERNAL",
            f"--environment_config=127.0.0.1:{self.ports['pool']}",
        ]

    def start(self, task_managers: int = 2) -> None:
        """Start all parts and wait until they answer.

        Raises:
          FlinkError: one of them cannot start; all are ended then.
        """
        self.prepare()
        try:
            if self.survives:
                self._java("zookeeper", "-Xmx128m", _ZOOKEEPER, f"{self.directory}/conf/zoo.cfg")
            self.start_job_manager()
            for number in range(1, task_managers + 1):
                self.start_task_manager(number)
            self.start_job_server()
            self.start_pool()
            self.wait(task_managers)
        except FlinkError:
            self.stop()
            raise

    def prepare(self) -> None:
        """Choose the ports, write the configuration and compile what all parts need.

        Raises:
          FlinkError: no fitting Java, or a port is taken.
        """
        need_java()
        self._choose_ports()
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in ("log", "work", "checkpoints", "savepoints", "artifacts"):
            (self.directory / name).mkdir(exist_ok=True)
        configure(self.directory, self.ports, slots=self.slots, backend=self.backend, survives=self.survives)
        self._compile()

    def _choose_ports(self) -> None:
        for name, port in self.ports.items():
            if not _is_free(port):
                message = f"flink: port {port} ({name}) is taken; end what listens there or choose another"
                raise FlinkError(message)
        at = _FIRST_PORT + os.getpid() * 16 % (_LAST_PORT - _FIRST_PORT)
        for name in PORTS:
            if name not in self.ports and (self.survives or name != "zookeeper"):
                while not _is_free(at) or at in self.ports.values():
                    at = at + 1 if at < _LAST_PORT else _FIRST_PORT
                self.ports[name] = at

    def start_job_manager(self) -> None:
        """Start the JobManager. Of the jobs that it ran before it knows only what ZooKeeper keeps."""
        main = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
        self._java("jobmanager", "-Xmx512m", main, "--configDir", f"{self.directory}/conf")

    def start_task_manager(self, number: int) -> None:
        """Start one TaskManager."""
        main = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
        memory = ["-Xmx512m", "-XX:MaxDirectMemorySize=320m", "-XX:MaxMetaspaceSize=256m"]
        self._java(f"taskmanager-{number}", *memory, main, "--configDir", f"{self.directory}/conf")

    def start_job_server(self, master: Optional[str] = None) -> None:
        """Start the server that turns Beam's graphs into Flink's.

        Args:
          master: where they run; None is this cluster, `[local]` the server's own process.
        """
        main = "org.apache.beam.runners.flink.FlinkJobServerDriver"
        ports = [f"--{name}-port={self.ports[name]}" for name in ("job", "artifact", "expansion")]
        where = [f"--artifacts-dir={self.directory}/artifacts", f"--flink-conf-dir={self.directory}/conf"]
        master = master or f"127.0.0.1:{self.ports['rest']}"
        self._java("jobserver", "-Xmx512m", main, "--job-host=127.0.0.1", *ports, *where, f"--flink-master={master}")

    def start_pool(self) -> None:
        """Start the pool of Python workers."""
        self._run("pool", [sys.executable, "-m", "pipelines.worker_pool", str(self.ports["pool"])])

    def _java(self, name: str, *words: str) -> None:
        own = ["-XX:+UseSerialGC", "-XX:-UsePerfData", f"-Djava.io.tmpdir={self.directory}/work"]
        path = f"{self.directory}/classes:{self.jars}/*"  # ours first
        self._run(name, ["java", *_OPENS, *_LOG, *own, *self.java, "-cp", path, *words])

    def _compile(self) -> None:
        words = [
            "-d",
            f"{self.directory}/classes",
            "-cp",
            f"{self.jars}/*",
            *map(str, sorted(LOOPBACK.rglob("*.java"))),
        ]
        if subprocess.run(["javac", *words], capture_output=True, check=False).returncode:  # noqa: S603, S607 - need_java
            message = "flink: deploy/flink/loopback cannot be compiled; do its classes fit deploy/flink/pom.xml?"
            raise FlinkError(message)

    def _run(self, name: str, command: Sequence[str]) -> None:
        with (self.directory / "log" / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(  # noqa: S603 - words of this module
                [*self.launcher, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=CHECKOUT,
            )
        self.pids[name] = child.pid
        started = {one: started_at(pid) for one, pid in self.pids.items()}
        known = {one: getattr(self, one) for one in ("slots", "backend", "survives", "ports", "pids")}
        (self.directory / _KNOWN).write_text(json.dumps({**known, "started": started}))

    def wait(self, task_managers: int, seconds: float = _FOR) -> None:
        """Wait until so many TaskManagers have joined, and job server and pool listen.

        Raises:
          FlinkError: a part ended, or did not answer in time.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.need_all()
            if (not task_managers or self._slots() >= task_managers * self.slots) and all(
                _listens(self.ports[one]) for one in ("job", "pool")
            ):
                return
            time.sleep(0.2)
        message = f"flink: not ready after {seconds:.0f} s; see {self.directory}/log"
        raise FlinkError(message)

    def need_all(self) -> None:
        """Raise FlinkError when a part has ended that nobody ended here."""
        for name, pid in self.pids.items():
            if not is_alive(pid):
                message = f"flink: {name} has ended; see {self.directory}/log/{name}.log"
                raise FlinkError(message)

    def _slots(self) -> int:
        try:
            return int(self.rest.overview()["slots-total"])
        except FlinkError:
            return 0

    def ask(self, path: str, *, method: str = "GET", body: Optional[Mapping[str, Any]] = None) -> Any:
        """What Flink's REST interface answers; `rest` has names for what is asked often."""
        return self.rest.ask(path, method=method, body=body)

    def workers(self) -> list[int]:
        """The processes that run Python transforms now."""
        return child_ids(self.pids["pool"])

    def kill(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        """End one part, with its children."""
        end_group(self.pids.pop(name), how)

    def kill_worker(self, at: int = 0) -> None:
        """End one of the Python workers as a power cut would."""
        os.kill(self.workers()[at], signal.SIGKILL)

    def retained(self, job: str) -> Optional[Path]:
        """The newest complete checkpoint of a job on disk, for `--savepoint_path`."""
        found = (self.directory / "checkpoints" / job).glob("chk-*/_metadata")
        return max((path.parent for path in found), key=lambda path: int(path.name[4:]), default=None)

    def stop(self) -> None:
        """End all parts, workers before the engine; what has ended already does not matter."""
        managers = sorted(one for one in self.pids if one.startswith("task"))
        for name in ("pool", "jobserver", *managers, "jobmanager", "zookeeper"):
            if name in self.pids:
                self.kill(name, signal.SIGTERM if name == "pool" else signal.SIGKILL)
        (self.directory / _KNOWN).unlink(missing_ok=True)


def need_java() -> None:
    """Raise FlinkError unless the Java on the path is the one that this Flink runs on."""
    for tool, asked, form in (("java", "-version", r'version "(\d+)'), ("javac", "-version", r"javac (\d+)")):
        said = ""
        if found := shutil.which(tool):
            done = subprocess.run([found, asked], capture_output=True, text=True, check=False)  # noqa: S603
            said = done.stdout + done.stderr
        version = re.search(form, said)
        if version is None or int(version[1]) != JAVA:
            there = f"no {tool} is on the path" if version is None else f"the {tool} on the path is {version[1]}"
            message = f"flink: need a JDK {JAVA}, {there}; put it first in PATH"
            raise FlinkError(message)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
        return not _listens(port)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
