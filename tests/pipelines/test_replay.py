"""The whole job on a synthetic library: exact, order-free, once only, and it survives being killed."""

import gzip
import json
import random
import re
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from released import ledger, released
from truth_check import compare

from pipelines.crash_points import LABELS

THROUGH = ("--complete-through", "2026-05-01")


def replay(run, deployment, *arguments, **more):
    return run("-c", deployment / "carrel.toml", "replay", *arguments, **more)


def test_counts_equal_the_truth_exactly_under_plain(run, deploy, sample):
    deployment = deploy(preset="plain")
    done = replay(run, deployment, *THROUGH)

    compared, wrong = compare(sample / "truth.csv", deployment / "counts.db")

    assert wrong == []
    assert compared > 100
    assert "conservation holds" in done.stdout


def test_counts_are_within_noise_of_the_truth_under_standard(run, deploy, sample):
    deployment = deploy()
    replay(run, deployment, *THROUGH)

    compared, wrong = compare(sample / "truth.csv", deployment / "counts.db", margin=40)
    exact, differing = compare(sample / "truth.csv", deployment / "counts.db")

    assert wrong == []
    assert compared == exact > 500
    assert len(differing) > compared / 4  # noise is really there


def test_the_check_against_the_truth_can_fail(run, deploy, sample, tmp_path):
    deployment = deploy(preset="plain")
    replay(run, deployment, *THROUGH)
    forged = tmp_path / "truth.csv"
    lines = (sample / "truth.csv").read_text().splitlines()
    row = next(at for at, line in enumerate(lines) if "circ_branch_material" in line and not line.endswith(",1"))
    cells = lines[row].rsplit(",", 2)
    lines[row] = f"{cells[0]},{int(cells[1]) + 100},999"
    forged.write_text("\n".join(lines))

    assert compare(forged, deployment / "counts.db")[1]


def test_replaying_the_same_log_writes_nothing_and_matches(run, deploy):
    deployment = deploy(sources="carrel-event")
    replay(run, deployment, *THROUGH)
    before = released(deployment), ledger(deployment)
    log = _logs(deployment)

    done = replay(run, deployment, *log, *THROUGH)

    assert "match:" in done.stdout
    assert "differs" not in done.stdout
    assert (released(deployment), ledger(deployment)) == before


def _logs(deployment: Path) -> list[Path]:
    text = (deployment / "carrel.toml").read_text()
    pattern = text.split('archive = "', 1)[1].split('"', 1)[0]
    return sorted(path for path in (deployment / pattern).parent.resolve().iterdir() if path.is_file())


def test_a_log_that_differs_exits_1_and_changes_nothing(run, deploy, tmp_path):
    deployment = deploy(sources="carrel-event")
    replay(run, deployment, *THROUGH)
    before = released(deployment), ledger(deployment)
    changed = tmp_path / "changed"
    changed.mkdir()
    for path in _logs(deployment):
        shutil.copy(path, changed)
    circulation = changed / "circulation.jsonl"
    lines = circulation.read_text().splitlines(keepends=True)
    circulation.write_text("".join(line for at, line in enumerate(lines) if at % 3))

    done = replay(run, deployment, *changed.iterdir(), *THROUGH, code=1)

    assert "differs:" in done.stdout
    assert (released(deployment), ledger(deployment)) == before


def test_after_the_noise_keys_end_a_replay_is_unverifiable(run, deploy):
    deployment = deploy(sources="carrel-event")
    replay(run, deployment, *THROUGH)
    for month in ("2026-02", "2026-03", "2026-04", "2026-05"):
        run("-c", deployment / "carrel.toml", "keys", "shred", "--purpose", "noise", "--month", month, "--yes")

    done = replay(run, deployment, *_logs(deployment), *THROUGH)

    assert "unverifiable:" in done.stdout
    assert "match" not in done.stdout


def a_log(path: Path, start: int) -> Path:
    """34 days of one branch's checkouts."""
    event = {"kind": "circulation", "action": "checkout", "branch": "B01", "material": "book"}
    with path.open("w") as stream:
        for at in range(2000):
            more = {"event_id": f"e{at}", "occurred_at": start + at * 1_500_000, "patron_ref": f"p{at % 300}"}
            stream.write(json.dumps(event | more) + "\n")
    return path


def _twin(deployment: Path, name: str) -> Path:
    """A copy of a fresh deployment that shares its keyring and store id."""
    twin = deployment.parent / name
    shutil.copytree(deployment, twin)
    return twin


