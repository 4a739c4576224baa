"""What a person sees: nothing is cut off at 80 columns, colours and bars are for terminals."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from on_terminal import on_terminal

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(scope="module")
def configured(run, sample, tmp_path_factory) -> Path:
    """A deployment whose archives are read."""
    base = tmp_path_factory.mktemp("terminal")
    run(
        "init",
        base / "library",
        "--sources",
        "carrel-event,folio,evergreen,salesforce",
        "--secrets",
        base / "secrets",
        "--logs",
        sample,
    )
    run("-c", base / "library" / "carrel.toml", "replay")
    return base / "library" / "carrel.toml"


def seen(configured: Path, *words: str, columns: int = 80) -> list[str]:
    shown, code = on_terminal("-c", configured, *words, columns=columns)
    assert code == 0, shown
    return ESCAPE.sub("", shown).splitlines()


@pytest.mark.parametrize(
    ("words", "columns"),
    [
        (("check",), 80), (("status",), 80), (("keys", "list"), 80), (("deadletters", "list"), 80),
        (("sources", "list", "--fields"), 80), (("counts", "--month", "2026-03"), 80), (("replay",), 80),
        (("counts", "--month", "2026-03"), 120), (("check",), 120),
    ],
    ids=str,
)  # fmt: skip
def test_every_line_fits_the_terminal(configured, words, columns):
    lines = seen(configured, *words, columns=columns)

    assert len(lines) > 3
    # A command to copy is one line however long: broken, it would be another one.
    assert [line for line in lines if len(line) > columns and not line.startswith("  carrel ")] == []


def test_counts_show_whole_measure_names_and_each_window_once(configured):
    lines = seen(configured, "counts", "--table", "circ_branch_month", "--month", "2026-03")

    assert lines[0] == "circ_branch_month  2026-03"
    assert lines[1].split() == ["branch", "patrons", "total_checkouts", "total_renewals"]
    assert [line.split()[0] for line in lines[2:14]] == [f"B{at:02}" for at in range(1, 13)]
    assert lines[14] == "  95 % margin: patrons ±6, total_checkouts ±5, total_renewals ±5"
    assert "2026-03" not in "".join(lines[1:])


def test_there_is_colour_on_a_terminal_and_none_elsewhere_or_where_it_is_not_wanted(run, configured):
    words = ("-c", configured, "counts", "--table", "circ_branch_month", "--month", "2026-03")

    assert ESCAPE.search(on_terminal(*words)[0])
    assert "\x1b[1m" in on_terminal(*words)[0]
    assert not re.search(r"\x1b\[3[0-9]m", on_terminal("-c", "nowhere.toml", "status", NO_COLOR="1")[0])
    assert "\x1b[31m" in on_terminal("-c", "nowhere.toml", "status")[0]
    assert "\x1b" not in run(*words).stdout
    assert "\x1b" not in run("-c", "nowhere.toml", "status", code=2).stderr


def test_elsewhere_a_line_is_whole_however_long(run, configured):
    said = run("-c", configured, "check").stdout

    assert max(map(len, said.splitlines())) > 120


def test_a_replay_shows_how_far_it_is_on_a_terminal_and_says_nothing_of_it_to_a_script(run, sample, tmp_path):
    run("init", tmp_path / "library", "--secrets", tmp_path / "secrets", "--logs", sample)
    configured = tmp_path / "library" / "carrel.toml"

    shown, code = on_terminal("-c", configured, "replay")
    silent = run("-c", configured, "replay", "--json").stdout

    assert code == 0
    assert "read carrel-event, file 1 of " in shown
    assert "\x1b[?25l" in shown  # the bar hides the cursor, and leaves nothing of itself
    assert silent.startswith("{")
    assert silent.count("\n") == 1
