"""A run that was cut short is finished by whatever replay comes next, and ends as if nothing had happened."""

import gzip
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from released import ledger, released
from replaying import begun, checkouts, deployment, edit, killed, replayed, windows, write

from pipelines import inputs
from pipelines.dead_letters import DeadLetterDirectory
from pipelines.inputs import InputError

TABLE = "circ_branch_material_month"
MARCH = f"{TABLE} 2026-03-01"


@pytest.fixture
def small_batches(monkeypatch):
    """Some hundred events a batch, so that a small file has several."""
    monkeypatch.setattr(inputs, "CHUNK", 40_000)
    monkeypatch.setattr(inputs, "BATCH", 30_000)


@pytest.fixture
def library(tmp_path, small_batches):
    return deployment(tmp_path / "library")


def archive(made: Path, name: str = "log") -> Path:
    return made / "archive" / "carrel-event" / f"{name}.jsonl"


def twin(made: Path, name: str) -> Path:
    shutil.copytree(made, made.parent / name)
    return made.parent / name


def acts(made: Path) -> int:
    """How many acts of circulation were published in all."""
    database = sqlite3.connect(made / "counts.db")
    query = "SELECT SUM(value) FROM released_counts WHERE table_name = ? AND measure LIKE 'acts%'"
    (found,) = database.execute(query, (TABLE,)).fetchone()
    database.close()
    return int(found or 0)


