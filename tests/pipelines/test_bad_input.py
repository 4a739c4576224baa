"""Bad input ends as a reject with its own reason or as one clear line and exit 2; nothing else is lost."""

import gzip
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from released import released
from replaying import checkouts, deployment, positions, replayed, said_of_replay, windows, write

from pipelines.configuration import load
from pipelines.inputs import InputError
from pipelines.run import begun
from pipelines.work_store import WorkStore

GOOD = {"kind": "circulation", "action": "checkout", "branch": "B01", "material": "book", "patron_ref": "p1"}


def event(at, **more):
    return json.dumps({**GOOD, "event_id": f"e{at}", "occurred_at": 1_772_600_000_000 + at, **more})


BAD = {
    "not_json": [b'{"kind":"circ', b"hello", b"[1,2", b'{"a":NaN}', b"{'a':1}"],
    "not_utf8": [b'{"kind":"\xff\xfe"}'],
    "nul_byte": [b'{"kind":"a\x00b"}'],
    "too_deep": [b"[" * 10_000 + b"]" * 10_000],
    "oversize": [b'{"x":"' + b"y" * 10_000_000 + b'"}'],
    "disallowed_field": [event(1, shoe=44).encode()],
    "unknown_kind": [event(1, kind="loan").encode()],
    "unknown_version": [event(1, v=2).encode()],
    "unknown_code": [event(1, action="stolen").encode()],
    "missing_field": [json.dumps({**GOOD, "event_id": "x"}).encode()],
    "wrong_type": [event(1, event_id=7).encode(), event(1, branch=["B01"]).encode(), b"[]", b"7", b'"text"'],
    "empty": [b"null"],
    "bad_time": [
        event(1, occurred_at="2026-03-01").encode(),
        event(1, occurred_at=-5).encode(),
        event(1, occurred_at=5_000_000_000_000).encode(),
        event(1).replace("1772600000001", "1" + "0" * 400).encode(),
        event(1, occurred_at=1.5).encode(),
    ],
    "unknown_branch": [event(1, branch="B99").encode(), event(1, branch="21234000000017").encode()],
    "bad_patron_id": [event(1, patron_ref=" ").encode()],
    "bad_value": [event(1, birth_date="2026-02-31").encode(), event(1, birth_date="yesterday").encode()],
    "clock": [event(1, arrived_at=4_000_000_000_000).encode()],
    "future": [event(1, arrived_at=1_772_500_000_000).encode()],
}


def summary(run, deployment, *paths, code=0):
    done = run("-c", deployment / "carrel.toml", "replay", *paths, "--source", "carrel-event", "--json", code=code)
    return json.loads(done.stdout)


def test_each_kind_of_bad_line_has_its_own_reason_and_costs_only_itself(run, deploy, tmp_path):
    deployment = deploy(sources="carrel-event")
    log = tmp_path / "bad.jsonl"
    lines = [line for lines in BAD.values() for line in lines]
    with log.open("wb") as stream:
        for at, line in enumerate(lines):
            stream.write(event(1000 + at).encode() + b"\n" + line + b"\n\n")

    found = summary(run, deployment, log)

    totals = {name.partition("/")[2]: amount for name, amount in found["messages"].items()}
    reasons = {name.partition("/")[2]: amount for name, amount in totals.items() if name.startswith("rejected/")}
    assert reasons == {reason: len(of) for reason, of in BAD.items()}
    assert totals["accepted/circulation"] == len(lines)
    assert found["conservation"] == "holds"


