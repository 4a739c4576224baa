"""What every counts store promises, held to each of them: a number is published once, whole or not at all."""

import errno
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable, ContextManager, Iterator
from unittest.mock import Mock

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core import exceptions
from google.auth import exceptions as auth_errors
from psycopg.pq import Ping

from pipelines import postgres_session
from pipelines.counts_opening import open_counts
from pipelines.counts_rows import CountRow, SourceStop, StoreAwayError, StoreError, count_rows, release_id, rows_hash
from pipelines.counts_store import CountsStore
from pipelines.try_again import TryAgainError
from schemas.counts import ReleasedRow, WindowKey
from tests.support.counts_sample import KEY, OTHER, ROWS, TABLE, many_rows

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.engine
KINDS = ("sqlite", "parquet", "postgresql", "bigquery")


@dataclass
class Place:
    """Where a store of one kind lies.

    Attributes:
      plant: puts a row of `TABLE`'s release there behind the store's back.
      full: while it holds, there is no more room; None where room has no end.
    """

    address: Path | str
    plant: Callable[[CountRow], None]
    full: Callable[[CountsStore], ContextManager[None]] | None

    def open(self, *, create: bool = False) -> CountsStore:
        return open_counts(self.address, create=create)


def _sqlite(tmp_path: Path) -> Place:
    path = tmp_path / "counts.db"

    def plant(row: CountRow) -> None:
        with sqlite3.connect(path) as db:
            db.execute(f"INSERT INTO released_counts VALUES({', '.join('?' * 12)})", astuple(row))
        db.close()

    @contextmanager
    def full(store: Any) -> Iterator[None]:
        db = store._database._db
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        db.execute(f"PRAGMA max_page_count = {pages + 2}")
        yield
        db.execute("PRAGMA max_page_count = 1000000")

    return Place(path, plant, full)


def _parquet(tmp_path: Path) -> Place:
    path = tmp_path / "counts"

    def plant(row: CountRow) -> None:
        (path / "released_counts").mkdir(exist_ok=True)
        table = pa.Table.from_pylist([row.__dict__])
        pq.write_table(table, path / "released_counts" / f"{row.release_id}.parquet")

    @contextmanager
    def full(store: Any) -> Iterator[None]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        yield
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return Place(f"parquet:{path}", plant, full)


def _postgresql(server: Any, database: str, tmp_path: Path) -> Place:
    def plant(row: CountRow) -> None:
        with server.connect(database) as db:
            db.execute(f"INSERT INTO released_counts VALUES({', '.join(['%s'] * 12)})", astuple(row))

    @contextmanager
    def full(store: Any) -> Iterator[None]:
        with server.connect(database) as db:
            db.execute(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'no room for %', NEW.cell USING ERRCODE = 'disk_full'; END $$"
            )
            db.execute(
                "CREATE TRIGGER full_disk BEFORE INSERT ON released_counts FOR EACH ROW "
                "WHEN (NEW.cell LIKE '%B03000%') EXECUTE FUNCTION full_disk()"
            )
            yield
            db.execute("DROP FUNCTION full_disk CASCADE")

    return Place(server.address(database), plant, full)


def _bigquery(server: Any, address: str) -> Place:
    def plant(row: CountRow) -> None:
        found = server.client.get_table(f"{address.removeprefix('bigquery:')}.released_counts")
        assert server.client.insert_rows_json(found, [row.__dict__]) == []

    return Place(address, plant, None)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "sqlite":
        return _sqlite(tmp_path)
    if request.param == "parquet":
        return _parquet(tmp_path)
    if request.param == "bigquery":
        return _bigquery(request.getfixturevalue("bigquery_server"), request.getfixturevalue("bigquery_dataset"))
    server = request.getfixturevalue("postgres")
    return _postgresql(server, request.getfixturevalue("postgres_database"), tmp_path)


@pytest.fixture
def store(place: Place) -> Iterator[CountsStore]:
    with place.open(create=True) as opened:
        yield opened


def _seal(store: CountsStore, table=TABLE) -> None:
    store.begin(table, "complete", "", backfill=False)
    assert store.publish(table) == "sealed"


