"""What every work store promises, held to each of them: a batch is kept whole or not at all, by one writer."""

import multiprocessing
import os
import random
import resource
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import pytest

from pipelines.crash_points import crash_point
from pipelines.work_store import WorkStore
from pipelines.work_values import (
    OPEN,
    VERIFY,
    Clock,
    HeldByAnotherError,
    PendingSeal,
    Position,
    ServerAwayError,
    WorkStoreError,
)
from schemas.chunks import ArrivalSpan
from schemas.counts import ReleasedRow, ReleasedTable, SealedTally, WindowKey
from schemas.rejects import SealedReject
from tests.support.postgres_server import PASSWORD, SIGNED

pytestmark = pytest.mark.engine
SOURCES = ("folio", "carrel-event", "Carrel_event")  # languages disagree on their order
KEYS = tuple(WindowKey(table, f"2026-0{month}-01", f"2026-0{month + 1}-01") for table in ("a_b", "a-b", "B") for month in (2, 3))  # fmt: skip
FORK = multiprocessing.get_context("fork")


@dataclass
class Place:
    """Where a store of one kind lies.

    Attributes:
      unlock: takes the lock from a store of this process that goes on.
      evict: takes it from whoever has it, as a fault outside would.
    """

    address: Path | str
    unlock: Callable[[WorkStore], object]
    evict: Callable[[], object]

    def open(self, *, read_only: bool = False) -> WorkStore:
        return WorkStore(self.address, read_only=read_only)


def _postgres(server, name: str) -> Place:
    def evict() -> None:
        with server.connect() as session:
            session.execute("SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE datname = %s", (name,))

    return Place(server.address(name), lambda store: store._database.rows("SELECT pg_advisory_unlock_all()"), evict)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    if request.param == "sqlite":
        lock = tmp_path / "work.lock"
        return Place(tmp_path / "work.db", lambda store: lock.unlink(), lock.unlink)
    return _postgres(request.getfixturevalue("postgres"), request.getfixturevalue("postgres_database"))


@pytest.fixture
def there(postgres, postgres_database):
    """A place in PostgreSQL."""
    return _postgres(postgres, postgres_database)


def batch(store, number):
    """What the loop does in one transaction."""
    with store.transaction() as transaction:
        transaction.append({KEYS[0]: OPEN}, [SealedTally(KEYS[0], number, b"\0tally %d" % number)])
        crash_point("tallies-appended")
        transaction.widen(OPEN, ArrivalSpan("folio", number, number, number))
        transaction.count(OPEN, {("folio", "messages"): number})
        transaction.keep_rejects(f"batch {number}", "2026-03-01", [reject(number)])
        transaction.advance("folio", Position("log", number, b"\xff\0", done=False, clock=number))
        transaction.set_clock(OPEN, "folio", number)
        crash_point("positions-advanced")
    crash_point("batch-committed")


def reject(number, seen=None):
    return SealedReject("folio", "not_json", b"{}", b"\0sealed %d" % number, seen or b"seen %d" % number)


def seal(key, *, value=57):
    rows = (ReleasedRow('{"branch":"B01"}', "patrons", value, "published", "k11"),)
    table = ReleasedTable("example", "circulation", key, "America/New_York", 0, "ab" * 16, "k11", 0.5, rows)
    return PendingSeal(table, "complete", "", backfill=value == 57)


def answers(store):
    """All that a store says."""
    return {
        "windows": [list(store.windows(lane).items()) for lane in (OPEN, VERIFY)],
        "blobs": [list(store.blobs(lane, key)) for lane in (OPEN, VERIFY) for key in KEYS],
        "positions": [store.positions(source) for source in SOURCES],
        "clocks": [store.clock(lane, source) for lane in (OPEN, VERIFY) for source in SOURCES],
        "proofs": [store.proofs(source) for source in SOURCES],
        "gaps": [store.gaps(source) for source in SOURCES],
        "seals": store.pending_seals(),
        "rejects": list(store.pending_rejects().items()),
        "totals": [list(store.totals(lane).items()) for lane in (OPEN, VERIFY)],
        "values": [store.value(name) for name in ("run", "released/2026-03", "absent")],
    }


def kept(place):
    with place.open(read_only=True) as store:
        return answers(store)


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


# The same operations, the same answers.


