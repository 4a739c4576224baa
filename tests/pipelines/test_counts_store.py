"""A number is published once, whole or not at all, and the ledger says how."""

import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.counts_opening import open_counts
from pipelines.counts_rows import StoreError, release_id, rows_hash
from pipelines.counts_store import CountsStore
from schemas.counts import ReleasedRow, ReleasedTable, WindowKey

KEY = WindowKey("circ_branch_month", "2026-03-01", "2026-04-01")
ROWS = (
    ReleasedRow('{"branch":"B01"}', "patrons", 57, "published", "geometric2/k11"),
    ReleasedRow('{"branch":"B02"}', "patrons", None, "withheld", "geometric2/k11"),
    ReleasedRow('{"branch":"B03"}', "patrons", 0, "structural_zero", "geometric2/k11"),
)
TABLE = ReleasedTable(
    tenant="example",
    kind="circulation",
    key=KEY,
    time_zone="America/New_York",
    revision=0,
    policy_digest="ab" * 16,
    mechanism="geometric2/k11",
    charge=0.5,
    rows=ROWS,
)
OTHER = replace(TABLE, rows=(replace(ROWS[0], value=58), *ROWS[1:]))


@pytest.fixture
def store(tmp_path: Path) -> CountsStore:
    return open_counts(tmp_path / "counts.db", create=True)


def _seal(store: CountsStore, table: ReleasedTable = TABLE) -> None:
    store.begin(table, "complete", "", backfill=False)
    assert store.publish(table) == "sealed"


def test_a_published_window_can_be_read_back_with_its_ledger_row(store: CountsStore) -> None:
    assert store.begin(TABLE, "partial-declared", "until 2026-03-30", backfill=True) == "sealing"
    assert store.publish(TABLE) == "sealed"
    rows = list(store.rows())
    assert [(row.cell, row.measure, row.value, row.status, row.mechanism) for row in rows] == [
        (row.cell, row.measure, row.value, row.status, row.mechanism) for row in ROWS
    ]
    assert {row.release_id for row in rows} == {release_id("example", KEY.table, KEY.start, 0)}
    entry = store.ledger("example")[KEY.table, KEY.start]
    assert (entry.state, entry.completeness, entry.reason) == (
        "sealed",
        "partial-declared",
        "until 2026-03-30",
    )
    assert (entry.cells, entry.rows_hash, entry.backfill) == (3, rows_hash(TABLE), True)
    assert (entry.charge, entry.policy_hash, entry.window_end) == (0.5, "ab" * 16, "2026-04-01")
    assert store.ledger("another") == {}


def test_publishing_the_same_window_twice_changes_nothing(store: CountsStore) -> None:
    _seal(store)
    before = (list(store.rows()), store.ledger("example"))
    assert store.begin(TABLE, "complete", "", backfill=False) == "sealed"
    assert store.publish(TABLE) == "sealed"
    assert (list(store.rows()), store.ledger("example")) == before


def test_a_second_value_never_overwrites_and_says_differs(store: CountsStore) -> None:
    _seal(store)
    before = (list(store.rows()), store.ledger("example"))
    store.begin(OTHER, "complete", "", backfill=False)
    assert store.publish(OTHER) == "differs"
    assert (list(store.rows()), store.ledger("example")) == before


def test_other_rows_than_those_begun_are_not_published(store: CountsStore) -> None:
    store.begin(TABLE, "complete", "", backfill=False)
    assert store.publish(OTHER) == "differs"
    assert list(store.rows()) == []
    assert store.ledger("example")[KEY.table, KEY.start].state == "sealing"


@pytest.mark.parametrize(
    "row",
    [
        replace(ROWS[0], value=99),
        ReleasedRow('{"branch":"B99"}', "patrons", 99, "published", "geometric2/k11"),
    ],
    ids=["another value", "a cell the release lacks"],
)
def test_a_foreign_row_in_the_store_stops_the_whole_release(
    store: CountsStore, tmp_path: Path, row: ReleasedRow
) -> None:
    store.begin(TABLE, "complete", "", backfill=False)
    name = release_id("example", KEY.table, KEY.start, 0)
    place = (name, "example", KEY.table, KEY.start, KEY.end, "America/New_York")
    db = sqlite3.connect(tmp_path / "counts.db")
    db.execute(
        f"INSERT INTO released_counts VALUES({', '.join('?' * 12)})",
        (*place, row.cell, row.measure, row.value, row.status, row.mechanism, 0),
    )
    db.commit()
    db.close()
    assert store.publish(TABLE) == "differs"
    assert [found.value for found in store.rows()] == [99]
    assert store.ledger("example")[KEY.table, KEY.start].state == "sealing"


def test_a_kill_between_begin_and_publish_is_finished_by_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "counts.db"
    code = (
        "import os, sys; from pathlib import Path; from pipelines.counts_opening import open_counts;"
        "from schemas.counts import *;"
        f"table = {TABLE!r};"
        "open_counts(Path(sys.argv[1]), create=True).begin(table, 'complete', '', False); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 9
    with open_counts(path) as store:
        assert store.ledger("example")[KEY.table, KEY.start].state == "sealing"
        assert list(store.rows()) == []
        assert store.publish(TABLE) == "sealed"
        assert len(list(store.rows())) == 3


def test_a_full_disk_publishes_nothing(store: CountsStore) -> None:
    many = tuple(replace(ROWS[0], cell=f'{{"branch":"B{at:05}"}}') for at in range(5000))
    table = replace(TABLE, rows=many)
    store.begin(table, "complete", "", backfill=False)
    (pages,) = store._database._db.execute("PRAGMA page_count").fetchone()
    store._database._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreError, match="disk is full") as raised:
        store.publish(table)
    assert "\n" not in str(raised.value)
    assert list(store.rows()) == []
    store._database._db.execute("PRAGMA max_page_count = 1000000")
    assert store.publish(table) == "sealed"


