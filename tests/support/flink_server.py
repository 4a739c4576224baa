"""A standalone Flink cluster for tests; all its processes die with the process that started it."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipelines.flink_cluster import POM, FlinkCluster
from pipelines.maven_parts import jars_of
from tests.support.child_process import DIES_WITH_PARENT

# A Beam job on this runner needs them: without the last a start can hang with the source never read.
CHECKPOINTED = ("--checkpointing_interval=2000", "--finish_bundle_before_checkpointing")
_QUICK = ("-XX:TieredStopAtLevel=1",)  # a test is over before more compilation pays


def flink_server(
    directory: Path, *, slots: int = 1, survives: bool = False, within: Sequence[str] = ()
) -> FlinkCluster:
    """A cluster that is not started yet.

    Args:
      within: the words that lead its processes into a namespace, as of a `SmallDisk`.

    Raises:
      PartsMissingError: there is no Flink here: no Java, no Maven, or its parts cannot be resolved.
    """
    launcher = (*within, *DIES_WITH_PARENT)
    return FlinkCluster(directory, jars_of(POM), slots=slots, survives=survives, launcher=launcher, java=_QUICK)


@contextlib.contextmanager
def running(cluster: FlinkCluster, task_managers: int = 2) -> Iterator[FlinkCluster]:
    """The cluster, started, and ended afterwards."""
    cluster.start(task_managers)
    try:
        yield cluster
    finally:
        cluster.stop()