def _state(store: CountsStore) -> str:
    return store.ledger("example")[KEY.table, KEY.start].state


def _all(store: CountsStore) -> tuple[object, ...]:
    return list(store.rows()), store.ledger("example"), store.receipts("example"), store.verifications("example")


def test_a_published_window_can_be_read_back_with_its_ledger_row(place: Place, store: CountsStore) -> None:
    assert store.begin(TABLE, "partial-declared", "until 2026-03-30", backfill=True) == "sealing"
    assert store.publish(TABLE) == "sealed"
    with place.open() as other:
        rows = list(other.rows())
        entry = other.ledger("example")[KEY.table, KEY.start]
        assert other.ledger("another") == {}
    assert rows == count_rows(TABLE)
    assert {row.release_id for row in rows} == {release_id("example", KEY.table, KEY.start, 0)}
    assert (entry.state, entry.completeness, entry.reason) == ("sealed", "partial-declared", "until 2026-03-30")
    assert (entry.cells, entry.rows_hash, entry.backfill) == (3, rows_hash(TABLE), True)
    assert (entry.charge, entry.policy_hash, entry.window_end) == (0.5, "ab" * 16, "2026-04-01")


def test_publishing_the_same_window_twice_changes_nothing(place: Place, store: CountsStore) -> None:
    _seal(store)
    before = _all(store)
    assert store.begin(TABLE, "complete", "", backfill=False) == "sealed"
    assert store.publish(TABLE) == "sealed"
    with place.open() as other:
        assert other.publish(TABLE) == "sealed"
        assert _all(other) == _all(store) == before


def test_a_second_value_never_overwrites_and_says_differs(store: CountsStore) -> None:
    _seal(store)
    before = _all(store)
    assert store.begin(OTHER, "complete", "", backfill=False) == "sealed"
    assert store.publish(OTHER) == "differs"
    assert _all(store) == before


def test_other_rows_than_those_begun_are_not_published(store: CountsStore) -> None:
    store.begin(TABLE, "complete", "", backfill=False)
    assert store.publish(OTHER) == "differs"
    assert list(store.rows()) == []
    assert _state(store) == "sealing"


@pytest.mark.parametrize(
    "row",
    [replace(ROWS[0], value=99), ReleasedRow('{"branch":"B99"}', "patrons", 99, "published", "geometric2/k11")],
    ids=["another value", "a cell the release lacks"],
)
def test_a_foreign_row_in_the_store_stops_the_whole_release(place: Place, store: CountsStore, row: ReleasedRow) -> None:
    store.begin(TABLE, "complete", "", backfill=False)
    place.plant(count_rows(replace(TABLE, rows=(row,)))[0])
    before = list(store.rows())
    assert store.publish(TABLE) == "differs"
    assert list(store.rows()) == before
    assert _state(store) == "sealing"


def test_a_part_of_the_release_in_the_store_is_completed(place: Place, store: CountsStore) -> None:
    store.begin(TABLE, "complete", "", backfill=False)
    place.plant(count_rows(TABLE)[1])
    assert store.publish(TABLE) == "sealed"
    assert list(store.rows()) == count_rows(TABLE)


@pytest.mark.parametrize(("step", "label"), [("begin", "ledger-begun"), ("publish", "rows-inserted")])
def test_what_a_killed_writer_left_is_finished_by_the_next(
    place: Place, store: CountsStore, step: str, label: str
) -> None:
    command = [sys.executable, "-m", "tests.support.counts_sample", str(place.address), step]
    killed = subprocess.run(command, cwd=ROOT, env=os.environ | {"CARREL_CRASH_AT": label}, check=False, timeout=120)
    assert killed.returncode == (0 if step == "begin" else -signal.SIGKILL)
    assert list(store.rows()) == []
    assert _state(store) == "sealing"
    assert store.publish(OTHER) == "differs"
    assert store.publish(TABLE) == "sealed"
    assert list(store.rows()) == count_rows(TABLE)