def something(transaction, rng):
    """One change, drawn; its arguments are few, so that it often meets what is there."""
    lane, source, key = rng.choice((OPEN, VERIFY)), rng.choice(SOURCES), rng.choice(KEYS)
    part, at = rng.choice(("log", "log-2", "Log")), rng.randrange(1 << 41)
    none_or = [None, "2026-01-01", "2026-02-01"]
    choices = (
        lambda: transaction.append({key: lane}, [SealedTally(key, at % 5, rng.randbytes(at % 300))]),
        lambda: transaction.append({}, []),
        lambda: transaction.drop_window(lane, key),
        lambda: transaction.advance(source, Position(part, at, rng.randbytes(8), at % 2 == 0, rng.choice((None, at)))),
        lambda: transaction.forget_positions(source, rng.sample(("log", "log-2"), at % 3)),
        lambda: transaction.widen(lane, ArrivalSpan(source, at, at + 9, at - 9)),
        lambda: transaction.set_clock(lane, source, at),
        lambda: transaction.declare(lane, source, since=rng.choice(none_or), through=rng.choice(none_or)),
        lambda: transaction.prove(source, part, at),
        lambda: transaction.note_gap(source, part, at % 7, at % 7 + 1),
        lambda: transaction.count(lane, {(source, "messages"): at, (source, "Rejected/x"): 1}),
        lambda: transaction.keep_rejects(f"b{at % 3}", "2026-03-01", [reject(at, b"%d" % (at % 9)), reject(at, b"0")]),
        lambda: transaction.rejects_written(f"b{at % 3}"),
        lambda: transaction.freeze(seal(key, value=at)),
        lambda: transaction.unfreeze(key),
        lambda: transaction.set_value("released/2026-03", rng.choice((None, "ä'\"%?\\", str(at)))),
        lambda: transaction.set_value("run", '{"plan": []}'),
    )
    (choices[-1] if rng.random() < 0.01 else rng.choice(choices))()
    if rng.random() < 0.005:
        transaction.drop_lane(lane)


class UndoneError(Exception):
    """The batch is given up."""


def given_up_at_times(rng):
    if rng.random() < 0.3:
        raise UndoneError


def drawn(store, seed):
    """A store's answers after each of some transactions, some of them given up."""
    rng, said = random.Random(seed), []
    for _ in range(25):
        with suppress(UndoneError), store.transaction() as transaction:
            for _ in range(20):
                something(transaction, rng)
            given_up_at_times(rng)
        said.append(answers(store))
    return said


@pytest.mark.parametrize("seed", range(4))
def test_both_give_the_same_answers_to_the_same_changes(tmp_path, there, seed):
    with WorkStore(tmp_path / "work.db") as one, there.open() as other:
        expected = drawn(one, seed)

        assert drawn(other, seed) == expected
    assert all(any(said[name] for said in expected) for name in expected[0])


def test_texts_sort_by_code_point_whatever_the_language_of_the_database(there, postgres):
    """Of the server of these tests it is no language at all: so the columns are asked."""
    with there.open():
        pass
    with postgres.connect(there.address.rpartition("/")[2]) as session:
        found = session.execute(
            "SELECT DISTINCT collation_schema, collation_name FROM information_schema.columns"
            " WHERE table_schema = 'carrel_work' AND data_type = 'text'"
        ).fetchall()

    assert found == [("pg_catalog", "C")]


def test_clocks_and_proofs_never_go_back_and_spans_only_widen(place):
    with place.open() as store:
        with store.transaction() as transaction:
            transaction.widen(OPEN, ArrivalSpan("folio", 50, 60, 70))
            transaction.widen(OPEN, ArrivalSpan("folio", 55, 65, 68))
            transaction.widen(OPEN, ArrivalSpan("folio", 40, 45, 80))
            for instant in (7, 9, 8):
                transaction.set_clock(OPEN, "folio", instant)
                transaction.prove("folio", "log", instant)
            transaction.declare(OPEN, "folio", since="2026-01-01", through=None)
            transaction.declare(OPEN, "folio", since=None, through="2026-02-01")

        assert store.clock(OPEN, "folio") == Clock(40, 65, 80, 9, "2026-01-01", "2026-02-01")
        assert store.proofs("folio") == {"log": 9}


# One transaction.


def failing(store, fault):
    with store.transaction() as transaction:
        transaction.append({KEYS[1]: OPEN}, [SealedTally(KEYS[1], 1, b"x")])
        transaction.advance("folio", Position("log", 99, b"", done=True))
        raise fault


def moving(store, last, *, also=b""):
    """One transaction that moves on, keeps a tally and ends with what a test does there."""
    with store.transaction() as transaction:
        transaction.advance("folio", Position("log", 99, b"", done=False))
        transaction.append({KEYS[0]: OPEN}, [SealedTally(KEYS[0], 1, also)])
        last(transaction)