def test_publishing_without_begin_is_an_error(store: CountsStore) -> None:
    with pytest.raises(StoreError, match="begun"):
        store.publish(TABLE)


def test_a_number_named_twice_is_refused(store: CountsStore) -> None:
    with pytest.raises(StoreError, match="twice"):
        store.begin(replace(TABLE, rows=(*ROWS, ROWS[0])), "complete", "", backfill=False)


def test_a_withheld_number_with_a_value_cannot_be_stored(store: CountsStore) -> None:
    bad = replace(TABLE, rows=(replace(ROWS[1], value=4), ROWS[0]))
    store.begin(bad, "complete", "", backfill=False)
    with pytest.raises(StoreError, match="breaks its rules"):
        store.publish(bad)
    assert list(store.rows()) == []


def test_a_void_window_stays_void_and_publishes_nothing(store: CountsStore) -> None:
    store.void("example", "circulation", KEY, "ab" * 16, "gap in source ils")
    store.void("example", "circulation", KEY, "cd" * 16, "another reason")
    assert store.begin(TABLE, "complete", "", backfill=False) == "void"
    assert store.publish(TABLE) == "differs"
    entry = store.ledger("example")[KEY.table, KEY.start]
    assert (entry.state, entry.completeness, entry.reason) == ("void", "void", "gap in source ils")


def test_a_window_void_only_by_default_gives_way_to_a_better_start(store: CountsStore) -> None:
    store.void("example", "circulation", KEY, "ab" * 16, "default complete_from of source ils")
    _seal(store)
    assert store.ledger("example")[KEY.table, KEY.start].state == "sealed"


def test_a_sealed_window_cannot_be_made_void(store: CountsStore) -> None:
    _seal(store)
    store.void("example", "circulation", KEY, "ab" * 16, "gap")
    assert store.ledger("example")[KEY.table, KEY.start].state == "sealed"


def test_only_sealed_windows_pin_a_policy(store: CountsStore) -> None:
    where = ("example", "circulation", KEY.start, KEY.end)
    store.begin(TABLE, "complete", "", backfill=False)
    assert store.pinned_policy(*where) == set()
    store.publish(TABLE)
    assert store.pinned_policy(*where) == {"ab" * 16}
    assert store.pinned_policy("example", "patron", KEY.start, KEY.end) == set()
    assert store.pinned_policy("example", "circulation", KEY.start, "2026-03-02") == set()


def test_rows_come_by_table_and_month_in_one_order(store: CountsStore) -> None:
    keys = [WindowKey("b", "2026-03-01", "2026-04-01"), WindowKey("a", "2026-04-01", "2026-05-01"), KEY]
    for key in keys:
        _seal(store, replace(TABLE, key=key, rows=ROWS[::-1]))
    assert [row.table_name for row in store.rows()] == ["a"] * 3 + ["b"] * 3 + ["circ_branch_month"] * 3
    assert [row.cell[11:14] for row in store.rows(table="a")] == ["B01", "B02", "B03"]
    assert {row.table_name for row in store.rows(month="2026-04")} == {"a"}
    assert list(store.rows(table="b", month="2026-04")) == []


def test_the_row_hash_does_not_depend_on_row_order() -> None:
    assert rows_hash(TABLE) == rows_hash(replace(TABLE, rows=ROWS[::-1])) != rows_hash(OTHER)


def test_release_ids_keep_their_parts_apart() -> None:
    ids = {release_id("a", "bc", "2026-03-01", 0), release_id("ab", "c", "2026-03-01", 0)}
    assert len(ids) == 2
    assert all(len(name) == 32 for name in ids)


def test_verifications_are_a_log_and_a_receipt_is_kept_once(store: CountsStore) -> None:
    for _ in range(2):
        store.record_verification("example", KEY.table, KEY.start, 0, "match", "2026-05-02")
        store.record_receipt("example", "token", "2026-03", "released", "2026-04-10")
    assert [seen.verdict for seen in store.verifications("example")] == ["match", "match"]
    assert [receipt.why for receipt in store.receipts("example")] == ["released"]


@pytest.mark.parametrize("day", ["2026-3-1", "20260301", "2026-02-30", "today"])
def test_days_are_iso_days(store: CountsStore, day: str) -> None:
    with pytest.raises(StoreError, match="YYYY-MM-DD"):
        store.record_receipt("example", "token", "2026-03", "released", day)


def test_the_store_id_is_made_once(tmp_path: Path) -> None:
    with open_counts(tmp_path / "one.db", create=True) as store:
        first = store.store_id
    with (
        open_counts(tmp_path / "one.db", create=True) as again,
        open_counts(tmp_path / "two.db", create=True) as two,
    ):
        assert again.store_id == first != two.store_id


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