def test_of_two_writers_at_once_the_first_wins_and_the_other_is_told(place: Place, store: CountsStore) -> None:
    told: dict[int, list[str]] = {0: [], 1: []}
    together = threading.Barrier(2)
    keys = [WindowKey("circ_system_day", f"2026-03-{day:02}", f"2026-03-{day + 1:02}") for day in range(1, 9)]
    rows = [many_rows(20, value=value) for value in (100, 200)]

    def write(writer: int) -> None:
        with place.open() as mine:
            for key in keys:
                table = replace(TABLE, key=key, rows=rows[writer])
                together.wait(timeout=60)
                mine.begin(table, "complete", "", backfill=False)
                told[writer].append(mine.publish(table))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in told]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert [set(both) for both in zip(told[0], told[1], strict=True)] == [{"sealed", "differs"}] * len(keys)
    winners = [0 if said == "sealed" else 1 for said in told[0]]
    expected = [
        row for key, winner in zip(keys, winners, strict=True)
        for row in count_rows(replace(TABLE, key=key, rows=rows[winner]))
    ]  # fmt: skip
    assert list(store.rows()) == expected


def test_a_reader_sees_whole_releases_or_nothing(place: Place, store: CountsStore) -> None:
    keys = [WindowKey("circ_system_day", f"2026-03-{day:02}", f"2026-03-{day + 1:02}") for day in range(1, 7)]
    is_done = threading.Event()
    seen: list[dict[str, int]] = []

    def read() -> None:
        with place.open() as mine:
            while not is_done.is_set():
                sizes: dict[str, int] = {}
                for row in mine.rows():
                    sizes[row.window_start] = sizes.get(row.window_start, 0) + 1
                seen.append(sizes)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for key in keys:
            before = len(seen)
            _seal(store, replace(TABLE, key=key, rows=many_rows(700)))
            while len(seen) < before + 2 and reader.is_alive():
                is_done.wait(0.001)
    finally:
        is_done.set()
        reader.join(timeout=60)
    assert {size for sizes in seen for size in sizes.values()} == {700}
    assert len(seen[-1]) >= len(keys) - 1


def test_a_full_disk_publishes_nothing_and_says_so_in_one_line(place: Place, store: CountsStore) -> None:
    if place.full is None:
        pytest.skip("a dataset has no end")
    table = replace(TABLE, rows=many_rows(5000))
    store.begin(table, "complete", "", backfill=False)
    with place.full(store), pytest.raises(StoreError, match="disk is full") as raised:
        store.publish(table)
    assert "\n" not in str(raised.value)
    assert "B0" not in str(raised.value)
    assert list(store.rows()) == []
    assert _state(store) == "sealing"
    assert store.publish(table) == "sealed"
    assert len(list(store.rows())) == 5000


def test_publishing_without_begin_is_an_error(store: CountsStore) -> None:
    with pytest.raises(StoreError, match="begun"):
        store.publish(TABLE)


def test_a_number_named_twice_is_refused(store: CountsStore) -> None:
    with pytest.raises(StoreError, match="twice"):
        store.begin(replace(TABLE, rows=(*ROWS, ROWS[0])), "complete", "", backfill=False)
    assert store.ledger("example") == {}


@pytest.mark.parametrize(
    "row", [replace(ROWS[1], value=4), replace(ROWS[0], value=None), replace(ROWS[0], status="secret")]
)
def test_a_row_that_breaks_the_rules_cannot_be_stored(store: CountsStore, row: ReleasedRow) -> None:
    bad = replace(TABLE, rows=(row, replace(ROWS[0], cell="{}")))
    store.begin(bad, "complete", "", backfill=False)
    with pytest.raises(StoreError, match="breaks its rules") as raised:
        store.publish(bad)
    assert "branch" not in str(raised.value)
    assert list(store.rows()) == []


def test_a_void_window_stays_void_and_publishes_nothing(store: CountsStore) -> None:
    store.void("example", "circulation", KEY, "ab" * 16, "gap in source ils")
    store.void("example", "circulation", KEY, "cd" * 16, "another reason")
    assert store.begin(TABLE, "complete", "", backfill=False) == "void"
    assert store.publish(TABLE) == "differs"
    assert list(store.rows()) == []
    entry = store.ledger("example")[KEY.table, KEY.start]
    assert (entry.state, entry.completeness, entry.reason) == ("void", "void", "gap in source ils")


