"""Personal data cannot reach a sink: such a graph fails while it is built."""

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.typehints.decorators import TypeCheckError

import transforms.coders
from pipelines import outputs
from schemas.chunks import ArrivalSpan, RawChunk
from schemas.counts import ReleasedTable, SealedTally, Tally, WindowKey
from schemas.generalized import CellBatch
from schemas.personal import PersonalBatch
from schemas.pseudonymized import PseudonymizedBatch
from schemas.rejects import SealedReject

BEFORE_RELEASE = [RawChunk, PersonalBatch, PseudonymizedBatch, CellBatch, Tally]


def a_pipeline() -> beam.Pipeline:
    return beam.Pipeline(runner="FnApiRunner", options=PipelineOptions([]))


@pytest.mark.parametrize("element", BEFORE_RELEASE)
@pytest.mark.parametrize("sink", [outputs.WriteCounts, outputs.KeepRejects, outputs.KeepTallies])
def test_a_graph_that_carries_personal_data_to_a_sink_fails_while_it_is_built(element, sink):
    root = a_pipeline()
    elements = root | beam.Create([]).with_output_types(element)

    with pytest.raises(TypeCheckError):
        _ = elements | sink("nowhere")


def test_the_sink_of_counts_takes_released_tables():
    root = a_pipeline()
    tables = root | beam.Create([]).with_output_types(ReleasedTable)

    _ = tables | outputs.WriteCounts("somewhere")


@pytest.mark.parametrize("element", [*BEFORE_RELEASE, ReleasedTable, SealedReject, SealedTally, ArrivalSpan])
def test_every_type_that_crosses_an_edge_has_a_deterministic_coder_of_ours(element):
    coder = beam.coders.registry.get_coder(element)

    assert isinstance(coder, transforms.coders.ColumnsCoder)
    assert coder.is_deterministic()


def test_the_coder_gives_back_what_it_was_given():
    empty = Tally.empty(WindowKey("t", "2026-03-01", "2026-04-01"))
    coder = beam.coders.registry.get_coder(Tally)

    back = coder.decode(coder.encode(empty))

    assert back.key == empty.key
    assert back.token.shape == (0, 16)
    assert back.token.dtype == np.uint8