@pytest.mark.parametrize("fault", [UndoneError, KeyboardInterrupt, WorkStoreError])
def test_a_batch_that_ends_badly_leaves_nothing(place, fault):
    with place.open() as store:
        batch(store, 1)
        before = answers(store)
        with pytest.raises(fault):
            failing(store, fault)

        assert answers(store) == before
        batch(store, 2)  # and the store goes on
    assert kept(place)["positions"][0]["log"].next == 2


def test_a_part_that_failed_is_not_left_out_by_who_goes_on(place):
    """A batch without it would be committed otherwise."""

    def last(transaction):
        with pytest.raises(WorkStoreError, match=r"nothing of (this batch|it) was kept"):
            transaction.append({KEYS[0]: OPEN}, [SealedTally(KEYS[0], 1, None)])

    with place.open() as store:
        batch(store, 1)
        before = answers(store)
        with pytest.raises(WorkStoreError, match="a part of this batch failed"):
            moving(store, last)

        assert answers(store) == before
        batch(store, 2)


def in_a_child(work):
    """Do it in a process of its own, which shares this one's modules; gives its exit code."""
    child = FORK.Process(target=work, daemon=True)
    child.start()
    child.join(60)
    assert child.exitcode is not None
    return child.exitcode


@pytest.mark.parametrize(("label", "number"), [("tallies-appended", 1), ("positions-advanced", 1), ("batch-committed", 2)])  # fmt: skip
def test_killed_at_a_labelled_point_a_batch_is_there_whole_or_not_at_all(place, monkeypatch, label, number):
    with place.open() as store:
        batch(store, 1)
        after_one = answers(store)
    monkeypatch.setenv("CARREL_CRASH_AT", label)

    def work():
        with place.open() as store:
            batch(store, 2)

    assert in_a_child(work) == -signal.SIGKILL
    monkeypatch.delenv("CARREL_CRASH_AT")

    assert kept(place)["positions"][0]["log"].next == number  # who only reads finds the same
    with place.open() as store:  # at once: nobody waits for the dead one
        assert store.positions("folio")["log"].next == number
        assert (answers(store) == after_one) == (number == 1)
        batch(store, 3)
        assert sum(store.windows(OPEN).values()) == (4 if number == 1 else 6)


def test_a_message_refused_again_makes_no_second_letter(place):
    with place.open() as store:
        for name in ("first", "second"):
            with store.transaction() as transaction:
                transaction.keep_rejects(name, "2026-03-01", [reject(1, b"same"), reject(1, b"same")])

        assert {name: len(found) for name, found in store.pending_rejects().items()} == {"first": 1}
        with store.transaction() as transaction:
            transaction.rejects_written("first")
            transaction.keep_rejects("third", "2026-03-02", [reject(1, b"same")])
        assert store.pending_rejects() == {}


def test_tidied_it_stays_small_and_says_the_same_sums(place):
    def size():
        return [store._database.rows(f"SELECT COUNT(*) FROM {table}")[0][0] for table in ("seen_rejects", "batches")]

    with place.open() as store:
        for number in range(1, 40):
            with store.transaction() as transaction:
                day = "2026-03-01" if number < 30 else "2026-03-02"
                transaction.keep_rejects(str(number), day, [reject(number)])
                transaction.count(OPEN, {("folio", "messages"): number, ("folio", "decoded"): 1})
                transaction.count(VERIFY, {("folio", "messages"): 1})
        before, pending = answers(store)["totals"], store.pending_rejects()

        for _ in range(2):
            with store.transaction() as transaction:
                transaction.tidy("2026-03-02")

        assert size() == [10, 3]
        assert answers(store)["totals"] == before
        assert store.pending_rejects() == pending
        with store.transaction() as transaction:
            transaction.keep_rejects("again", "2026-03-16", [reject(1), reject(39)])
            transaction.count(OPEN, {("folio", "decoded"): 1})
        assert len(store.pending_rejects()["again"]) == 1
        assert store.totals(OPEN)["folio", "decoded"] == 40


# One writer.


def test_a_second_instance_is_refused_and_does_no_harm(place, monkeypatch):
    monkeypatch.setattr("pipelines.work_postgres._PATIENCE", "100ms")
    with place.open() as first:
        with pytest.raises(HeldByAnotherError, match="another instance holds this store") as refused:
            place.open().__enter__()

        assert one_line(refused)
        batch(first, 1)
    with place.open() as second:
        assert second.epoch == first.epoch + 1


