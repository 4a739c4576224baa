"""One replay, several counts stores: the released numbers, the ledger and what `carrel counts` shows are the same."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.configuration import load
from pipelines.counts_opening import open_counts
from tests.support.replaying import checkouts, deployment, edit, replayed, write

pytestmark = pytest.mark.engine
ROOT = Path(__file__).parents[2]


def _counts(library: Path) -> str:
    command = [
        sys.executable,
        "-m",
        "pipelines.command_line",
        "-c",
        str(library / "carrel.toml"),
        "counts",
        "--format",
        "csv",
    ]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _ran(library: Path, address: str):
    deployment(library)
    edit(library / "carrel.toml", 'counts_store = "counts.db"', f'counts_store = "{address}"')
    where = load(library / "carrel.toml").counts_store
    open_counts(where, create=True).close()
    log = write(library / "archive" / "carrel-event" / "log.jsonl", checkouts("2026-03-01", 31))
    replayed(library, log, complete_through="2026-03-31")
    with open_counts(where) as counts:
        rows = list(counts.rows())
        ledger = {place: replace(row, policy_hash="") for place, row in counts.ledger("example").items()}
    return rows, ledger, _counts(library)


@pytest.fixture(scope="module")
def by_sqlite(tmp_path_factory):
    return _ran(tmp_path_factory.mktemp("sqlite") / "library", "counts.db")


def test_a_replay_into_a_folder_equals_one_into_sqlite(by_sqlite, tmp_path) -> None:
    assert _ran(tmp_path / "library", "parquet:counts") == by_sqlite
    assert len(by_sqlite[0]) > 30


def test_a_replay_into_postgresql_equals_one_into_sqlite(by_sqlite, tmp_path, postgres, postgres_database) -> None:
    assert _ran(tmp_path / "library", postgres.address(postgres_database)) == by_sqlite
    assert len(by_sqlite[0]) > 30


def test_a_replay_into_bigquery_equals_one_into_sqlite(by_sqlite, tmp_path, bigquery_dataset) -> None:
    assert _ran(tmp_path / "library", bigquery_dataset) == by_sqlite
    assert len(by_sqlite[0]) > 30
