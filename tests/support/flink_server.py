"""A standalone Flink cluster for tests; all its processes die with the process that started it."""

from pathlib import Path

from pipelines.flink_cluster import POM, FlinkCluster
from pipelines.maven_parts import jars_of
from tests.support.child_process import DIES_WITH_PARENT

# A Beam job on this runner needs them: without the last a start can hang with the source never read.
CHECKPOINTED = ("--checkpointing_interval=2000", "--finish_bundle_before_checkpointing")


_QUICK = ("-XX:TieredStopAtLevel=1",)  # a test is over before more compilation pays


def flink_server(directory: Path, *, slots: int = 1, survives: bool = False) -> FlinkCluster:
    """A cluster that is not started yet.

    Raises:
      PartsMissingError: there is no Flink here: no Java, no Maven, or its parts cannot be resolved.
    """
    return FlinkCluster(directory, jars_of(POM), slots=slots, survives=survives, launcher=DIES_WITH_PARENT, java=_QUICK)
