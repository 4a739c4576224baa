"""One replay, several counts stores: the released numbers, the ledger and what `carrel counts` shows are the same."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.commands import deploying
from pipelines.configuration import ConfigurationError, load
from pipelines.counts_opening import open_counts
from pipelines.counts_rows import StoreError
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


def _init(directory: Path, store: str) -> None:
    deploying.init(
        directory, size="small", preset="plain", sources="carrel-event", secrets=directory.parent / "secrets",
        logs=None, counts_store=store,
    )  # fmt: skip


@pytest.mark.parametrize("store", ["counts.db", "parquet:counts"])
def test_init_makes_the_store_that_it_is_told(tmp_path, store) -> None:
    _init(tmp_path / "library", store)
    with open_counts(load(tmp_path / "library" / "carrel.toml").counts_store) as counts:
        assert list(counts.rows()) == []


@pytest.mark.parametrize(
    "store", ["postgresql://carrel@127.0.0.1:1/library", "postgresql://carrel:x@127.0.0.1:1/library", "mysql://x"]
)
def test_init_writes_nothing_where_the_store_cannot_be_made(tmp_path, store) -> None:
    with pytest.raises((StoreError, ConfigurationError)):
        _init(tmp_path / "library", store)
    assert list(tmp_path.iterdir()) == []
