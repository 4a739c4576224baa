"""One contract, four forms: the exact models, the fast reader, JSON Schema and Avro say the same."""

import datetime as dt
import io
import json
import re
from pathlib import Path

import fastavro
import msgspec
import pytest
from contract_events import EVENTS
from hypothesis import given
from hypothesis import strategies as st

from pipelines.contract_files import DIRECTORY, avro_schema, contract_files
from schemas.events import CODED, MODELS, PARTS
from schemas.fast import READER, STRUCTS
from schemas.rejects import DecodeError, Reason
from schemas.wire.adapter import Context
from schemas.wire.carrel_event import ADAPTER
from schemas.wire.envelopes import open_avro

ROOT = Path(__file__).parents[2]
KINDS = sorted(MODELS)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def test_the_folder_of_contracts_holds_what_is_generated_and_nothing_else():
    assert {path.name: path.read_text() for path in DIRECTORY.iterdir()} == contract_files()


def plain(schema):
    """What a schema demands: without words for people, and in one spelling for constants."""
    if isinstance(schema, dict):
        found = {name: plain(value) for name, value in schema.items() if name not in {"title", "description", "format"}}
        if "const" in found:
            found["enum"] = [found.pop("const")]
        if "enum" in found:
            found = {**found, "enum": sorted(found["enum"])}
            found.pop("type", None)
        return found
    return [plain(item) for item in schema] if isinstance(schema, list) else schema


@pytest.mark.parametrize("kind", KINDS)
def test_the_json_schema_demands_what_the_fast_reader_demands(kind):
    published = json.loads((DIRECTORY / f"{kind}.json").read_text())
    fast = msgspec.json.schema(STRUCTS[kind])["$defs"][kind.capitalize()]

    assert plain(published["properties"]) == plain(fast["properties"])
    assert sorted(published["required"]) == sorted(fast["required"])
    assert published["additionalProperties"] is fast["additionalProperties"] is False
    assert "$defs" not in published


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_says_what_it_is_in_every_published_form(kind):
    fields = json.loads((DIRECTORY / f"{kind}.json").read_text())["properties"]
    said = {field["name"]: field["doc"] for field in avro_schema(kind, MODELS[kind])["fields"]}

    assert said == {name: field["description"] for name, field in fields.items()}
    assert said == {field.path: field.note for field in in_the_event(kind)}
    assert all(said.values())


@pytest.mark.parametrize("kind", KINDS)
def test_the_avro_schema_has_the_fields_and_defaults_of_the_json_schema(kind):
    published = json.loads((DIRECTORY / f"{kind}.json").read_text())
    fields = {field["name"]: field for field in json.loads((DIRECTORY / f"{kind}.avsc").read_text())["fields"]}

    assert set(fields) == set(published["properties"])
    assert {name for name, field in fields.items() if "default" not in field} == set(published["required"])
    for name in set(fields) - set(published["required"]):
        assert fields[name]["default"] == published["properties"][name]["default"]


def in_the_event(kind):
    """The adapter's fields of an event itself, without key and headers of the bus."""
    return [field for field in ADAPTER.fields[kind].fields if not field.path.startswith("@")]


def avro_form(event):
    """The event as an Avro producer has it: every field, instants as timestamps."""
    model = MODELS[event["kind"]]
    whole = {name: event.get(name, field.default) for name, field in model.model_fields.items()}
    return whole | {
        name: EPOCH + dt.timedelta(milliseconds=whole[name])
        for name in ("occurred_at", "arrived_at")
        if whole[name] is not None
    }


@given(st.lists(EVENTS, min_size=1, max_size=3))
def test_an_event_in_avro_is_the_event_in_json(events):
    for event in events:
        container = io.BytesIO()
        fastavro.writer(container, avro_schema(event["kind"], MODELS[event["kind"]]), [avro_form(event)])
        container.seek(0)
        (record,) = fastavro.reader(container)

        assert ADAPTER.events(open_avro(record), Context("ils")) == [READER.decode(json.dumps(event).encode())]


def test_an_avro_container_with_a_further_field_is_refused():
    schema = avro_schema("patron", MODELS["patron"])
    schema["fields"].append({"name": "shoe_size", "type": "int"})
    event = {"kind": "patron", "event_id": "e", "occurred_at": 700_000_000_000, "change": "new"}
    container = io.BytesIO()
    fastavro.writer(container, schema, [avro_form(event) | {"shoe_size": 43}])
    container.seek(0)
    (record,) = fastavro.reader(container)

    with pytest.raises(DecodeError) as refused:
        ADAPTER.events(open_avro(record), Context("ils"))
    assert (refused.value.reason, refused.value.unknown) == (Reason.DISALLOWED_FIELD, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_batch_can_carry_of_a_kind_is_in_its_contract(kind):
    properties = json.loads((DIRECTORY / f"{kind}.json").read_text())["properties"]
    chosen = properties.get("action") or properties.get("change") or {"enum": ["response"]}

    assert list(PARTS[kind]) == chosen["enum"]
    assert {"postal_code" if name == "home_zone" else name for name in CODED[kind]} <= set(properties)
    assert {field.use for field in in_the_event(kind)} == {"used"}


def test_the_runbook_of_dead_letters_explains_every_reason():
    runbook = (ROOT / "docs" / "runbooks" / "dead-letters.md").read_text()
    explained = [
        name for row in re.findall(r"^\| (`.+?) \|", runbook, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
    ]

    assert explained
    assert set(explained) == set(Reason)
    assert len(explained) == len(set(explained))