def letters(made: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in DeadLetterDirectory(made / "dead-letters").list():
        found[one.reason] = found.get(one.reason, 0) + one.letters
    return found


# Kills at any moment.


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A fresh deployment with its archives, and its twin after an undisturbed replay; they share keys and store id."""
    fresh = deployment(tmp_path_factory.mktemp("undisturbed") / "fresh", preset="standard")
    events = checkouts("2026-03-01", 36, of=20, delay=3)
    write(archive(fresh, "a"), events[:350])
    write(archive(fresh, "b"), [*events[350:], {"kind": "circulation", "shoe": 44}, {"kind": "loan"}])
    done = twin(fresh, "done")
    replayed(done)
    return fresh, done


def kill_and_resume(undisturbed, seed: int, *, ordered: bool) -> int:
    """Start, kill after a random time, start again, some times over; then finish and compare. Returns the kills."""
    fresh, done = undisturbed
    rng = random.Random(seed)
    made = twin(fresh, f"seed-{seed}-{ordered}")
    if ordered:
        edit(made / "carrel.toml", 'adapter = "carrel-event"\n', 'adapter = "carrel-event"\nordered_by = "arrival"\n')
    kills = 0
    for _ in range(3):
        child = begun(made)
        child.join(rng.expovariate(1.2))
        if child.is_alive():
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
        child.join(120)
        kills += child.exitcode == -signal.SIGKILL
    replayed(made)

    assert released(made) == released(done) != []
    assert ledger(made) == ledger(done)
    assert windows(made) == windows(done)
    assert letters(made) == letters(done)
    shutil.rmtree(made)
    return kills


def test_runs_killed_at_random_moments_end_with_the_same_bytes(undisturbed, small_batches):
    kills = [kill_and_resume(undisturbed, seed, ordered=seed % 2 == 0) for seed in (1, 2)]

    assert sum(kills) > 0


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 100 + int(os.environ.get("SEEDS", "60"))))
def test_runs_killed_at_more_random_moments_end_with_the_same_bytes(undisturbed, small_batches, seed):
    kill_and_resume(undisturbed, seed, ordered=seed % 2 == 0)


# What comes next finishes it.


def test_whatever_replay_comes_next_finishes_the_files_of_a_killed_run(library, tmp_path):
    """Else its windows would be published with the half that was read."""
    events = checkouts("2026-03-01", 40, of=20)
    whole = twin(library, "whole")
    write(archive(whole), events)
    replayed(whole)
    parts = [write(tmp_path / f"{at}.jsonl", events[at * 200 : (at + 1) * 200]) for at in range(4)]

    killed(library, "batch-committed", *parts[:2])
    replayed(library, *parts[2:])

    assert acts(library) == acts(whole) > 0
    assert released(library) == released(whole)


def test_a_file_that_vanished_from_a_killed_run_is_asked_for(library, tmp_path):
    events = checkouts("2026-03-01", 40, of=20)
    log = write(archive(library, "a"), events[:600])
    write(archive(library, "b"), events[600:])
    killed(library, "batch-committed")
    log.rename(tmp_path / "away")

    with pytest.raises(
        InputError, match=r"a\.jsonl: a run that was cut short was to read it, and it is gone"
    ) as refused:
        replayed(library)
    nothing = released(library)
    (tmp_path / "away").rename(log)
    replayed(library)

    assert "\n" not in str(refused.value)
    assert nothing == []
    assert acts(library) > 0


def test_a_file_that_is_gone_for_good_can_be_given_up_with_the_months_that_it_may_have_held(library):
    log = write(archive(library, "a"), checkouts("2026-03-01", 40, of=20))
    write(archive(library, "b"), checkouts("2026-04-10", 30, of=20))
    killed(library, "batch-committed")
    log.unlink()

    replayed(library, complete_from="2026-05-01")

    states = {row[1]: row[2] for row in ledger(library) if row[0] == TABLE}
    assert states == {"2026-03-01": "void", "2026-04-01": "void"}


def test_a_file_that_a_finished_run_has_read_may_go(library):
    log = write(archive(library, "a"), checkouts("2026-03-01", 20, of=20))
    replayed(library)
    log.unlink()
    write(archive(library, "b"), checkouts("2026-03-21", 20, of=20))

    replayed(library)

    assert MARCH in {f"{row[0]} {row[1]}" for row in ledger(library) if row[2] == "sealed"}


# Files that are not what they were.


def test_a_file_that_was_mended_where_it_was_read_is_read_from_its_beginning(library):
    """The same first bytes are no proof: the place where reading stood means nothing in the mended file."""
    events = checkouts("2026-03-01", 40, of=20)
    whole = twin(library, "whole")
    write(archive(whole), events)
    replayed(whole)
    write(archive(library), [*events[:150], *events[155:]])
    killed(library, "batch-committed:2")
    write(archive(library), events)

    found = replayed(library)

    assert acts(library) == acts(whole)
    assert not any("rejected" in name for _, name in found.messages)


def test_a_file_that_was_replaced_is_read_whole(library):
    write(archive(library), checkouts("2026-03-01", 20, of=20))
    replayed(library)
    write(archive(library), checkouts("2026-03-21", 20, of=20))

    found = replayed(library)

    assert found.messages["carrel-event", "decoded"] == 400


def test_of_a_file_that_has_grown_only_the_new_lines_are_read(library):
    events = checkouts("2026-03-01", 40, of=20)
    write(archive(library), events[:500])
    replayed(library)
    write(archive(library), events)

    found = replayed(library)

    assert found.messages["carrel-event", "decoded"] == 300


def test_a_line_that_was_being_written_is_counted_when_it_is_whole(library):
    events = checkouts("2026-03-01", 40, of=20)
    text = "".join(json.dumps(event) + "\n" for event in events)
    whole = twin(library, "whole")
    write(archive(whole), events)
    replayed(whole)
    cut = len(text) // 2 + 37
    archive(library).write_text(text[:cut])
    replayed(library)
    archive(library).write_text(text)

    replayed(library)

    assert text[cut - 1] != "\n" != text[cut]
    assert acts(library) == acts(whole)


def test_a_packed_file_that_was_cut_short_goes_on_when_the_rest_has_come(library):
    events = checkouts("2026-03-01", 40, of=20)
    packed = gzip.compress("".join(json.dumps(event) + "\n" for event in events).encode(), mtime=0)
    whole = twin(library, "whole")
    write(archive(whole), events)
    replayed(whole)
    log = library / "archive" / "carrel-event" / "log.jsonl.gz"
    log.write_bytes(packed[: len(packed) // 2])
    first = replayed(library)
    log.write_bytes(packed)

    second = replayed(library)

    assert first.messages["carrel-event", "rejected/truncated"] == 1
    assert first.messages["carrel-event", "decoded"] + second.messages["carrel-event", "decoded"] == 800
    assert acts(library) == acts(whole)
