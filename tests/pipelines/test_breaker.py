"""A source that refuses too much stops being read: its bus or archive keeps what comes, and the others go on."""

import json
from contextlib import contextmanager, nullcontext

import pytest

from pipelines import buses
from pipelines import live as live_module
from pipelines.breaker import LIVE, Breaker, BreakerOpenError, judge
from pipelines.commands import living
from pipelines.commands.sources import resume_source
from pipelines.configuration import load
from pipelines.dead_letters import DeadLetterDirectory
from pipelines.invocation import FINDING, Invocation
from pipelines.work_store import WorkStore
from schemas.chunks import ArrivalSpan
from schemas.rejects import Reason
from tests.support.replaying import checkouts as days_of_checkouts
from tests.support.replaying import deployment, edit, positions, write
from tests.support.scripted_bus import ScriptedBus
from tests.support.scripted_live import SOURCE, ScriptedLive, checkouts

HOUR = 3_600_000
START = 1_773_144_000_000  # 2026-03-10T12:00Z
BUS = 'bus = { kind = "pubsub", subscription = "projects/example/subscriptions/events" }'
BAD = {"phone": "CANARY"}  # a field that the contract does not know


@pytest.mark.parametrize(
    ("messages", "rejects", "hours", "is_over"),
    [
        (9_999, 99, 1, False),  # too few, whatever their share
        (9_900, 100, 1, True),
        (10_000, 100, 1, False),  # one per cent is not over one per cent
        (1_000_000, 999, 1, False),
        (1_000_000, 1_000, 1, True),
        (1_000_000, 1_999, 2, False),  # an hour, of the hours that were read
        (1_000_000, 2_000, 2, True),
    ],
)
def test_the_limit_is_a_share_and_a_number_an_hour(messages, rejects, hours, is_over):
    span = ArrivalSpan(SOURCE, START, START + hours * HOUR - 1, START)

    assert Breaker().after([span], messages, rejects).is_over() is is_over


@pytest.fixture
def library(run, tmp_path, monkeypatch):
    run("init", tmp_path / "library", "--secrets", tmp_path / "secrets", "--sources", "carrel-event,folio")
    return ScriptedLive(tmp_path / "library" / "carrel.toml", monkeypatch, START)


def letters(library):
    return sum(one.letters for one in DeadLetterDirectory(load(library.toml).dead_letters).list())


def status(run, library, code):
    return json.loads(run("-c", library.toml, "status", "--json", code=code).stdout)


def noted(journal, event):
    return [entry for entry in journal if entry["event"] == event]


def test_live_stops_the_source_keeps_nothing_of_the_batch_and_a_restart_does_not_forget(run, library):
    library.bus.put(checkouts(range(60), START))
    library.bus.put(checkouts(range(100, 220), START, **BAD))
    library.bus.put(checkouts(range(300, 360), START))
    journal = library.run(*[lambda: None] * 5)

    assert noted(journal, "breaker_open") == [{"event": "breaker_open", "source": SOURCE, "reason": "disallowed_field"}]
    assert letters(library) == 0
    assert library.bus.acknowledged == 1  # and what came after it was not asked for
    assert status(run, library, 1)["breakers"] == {SOURCE: "disallowed_field"}

    again = library.run(*[lambda: None] * 3)
    assert len(noted(again, "breaker_open")) == 1
    assert library.bus.acknowledged == 1

    run("-c", library.toml, "sources", "resume", SOURCE)
    assert status(run, library, 0)["breakers"] == {}
    library.run(*[lambda: None] * 3)
    assert library.bus.acknowledged == 2


def test_the_other_sources_go_on(library, monkeypatch):
    library.toml.write_text(library.toml.read_text() + '\n[sources.other]\nadapter = "carrel-event"\n')
    good = ScriptedBus("other", lambda: library.now)

    @contextmanager
    def both(*_):
        yield {SOURCE: library.bus, "other": good}

    monkeypatch.setattr(live_module, "open_buses", both)
    library.bus.put(checkouts(range(120), START, **BAD))
    for first in (0, 10):
        good.put(checkouts(range(first, first + 10), START))
    library.run(*[lambda: None] * 5)

    assert (library.bus.acknowledged, good.acknowledged) == (0, 2)
    assert letters(library) == 0


def test_the_bus_of_a_stopped_source_is_closed_at_once_and_only_once(library, monkeypatch):
    edit(library.toml, 'adapter = "carrel-event"', f'adapter = "carrel-event"\n{BUS}')
    monkeypatch.setattr(live_module, "open_buses", buses.open_buses)
    monkeypatch.setattr(buses, "_bus", lambda *_: library.bus)
    library.bus.put(checkouts(range(120), START, **BAD))
    seen = []

    library.run(lambda: seen.append(library.bus.closed), lambda: seen.append(library.bus.closed))

    assert seen == [0, 1]
    assert library.bus.closed == 1
    library.run(lambda: None)
    assert library.bus.closed == 2  # opened again, closed again


def test_what_is_refused_adds_up_over_an_hour_and_not_beyond(library):
    for first in (0, 100):
        library.bus.put(checkouts(range(first, first + 60), START, **BAD))
    journal = library.run(*[lambda: None] * 4)
    assert len(noted(journal, "breaker_open")) == 1
    assert letters(library) == 60


