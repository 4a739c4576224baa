"""The same replay on another work store: the counts, the ledger and the dead letters are the same, killed or not."""

import json
import os
import shutil
import signal

import pytest

from pipelines.configuration import ConfigurationError, load
from pipelines.dead_letters import DeadLetterDirectory
from pipelines.work_store import WorkStore
from pipelines.work_values import OPEN, ServerAwayError
from tests.support.released import ledger, released
from tests.support.replaying import at, begun, checkouts, deployment, edit, killed, replayed, write
from tests.support.scripted_live import ScriptedLive
from tests.support.scripted_live import checkouts as live_checkouts

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module", autouse=True)
def small_batches():
    """Some hundred events a batch, so that a small file has several."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pipelines.inputs.CHUNK", 40_000)
        patched.setattr("pipelines.inputs.BATCH", 30_000)
        yield


@pytest.fixture(scope="module")
def library(tmp_path_factory, small_batches):
    """A fresh deployment: 40 days of events and two faults."""
    made = deployment(tmp_path_factory.mktemp("stores") / "library")
    events = [*checkouts("2026-03-01", 40, of=20), {"kind": "circulation", "shoe": 44}, {"kind": "loan"}]
    write(made / "archive" / "carrel-event" / "log.jsonl", events)
    return made


@pytest.fixture(scope="module")
def expected(library):
    """What a replay with SQLite leaves behind."""
    twin = shutil.copytree(library, library.parent / "twin")
    replayed(twin)
    assert (twin / "work.db").exists()
    return left(twin)


@pytest.fixture
def on_postgres(library, tmp_path, postgres, postgres_database):
    made = shutil.copytree(library, library.parent / tmp_path.name)  # beside its keyring
    address = postgres.address(postgres_database)
    edit(made / "carrel.toml", 'work_store = "work.db"', f'work_store = "{address}"')
    return made


def left(made):
    """Counts, ledger and dead letters."""
    letters = [(one.source, one.reason, one.letters) for one in DeadLetterDirectory(made / "dead-letters").list()]
    return released(made), ledger(made), letters


def test_a_replay_on_postgresql_leaves_what_one_on_sqlite_does(on_postgres, expected):
    replayed(on_postgres)

    assert left(on_postgres) == expected
    assert len(expected[0]) > 30
    assert len(expected[2]) == 2
    assert not (on_postgres / "work.db").exists()


@pytest.mark.parametrize("label", ["tallies-appended", "batch-committed:2", "rows-frozen", "rows-published"])
def test_killed_at_a_labelled_point_it_goes_on_to_the_same(on_postgres, expected, label):
    killed(on_postgres, label)

    replayed(on_postgres)

    assert left(on_postgres) == expected


def test_status_answers_and_another_replay_is_refused_while_one_runs(run, on_postgres, monkeypatch):
    reached, told = os.pipe()
    monkeypatch.setattr("pipelines.loop.crash_point", lambda label: os.write(told, b".") and signal.pause())
    replay = begun(on_postgres)
    try:
        assert os.read(reached, 1) == b"."
        address = load(on_postgres / "carrel.toml").work_store
        with WorkStore(address, read_only=True) as store:
            before = store.value("epoch")

        found = json.loads(run("-c", on_postgres / "carrel.toml", "status", "--json").stdout)
        refused = run("-c", on_postgres / "carrel.toml", "replay", code=75)

        assert "held" in found
        assert refused.stderr.count("\n") == 1
        assert "another instance holds this store" in refused.stderr
        with WorkStore(address, read_only=True) as store:
            assert store.value("epoch") == before
    finally:
        replay.kill()
        replay.join(60)


def test_a_replay_whose_server_goes_away_is_one_line_and_goes_on_later(run, on_postgres, postgres, expected):
    killed(on_postgres, "batch-committed")
    postgres.stop()
    try:
        away = run("-c", on_postgres / "carrel.toml", "replay", code=75)
    finally:
        postgres.start()

    replayed(on_postgres)

    assert away.stderr.count("\n") == 1
    assert "the server cannot be reached" in away.stderr
    assert left(on_postgres) == expected


def test_a_server_that_goes_away_in_the_middle_ends_the_replay(on_postgres, postgres, expected, monkeypatch):
    """With the batch that it was at, and nothing else."""
    reached, told = os.pipe()

    def stops(label):
        if label == "positions-advanced":
            os.write(told, b".")
            os.kill(os.getpid(), signal.SIGSTOP)

    with monkeypatch.context() as patched:
        patched.setattr("pipelines.loop.crash_point", stops)
        child = begun(on_postgres)
    assert os.read(reached, 1) == b"."
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)
    postgres.kill()
    os.kill(child.pid, signal.SIGCONT)
    child.join(120)
    postgres.start()

    replayed(on_postgres)

    assert child.exitcode == 1
    assert left(on_postgres) == expected


def test_live_is_looked_at_while_it_runs_and_goes_on_after_its_session_was_lost(
    run, on_postgres, postgres, monkeypatch
):
    toml = on_postgres / "carrel.toml"
    address = load(toml).work_store
    start = at("2026-03-10", 12)
    live = ScriptedLive(toml, monkeypatch, start)
    seen = {}

    def put(first):
        live.bus.put(live_checkouts(range(first, first + 130), start - 30 * 60_000))

    def look():
        with WorkStore(address, read_only=True) as store:
            seen["acts"] = store.totals(OPEN)["carrel-event", "decoded"]
            seen["epoch"] = store.value("epoch")

    def ask():
        look()
        seen["status"] = json.loads(run("-c", toml, "status", "--json").stdout)

    def lose():
        put(130)
        with postgres.connect() as session:
            session.execute(
                "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE datname = %s",
                (address.rpartition("/")[2],),
            )

    with pytest.raises(ServerAwayError, match="the session with the server is lost"):
        live.run(lambda: put(0), ask, lose, lambda: None)
    first, acknowledged = dict(seen), live.bus.acknowledged
    live.run(lambda: put(130), look)  # what was not acknowledged comes again

    assert acknowledged == 1
    assert (first["acts"], seen["acts"]) == (130, 260)
    assert first["status"]["held"]["circ_branch_material_month 2026-03-01"] == 100
    assert int(seen["epoch"]) == int(first["epoch"]) + 1


def test_carrel_toml_names_it_by_path_or_address(library, tmp_path):
    toml = shutil.copytree(library, tmp_path / "library") / "carrel.toml"
    assert load(toml).work_store == tmp_path / "library" / "work.db"
    text = toml.read_text()
    for said, refused in (
        ("postgresql://carrel:s3cret@db/carrel", "work_store: holds a password"),
        ("postgresql://carrel@db/carrel?password=s3cret", "work_store: holds a password"),
        ("postgres://carrel@db/carrel", "work_store: need the path of a SQLite file, or postgresql://"),
        ("parquet:work", "work_store: need the path of a SQLite file, or postgresql://"),
    ):
        toml.write_text(text.replace("work.db", said))
        with pytest.raises(ConfigurationError, match=refused) as error:
            load(toml)
        assert "s3cret" not in str(error.value)
