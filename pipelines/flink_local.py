"""Starts and ends a Flink cluster on this machine, for trials: `make flink-up`, `make flink-down`.

python -m pipelines.flink_local up|down FOLDER
"""

import argparse
import sys
from pathlib import Path
from typing import NoReturn, Sequence

from pipelines.flink_cluster import POM, PORTS, FlinkCluster
from pipelines.flink_rest import FlinkError
from pipelines.maven_parts import PartsMissingError, jars_of

DONE, USAGE = 0, 2


class _Words(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"flink: {message}; see `python -m pipelines.flink_local --help`\n")
        sys.exit(USAGE)


def _words() -> _Words:
    words = _Words(prog="python -m pipelines.flink_local", description="A Flink cluster on loopback, for trials.")
    words.add_argument("what", choices=("up", "down"))
    words.add_argument("folder", type=Path, help="its configuration, logs, checkpoints and savepoints")
    words.add_argument("--task-managers", type=int, default=2, choices=range(1, 17), metavar="N")
    words.add_argument("--slots", type=int, default=1, choices=range(1, 17), metavar="N", help="of each TaskManager")
    words.add_argument("--state-backend", default="hashmap", choices=("hashmap", "rocksdb"))
    for name in PORTS:
        words.add_argument(f"--{name}-port", type=int, metavar="PORT", help="one that is free, unless it is given")
    return words


def _up(words: argparse.Namespace, folder: Path) -> str:
    if FlinkCluster.is_known(folder):
        message = f"flink: a cluster was started in {folder}; end it first: make flink-down"
        raise FlinkError(message)
    ports = {name: port for name in PORTS if (port := getattr(words, f"{name}_port")) is not None}
    cluster = FlinkCluster(folder, jars_of(POM), words.slots, words.state_backend, ports=ports)
    cluster.start(words.task_managers)
    tasks = words.task_managers * words.slots
    return (
        f"flink: ready at {cluster.address}; logs in {folder}/log\n"
        f"carrel stream --flink {cluster.address} -- {' '.join(cluster.options)} --parallelism={tasks}"
        " --checkpointing_interval=30000 --finish_bundle_before_checkpointing\n"
    )


def _down(folder: Path) -> str:
    FlinkCluster.known(folder, folder).stop()
    return "flink: ended; checkpoints and savepoints stay\n"


def main(given: Sequence[str]) -> int:
    """Do what is asked; every error is one line and the exit code 2."""
    words = _words().parse_args(given)
    folder: Path = words.folder.absolute()
    try:
        said = _up(words, folder) if words.what == "up" else _down(folder)
    except (PartsMissingError, FlinkError) as error:
        sys.stderr.write(f"{error}\n")
        return USAGE
    except OSError as error:
        sys.stderr.write(f"flink: {folder}: {error.strerror}\n")
        return USAGE
    sys.stdout.write(said)
    return DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