def test_a_gzip_cut_short_loses_only_what_was_cut(run, deploy, tmp_path):
    deployment = deploy(sources="carrel-event")
    log = tmp_path / "cut.jsonl.gz"
    packed = gzip.compress("".join(event(at) + "\n" for at in range(5000)).encode())
    log.write_bytes(packed[: len(packed) // 2])

    found = summary(run, deployment, log)

    assert found["messages"]["carrel-event/rejected/truncated"] == 1
    assert found["messages"]["carrel-event/decoded"] > 1000
    assert found["conservation"] == "holds"


@pytest.mark.parametrize("damage", ["cut", "garbage", "header"])
def test_a_damaged_avro_container_loses_only_what_is_damaged(run, deploy, sample, tmp_path, damage):
    deployment = deploy(sources="carrel-event")
    whole = (sample / "carrel-event" / "engagement.avro").read_bytes()
    log = tmp_path / "damaged.avro"
    middle = len(whole) - 2000
    log.write_bytes({"cut": whole[:middle], "garbage": whole[:middle] + b"\x07" * 2000, "header": whole[:40]}[damage])

    found = summary(run, deployment, log)

    assert found["conservation"] == "holds"
    assert sum(amount for name, amount in found["messages"].items() if "/rejected/" in name) >= 1


def test_an_empty_file_is_nothing(run, deploy, tmp_path):
    deployment = deploy(sources="carrel-event")
    log = tmp_path / "empty.jsonl"
    log.write_bytes(b"")

    assert summary(run, deployment, log)["conservation"] == "holds"


@pytest.mark.parametrize("what", ["missing", "directory", "pipe", "loop"])
def test_what_cannot_be_read_is_one_clear_line_and_exit_2(run, deploy, tmp_path, what):
    deployment = deploy(sources="carrel-event")
    path = tmp_path / "nothing.jsonl" if what != "directory" else tmp_path
    if what == "pipe":
        os.mkfifo(path)
    elif what == "loop":
        path.symlink_to(path)

    done = run("-c", deployment / "carrel.toml", "replay", path, code=2)

    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"carrel: {path}: ")


def test_of_a_run_with_a_file_that_cannot_be_read_nothing_is_begun(tmp_path):
    library = deployment(tmp_path / "library")
    good = write(tmp_path / "good.jsonl", checkouts("2026-03-01", 40, of=10))

    with pytest.raises(InputError, match=r"missing\.jsonl: cannot be read"):
        replayed(library, good, tmp_path / "missing.jsonl")

    assert windows(library) == set()
    assert positions(library) == {}
    assert replayed(library, good).closed == {}


@pytest.mark.parametrize("form", ["array", "table"])
def test_of_a_run_with_a_file_that_is_no_log_of_its_source_nothing_is_begun(tmp_path, form):
    source = {"array": "carrel-event", "table": "evergreen"}[form]
    library = deployment(tmp_path / "library", sources=[source])
    log = tmp_path / "log"
    rows = [f"{at}\t7\t2026-03-01 10:00:00+00\t\\N\t101" for at in range(5)]
    log.write_text({"array": json.dumps(checkouts("2026-03-01", 2)), "table": "\n".join(rows)}[form])

    with pytest.raises(InputError, match=r"^log: .*(JSON array|names no column)"):
        replayed(library, log)

    with WorkStore(load(library / "carrel.toml").work_store) as store:
        assert store.positions(source) == {}
        assert begun(store) is None


def test_broken_lines_of_lookups_are_counted_for_the_operator(tmp_path):
    library = deployment(tmp_path / "library", sources=["evergreen"])
    exports = {
        "actor.usr": "id\tprofile\tdob\n1\t90\tbad\n2\n3\n",
        "actor.usr_address": "usr\tpost_code\n1\n2\t10001\n",
        "asset.copy": "id\n1\n",
    }
    (library / "archive" / "evergreen" / "lookups").mkdir(parents=True)
    for name, content in exports.items():
        (library / "archive" / "evergreen" / "lookups" / f"{name}.tsv").write_text(content)
    log = tmp_path / "log"
    log.write_text(
        "id\tusr\txact_start\ttarget_copy\tcirc_lib\tparent_circ\n1\t1\t2026-03-01 10:00:00+00\t1\t101\t\\N\n"
    )

    summary = replayed(library, log)

    assert summary.skipped == {"evergreen patrons": 3}
    assert summary.messages["evergreen", "filtered/not_a_patron"] == 1


def test_a_directory_that_an_archives_pattern_finds_is_said_and_nothing_is_begun(tmp_path):
    library = deployment(tmp_path / "library")
    write(library / "archive" / "carrel-event" / "a.jsonl", checkouts("2026-03-01", 40, of=10))
    (library / "archive" / "carrel-event" / "old").mkdir()

    with pytest.raises(InputError, match="old: is a directory; name the files in it"):
        replayed(library)

    assert windows(library) == set()


def replayed_on_a_disk_of(library, size, said):
    """In a child: no file may grow beyond `size` bytes, as on a disk that is full; says the line that a person reads."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    said.send(said_of_replay(library))


@pytest.mark.parametrize("size", [40_000, 200_000, 400_000])
def test_wherever_the_disk_is_full_one_line_says_so_and_the_next_run_ends_the_same(tmp_path, size):
    library = deployment(tmp_path / "library", preset="standard")
    events = checkouts("2026-03-01", 40, of=30)
    write(library / "archive" / "carrel-event" / "a.jsonl", [*events, *({"kind": "loan", "n": n} for n in range(60))])
    whole = tmp_path / "whole"
    shutil.copytree(library, whole)
    replayed(whole)
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=replayed_on_a_disk_of, args=(library, size, there))
    child.start()
    child.join(120)

    line, code = here.recv()
    replayed(library)

    assert code == 2
    assert "\n" not in line
    assert "internal fault" not in line
    assert released(library) == released(whole) != []


def test_a_full_disk_is_one_clear_line_and_nothing_half_written(run, deploy, tmp_path):
    deployment = deploy(sources="carrel-event")
    log = tmp_path / "log.jsonl"
    log.write_text("".join(event(at, patron_ref=f"p{at}") + "\n" for at in range(60_000)))
    command = f"ulimit -f 2048; trap '' XFSZ; exec {sys.executable} -m pipelines.command_line"
    full = subprocess.run(
        ["bash", "-c", f"{command} -c {deployment}/carrel.toml replay {log}"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    after = summary(run, deployment, log)

    assert full.returncode == 2, full.stdout + full.stderr
    assert len(full.stderr.splitlines()) == 1
    assert after["messages"]["carrel-event/decoded"] == 60_000


def test_a_policy_that_is_unsafe_is_one_clear_line_and_exit_2(run, deploy):
    deployment = deploy(sources="carrel-event")
    policy = deployment / "policy.toml"
    policy.write_text(policy.read_text().replace("k = 11", "k = 3"))

    done = run("-c", deployment / "carrel.toml", "check", code=2)

    assert "k: need 5 or more" in done.stderr


def test_help_does_not_import_beam(run):
    code = "import sys, pipelines.command_line; sys.exit('apache_beam' in sys.modules or 'numpy' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
    assert "replay" in run("--help").stdout