def test_a_window_void_only_by_default_gives_way_to_a_better_start(store: CountsStore) -> None:
    store.void("example", "circulation", KEY, "ab" * 16, "default complete_from of source ils")
    _seal(store)
    assert _state(store) == "sealed"


def test_a_sealed_window_cannot_be_made_void(store: CountsStore) -> None:
    _seal(store)
    store.void("example", "circulation", KEY, "ab" * 16, "gap")
    assert _state(store) == "sealed"


def test_only_sealed_windows_pin_a_policy(store: CountsStore) -> None:
    where = ("example", "circulation", KEY.start, KEY.end)
    store.begin(TABLE, "complete", "", backfill=False)
    assert store.pinned_policy(*where) == set()
    store.publish(TABLE)
    assert store.pinned_policy(*where) == {"ab" * 16}
    assert store.pinned_policy("example", "patron", KEY.start, KEY.end) == set()
    assert store.pinned_policy("example", "circulation", KEY.start, "2026-03-02") == set()


def test_verifications_are_a_log_and_a_receipt_is_kept_once(place: Place, store: CountsStore) -> None:
    for verdict in ("match", "differs", "match"):
        store.record_verification("example", KEY.table, KEY.start, 0, verdict, "2026-05-02")
        store.record_receipt("example", "token", "2026-03", "released", "2026-04-10")
    with place.open() as other:
        other.record_receipt("example", "token", "2026-03", "released", "2026-04-10")
        assert [seen.verdict for seen in other.verifications("example")] == ["match", "differs", "match"]
    assert [receipt.why for receipt in store.receipts("example")] == ["released"]
    assert store.receipts("another") == store.verifications("another") == ()


def test_what_was_said_of_sources_is_a_log_of_each_tenant(place: Place, store: CountsStore) -> None:
    said = [
        SourceStop("example", "folio", "not_json", 0, "2026-05-02"),
        SourceStop("another", "folio", "bad_time", 0, "2026-05-02"),
        SourceStop("example", "folio", "", 1_777_000_000_000, "2026-05-03"),
        SourceStop("example", "folio", "not_json", 0, "2026-05-03"),
    ]
    assert store.stops("example") == ()
    for stop in said[:2]:
        store.record_stop(stop)
    with place.open() as other:
        for stop in said[2:]:
            other.record_stop(stop)
    assert store.stops("example") == (said[0], *said[2:])
    assert store.stops("another") == (said[1],)


@pytest.mark.parametrize("day", ["2026-3-1", "20260301", "2026-02-30", "today"])
def test_days_are_iso_days(store: CountsStore, day: str) -> None:
    with pytest.raises(StoreError, match="YYYY-MM-DD"):
        store.record_receipt("example", "token", "2026-03", "released", day)
    with pytest.raises(StoreError, match="YYYY-MM-DD"):
        store.record_verification("example", KEY.table, KEY.start, 0, "match", day)
    with pytest.raises(StoreError, match="YYYY-MM-DD"):
        store.record_stop(SourceStop("example", "folio", "not_json", 0, day))


def test_the_store_id_is_made_once_and_a_store_only_when_asked(place: Place) -> None:
    with pytest.raises(StoreError) as raised:
        place.open()
    assert "\n" not in str(raised.value)
    with place.open(create=True) as made, place.open() as again, place.open(create=True) as third:
        assert made.store_id == again.store_id == third.store_id
        assert len(made.store_id) == 32


