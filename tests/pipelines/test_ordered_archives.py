"""Archives in the order of arrival: their clock moves while they are read, and a step back is an error."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from released import ledger, released
from replaying import DAY, checkouts, deployment, edit, keys, killed, positions, replayed, windows, write

from pipelines import inputs
from pipelines.inputs import InputError

MARCH = "circ_branch_material_month 2026-03-01"


@pytest.fixture
def small_batches(monkeypatch):
    """Some hundred events a batch, so that a small file has several."""
    monkeypatch.setattr(inputs, "CHUNK", 40_000)
    monkeypatch.setattr(inputs, "BATCH", 30_000)


@pytest.fixture
def ordered(tmp_path):
    """A deployment whose archives are in the order of arrival."""
    made = deployment(tmp_path / "ordered")
    edit(made / "carrel.toml", 'adapter = "carrel-event"\n', 'adapter = "carrel-event"\nordered_by = "arrival"\n')
    return made


def twin(made: Path) -> Path:
    """The same deployment, keys and store id, without the order."""
    other = made.parent / "unordered"
    shutil.copytree(made, other)
    edit(other / "carrel.toml", 'ordered_by = "arrival"\n', "")
    return other


def archive(made: Path, name: str = "log") -> Path:
    return made / "archive" / "carrel-event" / f"{name}.jsonl"


def sealed(made: Path) -> set[str]:
    return {f"{row[0]} {row[1]}" for row in ledger(made) if row[2] == "sealed"}


def test_the_order_changes_when_windows_are_released_and_never_what_is(ordered, small_batches):
    unordered = twin(ordered)
    events = checkouts("2026-03-01", 70, of=14, delay=30)
    for made in (ordered, unordered):
        write(archive(made, "north"), events[::2])
        write(archive(made, "south"), events[1::2])

    replayed(ordered)
    replayed(unordered)

    assert released(ordered) == released(unordered)
    assert MARCH in sealed(ordered)
    assert ledger(ordered) == ledger(unordered)
    assert windows(ordered) == windows(unordered)


def test_windows_are_released_while_files_are_read_and_their_keys_go_with_them(ordered, small_batches):
    unordered = twin(ordered)  # it shares the keyring, so that it has to come second
    for made in (ordered, unordered):
        write(archive(made), checkouts("2026-03-01", 70, of=14, delay=30))

    killed(ordered, "batch-committed:4")
    left = keys(ordered)
    killed(unordered, "batch-committed:4")

    assert MARCH in sealed(ordered)
    assert left == {"2026-04"}
    assert sealed(unordered) == set()
    assert keys(unordered) == {"2026-03", "2026-04"}


def test_of_several_files_the_one_furthest_behind_is_read_next(ordered, small_batches):
    """Else the clock would pass windows whose acts lie in a file that was not read so far."""
    events = checkouts("2026-03-01", 50, of=20, delay=3)
    write(archive(ordered, "a"), [event for event in events if event["branch"] == "B01"])
    write(archive(ordered, "b"), [event for event in events if event["branch"] == "B02"])

    killed(ordered, "batch-committed:4")
    read_to = {path.stem: position.clock for path, position in positions(ordered).items()}

    assert abs(read_to["a"] - read_to["b"]) < 15 * DAY
    assert replayed(ordered).closed == {}


def swapped(events, at):
    return [*events[:at], events[at + 1], events[at], *events[at + 2 :]]


@pytest.mark.parametrize("place", [1, 790])
def test_a_step_back_is_one_line_and_a_mended_file_is_read_to_the_same_counts(ordered, small_batches, place):
    unordered = twin(ordered)
    events = checkouts("2026-03-01", 50, of=16, delay=3)
    write(archive(ordered), swapped(events, place))
    write(archive(unordered), events)

    with pytest.raises(
        InputError, match=r"log\.jsonl: after byte \d+ a message arrived before one that was read"
    ) as no:
        replayed(ordered)
    early = sealed(ordered)
    write(archive(ordered), events)
    replayed(ordered)
    replayed(unordered)

    assert "\n" not in str(no.value)
    assert bool(early) == (place > 1)  # what was committed before the step back stays
    assert early <= sealed(ordered)
    assert released(ordered) == released(unordered)


def test_a_step_back_between_two_batches_is_seen(ordered, small_batches):
    events = checkouts("2026-03-01", 20, of=20, delay=3)
    write(archive(ordered), [*events[200:], *events[:200]])

    with pytest.raises(InputError, match="arrived before"):
        replayed(ordered)


def test_a_step_back_where_a_file_has_grown_is_seen(ordered):
    events = checkouts("2026-03-01", 20, of=20, delay=3)
    write(archive(ordered), events[10:])
    replayed(ordered)
    write(archive(ordered), [*events[10:], events[0]])

    with pytest.raises(InputError, match="arrived before"):
        replayed(ordered)


def test_a_new_file_that_begins_before_what_was_read_is_a_step_back_unless_it_is_named(ordered):
    events = checkouts("2026-03-01", 20, of=20, delay=3)
    write(archive(ordered, "later"), events[200:])
    replayed(ordered)
    earlier = write(archive(ordered, "earlier"), events[:200])

    with pytest.raises(InputError, match=r"earlier\.jsonl: after byte 0 a message arrived before"):
        replayed(ordered)

    assert replayed(ordered, earlier).files == 1


def test_without_the_order_any_order_will_do(ordered):
    unordered = twin(ordered)
    write(archive(unordered), list(reversed(checkouts("2026-03-01", 40, of=10, delay=3))))

    assert MARCH in replayed(unordered).released
