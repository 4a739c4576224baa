"""truth.csv has what the rules of disclosure control need to be tried, and a replay agrees with it to the cell."""

import collections
import csv
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from truth_check import compare

from pipelines.initialise import BRANCHES
from pipelines.synthetic import SOURCES, write_sample
from pipelines.synthetic.library import make_world
from pipelines.synthetic.truth import truth_rows

SIZE = {"patrons": 1_500, "days": 90, "seed": 7, "sources": SOURCES}
K = 11


@pytest.fixture(scope="module")
def logs(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("sample")
    write_sample(directory, **SIZE)
    return directory


@pytest.fixture(scope="module")
def truth():
    return list(truth_rows(make_world(**SIZE)))


def needed(row) -> int:
    return 5 * K if row.measure.startswith("total") else K


def is_dominated(row) -> bool:
    return row.measure.startswith("total") and row.largest * 10 > row.total


def test_one_region_has_a_single_branch_and_people_borrow_there(truth):
    alone = [region for region, branches in collections.Counter(BRANCHES.values()).items() if branches == 1]

    assert len(alone) == 1
    assert any(f'"region":"{alone[0]}"' in row.cell for row in truth if row.table_name == "flow_month")


def test_totals_are_withheld_for_want_of_k_of_5k_and_for_dominance_and_others_are_published(truth):
    totals = [row for row in truth if row.measure.startswith("total")]
    enough = [row for row in totals if row.distinct_patrons >= 5 * K]

    assert any(row.distinct_patrons < K for row in totals)
    assert any(K <= row.distinct_patrons < 5 * K for row in totals)
    assert any(is_dominated(row) for row in enough)
    assert any(not is_dominated(row) for row in enough)


def test_the_clip_takes_something_from_cells_that_are_published(truth):
    clipped = [row for row in truth if row.measure == "acts" and row.distinct_patrons >= K and row.largest > 10]

    assert clipped
    assert all(row.true_value <= row.total - (row.largest - 10) for row in clipped)


def publishes_other(rows, dimension: str) -> bool:
    return any(f'"{dimension}":"other"' in row.cell and row.distinct_patrons >= K for row in rows)


@pytest.mark.parametrize("dimension", ["material", "audience", "age_band", "patron_type", "home_region"])
def test_enough_people_fall_into_other_that_it_is_published(truth, dimension):
    assert publishes_other(truth, dimension)


def test_enough_people_take_part_in_other_campaigns_and_ways_that_it_is_published():
    rows = list(truth_rows(make_world(patrons=6_000, days=28, seed=1, sources=SOURCES)))

    assert publishes_other(rows, "campaign_type")
    assert publishes_other(rows, "response")


def test_truth_names_each_cell_once_in_the_promised_columns(logs):
    text = (logs / "truth.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    keys = [(row["table_name"], row["window_start"], row["cell"], row["measure"]) for row in rows]

    assert text.splitlines()[0] == "table_name,window_start,cell,measure,true_value,distinct_patrons"
    assert len(set(keys)) == len(keys)
    assert all(
        row["cell"] == json.dumps(json.loads(row["cell"]), sort_keys=True, separators=(",", ":")) for row in rows
    )
    assert all(int(row["distinct_patrons"]) > 0 for row in rows)
    assert all(int(row["true_value"]) % 10 == 0 for row in rows if row["measure"].startswith("total_"))


def test_what_is_withheld_is_what_the_truth_says_to_the_cell(run, logs, truth, tmp_path):
    config, counts = tmp_path / "deployment" / "carrel.toml", tmp_path / "deployment" / "counts.db"
    dominated = frozenset(row[:4] for row in truth if row.distinct_patrons >= needed(row) and is_dominated(row))
    run("init", config.parent, "--sources", ",".join(SOURCES), "--secrets", tmp_path / "secrets", "--logs", logs)
    run("-c", config, "replay", "--complete-through", "2026-05-01")

    compared, wrong = compare(logs / "truth.csv", counts, margin=40, dominated=dominated)
    _, without = compare(logs / "truth.csv", counts, margin=40, dominated=frozenset())

    assert wrong == []
    assert compared > 500
    assert len(without) == len(dominated) > 0