def test_all_stores_hold_the_same_and_in_the_same_order_as_sqlite(store: CountsStore, tmp_path: Path) -> None:
    cells = (
        '{"branch":"B01"}',
        '{"branch":"b01"}',
        '{"branch":"É"}',
        '{"branch":"ß"}',
        '{"branch":"𝔅"}',
        '{"a":"_"}',
        "{}",
    )
    rows = tuple(
        ReleasedRow(cell, measure, value, status, "plain/k11")
        for cell in cells
        for measure, value, status in (("patrons", 2**40, "published"), ("acts", None, "withheld"))
    )
    tables = [
        replace(TABLE, tenant=tenant, key=WindowKey(name, f"2026-{month}-01", "2026-05-01"), rows=rows, charge=0.1)
        for tenant in ("example", "Example")
        for name in ("b", "a_b", "a")
        for month in ("04", "03")
    ]
    with open_counts(tmp_path / "reference.db", create=True) as reference:
        for one in (reference, store):
            for table in tables:
                _seal(one, table)
            one.void("example", "circulation", replace(KEY, table="ab"), "ab" * 16, "gap")
            for purpose, why in (("token", "released"), ("noise", "released"), ("token", "by hand"), ("token", "Z")):
                one.record_receipt("example", purpose, "2026-03", why, "2026-04-10")
        assert _all(store) == _all(reference)
        for asked in ({"table": "a"}, {"month": "2026-03"}, {"table": "a", "month": "2026-04"}, {"table": "none"}):
            assert list(store.rows(**asked)) == list(reference.rows(**asked))


# What only some of them can meet.


def test_a_server_that_went_away_is_one_line_and_comes_back(postgres, postgres_database) -> None:
    with open_counts(postgres.address(postgres_database), create=True) as store:
        _seal(store)
        before = _all(store)
        postgres.kill()
        try:
            for call in (lambda: list(store.rows()), lambda: store.publish(TABLE)):
                with pytest.raises(StoreAwayError, match=r"cannot be reached") as raised:
                    call()
                assert "\n" not in str(raised.value)
        finally:
            postgres.start()
        assert _all(store) == before
        assert store.publish(TABLE) == "sealed"


def test_a_server_that_comes_back_with_another_store_is_refused(postgres, postgres_database) -> None:
    with open_counts(postgres.address(postgres_database), create=True) as store:
        with postgres.connect(postgres_database) as db:
            db.execute("UPDATE store_meta SET value = repeat('0', 32) WHERE key = 'store_id'")
            db.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'carrel'")
        with pytest.raises(StoreError, match="another counts store"):
            store.ledger("example")


def test_a_writer_that_stands_still_is_let_go_of_and_writes_nothing(postgres, postgres_database, monkeypatch) -> None:
    from pipelines import counts_postgres

    address = postgres.address(postgres_database)
    with open_counts(address, create=True) as zombie, open_counts(address) as other:
        zombie.begin(TABLE, "complete", "", backfill=False)
        monkeypatch.setattr(counts_postgres, "_BEGIN", tuple(s.replace("20s", "300ms") for s in counts_postgres._BEGIN))

        def stand_still() -> None:
            with zombie._database.transaction() as session:
                session.write("UPDATE release_ledger SET state = 'void' WHERE tenant = ?", [("example",)])
                assert other.publish(TABLE) == "sealed"  # waits for the lock until the server has let go
                session.write("UPDATE release_ledger SET state = 'void' WHERE tenant = ?", [("example",)])

        with pytest.raises(StoreAwayError, match="stood still"):
            stand_still()
        assert _state(other) == "sealed"
        assert zombie.publish(TABLE) == "sealed"