def test_in_the_next_hour_it_is_counted_anew(library):
    for first in (0, 100):
        library.bus.put(checkouts(range(first, first + 60), START, **BAD))
    journal = library.run(lambda: None, lambda: setattr(library, "now", START + HOUR), lambda: None, lambda: None)
    assert noted(journal, "breaker_open") == []
    assert letters(library) == 120


def test_accepted_letters_are_taken_for_one_hour(library):
    assert resume_source(Invocation(library.toml, START), SOURCE, accept=True) == 0
    library.bus.put(checkouts(range(150), START, **BAD))
    library.bus.put(checkouts(range(200, 350), START, **BAD))
    journal = library.run(lambda: None, lambda: setattr(library, "now", START + HOUR), lambda: None, lambda: None)

    assert letters(library) == 150
    assert len(noted(journal, "breaker_open")) == 1


def test_live_ends_with_a_finding(library, monkeypatch):
    monkeypatch.setattr(living, "hush_libraries", lambda journal: None)
    monkeypatch.setattr(living, "run_live", lambda *_, **__: frozenset({SOURCE}))
    monkeypatch.setattr(living.signal, "signal", lambda *_: None)
    assert living.live(Invocation(library.toml, START)) == FINDING


def test_a_replay_stops_before_the_batch_and_goes_on_once_it_is_mended(run, tmp_path):
    directory = deployment(tmp_path / "library")
    toml = directory / "carrel.toml"
    events = days_of_checkouts("2026-03-01", 40)
    archive = directory / "archive" / "carrel-event"
    write(archive / "1.jsonl", events[:800])
    bad = write(archive / "2.jsonl", [{**event, "phone": "CANARY"} for event in events[800:]])

    stopped = run("-c", toml, "replay", code=1)
    line = stopped.stderr.strip()
    assert line.count("\n") == 0
    assert line.startswith("carrel: sources.carrel-event: refuses too much to be read on, mostly disallowed_field")
    assert "CANARY" not in stopped.stdout + stopped.stderr
    assert {path.name for path in positions(directory)} == {"1.jsonl"}
    assert DeadLetterDirectory(directory / "dead-letters").list() == ()
    assert json.loads(run("-c", toml, "status", "--json", code=1).stdout)["breakers"]

    run("-c", toml, "replay", code=1)  # not mended: the same again
    write(bad, events[800:])
    run("-c", toml, "replay")
    assert all(position.done for position in positions(directory).values())
    assert json.loads(run("-c", toml, "status", "--json").stdout)["breakers"] == {}


def test_what_cannot_be_mended_in_an_archive_becomes_letters_by_the_operators_word(run, tmp_path):
    directory = deployment(tmp_path / "library")
    toml = directory / "carrel.toml"
    events = [{**event, "phone": "CANARY"} for event in days_of_checkouts("2026-03-01", 5)]
    write(directory / "archive" / "carrel-event" / "1.jsonl", events)

    run("-c", toml, "replay", code=1)
    run("-c", toml, "sources", "resume", "carrel-event")
    run("-c", toml, "replay", code=1)
    run("-c", toml, "sources", "resume", "carrel-event", "--accept")
    run("-c", toml, "replay")
    assert sum(one.letters for one in DeadLetterDirectory(directory / "dead-letters").list()) == 200


def test_a_source_that_is_not_configured_cannot_be_resumed(run, library):
    refused = run("-c", library.toml, "sources", "resume", "nobody", code=2)
    assert "no such source" in refused.stderr


def test_a_gap_is_no_refusal(tmp_path):
    with WorkStore(tmp_path / "work.db") as store:
        for reason, name in ((Reason.GAP, "lost"), (Reason.NOT_JSON, "bad")):
            counts = {(name, "messages"): 2_000, (name, f"rejected/{reason}"): 2_000}
            opens = pytest.raises(BreakerOpenError) if name == "bad" else nullcontext()
            with opens, store.transaction() as transaction:
                judge(store, transaction, LIVE, name, counts, (), window=1, now=START)


@pytest.mark.parametrize(("good", "code"), [(40_000, 0), (4_000, 1)])
def test_a_small_bad_file_that_comes_first_is_judged_as_a_part_of_the_whole_run(run, tmp_path, good, code):
    directory = deployment(tmp_path / "library")
    events = days_of_checkouts("2026-03-01", 50, of=good // 50)
    archive = directory / "archive" / "carrel-event"
    write(archive / "1.jsonl", [{**event, "phone": "CANARY"} for event in events[:200]])
    write(archive / "2.jsonl", events)

    run("-c", directory / "carrel.toml", "replay", code=code)


def test_a_large_sample_stops_no_source(run, tmp_path):
    run("sample", tmp_path / "logs", "--sources", "evergreen", "--days", "40")
    words = ("--sources", "evergreen", "--logs", tmp_path / "logs")
    run("init", tmp_path / "library", "--secrets", tmp_path / "secrets", *words)
    run("-c", tmp_path / "library" / "carrel.toml", "replay")