def test_who_lost_the_lock_commits_nothing_once_another_has_taken_over(place):
    with place.open() as zombie:
        batch(zombie, 1)
        place.unlock(zombie)
        with place.open() as second:
            batch(second, 2)
            with pytest.raises(HeldByAnotherError, match="took this store over") as fenced:
                batch(zombie, 3)

            assert one_line(fenced)
            batch(second, 4)
            assert second.positions("folio")["log"].next == 4


def test_a_process_that_stood_still_while_another_took_over_commits_nothing(place):
    reached, told = os.pipe()

    def work():
        with place.open() as store:
            batch(store, 1)
            os.write(told, b".")
            os.kill(os.getpid(), signal.SIGSTOP)
            try:
                batch(store, 2)
            except WorkStoreError:
                os._exit(7)

    zombie = FORK.Process(target=work, daemon=True)
    zombie.start()
    assert os.read(reached, 1) == b"."
    os.waitid(os.P_PID, zombie.pid, os.WSTOPPED)
    place.evict()
    with place.open() as second:
        batch(second, 3)
        os.kill(zombie.pid, signal.SIGCONT)
        zombie.join(60)

        assert zombie.exitcode == 7
        assert second.positions("folio")["log"].next == 3


def test_who_takes_over_waits_for_the_transaction_that_has_begun(there, postgres):
    """Else it would be committed after the other had read where to go on from."""
    seen = []

    def take_over():
        with there.open() as second:
            seen.append(second.positions("folio")["log"].next)

    other = threading.Thread(target=take_over, daemon=True)
    waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'carrel%'"
    with there.open() as first:
        with first.transaction() as transaction, postgres.connect() as session:
            there.unlock(first)
            transaction.advance("folio", Position("log", 1, b"", done=False))
            other.start()
            until = time.monotonic() + 20
            while session.execute(waiting).fetchone() == (0,):
                assert other.is_alive()
                assert time.monotonic() < until
                time.sleep(0.01)
        other.join(60)

    assert seen == [1]


# Who only reads.


def test_a_reader_beside_a_writer_sees_one_committed_moment_and_fences_nobody(place):
    with place.open() as writer:
        batch(writer, 1)
        with writer.transaction() as transaction:
            transaction.forget_positions("folio", ["log"])
            with place.open(read_only=True) as reader:
                assert reader.positions("folio")["log"].next == 1
                assert reader.value("epoch") == str(writer.epoch)
        with place.open(read_only=True) as reader:
            assert reader.positions("folio") == {}
            batch(writer, 2)
            assert reader.positions("folio") == {}

        assert kept(place)["positions"][0]["log"].next == 2


def test_a_reader_writes_nothing_and_keeps_nobody_out(place):
    with place.open() as writer:
        batch(writer, 1)
    with place.open(read_only=True) as reader, place.open() as writer:
        batch(writer, 2)
        with pytest.raises(WorkStoreError):
            batch(reader, 3)
    assert kept(place)["positions"][0]["log"].next == 2


def test_a_store_that_was_never_made_reads_as_empty_and_is_not_made(place, tmp_path, request):
    with place.open(read_only=True) as reader:
        said = answers(reader)

    assert not any(said[name] for name in ("seals", "rejects"))
    assert said["windows"] == said["totals"] == [[], []]
    assert said["values"] == [None, None, None]
    if isinstance(place.address, Path):
        assert list(tmp_path.iterdir()) == []
    else:
        name = place.address.rpartition("/")[2]
        with request.getfixturevalue("postgres").connect(name) as session:
            assert session.execute("SELECT to_regnamespace('carrel_work')").fetchone() == (None,)


# Faults: one line, and nothing half kept.


