"""What the operator says of archives: where they begin, through which day they are complete, that a source has ended."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from released import ledger, released
from replaying import DAY, at, checkouts, deployment, edit, replayed, write

from pipelines.configuration import ConfigurationError
from pipelines.counts_opening import open_counts

TABLE = "circ_branch_material_month"
ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def library(tmp_path):
    return deployment(tmp_path / "library")


@pytest.fixture
def two_sources(tmp_path):
    """Circulation from two systems; both are canonical, so that each test says what they hold."""
    made = deployment(tmp_path / "library")
    text = (made / "carrel.toml").read_text()
    block = text[text.index("[sources.carrel-event]") : text.index("# To read folio")]
    second = block.replace("[sources.carrel-event", "[sources.other").replace("carrel-event/*", "other/*")
    edit(made / "carrel.toml", block, block + second)
    return made


def archive(made: Path, name: str, source: str = "carrel-event") -> Path:
    return made / "archive" / source / f"{name}.jsonl"


def states(made: Path) -> dict[str, str]:
    return {row[1]: row[2] for row in ledger(made) if row[0] == TABLE}


def reason(made: Path, start: str) -> tuple[str, str]:
    with open_counts(made / "counts.db") as counts:
        row = counts.ledger("example")[TABLE, start]
    return row.completeness, row.reason


def carrel(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a line as it was printed, in a shell of its own."""
    line = command.replace("carrel", f"{shlex.quote(sys.executable)} -m pipelines.command_line", 1)
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        ["bash", "-c", line], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=True
    )


def commands(advice: list[str]) -> list[str]:
    return [f"carrel{line.partition(': carrel')[2]}" for line in advice if ": carrel" in line]


# Through which day.


def test_a_window_is_released_on_the_operators_word_and_the_ledger_says_so(library):
    write(archive(library, "log"), checkouts("2026-03-01", 30, of=10))

    replayed(library, complete_through="2026-03-31")

    assert states(library) == {"2026-03-01": "sealed"}
    assert reason(library, "2026-03-01") == ("partial-declared", "complete_through 2026-03-31")


def test_the_word_reaches_three_days_beyond_the_last_event_and_no_further(library):
    write(archive(library, "log"), checkouts("2026-03-01", 28, of=10))  # the last event is of March 28

    with pytest.raises(ConfigurationError, match="the last event of source carrel-event is more than 3 days older"):
        replayed(library, complete_through="2026-04-01")
    assert states(library) == {}

    replayed(library, complete_through="2026-03-31")
    assert states(library) == {"2026-03-01": "sealed"}


def test_the_word_is_refused_when_one_of_the_feeding_sources_is_far_behind(two_sources):
    write(archive(two_sources, "log"), checkouts("2026-03-01", 30, of=10))
    write(archive(two_sources, "log", "other"), checkouts("2026-03-01", 20, of=10, seed=2))

    with pytest.raises(ConfigurationError, match="the last event of source other is more than 3 days older"):
        replayed(two_sources, complete_through="2026-03-31")
    replayed(two_sources, source="carrel-event", complete_through="2026-03-31")

    assert states(two_sources) == {}


def test_a_source_that_was_declared_ended_is_no_reason_to_refuse_and_holds_nothing(two_sources):
    edit(two_sources / "carrel.toml", "[sources.other]\n", "[sources.other]\nended = true\n")
    write(archive(two_sources, "log"), checkouts("2026-03-01", 30, of=10))
    write(archive(two_sources, "log", "other"), checkouts("2026-03-01", 20, of=10, seed=2))

    replayed(two_sources, complete_through="2026-03-31")

    assert states(two_sources) == {"2026-03-01": "sealed"}


def test_an_ended_source_that_was_never_read_holds_nothing(two_sources):
    edit(two_sources / "carrel.toml", "[sources.other]\n", "[sources.other]\nended = true\n")
    write(archive(two_sources, "log"), checkouts("2026-03-01", 40, of=10))

    found = replayed(two_sources)

    assert states(two_sources) == {"2026-03-01": "sealed"}
    assert not any("never read" in line for line in found.advice)


