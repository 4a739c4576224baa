"""The synthetic library keeps what it promises, seen in the files that it writes."""

import collections
import csv
import json
from pathlib import Path

import fastavro
import pytest

from pipelines.synthetic import write_sample


def files_of(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def records_of(path: Path) -> list[dict]:
    with path.open("rb") as stream:
        return list(fastavro.reader(stream))


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("sample")
    write_sample(directory, patrons=3_000, days=90, seed=1)
    return directory


def test_the_same_arguments_give_the_same_bytes_and_another_seed_does_not(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_sample(tmp_path / name, patrons=200, days=30, seed=seed)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert files_of(tmp_path / "a") != files_of(tmp_path / "c")


def test_only_the_chosen_sources_are_written(tmp_path):
    write_sample(tmp_path, patrons=100, days=10, sources=("evergreen",))
    assert {path.name for path in tmp_path.iterdir()} == {"evergreen", "truth.csv"}


def test_an_unknown_source_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--sources"):
        write_sample(tmp_path, patrons=10, days=10, sources=("koha",))


def test_canonical_logs_hold_duplicates_retractions_and_an_undeclared_field(sample):
    lines = lines_of(sample / "carrel-event" / "circulation.jsonl")
    # A line with an undeclared field is additional: no act of it exists.
    events = [line for line in lines if "patron_name" not in line]
    adds = collections.Counter(event["event_id"] for event in events if event["op"] == "add")
    retracted = {event["event_id"] for event in events if event["op"] == "retract"}
    assert max(adds.values()) > 1
    assert retracted
    assert retracted <= set(adds)
    assert len(events) < len(lines)


def test_logs_with_arrivals_are_in_order_of_arrival(sample):
    for path, name in (("carrel-event/circulation.jsonl", "arrived_at"), ("folio/loan.jsonl", "ts")):
        arrivals = [line[name] for line in lines_of(sample / path)]
        assert arrivals == sorted(arrivals)


def test_folio_loans_hold_deletions_an_undeclared_header_and_an_undeclared_field_in_an_old_half(sample):
    records = [record for path in (sample / "folio").glob("*.jsonl") for record in lines_of(path)]
    payloads = [json.loads(record["payload"]) for record in records]
    assert any(payload["type"] == "DELETED" for payload in payloads)
    assert any("X-Patron" in record["headers"] for record in records)
    assert any("shoeSize" in payload["data"].get("old", {}) for payload in payloads)


def test_evergreen_tables_have_the_columns_of_the_real_ones(sample):
    for path, columns in (
        ("action.circulation.tsv", 34),
        ("lookups/actor.usr.tsv", 50),
        ("lookups/asset.copy.tsv", 33),
    ):
        rows = (sample / "evergreen" / path).read_text().splitlines()
        assert {row.count("\t") + 1 for row in rows} == {columns}


def test_salesforce_holds_gaps_merged_records_and_an_undeclared_custom_field(sample):
    members = [one["ChangeEventHeader"] for one in records_of(sample / "salesforce/CampaignMemberChangeEvent.avro")]
    assert any(header["changeType"].startswith("GAP_") for header in members)
    assert any(len(header["recordIds"]) > 1 for header in members)
    assert all("Shoe_Size__c" in one for one in records_of(sample / "salesforce/ContactChangeEvent-2.avro"))


def test_truth_names_each_cell_once_and_has_cells_below_and_above_the_threshold(sample):
    with (sample / "truth.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    keys = [(row["table_name"], row["window_start"], row["cell"], row["measure"]) for row in rows]
    assert len(set(keys)) == len(keys)
    people = [int(row["distinct_patrons"]) for row in rows if row["table_name"] == "circ_branch_material_month"]
    assert min(people) < 11 < max(people)
    totals = [int(row["true_value"]) for row in rows if row["measure"].startswith("total_")]
    assert totals
    assert all(value % 10 == 0 for value in totals)
