"""Keys end with what they protect, or at their deadline: nobody outside can keep one alive or have one made."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from released import ledger, released
from replaying import at, checkouts, deployment, edit, keys, killed, replayed, windows, write

from pipelines.commands import keys as keys_commands
from pipelines.configuration import capabilities, load
from pipelines.counts_opening import open_counts
from pipelines.invocation import Invocation
from pipelines.key_life import KeyLife
from pipelines.keyring import Keyring, KeyringError
from pipelines.work_store import WorkStore
from pipelines.work_values import OPEN
from schemas.policy_compiler import compile_policy

MARCH = "circ_branch_material_month 2026-03-01"


@pytest.fixture
def library(tmp_path):
    return deployment(tmp_path / "library")


def twin(made: Path, name: str = "twin") -> Path:
    shutil.copytree(made, made.parent / name)
    return made.parent / name


def archive(made: Path, name: str = "log") -> Path:
    return made / "archive" / "carrel-event" / f"{name}.jsonl"


def states(made: Path) -> dict[str, str]:
    return {f"{row[0]} {row[1]}": row[2] for row in ledger(made)}


def circulation(made: Path) -> list[tuple[object, ...]]:
    return [row for row in released(made) if row[2] == "circ_branch_material_month"]


def receipts(made: Path) -> set[tuple[str, str, str]]:
    with open_counts(made / "counts.db") as counts:
        return {(one.purpose, one.month, one.why) for one in counts.receipts("example")}


def make_ahead(made: Path, month: str, now: str) -> None:
    keyring = Keyring(load(made / "carrel.toml").keyring)
    keyring.token_key("example", month, now_ms=at(now))
    keyring.noise_key("example", month, "store", create=True, now_ms=at(now))


def life(made: Path, work: WorkStore, counts, now: str) -> KeyLife:
    found = load(made / "carrel.toml")
    return KeyLife(found, compile_policy(found.policy_text, capabilities(found)), work, counts, at(now))


# Month end + the largest horizon of the policy (7 days) + 14 days of wall time.


def test_keys_made_ahead_for_a_month_that_never_comes_end_at_its_deadline(library):
    make_ahead(library, "2026-05", "2026-04-02")

    replayed(library, now="2026-06-21")
    before = keys(library)
    found = replayed(library, now="2026-06-23")

    assert before == {"2026-05", "noise-example-2026-05"}
    assert found.destroyed == ["token 2026-05", "noise 2026-05"]
    assert keys(library) == set()
    assert receipts(library) == {("token", "2026-05", "unused"), ("noise", "2026-05", "unused")}


def test_a_month_whose_noise_key_was_never_used_can_still_be_released(tmp_path):
    library = deployment(tmp_path / "library", preset="standard")
    make_ahead(library, "2026-03", "2026-02-02")
    replayed(library, now="2026-06-01")
    write(archive(library), checkouts("2026-03-01", 40, of=20))

    replayed(library, now="2026-07-01")

    assert states(library)["circ_branch_month 2026-03-01"] == "sealed"
    assert "noise-example-2026-03" in keys(library)


def test_a_used_noise_key_ends_35_days_after_the_last_release_and_leaves_a_tombstone(tmp_path):
    library = deployment(tmp_path / "library", preset="standard")
    log = write(archive(library), checkouts("2026-03-01", 34, of=10))
    replayed(library, now="2026-06-01")

    replayed(library, now="2026-07-06")
    before = keys(library)
    found = replayed(library, log, now="2026-07-07")

    assert "noise-example-2026-03" in before
    assert "noise-example-2026-03.gone" in keys(library)
    assert "noise-example-2026-03" not in keys(library)
    assert ("noise", "2026-03", "schedule") in receipts(library)
    assert "circ_branch_month 2026-03-01" in found.unverifiable
    assert found.matches == 0


def test_what_would_need_a_destroyed_noise_key_is_void_and_said_so(tmp_path):
    library = deployment(tmp_path / "library", preset="standard")
    log = write(archive(library), checkouts("2026-03-01", 34, of=10))
    edit(library / "policy.toml", 'name = "circ_branch_month"', 'name = "circ_then"')
    replayed(library, now="2026-06-01")
    replayed(library, now="2026-07-07")
    edit(library / "policy.toml", 'name = "circ_then"', 'name = "circ_now"')

    replayed(library, log, now="2026-07-08", backfill=True)

    with open_counts(library / "counts.db") as counts:
        entry = counts.ledger("example")["circ_now", "2026-03-01"]
    assert (entry.state, entry.reason) == ("void", "noise key destroyed")


def test_at_its_deadline_a_token_key_goes_and_what_is_unreleased_is_void_for_good(library):
    write(archive(library), checkouts("2026-03-01", 32, of=10))
    replayed(library, now="2026-04-10")
    held = replayed(library, now="2026-04-21").held

    found = replayed(library, now="2026-04-23")
    write(archive(library, "more"), checkouts("2026-04-02", 20, of=10))
    replayed(library, now="2026-04-24", complete_through="2026-03-31")

    assert MARCH in held
    assert MARCH in found.void
    assert "token 2026-03" in found.destroyed
    assert states(library)[MARCH] == "void"
    assert "2026-03" not in keys(library)
    assert ("token", "2026-03", "deadline") in receipts(library)
    assert circulation(library) == []


def test_the_deadline_comes_also_when_a_source_is_broken(tmp_path):
    """Whoever breaks a source holds its tables, and no key."""
    library = deployment(tmp_path / "library", sources=("carrel-event", "folio"))
    edit(library / "carrel.toml", '"patron", "engagement"', '"engagement"')
    write(archive(library), checkouts("2026-03-01", 50, of=10))
    for lookup in ("users", "items"):
        write(library / "archive" / "folio" / "lookups" / f"{lookup}.jsonl", [])

    held = replayed(library, now="2026-04-20")
    found = replayed(library, now="2026-04-23")

    assert MARCH in held.held
    assert "tables of source folio wait: it was never read" in held.advice
    assert MARCH in found.void
    assert keys(library) == {"2026-04"}


def test_a_default_beginning_can_not_be_mended_once_its_acts_went_with_their_key(library):
    write(archive(library), checkouts("2026-03-05", 40, of=10))
    early = replayed(library, now="2026-04-15")

    late = replayed(library, now="2026-04-23")
    replayed(library, now="2026-04-23", complete_from="2026-03-01")

    assert any("--complete-from 2026-03-01" in advice for advice in early.advice)
    assert not any("--complete-from" in advice for advice in late.advice)
    assert states(library)[MARCH] == "void"
    assert circulation(library) == []


def test_events_of_the_future_and_of_long_ago_have_no_key_made(library):
    good = checkouts("2026-03-01", 40, of=10, delay=1)
    odd = [
        {**good[0], "event_id": "future", "occurred_at": at("2099-01-01"), "arrived_at": at("2099-01-01")},
        {**good[0], "event_id": "ahead", "occurred_at": at("2026-09-01")},
        {**good[0], "event_id": "old", "occurred_at": at("2001-05-01")},
        {**good[0], "event_id": "late", "occurred_at": at("2026-02-01"), "arrived_at": at("2026-03-04")},
    ]
    write(archive(library), [*good, *odd])

    found = replayed(library)

    assert found.messages["carrel-event", "rejected/clock"] == 1
    assert found.messages["carrel-event", "rejected/future"] == 1
    assert found.messages["carrel-event", "late/circ_branch_material_month"] == 2
    assert {month for purpose, month, _ in receipts(library)} | keys(library) == {"2026-03", "2026-04"}


def test_events_for_a_void_month_do_not_bring_its_key_back(library):
    write(archive(library), checkouts("2026-03-01", 32, of=10))
    replayed(library, now="2026-04-10")
    replayed(library, now="2026-04-23")

    for day in range(24, 28):
        write(archive(library, f"day-{day}"), checkouts("2026-03-31", 1, seed=day, of=5))
        replayed(library, now=f"2026-04-{day}")

        assert "2026-03" not in keys(library)
        assert MARCH not in windows(library)


@pytest.mark.parametrize("label", ["batch-committed", "batch-committed:2", "ledger-begun", "seal-done:2"])
def test_a_killed_run_over_old_logs_loses_its_keys_after_14_days_and_begins_afresh(library, label):
    for name, day in (("a", "2026-01-01"), ("b", "2026-01-20")):
        write(archive(library, name), checkouts(day, 30, of=20, seed=7))
    undisturbed = twin(library)
    replayed(undisturbed, now="2026-06-01")

    killed(library, label, now="2026-06-01")
    replayed_keys = keys(library)
    with WorkStore(library / "work.db") as work, open_counts(library / "counts.db") as counts:
        early = life(library, work, counts, "2026-06-15").keep_deadlines()
        ended = life(library, work, counts, "2026-06-16").keep_deadlines()
    left = keys(library)
    found = replayed(library, now="2026-06-20")

    assert (early.keys, early.void) == ([], [])
    assert {"2026-01"} <= replayed_keys
    assert (left, ended.void) == (set(), [])
    assert ("token", "2026-01", "run") in receipts(library)
    assert (found.closed, found.differs, found.void) == ({}, [], [])
    assert released(library) == released(undisturbed) != []
    assert ledger(library) == ledger(undisturbed)
    assert windows(library) == windows(undisturbed)


@pytest.mark.parametrize("loss", ["gone", "another"])
def test_a_killed_run_whose_keys_are_not_there_begins_afresh(library, loss):
    for name, day in (("a", "2026-01-01"), ("b", "2026-01-20")):
        write(archive(library, name), checkouts(day, 30, of=20, seed=7))
    undisturbed = twin(library)
    replayed(undisturbed)
    killed(library, "batch-committed:2")
    keyring = Keyring(load(library / "carrel.toml").keyring)
    for month in ("2026-01", "2026-02"):
        keyring.destroy_token_key("example", month)
    if loss == "another":
        keyring.token_key("example", "2026-01", now_ms=at("2026-06-01"))

    replayed(library)

    assert released(library) == released(undisturbed) != []
    assert windows(library) == windows(undisturbed)


def test_a_killed_verification_that_lost_its_keys_begins_afresh_and_matches(library):
    log = write(archive(library), checkouts("2026-01-01", 40, of=20))
    before = replayed(library)
    killed(library, "batch-committed", log)
    Keyring(load(library / "carrel.toml").keyring).destroy_token_key("example", "2026-01")

    found = replayed(library, log)

    assert found.matches == len(before.released) > 0
    assert (found.differs, found.closed) == ([], {})


def test_a_killed_run_does_not_carry_this_months_windows_over_their_deadline(library):
    write(archive(library, "a"), checkouts("2026-03-01", 20, of=10))
    write(archive(library, "b"), checkouts("2026-03-21", 25, of=10))
    killed(library, "batch-committed", now="2026-04-20")

    found = replayed(library, now="2026-04-23")

    assert MARCH in found.void
    assert circulation(library) == []


def test_windows_that_wait_for_a_missing_key_stop_the_run_until_they_are_given_up(library):
    write(archive(library), checkouts("2026-01-01", 20, of=10))
    replayed(library)
    Keyring(load(library / "carrel.toml").keyring).destroy_token_key("example", "2026-01")
    write(archive(library, "more"), checkouts("2026-01-21", 20, of=10))

    with pytest.raises(KeyringError, match=r"token key of 2026-01 is missing.* keys shred --purpose token") as refused:
        replayed(library)
    keys_commands.shred(Invocation(library / "carrel.toml", at("2026-06-01")), "2026-01", "token", yes=True)
    replayed(library)

    assert "\n" not in str(refused.value)
    assert ("token", "2026-01", "by hand") in receipts(library)
    assert states(library)["circ_branch_material_month 2026-01-01"] == "void"
    assert circulation(library) == []


def test_the_windows_of_a_table_that_left_the_policy_are_named_void_when_their_key_is_shredded(library):
    write(archive(library), checkouts("2026-03-01", 20, of=10))
    replayed(library, now="2026-03-21")
    with WorkStore(library / "work.db") as work:
        waiting = {f"{key.table} {key.start}" for key in work.windows(OPEN)}
    edit(library / "policy.toml", 'name = "circ_branch_material_month"', 'name = "circ_by_material_month"')

    keys_commands.shred(Invocation(library / "carrel.toml", at("2026-03-21")), "2026-03", "token", yes=True)

    assert MARCH in waiting
    assert {name for name, state in states(library).items() if state == "void"} >= waiting


def test_a_destruction_that_was_cut_short_is_finished_by_the_next_run(library):
    make_ahead(library, "2026-07", "2026-05-01")
    path = load(library / "carrel.toml").keyring / "token-example-2026-07.key"
    path.write_bytes(bytes(path.stat().st_size))

    replayed(library)

    assert keys(library) == {"noise-example-2026-07"}