def test_a_full_disk_is_one_line_and_leaves_the_store_as_it_was(tmp_path):
    with WorkStore(tmp_path / "work.db") as store:
        batch(store, 1)
        before = answers(store)
        ((pages,),) = store._database.rows("PRAGMA page_count")
        store._database.rows(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(WorkStoreError, match="the disk is full") as full:
            moving(store, lambda _: None, also=bytes(1 << 20))

        assert "run again" in one_line(full)
        assert answers(store) == before
        store._database.rows(f"PRAGMA max_page_count = {pages + 1000}")
        batch(store, 2)


def test_a_full_disk_of_the_server_is_one_line_without_its_text(there, postgres):
    """Acted by a trigger, which quotes what was to be written, as a server's own words do."""
    with there.open() as store, postgres.connect(there.address.rpartition("/")[2]) as session:
        batch(store, 1)
        before = answers(store)
        session.execute(
            "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'no room for %', NEW.table_name USING ERRCODE = 'disk_full'; END $$"
        )
        session.execute(
            "CREATE TRIGGER full_disk BEFORE INSERT ON carrel_work.tallies FOR EACH ROW EXECUTE FUNCTION full_disk()"
        )
        with pytest.raises(WorkStoreError, match="the server's disk is full") as full:
            moving(store, lambda _: None)

        assert KEYS[0].table not in one_line(full)
        assert answers(store) == before
        session.execute("DROP FUNCTION full_disk CASCADE")
        batch(store, 2)


def test_a_disk_that_takes_no_more_is_one_line_and_leaves_the_store_as_it_was(tmp_path):
    """Met where the log is written, whose pages SQLite does not count."""
    with WorkStore(tmp_path / "work.db") as store:
        batch(store, 1)
    said = tmp_path / "said"

    def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with WorkStore(tmp_path / "work.db") as store:
            resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
            try:
                moving(store, lambda _: None, also=bytes(8 << 20))
            except WorkStoreError as error:
                said.write_text(str(error))

    assert in_a_child(work) == 0
    assert said.read_text().startswith("work.db: SQLite says SQLITE_IOERR")
    assert "\n" not in said.read_text()
    with WorkStore(tmp_path / "work.db") as store:
        assert store.positions("folio")["log"].next == 1
        batch(store, 2)


def test_a_server_that_ends_in_the_middle_costs_the_batch_whole(there, postgres):
    with there.open() as store:
        batch(store, 1)
        with pytest.raises(ServerAwayError, match="session with the server is lost") as lost:
            moving(store, lambda transaction: (postgres.stop(), transaction.set_clock(OPEN, "folio", 2)))
        with pytest.raises(ServerAwayError, match="session with the server is lost"):
            store.positions("folio")
        with pytest.raises(ServerAwayError, match="session with the server is lost"):
            batch(store, 3)
        with pytest.raises(ServerAwayError, match="cannot be reached") as away:
            there.open().__enter__()
    assert one_line(lost)
    assert one_line(away)

    postgres.start()
    with there.open() as store:
        assert store.positions("folio")["log"].next == 1
        batch(store, 2)


def test_a_session_that_is_lost_at_the_commit_says_that_nobody_knows(there):
    with there.open() as store:
        with pytest.raises(ServerAwayError, match="kept whole or not at all") as lost:
            moving(store, lambda _: there.evict())

        assert one_line(lost)


def test_a_server_that_forgets_commits_is_refused(there, postgres):
    name = there.address.rpartition("/")[2]
    with postgres.connect() as session:
        session.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")

    with pytest.raises(WorkStoreError, match="synchronous_commit is off") as refused:
        there.open().__enter__()

    assert one_line(refused)


def test_a_session_does_not_forget_commits_whatever_the_server_is_told_meanwhile(there, postgres):
    setting = "SELECT current_setting('synchronous_commit')"
    with there.open() as store, postgres.connect() as session:
        session.execute("ALTER SYSTEM SET synchronous_commit = off")
        try:
            session.execute("SELECT pg_reload_conf()")
            until = time.monotonic() + 20
            while session.execute(setting).fetchone() != ("off",):
                assert time.monotonic() < until
                time.sleep(0.01)
            assert store._database.rows(setting) == [("on",)]
        finally:
            session.execute("ALTER SYSTEM RESET synchronous_commit")
            session.execute("SELECT pg_reload_conf()")


def test_the_password_comes_from_outside_and_is_never_told(postgres, monkeypatch):
    name = postgres.make_database(SIGNED)
    address = postgres.address(name, SIGNED)
    monkeypatch.setenv("PGPASSFILE", os.devnull)
    with pytest.raises(WorkStoreError, match="wants a password"):
        WorkStore(address).__enter__()
    monkeypatch.setenv("PGPASSWORD", "wrong-donkey")
    with pytest.raises(WorkStoreError, match="refuses this user or password") as refused:
        WorkStore(address).__enter__()
    assert "donkey" not in one_line(refused)

    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with WorkStore(address) as store:
        batch(store, 1)
    postgres.drop_database(name)


def test_a_role_that_may_make_nothing_is_told_what_it_needs(there, postgres, monkeypatch):
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    address = postgres.address(there.address.rpartition("/")[2], SIGNED)

    with pytest.raises(WorkStoreError, match="may not do that; grant it what docs") as refused:
        WorkStore(address).__enter__()

    assert one_line(refused)
