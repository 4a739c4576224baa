"""The streaming graph as an engine gets it: its labels and coders, where it may end, and what it does not hold."""

import json
import re
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.coders import Coder, IterableCoder, StrUtf8Coder, TupleCoder
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.typehints.decorators import TypeCheckError

from pipelines.configuration import load
from pipelines.keyring import Keyring
from pipelines.stream_release import InsertIfAbsent, NoteVoid, WriteLetters
from schemas.chunks import RawChunk
from schemas.counts import ReleasedTable, Tally
from schemas.gate import Delivered, VoidWindow, Waiting
from schemas.generalized import CellBatch
from schemas.personal import PersonalBatch
from schemas.pseudonymized import PseudonymizedBatch
from schemas.rejects import SealedReject
from tests.attacks.test_canaries import hits
from tests.support.packed_graphs import with_unpacked
from tests.support.replaying import deployment
from tests.support.stream_graphs import a_stream_graph
from transforms.coders import ColumnsCoder

GOLDEN = Path(__file__).parent.parent / "golden" / "stream_labels.json"
SOURCES = ("carrel-event", "folio", "salesforce")
PERSONAL = (Delivered, RawChunk, PersonalBatch, PseudonymizedBatch, CellBatch, Tally, Waiting)
SINKS = {
    "InsertIfAbsent": (InsertIfAbsent, ReleasedTable),
    "NoteVoid": (NoteVoid, VoidWindow),
    "WriteLetters": (WriteLetters, SealedReject),
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    made = deployment(tmp_path_factory.mktemp("stream") / "deployment", preset="standard", sources=SOURCES)
    Keyring(load(made / "carrel.toml").keyring).store_key()
    return made


@pytest.fixture(scope="module")
def graph(directory):
    """The graph's proto, and what is needed to read its coders."""
    return a_stream_graph(directory).to_runner_api(return_context=True)


def leaves_of(proto):
    """Transforms without parts, by label: their inputs and outputs."""
    return {one.unique_name: one for one in proto.components.transforms.values() if not one.subtransforms}


def coder_of(graph, name):
    proto, context = graph
    parts = proto.components
    return Coder.from_runner_api(parts.coders[parts.pcollections[name].coder_id], context)


def test_labels_and_coders_are_what_savepoints_were_made_with(graph):
    """An engine finds the state of a step by its label, and reads it with its coder: a change is a clean start.

    After one that is meant: print `told` into the golden file, and write it into CHANGELOG.md.
    """
    told = {
        label: {tag: str(coder_of(graph, name)) for tag, name in sorted(one.outputs.items())}
        for label, one in sorted(leaves_of(graph[0]).items())
        if "/Create/" not in label
    }

    assert told == json.loads(GOLDEN.read_text())


def test_no_label_of_ours_holds_a_line_number_or_a_lambda(graph):
    labels = [label for label in leaves_of(graph[0]) if "/Create/" not in label]

    assert not [label for label in labels if re.search(r"lambda|\.py|\d", label)]


def test_nothing_crosses_an_edge_as_a_pickle(graph):
    """But the source itself, which Beam keeps as one: what it may hold is tested with it."""

    def parts(coder):
        if isinstance(coder, TupleCoder):
            return [part for one in coder.coders() for part in parts(one)]
        return parts(coder.value_coder()) if isinstance(coder, IterableCoder) else [coder]

    consumed = {name for one in leaves_of(graph[0]).values() for name in one.inputs.values()}
    crossing = {
        (label, type(part).__name__): part
        for label, one in leaves_of(graph[0]).items()
        if "/Create/" not in label
        for name in one.outputs.values()
        if name in consumed
        for part in parts(coder_of(graph, name))
    }

    assert crossing
    assert [where for where, part in crossing.items() if not isinstance(part, (ColumnsCoder, StrUtf8Coder))] == []
    assert all(part.is_deterministic() for part in crossing.values())


def test_the_graph_ends_in_three_types_and_none_of_them_is_personal(graph):
    found = leaves_of(graph[0])
    consumed = {name for one in found.values() for name in one.inputs.values()}
    ends = {
        (label.partition("/")[0], coder_of(graph, name).name)
        for label, one in found.items()
        if not any(name in consumed for name in one.outputs.values())
        for name in one.inputs.values()
    }

    assert ends == {(label, of.__name__) for label, (_, of) in SINKS.items()}


@pytest.mark.parametrize("sink", SINKS)
@pytest.mark.parametrize("element", PERSONAL)
def test_a_graph_that_carries_personal_data_to_a_sink_fails_while_it_is_built(sink, element):
    root = beam.Pipeline(runner="FnApiRunner", options=PipelineOptions([]))
    elements = root | beam.Create([]).with_output_types(element)

    with pytest.raises(TypeCheckError):
        _ = elements | SINKS[sink][0](None)


@pytest.mark.parametrize(("make", "element"), SINKS.values(), ids=SINKS)
def test_a_sink_takes_its_own_type(make, element):
    root = beam.Pipeline(runner="FnApiRunner", options=PipelineOptions([]))

    _ = root | beam.Create([]).with_output_types(element) | make(None)


def test_the_graph_holds_no_secret_and_no_key(graph, directory):
    proto = with_unpacked(graph[0].SerializeToString())
    keys = [path.read_bytes() for path in directory.parent.rglob("*.key")]

    assert b"kafka.properties" in proto, "the settings are named, so that a worker finds them"
    assert hits(proto) == [], "the broker's password is in that file"
    assert keys
    assert not [key for key in keys if key.strip() in proto or key.strip().hex().encode() in proto]


def test_tables_wait_for_those_who_give_or_erase_their_acts_and_for_no_others(graph):
    gates = {label.split("/")[1] for label in leaves_of(graph[0]) if label.startswith("Gate/")}

    assert gates == {"carrel-event+folio", "carrel-event+salesforce"}