def test_roles_may_do_what_the_documentation_grants_and_nothing_else(postgres, postgres_database) -> None:
    said = (ROOT / "docs" / "stores.md").read_text()
    writer, reader = f"writer_{postgres_database}", f"reader_{postgres_database}"
    grants = said.partition("```sql\n")[2].partition("```")[0]
    for name, own in (
        ("DATABASE library", f"DATABASE {postgres_database}"),
        ("carrel_writer", writer),
        ("carrel_reader", reader),
    ):
        assert name in grants
        grants = grants.replace(name, own)
    with postgres.connect(postgres_database) as db:
        for statement in (f"CREATE ROLE {writer} LOGIN", f"CREATE ROLE {reader} LOGIN"):
            db.execute(statement)
        try:
            open_counts(postgres.address(postgres_database), create=True).close()
            for statement in filter(str.strip, grants.split(";")):
                if "CREATE " not in statement:
                    db.execute(statement)
            with (
                open_counts(postgres.address(postgres_database, writer)) as writing,
                open_counts(postgres.address(postgres_database, reader)) as reading,
            ):
                _seal(writing)
                writing.record_receipt("example", "token", "2026-03", "released", "2026-04-10")
                writing.record_verification("example", KEY.table, KEY.start, 0, "match", "2026-05-02")
                writing.record_stop(SourceStop("example", "folio", "not_json", 0, "2026-05-02"))
                assert len(reading.stops("example")) == 1
                assert list(reading.rows()) == count_rows(TABLE)
                assert list(reading.ledger("example")) == [(KEY.table, KEY.start)]
                with pytest.raises(StoreError, match="grant"):
                    reading.void("example", "circulation", replace(KEY, table="x"), "", "gap")
            with postgres.connect(postgres_database, writer) as mine:
                for forbidden in (
                    "DELETE FROM released_counts",
                    "UPDATE released_counts SET value = 1",
                    "DELETE FROM release_ledger",
                ):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        mine.execute(forbidden)
        finally:
            db.execute(f"DROP OWNED BY {writer}, {reader}")
            db.execute(f"DROP ROLE {writer}, {reader}")


def _raised(address: str) -> StoreError:
    with pytest.raises(StoreError) as raised:
        open_counts(address)
    assert "\n" not in str(raised.value)
    return raised.value


def _refused(address: str) -> str:
    """Time mends nothing: the command ends with 2."""
    error = _raised(address)
    assert not isinstance(error, TryAgainError)
    return str(error)


def _away(address: str) -> str:
    """The command ends with 75, and a service manager starts it again."""
    error = _raised(address)
    assert isinstance(error, TryAgainError)
    return str(error)


def test_a_server_without_a_session_left_is_to_be_tried_again(postgres, postgres_database, request) -> None:
    role = f"one_{postgres_database}"
    with postgres.connect(postgres_database) as db:
        db.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1")
        request.addfinalizer(lambda: postgres.connect(postgres_database).execute(f"DROP ROLE {role}"))
        with postgres.connect(postgres_database, role):
            assert "no session left" in _away(postgres.address(postgres_database, role))


def test_a_server_that_is_starting_is_to_be_tried_again(monkeypatch) -> None:
    monkeypatch.setattr(postgres_session, "PGconn", SimpleNamespace(ping=lambda _: Ping.REJECT))

    assert "is starting or stopping" in _away("postgresql://carrel@127.0.0.1:1/library")


def test_an_answer_that_tells_of_a_busy_service_is_to_be_tried_again(bigquery_dataset, monkeypatch) -> None:
    for error, kind in (
        (exceptions.ServiceUnavailable("CANARYSMITH"), StoreAwayError),
        (exceptions.TooManyRequests("CANARYSMITH"), StoreAwayError),
        (exceptions.Forbidden("CANARYSMITH"), StoreError),
        (auth_errors.TransportError("CANARYSMITH"), StoreAwayError),
        (auth_errors.RefreshError("CANARYSMITH"), StoreError),
        (auth_errors.RefreshError("CANARYSMITH", retryable=True), StoreAwayError),
    ):
        with monkeypatch.context() as patched:
            patched.setattr("google.cloud.bigquery.Client.query", Mock(side_effect=error))
            raised = _raised(bigquery_dataset)
        assert type(raised) is kind
        assert "CANARY" not in str(raised)


def test_a_server_that_refuses_is_one_line_that_says_what_to_do(postgres, postgres_database, monkeypatch) -> None:
    signed = postgres.address(postgres_database, "signed")
    assert "wants a password" in _refused(signed)
    monkeypatch.setenv("PGPASSWORD", "wrong")
    assert "refuses this user or password" in _refused(signed)
    monkeypatch.setenv("PGPASSWORD", "right-horse-battery")
    assert "no counts store" in _refused(signed)
    assert "refuses this user or database" in _refused(postgres.address("nowhere"))
    assert "cannot be reached" in _away("postgresql://carrel@127.0.0.1:1/library")
    assert "cannot be used" in _refused("postgresql://carrel@127.0.0.1/library?nonsense=1")