def test_shuffled_split_packed_and_duplicated_archives_give_the_same_bytes(run, deploy, tmp_path):
    first = deploy(sources="carrel-event")
    second = _twin(first, "second")
    replay(run, first, *_logs(first), *THROUGH)
    rng = random.Random(3)
    parts = tmp_path / "parts"
    parts.mkdir()
    lines = [line for path in _logs(first) if path.suffix == ".jsonl" for line in path.read_text().splitlines()]
    lines += rng.sample(lines, len(lines) // 3)
    rng.shuffle(lines)
    for at in range(3):
        with gzip.open(parts / f"part-{at}.jsonl.gz", "wt") as stream:
            stream.write("\n".join(lines[at::3]) + "\n")
    avro = [path for path in _logs(first) if path.suffix == ".avro"]

    replay(run, second, *sorted(parts.iterdir(), reverse=True), *avro, *THROUGH)

    assert released(second) == released(first)
    assert ledger(second) == ledger(first)


@pytest.fixture(scope="module")
def undisturbed(run, sample, tmp_path_factory):
    """A fresh deployment, and its twin after an undisturbed replay; they share keyring and store id."""
    base = tmp_path_factory.mktemp("undisturbed")
    run("init", base / "fresh", "--secrets", base / "secrets", "--logs", sample)
    done = _twin(base / "fresh", "done")
    replay(run, done, *_logs(done), *THROUGH)
    return base / "fresh", done


@pytest.mark.parametrize("label", LABELS)
def test_a_run_killed_at_any_labelled_point_ends_with_the_same_bytes(run, undisturbed, label):
    fresh, first = undisturbed
    second = _twin(fresh, f"killed-{label}")

    killed = replay(run, second, *_logs(first), *THROUGH, code=None, CARREL_CRASH_AT=label)
    replay(run, second, *_logs(first), *THROUGH)

    assert killed.returncode == -9
    assert released(second) == released(first)
    assert [row[:3] for row in ledger(second)] == [row[:3] for row in ledger(first)]


def test_windows_stay_held_until_their_time_is_proven_and_the_releasing_command_is_printed(run, deploy, tmp_path):
    deployment = deploy(sources="carrel-event")
    log = a_log(tmp_path / "log.jsonl", 1_772_341_200_000)  # from 2026-03-01, 34 days

    done = replay(run, deployment, log)

    states = [row[:3] for row in ledger(deployment)]
    assert "held:" in done.stdout
    assert re.search(r"^ *carrel -c \S+ replay --complete-through 2026-04-0\d$", done.stdout, re.MULTILINE)
    assert ("circ_branch_month", "2026-03-01", "sealed") in states
    assert not any(row[:2] == ("circ_branch_month", "2026-04-01") for row in states)


def test_complete_through_is_refused_far_behind_the_last_event(run, deploy):
    deployment = deploy(sources="carrel-event")

    done = replay(run, deployment, "--complete-through", "2026-06-30", code=2)

    assert "more than 3 days older" in done.stderr
    assert released(deployment) == [] or all(row[4] < "2026-04-01" for row in released(deployment))


def test_a_month_that_begins_before_the_first_event_is_void_and_the_operator_can_say_better(run, deploy, tmp_path):
    deployment = deploy(sources="carrel-event")
    log = a_log(tmp_path / "log.jsonl", 1_773_000_000_000)  # from 2026-03-08

    first = replay(run, deployment, log)
    before = [row[:3] for row in ledger(deployment)]
    replay(run, deployment, log, "--complete-from", "2026-03-01")

    assert "--complete-from 2026-03-01" in first.stdout
    assert ("circ_branch_month", "2026-03-01", "void") in before
    assert ("circ_branch_month", "2026-03-01", "sealed") in [row[:3] for row in ledger(deployment)]


def test_a_second_instance_exits_75(run, deploy):
    import fcntl

    deployment = deploy(sources="carrel-event")
    with (deployment / "work.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        done = replay(run, deployment, code=75)

    assert "another instance" in done.stderr


def test_a_key_that_was_made_ahead_outlives_a_replay_of_other_months(run, deploy):
    deployment = deploy(sources="carrel-event")
    run("-c", deployment / "carrel.toml", "keys", "rotate", "--month", "2026-09")

    replay(run, deployment, *THROUGH)

    assert "token  2026-09" in run("-c", deployment / "carrel.toml", "keys", "list").stdout
    assert "token  2026-03" not in run("-c", deployment / "carrel.toml", "keys", "list").stdout
