"""Who only looks at the work store neither waits for its holder, nor fences it, nor changes a byte."""

import json
import os
import signal

import pytest

from pipelines.work_store import WorkStore
from pipelines.work_values import HeldByAnotherError, Position, WorkStoreError
from tests.support.replaying import begun, checkouts, deployment, write

START = Position("a", 7, b"head", done=False)


def advance(store, position):
    with store.transaction() as transaction:
        transaction.advance("s", position)


def epoch(path):
    with WorkStore(path, read_only=True) as store:
        return store.value("epoch")


def test_a_reader_beside_a_writer_sees_what_is_committed_and_bumps_no_epoch(tmp_path):
    path = tmp_path / "work.db"
    with WorkStore(path) as writer:
        advance(writer, START)
        with writer.transaction() as transaction:
            transaction.forget_positions("s", ["a"])
            with WorkStore(path, read_only=True) as reader:
                assert reader.positions("s") == {"a": START}

        assert epoch(path) == str(writer.epoch)
        advance(writer, START)  # fenced, had the reader raised the epoch


def test_a_reader_sees_one_moment(tmp_path):
    path = tmp_path / "work.db"
    with WorkStore(path) as writer, WorkStore(path, read_only=True) as reader:
        advance(writer, START)

        assert reader.positions("s") == {}


def test_a_reader_keeps_nobody_out(tmp_path):
    path = tmp_path / "work.db"
    with WorkStore(path) as writer:
        advance(writer, START)
    with WorkStore(path, read_only=True), WorkStore(path) as second:
        advance(second, START)

        with pytest.raises(HeldByAnotherError):
            WorkStore(path).__enter__()


def test_a_reader_cannot_write(tmp_path):
    path = tmp_path / "work.db"
    WorkStore(path).__enter__().__exit__(None, None, None)

    with WorkStore(path, read_only=True) as reader, pytest.raises(WorkStoreError):
        advance(reader, START)

    with WorkStore(path, read_only=True) as reader:
        assert reader.positions("s") == {}


def test_a_store_that_is_not_made_yet_reads_as_empty_and_is_not_made(tmp_path):
    with WorkStore(tmp_path / "work.db", read_only=True) as reader:
        assert (reader.positions("s"), reader.windows("open"), reader.pending_seals()) == ({}, {}, [])

    assert list(tmp_path.iterdir()) == []


def test_what_is_no_store_is_one_line(tmp_path):
    (tmp_path / "work.db").write_text("this is no database, whatever its name says" * 100)

    with pytest.raises(WorkStoreError, match=r"^[^\n]*work\.db: cannot be read [^\n]*$"):
        WorkStore(tmp_path / "work.db", read_only=True).__enter__()


def test_status_answers_while_a_replay_runs(run, tmp_path, monkeypatch):
    """The replay stands in its middle, as one that works for hours does whenever it is looked at."""
    library = deployment(tmp_path / "library")
    log = write(tmp_path / "log.jsonl", checkouts("2026-03-01", 5))
    reached, told = os.pipe()
    monkeypatch.setattr("pipelines.loop.crash_point", lambda label: os.write(told, b".") and signal.pause())
    replay = begun(library, log)
    try:
        assert os.read(reached, 1) == b"."
        before = epoch(library / "work.db")

        found = json.loads(run("-c", library / "carrel.toml", "status", "--json").stdout)

        assert "held" in found
        assert epoch(library / "work.db") == before
        with pytest.raises(HeldByAnotherError):
            WorkStore(library / "work.db").__enter__()
    finally:
        replay.kill()
        replay.join(60)
