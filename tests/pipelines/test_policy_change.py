"""The first policy wins: a changed or new table is never mixed with what was tallied before, nor taken for quiet."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from released import ledger, released
from replaying import checkouts, deployment, edit, replayed, windows, write

from pipelines.configuration import ConfigurationError
from pipelines.counts_opening import open_counts

OLD, NEW = "circ_branch_material_month", "circ_again_month"
MARCH, APRIL = "2026-03-01", "2026-04-01"


@pytest.fixture
def library(tmp_path):
    return deployment(tmp_path / "library")


def archive(made: Path, name: str = "a") -> Path:
    return made / "archive" / "carrel-event" / f"{name}.jsonl"


def states(made: Path, table: str) -> dict[str, str]:
    return {row[1]: row[2] for row in ledger(made) if row[0] == table}


def numbers(made: Path, table: str) -> list[tuple[object, ...]]:
    """Window, cell, measure, value and status of a table's numbers."""
    return sorted((row[3], *row[6:10]) for row in released(made) if row[2] == table)


def is_backfill(made: Path, table: str, start: str) -> bool:
    with open_counts(made / "counts.db") as counts:
        return counts.ledger("example")[table, start].backfill


def rename(made: Path) -> None:
    """The table of circulation becomes a new one; the old one is gone."""
    edit(made / "policy.toml", f'name = "{OLD}"', f'name = "{NEW}"')


def with_other_codes(made: Path) -> None:
    """Other materials, the one that is lent behind them: cell integers mean other cells now."""
    edit(made / "policy.toml", '"book", "large-print"', '"braille", "book"')


def test_a_new_table_does_not_publish_what_another_policy_has_released_unless_it_is_asked_to(library):
    log = write(archive(library), checkouts(MARCH, 40, of=20))
    replayed(library)
    rename(library)

    kept_back = replayed(library, log)
    before = states(library, NEW)
    replayed(library, log, backfill=True)

    assert f"{NEW} {MARCH}" in kept_back.unpinned
    assert before == {}
    assert states(library, NEW) == {MARCH: "sealed"}
    assert is_backfill(library, NEW, MARCH)
    assert numbers(library, NEW) == numbers(library, OLD) != []


def test_a_backfill_without_the_archives_does_not_publish_empty_windows(library):
    write(archive(library), checkouts(MARCH, 40, of=20))
    replayed(library)
    rename(library)

    found = replayed(library, backfill=True)

    assert f"{NEW} {MARCH}" in found.unpinned
    assert states(library, NEW) == {}


def test_a_new_table_publishes_what_begins_after_it_was_there(library):
    write(archive(library), checkouts(MARCH, 20, of=20))
    replayed(library)
    rename(library)
    write(archive(library, "b"), checkouts("2026-03-21", 50, of=20))

    found = replayed(library)

    assert states(library, NEW) == {APRIL: "sealed"}
    assert f"{NEW} {MARCH}" in found.unpinned
    assert not is_backfill(library, NEW, APRIL)


def test_a_new_table_is_filled_when_all_its_archives_are_read_again_even_before_the_month_is_over(library):
    whole = deployment(library.parent / "whole")
    edit(whole / "policy.toml", f'name = "{OLD}"', f'name = "{NEW}"')
    write(archive(whole), [*checkouts(MARCH, 20, of=20), *checkouts("2026-03-21", 20, of=20)])
    replayed(whole)
    log = write(archive(library), checkouts(MARCH, 20, of=20))
    replayed(library)
    rename(library)

    replayed(library, log)
    write(archive(library, "b"), checkouts("2026-03-21", 20, of=20))
    replayed(library)

    assert states(library, NEW) == {MARCH: "sealed"}
    assert numbers(library, NEW) == numbers(whole, NEW)


def test_a_table_that_comes_back_has_not_seen_what_was_read_meanwhile(library):
    write(archive(library), checkouts(MARCH, 10, of=20))
    replayed(library)
    rename(library)
    write(archive(library, "b"), checkouts("2026-03-11", 10, of=20))
    replayed(library)
    edit(library / "policy.toml", f'name = "{NEW}"', f'name = "{OLD}"')
    write(archive(library, "c"), checkouts("2026-03-21", 20, of=20))

    found = replayed(library)

    assert f"{OLD} {MARCH}" in found.unpinned
    assert states(library, OLD) == {}


def test_a_table_that_is_changed_while_its_window_is_open_stops_the_run(library):
    """Cell integers of two lists of codes must never meet in one tally."""
    write(archive(library), checkouts(MARCH, 20, of=20))
    replayed(library)
    with_other_codes(library)
    write(archive(library, "b"), checkouts("2026-03-21", 20, of=20))

    with pytest.raises(
        ConfigurationError, match=rf"table {OLD} was changed while its window {MARCH} is open"
    ) as refused:
        replayed(library)

    assert "\n" not in str(refused.value)
    assert windows(library) == {f"{OLD} {MARCH}"}
    assert released(library) == []


def test_a_changed_table_goes_on_when_the_archives_of_its_open_windows_are_read_again(library):
    whole = deployment(library.parent / "whole")
    with_other_codes(whole)
    events = checkouts(MARCH, 40, of=20)
    write(archive(whole), events)
    replayed(whole)
    log = write(archive(library), events[:400])
    replayed(library)
    with_other_codes(library)

    replayed(library, log, backfill=True)
    write(archive(library, "b"), events[400:])
    replayed(library)

    assert states(library, OLD) == {MARCH: "sealed"}
    assert not is_backfill(library, OLD, MARCH)
    assert numbers(library, OLD) == numbers(whole, OLD)


def test_a_change_of_threshold_alone_keeps_the_open_windows_and_is_what_they_are_released_under(library):
    write(archive(library), checkouts(MARCH, 20, of=20))
    replayed(library)
    edit(library / "policy.toml", "k = 11 ", "k = 20 ")
    write(archive(library, "b"), checkouts("2026-03-21", 20, of=20))

    replayed(library)

    assert states(library, OLD) == {MARCH: "sealed"}
    assert {row[10] for row in released(library) if row[2] == OLD} == {"plain/k20/C10", "plain/k20"}


def test_what_one_policy_published_another_one_cannot_verify_or_change(library):
    log = write(archive(library), checkouts(MARCH, 40, of=20))
    replayed(library)
    before = released(library)
    edit(library / "policy.toml", "k = 11 ", "k = 20 ")

    found = replayed(library, log, backfill=True)

    assert f"{OLD} {MARCH}" in found.unverifiable
    assert found.matches == 0
    assert released(library) == before


def test_years_of_logs_into_an_empty_store_are_no_backfill(library, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(library, other)
    write(archive(other), checkouts("2025-11-01", 120, of=5))

    found = replayed(other)

    assert len(found.released) > 3
    assert found.unpinned == []
    assert not is_backfill(other, OLD, "2025-12-01")
