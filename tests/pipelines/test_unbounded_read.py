"""Readers that live on: what a worker would make anew for every bundle is made once."""

import pickle
from dataclasses import dataclass

import pytest
from apache_beam.io.unbounded_source import _FinalizeCheckpointOnce  # noqa: TID251 - what Beam's reader registers

from pipelines.unbounded_read import ReadUnbounded, _OnlyWhoAsks
from tests.support.counting_pipeline import Counting


@dataclass
class Mark:
    is_to_be_told: bool
    told: int = 0

    def finalize_checkpoint(self):
        self.told += 1


@pytest.mark.parametrize("wants", [False, True])
def test_a_chain_of_transforms_is_kept_only_for_a_mark_that_wants_to_be_told(wants):
    kept, mark = [], Mark(wants)

    class Finalizer:
        def register(self, callback):
            kept.append(callback)

    _OnlyWhoAsks(Finalizer()).register(_FinalizeCheckpointOnce(mark))
    for callback in kept:
        callback()

    assert (len(kept), mark.told) == (wants, wants)


def test_a_reader_waits_for_whichever_chain_comes_next(tmp_path):
    first = ReadUnbounded(Counting(str(tmp_path)))._read
    second = pickle.loads(pickle.dumps(first))
    first.setup()
    second.setup()
    reader = Counting(str(tmp_path)).create_reader(None, None)
    first._reader_cache.park("a source and its mark", reader, started=True)
    first.teardown()

    assert second._reader_cache.acquire("a source and its mark") == (reader, True)
