"""Readers that live on: what a worker would make anew for every bundle is made once."""

import pickle

import apache_beam as beam
from apache_beam.io.unbounded_source import ReadFromUnboundedSource  # noqa: TID251 - what is compared
from apache_beam.runners.common import DoFnSignature

from pipelines.unbounded_read import ReadUnbounded
from tests.support.counting_pipeline import Counting


def asks_to_be_told(read):
    """Does a step of this transform want to hear of checkpoints, so that a worker keeps its whole chain?"""
    root = beam.Pipeline()
    _ = root | "Read" >> read
    (step,) = (
        part for part in _steps(root) if part.full_label.endswith(("ReadOn", "ReadUnbounded")) and not part.parts
    )
    signature = DoFnSignature(step.transform.fn)
    return beam.DoFn.BundleFinalizerParam in signature.process_method.defaults


def _steps(root):
    found = []

    class Visit(beam.pipeline.PipelineVisitor):
        def visit_transform(self, applied):
            found.append(applied)

    root.visit(Visit())
    return found


def test_no_chain_of_transforms_is_kept_for_a_checkpoint(tmp_path):
    assert not asks_to_be_told(ReadUnbounded(Counting(str(tmp_path))))
    assert asks_to_be_told(ReadFromUnboundedSource(Counting(str(tmp_path))))  # as long as this holds, it is needed


def test_a_reader_waits_for_whichever_chain_comes_next(tmp_path):
    first = ReadUnbounded(Counting(str(tmp_path)))._read
    second = pickle.loads(pickle.dumps(first))
    first.setup()
    second.setup()
    reader = Counting(str(tmp_path)).create_reader(None, None)
    first._reader_cache.park("a source and its mark", reader, started=True)
    first.teardown()

    assert second._reader_cache.acquire("a source and its mark") == (reader, True)
