"""The examples are a deployment that works: they compile, and their logs become the counts they should."""

import csv
import sqlite3
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from documents import ROOT, run_blocks

from pipelines.configuration import capabilities, load
from schemas.default_tables import MEDIUM
from schemas.policy_compiler import compile_policy

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """The folder in which the lines of examples/README.md were run, and what they printed."""
    place = tmp_path_factory.mktemp("clone")
    return place, run_blocks(EXAMPLES / "README.md", place)[0]


def test_policy_and_configuration_are_read_as_they_stand():
    deployment = load(EXAMPLES / "carrel.toml")
    policy = compile_policy(deployment.policy_text, capabilities(deployment))

    assert [source.adapter for source in deployment.sources] == ["carrel-event", "evergreen", "salesforce"]
    assert policy.preset == "standard"
    assert {table.kind for table in policy.tables} == {"circulation", "patron", "engagement"}
    assert {table.name for table in policy.tables} <= {table.name for table in MEDIUM} | {
        "circ_region_month", "circ_region_material_month",
    }  # fmt: skip


def test_the_logs_become_counts_and_what_is_not_allowed_is_sealed(played):
    place, said = played

    assert "conservation holds" in said
    assert "released 69 windows, void 0, held 0" in said  # 59 days, 2 months of 5 tables
    assert "disallowed_field" in said
    assert "Northern towns" in said
    database = sqlite3.connect(place / "build" / "example" / "counts.db")
    published = dict(
        database.execute("SELECT table_name, COUNT(*) FROM released_counts WHERE status = 'published' GROUP BY 1")
    )
    database.close()
    assert published["circ_system_day"] > 100
    assert published["circ_region_month"] >= 4
    assert published["circ_region_material_month"] > 20


def test_the_example_withholds_who_are_few(played):
    place, _ = played
    database = sqlite3.connect(place / "build" / "example" / "counts.db")
    island = database.execute(
        "SELECT DISTINCT status FROM released_counts WHERE table_name = 'circ_region_month' AND cell LIKE '%island%'"
    ).fetchall()
    database.close()

    assert island == [("withheld",)]


def test_every_line_of_the_two_files_that_sets_something_new_is_explained():
    for name in ("policy.toml", "carrel.toml"):
        lines = (EXAMPLES / name).read_text().splitlines()
        assert lines[0].startswith("# ")
        assert sum("#" in line for line in lines) > 15


def test_the_logs_hold_no_one_who_lived_and_stay_small():
    files = [path for path in (EXAMPLES / "library").rglob("*") if path.is_file()]
    with (EXAMPLES / "library" / "evergreen" / "lookups" / "actor.usr.tsv").open() as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))

    assert sum(path.stat().st_size for path in files) < 1_000_000
    assert len(rows) > 50
    assert all(row["first_given_name"].startswith(("Given", "CANARY", "\\N")) for row in rows)