def test_a_dataset_that_cannot_be_used_is_one_line(bigquery_dataset, monkeypatch) -> None:
    from pipelines import counts_bigquery

    assert "`carrel init --counts-store`" in _refused(bigquery_dataset)
    assert "no such project, dataset or table" in _refused("bigquery:carrel-tests.nowhere")
    monkeypatch.setattr(counts_bigquery, "_SECONDS", 1.0)
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:1")
    assert "cannot be reached" in _away(bigquery_dataset)
    monkeypatch.delenv("BIGQUERY_EMULATOR_HOST")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere")
    assert "no credentials" in _refused(bigquery_dataset)


def test_a_second_writer_of_a_folder_waits_then_says_so_while_readers_go_on(tmp_path: Path, monkeypatch) -> None:
    from pipelines import counts_directory

    monkeypatch.setattr(counts_directory, "_BUSY_SECONDS", 0.1)
    address = f"parquet:{tmp_path}/counts"
    with open_counts(address, create=True) as first, open_counts(address) as second:
        _seal(first)
        with first._directory.writing():
            with pytest.raises(StoreAwayError, match="another process holds it"):
                second.void("example", "circulation", replace(KEY, table="other"), "", "gap")
            assert list(second.rows()) == count_rows(TABLE)
        assert len(second.ledger("example")) == 1


def test_a_second_writer_of_a_database_waits_then_says_so_while_readers_go_on(
    postgres, postgres_database, monkeypatch
) -> None:
    from pipelines import counts_postgres

    monkeypatch.setattr(counts_postgres, "_BEGIN", tuple(s.replace("30s", "100ms") for s in counts_postgres._BEGIN))
    address = postgres.address(postgres_database)
    with open_counts(address, create=True) as first, open_counts(address) as second:
        _seal(first)
        with first._database.transaction():
            with pytest.raises(StoreAwayError, match="another process holds it"):
                second.void("example", "circulation", replace(KEY, table="other"), "", "gap")
            assert list(second.rows()) == count_rows(TABLE)
        assert len(second.ledger("example")) == 1


def test_a_folder_that_is_no_store_is_one_line(tmp_path: Path) -> None:
    assert "no counts store" in _refused(f"parquet:{tmp_path}")
    (tmp_path / "something").write_text("x")
    with pytest.raises(StoreError, match="another kind"):
        open_counts(f"parquet:{tmp_path}", create=True)
    with pytest.raises(StoreError, match="not a folder"):
        open_counts(f"parquet:{tmp_path}/something", create=True)
    with pytest.raises(StoreError, match="missing"):
        open_counts(f"parquet:{tmp_path}/no/where", create=True)


def test_a_torn_line_of_a_log_was_never_written(tmp_path: Path) -> None:
    address = f"parquet:{tmp_path}/counts"
    with open_counts(address, create=True) as store:
        _seal(store)
        before = _all(store)
        ledger = tmp_path / "counts" / "release_ledger.jsonl"
        with ledger.open("a") as file:
            file.write('{"tenant":"example","table_na')
        assert _all(store) == before
    with open_counts(address) as again:
        assert _all(again) == before
        again.void("example", "circulation", replace(KEY, table="other"), "", "gap")
    with open_counts(address) as third:
        assert len(third.ledger("example")) == 2
    with ledger.open("a") as file:
        file.write("{}\n")
    with open_counts(address) as fourth, pytest.raises(StoreError, match="corrupt"):
        fourth.ledger("example")


def test_a_failed_append_leaves_the_log_as_it_was(tmp_path: Path, monkeypatch) -> None:
    with open_counts(f"parquet:{tmp_path}/counts", create=True) as store:
        _seal(store)
        before = (tmp_path / "counts" / "release_ledger.jsonl").read_bytes()

        def fails(handle: int) -> None:
            raise OSError(errno.ENOSPC, "no room")

        monkeypatch.setattr(os, "fsync", fails)
        with pytest.raises(StoreError, match="disk is full"):
            store.begin(replace(TABLE, key=replace(KEY, table="other")), "complete", "", backfill=False)
        assert (tmp_path / "counts" / "release_ledger.jsonl").read_bytes() == before