def test_when_all_sources_have_ended_all_is_complete_without_a_word(library):
    edit(library / "carrel.toml", "[sources.carrel-event]\n", "[sources.carrel-event]\nended = true\n")
    write(archive(library, "log"), checkouts("2026-03-01", 35, of=10))

    replayed(library)

    assert states(library) == {"2026-03-01": "sealed", "2026-04-01": "sealed"}
    assert reason(library, "2026-04-01") == ("complete", "")


def test_nothing_is_declared_of_a_source_that_was_never_read(library):
    with pytest.raises(ConfigurationError, match="more than 3 days older"):
        replayed(library, complete_through="2026-03-31")


# From which day.


def test_by_default_a_source_is_complete_from_the_day_of_its_first_arrival(library):
    """What happened the day before and came after midnight proves nothing of that day."""
    events = checkouts("2026-03-01", 34, of=10, delay=0)
    early = {
        **events[0],
        "event_id": "early",
        "occurred_at": at("2026-02-28", 23.5),
        "arrived_at": at("2026-03-01", 0.5),
    }
    write(archive(library, "log"), [early, *events])

    replayed(library)

    assert states(library) == {"2026-02-01": "void", "2026-03-01": "sealed"}
    assert reason(library, "2026-02-01") == ("void", "default complete_from 2026-03-01")


def test_one_late_event_of_long_ago_does_not_make_the_past_complete(library):
    events = checkouts("2026-03-05", 34, of=10, delay=0)
    old = {**events[0], "event_id": "old", "occurred_at": at("2025-12-20"), "arrived_at": at("2026-03-05", 1)}
    write(archive(library, "log"), [old, *events])

    replayed(library)

    assert states(library) == {"2026-03-01": "void"}


def test_a_configured_beginning_is_taken_and_a_window_before_it_is_void_for_good(library):
    edit(library / "carrel.toml", "[sources.carrel-event]\n", '[sources.carrel-event]\ncomplete_from = "2026-04-01"\n')
    write(archive(library, "log"), checkouts("2026-03-01", 70, of=10))

    replayed(library)
    edit(library / "carrel.toml", "2026-04-01", "2026-03-01")
    replayed(library)

    assert states(library) == {"2026-03-01": "void", "2026-04-01": "sealed"}
    assert reason(library, "2026-03-01") == ("void", "complete_from 2026-04-01")


def test_a_configured_beginning_does_not_let_todays_file_stand_for_all_that_was_published(library):
    edit(library / "carrel.toml", "[sources.carrel-event]\n", '[sources.carrel-event]\ncomplete_from = "2026-03-01"\n')
    write(archive(library, "a"), checkouts("2026-03-01", 34, of=10))
    replayed(library)
    write(archive(library, "b"), checkouts("2026-04-04", 32, of=10))

    found = replayed(library)

    assert (found.differs, found.closed) == ([], {})
    assert states(library) == {"2026-03-01": "sealed", "2026-04-01": "sealed"}


def test_where_a_new_system_began_the_beginning_of_the_old_one_is_kept(two_sources):
    """A system that did not exist has nothing missing: its configuration says so."""
    edit(two_sources / "carrel.toml", "[sources.other]\n", "[sources.other]\nended = true\n")
    edit(
        two_sources / "carrel.toml",
        "[sources.carrel-event]\n",
        '[sources.carrel-event]\ncomplete_from = "2026-03-01"\n',
    )
    write(archive(two_sources, "log", "other"), checkouts("2026-03-01", 20, of=20, seed=2))
    write(archive(two_sources, "log"), checkouts("2026-03-21", 20, of=20))

    found = replayed(two_sources)
    again = replayed(two_sources, archive(two_sources, "log"), source="carrel-event")

    assert states(two_sources) == {"2026-03-01": "sealed"}
    assert found.merged[TABLE] == (620, 620)
    assert again.differs == []  # half of that month is not verified against the whole of it


# Printed commands are run as they are.


def test_the_printed_command_releases_what_is_held(library, tmp_path):
    write(archive(library, "log"), checkouts("2026-03-01", 29, of=10))
    shown = carrel(f"carrel -c {library}/carrel.toml replay", tmp_path).stdout

    (command,) = [line.strip() for line in shown.splitlines() if line.strip().startswith("carrel ")]
    carrel(command, tmp_path)

    assert "--complete-through 2026-03-31" in command
    assert states(library) == {"2026-03-01": "sealed"}


