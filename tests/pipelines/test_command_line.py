"""The command's words: help at once, one line for every error, exit codes that scripts can rely on."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import types
from pathlib import Path

import pytest
import typer

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from command_words import commands, faults

from pipelines.configuration import ConfigurationError
from pipelines.counts_rows import StoreAwayError
from pipelines.invocation import guarded
from pipelines.work_values import HeldByAnotherError

ROOT = Path(__file__).parent.parent.parent
HELP = """
import resource, sys
sys.argv = ["carrel", *sys.argv[1:], "--help"]
from pipelines.command_line import main
try:
    main()
except SystemExit as end:
    assert end.code == 0
used = resource.getrusage(resource.RUSAGE_SELF)
heavy = [name for name in ("apache_beam", "numpy", "rich", "pyarrow") if name in sys.modules]
print("SECONDS", used.ru_utime + used.ru_stime, "HEAVY", heavy)
"""


def help_of(*words: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", HELP, *words], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip


@pytest.mark.parametrize("words", [(), ("keys",), ("replay",), ("counts",)], ids=" ".join)
def test_help_comes_at_once_and_imports_no_engine(words):
    said = help_of(*words)

    assert said.endswith("HEAVY []\n")
    assert float(said.split("SECONDS ")[1].split()[0]) < 0.5  # of a processor: others may hold it meanwhile


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_help_page_has_examples_that_are_real_commands_and_says_what_options_do(words):
    command = commands()[words]

    shown = (command.epilog or "").replace("\\\n", " ").split("\n")[2:]
    assert shown
    assert [fault for line in shown for fault in faults(line)] == []
    assert all(f"carrel {' '.join(words)}" in line or "carrel -c" in line for line in shown)
    assert command.help
    assert all(param.help for param in command.params)


def test_a_word_that_is_no_command_or_option_is_seen():
    assert faults(".venv/bin/carrel -c x replay --through 2026-01-01") == ["--through"]
    assert faults("carrel keys burn") == ["keys: no such command"]


def test_help_fits_80_columns_and_cuts_no_sentence(run):
    said = run("--help", COLUMNS="80").stdout

    assert max(map(len, said.splitlines())) <= 80
    assert "..." not in said.replace("[ARGS]...", "")


def test_the_version_is_the_one_of_the_package(run):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert run("--version").stdout == f"carrel {project['version']}\n"


@pytest.mark.parametrize("words", [(), ("keys",), ("deadletters",), ("sources",)], ids=" ".join)
def test_without_a_command_there_is_help_and_exit_2(run, words):
    done = run(*words, code=2)

    assert done.stdout == ""
    assert done.stderr.startswith("Usage: carrel")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("nonsense",), "carrel: No such command 'nonsense'; see carrel --help"),
        (("cuonts",), "carrel: No such command 'cuonts'. Did you mean 'counts'? see carrel --help"),
        (("replay", "--nothing", "x"), "carrel: No such option: --nothing; see carrel replay --help"),
        (("keys", "shred"), "carrel: Missing option '--month'; see carrel keys shred --help"),
        (("status",), "carrel: nowhere.toml: cannot be read (No such file or directory); name it with -c or run"),
        (("replay", "--complete-from", "2026-02-30"), "carrel: --complete-from: no such day; write YYYY-MM-DD"),
        (("replay", "--complete-through", "20260301"), "carrel: --complete-through: no such day; write YYYY-MM-DD"),
        (("counts", "--month", "2026-13"), "carrel: --month: no such month; write YYYY-MM"),
        (("keys", "rotate", "--month", "2026-1"), "carrel: --month: no such month; write YYYY-MM"),
        (("keys", "shred", "--month", "2026-01", "--purpose", "x"), "carrel: --purpose: need token or noise"),
        (
            ("keys", "shred", "--month", "2026-01", "--purpose", "token"),
            "carrel: keys shred: this cannot be undone; add --yes",
        ),
        (("sample", "x", "--sources", "koha"), "carrel: --sources: need some of carrel-event, folio, evergreen,"),
        (("sample", "x", "--days", "0"), "carrel: Invalid value for '--days': Input should be greater than or equal"),
        (("init", "x", "--size", "huge"), "carrel: --size: need small, medium or large"),
        (("demo", "README.md"), "carrel: README.md: is there already; name a new folder or remove it"),
    ],
)
def test_wrong_words_are_one_line_and_exit_2(run, words, line):
    done = run("-c", "nowhere.toml", *words, code=2)

    assert done.stderr.startswith(line)
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


class _LibraryError(ValueError):
    """An error of another library: its text may quote an event."""


def ended(error: BaseException) -> int:
    def work(_: object) -> int:
        raise error

    with pytest.raises(typer.Exit) as end:
        guarded(types.SimpleNamespace(obj=None), work)  # type: ignore[arg-type]
    return end.value.exit_code


@pytest.mark.parametrize(
    "error", [_LibraryError("CANARYSMITH"), KeyError("CANARYSMITH"), UnicodeEncodeError("x", "C", 0, 1, "C")]
)
def test_an_error_that_is_not_ours_tells_its_place_and_not_its_text(capsys, error):
    assert ended(error) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"carrel: internal fault, {type(error).__name__} at test_command_line.py:")
    assert "CANARY" not in said


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigurationError("a.toml: is\nlong"), 2, "carrel: a.toml: is\n"),
        (ConfigurationError("no key [while running 'Seal']"), 2, "carrel: no key\n"),
        (HeldByAnotherError("work.db: another instance"), 75, "carrel: work.db: another instance\n"),
        (StoreAwayError("counts store: away"), 75, "carrel: counts store: away\n"),
        (OSError(28, "No space left on device", "work.db"), 2, "carrel: work.db: No space left on device; free space"),
        (OSError(13, "Permission denied"), 2, "carrel: Permission denied; check its rights and the disk\n"),
        (KeyboardInterrupt(), 130, "carrel: stopped; what was committed stays"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_is_one_line_with_its_exit_code(capsys, error, code, line):
    assert ended(error) == code
    said = capsys.readouterr().err
    assert said.startswith(line)
    assert said.count("\n") == 1


@pytest.fixture(scope="module")
def replayed(run, sample, tmp_path_factory) -> Path:
    """A deployment whose archives are read; read only."""
    base = tmp_path_factory.mktemp("replayed")
    run("init", base / "library", "--secrets", base / "secrets", "--logs", sample)
    run("-c", base / "library" / "carrel.toml", "replay")
    return base / "library" / "carrel.toml"


@pytest.mark.parametrize("command", ["replay", "live", "counts"])
def test_a_counts_store_whose_server_is_away_is_to_be_tried_again(run, replayed, tmp_path, command):
    away = shutil.copytree(replayed.parent, tmp_path / "library") / "carrel.toml"
    away.write_text(replayed.read_text().replace('"counts.db"', '"postgresql://carrel@127.0.0.1:1/library"'))

    said = run("-c", away, command, code=75).stderr

    assert "the server cannot be reached" in said
    assert said.count("\n") == 1


def test_the_configuration_is_given_before_or_after_the_command_or_by_the_environment(run, replayed):
    before = run("-c", replayed, "keys", "list").stdout

    assert "token" in before
    assert run("keys", "list", "-c", replayed).stdout == before
    assert run("keys", "list", CARREL_CONFIG=str(replayed)).stdout == before


@pytest.mark.parametrize(
    "words",
    [
        ("check",),
        ("status",),
        ("keys", "list"),
        ("deadletters", "list"),
        ("sources", "list"),
        ("sources", "list", "--fields"),
    ],
    ids=" ".join,
)
def test_what_scripts_ask_for_is_one_line_of_json(run, replayed, words):
    said = run("-c", replayed, *words, "--json").stdout

    assert said.count("\n") == 1
    assert json.loads(said)


def test_status_says_what_is_held_until_when_and_nothing_exact(run, replayed):
    found = json.loads(run("-c", replayed, "status", "--json").stdout)

    assert found["held"]
    assert set(found["next"]) == set(found["held"])
    assert all(rows % 100 == 0 for rows in found["held"].values())
    assert all(hour[10:] in (f"T{at:02}Z" for at in range(24)) for hour in found["next"].values())
    assert found["next"]["circ_branch_month 2026-05-01"] == "2026-06-03T05Z"  # its end in New York, 2 days, 1 hour


def test_check_names_every_table_source_and_number_that_the_policy_sets(run, replayed):
    said = run("-c", replayed, "check").stdout
    found = json.loads(run("-c", replayed, "check", "--json").stdout)

    assert [table["name"] for table in found["tables"] if f"{table['name']}: " not in said] == []
    assert found["tables"][0] == {
        "name": "circ_branch_month", "kind": "circulation", "grain": "month", "dimensions": ["branch"],
        "measures": ["total_checkouts", "total_renewals", "patrons"], "cells": 12, "k": 11, "clip": 10,
        "horizon_days": 2, "why": "Board and statutory circulation figures.",
    }  # fmt: skip
    assert said.endswith("ok\n")


def test_check_shows_all_that_is_refused_and_ends_with_one_line(run, replayed, tmp_path):
    unsafe = tmp_path / "unsafe.toml"
    unsafe.write_text(replayed.read_text().replace('"policy.toml"', f'"{tmp_path}/policy.toml"'))
    text = (replayed.parent / "policy.toml").read_text()
    (tmp_path / "policy.toml").write_text(text.replace("k = 11 ", "k = 3 "))
    both = text.replace("k = 11 ", "k = 3 ").replace("America/New_York", "Mars/Olympus")

    one = run("-c", unsafe, "check", code=2)
    (tmp_path / "policy.toml").write_text(both)
    several = run("-c", unsafe, "check", code=2)
    listed = json.loads(run("-c", unsafe, "check", "--json", code=2).stdout)["refused"]

    assert (one.stdout, one.stderr.count("\n")) == ("", 1)
    assert several.stdout == "".join(f"refused: {finding}\n" for finding in listed)
    assert several.stderr == f"carrel: policy.toml: {listed[0]} (and {len(listed) - 1} more)\n"
    assert [finding.partition(":")[0] for finding in listed] == ["time_zone", "k"]


def test_a_table_that_is_not_there_and_a_month_without_counts_are_told_apart(run, replayed):
    nothing = run("-c", replayed, "counts", "--month", "2031-01")
    nowhere = run("-c", replayed, "counts", "--table", "loans", code=2)

    assert nothing.stdout.startswith("nothing is released here")
    assert nowhere.stderr == "carrel: --table: no such table in the policy; `carrel check` lists them\n"


def test_counts_are_those_of_the_configured_tenant_alone(run, replayed, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text(
        replayed.read_text()
        .replace('tenant = "example"', 'tenant = "neighbour"')
        .replace('"policy.toml"', f'"{replayed.parent}/policy.toml"')
        .replace('"counts.db"', f'"{replayed.parent}/counts.db"')
    )

    said = run("-c", other, "counts", "--format", "csv").stdout

    assert said.count("\n") == 1


def test_a_reader_that_goes_away_ends_the_command_without_a_word(replayed):
    command = f"set -o pipefail; {sys.executable} -m pipelines.command_line -c {replayed} counts | head -1"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)

    assert done.returncode == 141
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1


def test_letters_that_cannot_be_opened_leave_no_file(run, replayed, tmp_path):
    run("init", tmp_path / "other", "--secrets", tmp_path / "secrets")
    wrong, output = tmp_path / "secrets" / "recipient.key", tmp_path / "opened.jsonl"

    for key in (wrong, tmp_path / "nowhere.key"):
        done = run("-c", replayed, "deadletters", "open", "--key", key, "--output", output, code=2)
        assert done.stderr.count("\n") == 1
        assert not output.exists()
    output.write_text("mine")
    taken = run("-c", replayed, "deadletters", "open", "--key", wrong, "--output", output, code=2)
    assert taken.stderr == f"carrel: {output}: File exists; name another one\n"
    assert output.read_text() == "mine"


def test_opened_letters_are_the_owners_alone_and_hold_the_messages(run, replayed, tmp_path):
    key, output = replayed.parent.parent / "secrets" / "recipient.key", tmp_path / "opened.jsonl"

    run("-c", replayed, "deadletters", "open", "--key", key, "--output", output)

    assert output.stat().st_mode & 0o777 == 0o600
    letters = [json.loads(line) for line in output.read_text().splitlines()]
    listed = json.loads(run("-c", replayed, "deadletters", "list", "--json").stdout)
    assert len(letters) == sum(one["letters"] for one in listed) > 0
    assert all(letter["payload"] for letter in letters)


def test_a_key_that_is_not_there_makes_no_receipt(run, replayed):
    from pipelines.counts_opening import open_counts

    said = run("-c", replayed, "keys", "shred", "--purpose", "noise", "--month", "2031-01", "--yes").stdout

    assert said == "there is no noise key of 2031-01: nothing was destroyed\n"
    with open_counts(replayed.parent / "counts.db") as store:
        assert "2031-01" not in {receipt.month for receipt in store.receipts("example")}
    assert "2031-01" not in run("-c", replayed, "keys", "list").stdout


def a_log(path: Path) -> Path:
    """40 days of checkouts from 2026-03-01, in one branch."""
    event = {"kind": "circulation", "action": "checkout", "branch": "B01", "material": "book"}
    with path.open("w") as stream:
        for at in range(400):
            more = {
                "event_id": f"e{at}",
                "occurred_at": 1_772_400_000_000 + at * 8_640_000,
                "patron_ref": f"p{at % 50}",
            }
            stream.write(json.dumps(event | more) + "\n")
    return path


@pytest.mark.parametrize("purpose", ["token", "noise"])
def test_without_a_months_key_its_open_windows_are_void_and_replay_goes_on(run, tmp_path, purpose):
    run("init", tmp_path / "library", "--secrets", tmp_path / "secrets")
    configured, log = tmp_path / "library" / "carrel.toml", a_log(tmp_path / "log.jsonl")
    run("-c", configured, "replay", log)
    held = [name for name in json.loads(run("-c", configured, "status", "--json").stdout)["held"] if "2026-04" in name]

    run("-c", configured, "keys", "shred", "--purpose", purpose, "--month", "2026-04", "--yes")

    found = json.loads(run("-c", configured, "status", "--json").stdout)
    assert held
    assert set(held) <= set(found["void"])
    assert {found["void_reasons"][name] for name in held} == {"key shredded by hand"}
    assert f"{purpose}  2026-04  kept" not in run("-c", configured, "keys", "list").stdout
    run("-c", configured, "replay")


def test_what_needs_no_engine_does_not_wait_for_it(replayed):
    program = (
        "import sys; from pipelines.command_line import main\n"
        "try: main()\nexcept SystemExit: pass\nsys.exit('apache_beam' in sys.modules)"
    )
    for words in ("check", "counts", "keys list", "deadletters list", "sources list", "counts --table loans"):
        done = subprocess.run(
            [sys.executable, "-c", program, "-c", str(replayed), *words.split()],
            cwd=ROOT, capture_output=True, check=False, timeout=60, env=dict(os.environ),
        )  # fmt: skip
        assert done.returncode == 0, words
