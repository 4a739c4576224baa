"""What a streaming job's readers look at beside their bus: whether their source is stopped, and when keys end."""

import pickle

import pytest

from pipelines import source_watch
from pipelines.configuration import capabilities, load
from pipelines.counts_opening import open_counts
from pipelines.counts_rows import SourceStop, StoreAwayError
from pipelines.keyring import Keyring
from pipelines.source_watch import SourceWatch
from pipelines.stream_keys import StreamKeys
from schemas.counts import WindowKey
from schemas.policy_compiler import compile_policy
from tests.support.replaying import at, deployment, keys
from transforms.windows import day_number

MADE = at("2026-03-01")
HOUR = 3_600_000
MARCH = ("2026-03-01", "2026-04-01")


@pytest.fixture
def directory(tmp_path):
    made = deployment(tmp_path / "library")
    Keyring(load(made / "carrel.toml").keyring).token_key("example", "2026-03", now_ms=MADE)
    return made


@pytest.fixture
def clocks(monkeypatch):
    """The wall clock, ms UTC, and the machine's clock, seconds; set by a test."""
    told = {"wall": at("2026-04-03"), "machine": 1000.0}
    monkeypatch.setattr(source_watch, "now", lambda: told["wall"])
    monkeypatch.setattr(source_watch.time, "monotonic", lambda: told["machine"])
    return told


def stream_keys(directory, begins="2026-03-01"):
    found = load(directory / "carrel.toml")
    policy = compile_policy(found.policy_text, capabilities(found))
    return StreamKeys(found, policy, {table.name: day_number(begins) for table in policy.tables})


def watch_of(directory, source="carrel-event", *, ends_keys=True):
    given = stream_keys(directory)
    return pickle.loads(pickle.dumps(SourceWatch(source, given.deployment, given if ends_keys else None)))


def minutes_later(clocks, wall=0):
    clocks["machine"] += 61
    clocks["wall"] += wall


def say(directory, source, reason):
    with open_counts(directory / "counts.db") as counts:
        counts.record_stop(SourceStop("example", source, reason, 0, "2026-04-03"))


def publish_all(directory, but=()):
    """Say of all windows of March that they are settled."""
    given = stream_keys(directory)
    with open_counts(directory / "counts.db") as counts:
        for table in given.policy.tables:
            if table.name not in but:
                counts.void("example", table.kind, WindowKey(table.name, *MARCH), given.policy.digest, "gap")


def receipts(directory):
    with open_counts(directory / "counts.db") as counts:
        return [(one.purpose, one.month, one.why) for one in counts.receipts("example")]


def test_a_source_is_read_until_it_is_stopped_and_again_when_it_is_resumed(directory, clocks):
    watch, other = watch_of(directory), watch_of(directory, "folio")
    assert watch.may_read()

    say(directory, "carrel-event", "not_json")
    assert watch.may_read(), "it does not ask the store at each poll"
    minutes_later(clocks)
    assert (watch.may_read(), other.may_read()) == (False, True)
    assert not watch_of(directory).may_read(), "a reader that is made anew looks before it reads"

    say(directory, "carrel-event", "")
    minutes_later(clocks)
    assert watch.may_read()


def test_while_the_counts_store_is_away_it_stays_as_it_was_and_an_unknown_source_is_not_read(
    directory, clocks, monkeypatch
):
    watch = watch_of(directory)
    assert watch.may_read()

    def away(_):
        raise StoreAwayError("counts store: away")

    monkeypatch.setattr(source_watch, "open_counts", away)
    minutes_later(clocks)

    assert watch.may_read()
    assert not watch_of(directory).may_read()


def test_keys_end_with_the_last_window_of_their_month_though_nothing_comes(directory, clocks):
    watch = watch_of(directory)
    watch.may_read()
    publish_all(directory)
    minutes_later(clocks)
    watch.may_read()
    assert keys(directory) == {"2026-03"}, "they are looked at once an hour"

    minutes_later(clocks, wall=HOUR)
    watch_of(directory, ends_keys=False).may_read()
    assert keys(directory) == {"2026-03"}
    watch.may_read()

    assert keys(directory) == set()
    assert receipts(directory) == [("token", "2026-03", "released")]


def test_a_key_waits_for_each_table_from_the_day_on_that_this_table_begins(directory, clocks):
    publish_all(directory, but=("circ_branch_material_month",))
    given = stream_keys(directory, begins="2026-04-01")

    with open_counts(directory / "counts.db") as counts:
        late = given.begins | {"circ_branch_material_month": day_number("2026-03-20")}
        assert StreamKeys(given.deployment, given.policy, late).end(counts, clocks["wall"]) == []
        assert given.end(counts, clocks["wall"]) == ["token 2026-03"]


def test_at_its_deadline_a_key_ends_though_all_sources_stand_still(directory, clocks):
    watch = watch_of(directory)
    clocks["wall"] = at("2026-04-14")
    watch.may_read()
    assert keys(directory) == {"2026-03"}

    minutes_later(clocks, wall=40 * 24 * HOUR)
    watch.may_read()

    assert keys(directory) == set()
    assert receipts(directory) == [("token", "2026-03", "deadline")]
    with open_counts(directory / "counts.db") as counts:
        reasons = {row.reason for row in counts.ledger("example").values()}
    assert reasons == {"key destroyed at its deadline"}