def test_the_printed_command_works_for_files_that_lie_outside_the_archive(library, tmp_path):
    log = write(tmp_path / "else where.jsonl", checkouts("2026-03-01", 29, of=10))
    shown = carrel(f"carrel -c {library}/carrel.toml replay {shlex.quote(str(log))}", tmp_path).stdout

    (command,) = [line.strip() for line in shown.splitlines() if line.strip().startswith("carrel ")]
    carrel(command, tmp_path)

    assert states(library) == {"2026-03-01": "sealed"}


def test_the_printed_command_is_short_where_the_configuration_is_found_by_itself(library):
    write(archive(library, "log"), checkouts("2026-03-01", 29, of=10))

    shown = carrel("carrel replay", library).stdout

    assert "carrel replay --complete-through 2026-03-31" in shown


def test_each_source_gets_its_own_command_where_they_differ(two_sources):
    text = (two_sources / "carrel.toml").read_text()
    head, other = text.split("[sources.other]\n")
    other = other.replace('"circulation", "patron", "engagement"', '"circulation"', 1)
    (two_sources / "carrel.toml").write_text(f"{head}[sources.other]\n{other}")
    signed = {"kind": "patron", "change": "new", "home_branch": "B01"}
    registered = [
        {**signed, "event_id": f"r{day}", "patron_ref": f"p{day}", "occurred_at": at("2026-03-01") + day * DAY}
        for day in range(60)
    ]
    write(archive(two_sources, "log"), [*checkouts("2026-03-01", 30, of=10), *registered])
    write(archive(two_sources, "log", "other"), checkouts("2026-03-01", 30, of=10, seed=2))

    printed = [line.strip() for line in carrel("carrel replay", two_sources).stdout.splitlines()]
    found = [line for line in printed if line.startswith("carrel ")]
    for command in found:
        carrel(command, two_sources)

    assert found == [
        "carrel replay --source carrel-event --complete-through 2026-04-30",
        "carrel replay --source other --complete-through 2026-03-31",
    ]
    assert states(two_sources) == {"2026-03-01": "sealed"}
    assert ("registrations_month", "2026-04-01", "sealed") in [row[:3] for row in ledger(two_sources)]


def test_the_printed_beginning_brings_back_what_the_default_cost(library, tmp_path):
    write(archive(library, "log"), checkouts("2026-03-08", 30, of=10))
    shown = carrel(f"carrel -c {library}/carrel.toml replay", tmp_path).stdout

    (command,) = [line.strip() for line in shown.splitlines() if "--complete-from" in line]
    carrel(command, tmp_path)

    assert "--complete-from 2026-03-01" in command
    assert states(library) == {"2026-03-01": "sealed"}


def test_no_command_is_printed_that_would_be_refused(library):
    write(archive(library, "log"), checkouts("2026-03-01", 20, of=10))

    found = replayed(library)

    assert found.held == [f"{TABLE} 2026-03-01"]
    assert commands(found.advice) == []


def test_what_is_held_is_said_to_end_with_its_key(library):
    write(archive(library, "log"), checkouts("2026-03-01", 20, of=10))

    found = replayed(library, now="2026-03-25")

    # March is over on April 1; then come seven days of horizon and fourteen of wall time.
    assert any("the first key ends on 2026-04-22" in line for line in found.advice)


def test_stragglers_of_one_month_do_not_publish_the_next_one_before_its_file_is_read(tmp_path):
    made = deployment(tmp_path / "library")
    march = checkouts("2026-03-01", 30, of=40, delay=1)
    straggler = {**march[-1], "event_id": "straggler", "arrived_at": at("2026-05-20")}
    write(tmp_path / "march.jsonl", [*march, straggler])
    write(
        tmp_path / "april.jsonl",
        [{**event, "event_id": f"april {event['event_id']}"} for event in checkouts("2026-04-01", 40, of=40, delay=1)],
    )

    first = replayed(made, tmp_path / "march.jsonl", complete_from="2026-03-01")
    second = replayed(made, tmp_path / "april.jsonl")

    april = [row for row in released(made) if "2026-04-01" in row and "circ_branch_material_month" in row]
    assert "circ_branch_material_month 2026-03-01" in first.released
    assert "circ_branch_material_month 2026-04-01" in second.released
    assert second.differs == []
    assert any("published" in row for row in april)
