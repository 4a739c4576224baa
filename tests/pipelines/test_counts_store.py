"""What the embedded counts store does of its own; what all stores promise is in tests/engines/test_counts_stores.py."""

import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.counts_opening import open_counts
from pipelines.counts_rows import StoreError, release_id, rows_hash
from tests.support.counts_sample import OTHER, ROWS, TABLE


def test_the_row_hash_does_not_depend_on_row_order() -> None:
    assert rows_hash(TABLE) == rows_hash(replace(TABLE, rows=ROWS[::-1])) != rows_hash(OTHER)


def test_release_ids_keep_their_parts_apart() -> None:
    ids = {release_id("a", "bc", "2026-03-01", 0), release_id("ab", "c", "2026-03-01", 0)}
    assert len(ids) == 2
    assert all(len(name) == 32 for name in ids)


def _one_line(path: Path, *, create: bool = False) -> str:
    with pytest.raises(StoreError) as raised:
        open_counts(path, create=create)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)
    return str(raised.value)


def test_a_store_that_cannot_be_used_says_so_in_one_line(tmp_path: Path) -> None:
    assert "no such file" in _one_line(tmp_path / "absent.db")
    assert not (tmp_path / "absent.db").exists()
    (tmp_path / "file").write_text("x")
    assert "cannot be opened" in _one_line(tmp_path / "file" / "counts.db", create=True)
    assert "cannot be opened" in _one_line(tmp_path / "nowhere" / "counts.db", create=True)
    (tmp_path / "text.db").write_text("not a database, but long enough to have a header" * 100)
    assert "not a SQLite file" in _one_line(tmp_path / "text.db", create=True)
    db = sqlite3.connect(tmp_path / "work.db")
    db.execute("CREATE TABLE tallies(x)")
    db.close()
    assert "another kind" in _one_line(tmp_path / "work.db", create=True)


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    with open_counts(tmp_path / "counts.db", create=True):
        pass
    db = sqlite3.connect(tmp_path / "counts.db")
    db.execute("UPDATE store_meta SET value = '99' WHERE key = 'version'")
    db.commit()
    db.close()
    assert "another release" in _one_line(tmp_path / "counts.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_directory_is_one_line(tmp_path: Path) -> None:
    with open_counts(tmp_path / "counts.db", create=True):
        pass
    (tmp_path / "counts.db").chmod(0o400)
    tmp_path.chmod(0o500)
    try:
        assert "cannot be" in _one_line(tmp_path / "counts.db")
        assert "cannot be" in _one_line(tmp_path / "new.db", create=True)
    finally:
        tmp_path.chmod(0o700)
