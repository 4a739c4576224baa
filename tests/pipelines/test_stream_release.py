"""The whole streaming graph over given deliveries: what it publishes, what it holds, what is never published."""

import shutil
from dataclasses import replace

import pytest

from pipelines.configuration import load
from pipelines.counts_opening import open_counts
from pipelines.dead_letters import DeadLetterDirectory
from pipelines.keyring import Keyring, KeyringError
from pipelines.keys import KeyringAt
from pipelines.stream_release import Releasing, _Decide
from schemas.counts import Tally, WindowKey
from schemas.gate import ACTS, TICK, Waiting
from tests.support.released import ledger, released
from tests.support.replaying import at, checkouts, deployment, edit, keys, replayed, write
from tests.support.streamed import SOURCE, Streamed, chunk
from transforms.gate import Gate, GateFeed
from transforms.tally import seal_tally
from transforms.windows import day_number

NOW = at("2026-06-01")
APRIL_3 = at("2026-04-03", 2)  # March of circulation is published two days and an hour after its end


@pytest.fixture
def stream(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.stream_breaker._HOURS", {})  # what this process has counted
    return Streamed(deployment(tmp_path / "library"), NOW)


@pytest.fixture
def events():
    return checkouts("2026-03-01", 31, delay=40)


def states(stream, table="circ_branch_material_month"):
    return {row[1]: row[2] for row in ledger(stream.directory) if row[0] == table}


def test_the_same_events_give_the_bytes_of_a_replay(stream, events, tmp_path):
    twin = tmp_path / "twin"
    shutil.copytree(stream.directory, twin)
    broken = {"kind": "circulation", "arrived_at": events[-1]["arrived_at"]}
    log = [*events, broken, *events[-30:], *checkouts("2026-04-01", 3, seed=2, delay=0)]
    log.sort(key=lambda event: event["arrived_at"])

    stream.run(
        stream.delivered(chunk(log[:700], NOW)),
        stream.delivered(chunk(log[700:], NOW), until=at("2026-04-10")),
    )
    replayed(twin, write(tmp_path / "log.jsonl", log), complete_through="2026-03-31", now="2026-06-01")

    expected = released(twin)
    months = [row for row in expected if row[3] == "2026-03-01"]
    assert len(months) > 10
    assert released(stream.directory) == expected
    assert [(*row[:3], row[4]) for row in ledger(stream.directory)] == [(*row[:3], row[4]) for row in ledger(twin)]
    letters = [DeadLetterDirectory(one / "dead-letters").list() for one in (stream.directory, twin)]
    assert [(one.day, one.letters) for one in letters[0]] == [(one.day, one.letters) for one in letters[1]]


def test_the_end_of_time_publishes_nothing_that_no_reader_has_told(stream, events):
    stream.run(stream.delivered(chunk(events, NOW)))

    assert ledger(stream.directory) == []


def test_an_hour_too_early_nothing_is_out(stream, events):
    stream.run(stream.delivered(chunk(events, NOW), until=at("2026-04-02", 23)))

    assert states(stream) == {}


@pytest.mark.parametrize(("told", "out"), [((0,), {}), ((1,), {}), ((0, 1), {"2026-03-01": "sealed"})])
def test_a_window_waits_for_every_reader(stream, events, told, out):
    stream = replace(stream, readers=2)

    stream.run(
        stream.delivered(chunk(events, NOW)),
        *(stream.delivered(until=APRIL_3, reader=reader) for reader in told),
    )

    assert states(stream) == out


def test_a_reader_under_another_policy_has_told_nothing(stream, events):
    told = stream.delivered(chunk(events, NOW), until=APRIL_3)

    stream.run(replace(told, policy="older"))

    assert ledger(stream.directory) == []


def test_a_window_without_events_is_released_too(stream):
    stream.run(stream.delivered(until=APRIL_3))

    assert states(stream) == {"2026-03-01": "sealed"}


def test_a_window_that_lost_messages_is_void(stream, events):
    lost = (at("2026-03-10"), at("2026-03-11"))

    stream.run(stream.delivered(chunk(events, NOW), gaps=(lost,)), stream.delivered(until=APRIL_3))

    assert states(stream) == {"2026-03-01": "void"}
    assert {row[2] for row in released(stream.directory)} == set()


def test_a_window_before_its_source_is_void(stream, events):
    replace(stream, begins="2026-03-02").run(stream.delivered(chunk(events, NOW), until=APRIL_3))

    assert states(stream) == {"2026-03-01": "void"}


def test_what_is_published_stays_whatever_comes_again(stream, events):
    stream.run(stream.delivered(chunk(events, NOW), until=APRIL_3))
    first = released(stream.directory), ledger(stream.directory)

    stream.run(stream.delivered(chunk(events[:100], NOW), until=APRIL_3))

    assert (released(stream.directory), ledger(stream.directory)) == first


def test_another_policy_does_not_release_a_window_again(stream, events):
    stream.run(stream.delivered(chunk(events, NOW), until=APRIL_3))
    first = released(stream.directory)
    edit(stream.directory / "policy.toml", 'name = "circ_branch_material_month"', 'name = "circ_branch_other_month"')

    stream.run(stream.delivered(chunk(events, NOW), until=APRIL_3))

    assert released(stream.directory) == first
    assert states(stream, "circ_branch_other_month") == {}


def test_a_source_that_refuses_too_much_fails_its_bundle_and_nothing_of_it_is_kept(stream, events):
    broken = [{"kind": "circulation", "arrived_at": events[at]["arrived_at"], "n": at} for at in range(120)]

    with pytest.raises(RuntimeError, match="refuses too much to be read on, mostly disallowed_field"):
        stream.run(stream.delivered(chunk(events + broken, NOW), until=APRIL_3))

    assert (ledger(stream.directory), DeadLetterDirectory(stream.directory / "dead-letters").list()) == ([], ())
    with open_counts(stream.directory / "counts.db") as counts:
        (stop,) = counts.stops("example")
    assert (stop.source, stop.reason) == (SOURCE, "disallowed_field")


@pytest.fixture
def decide(stream, events):
    """Lets the acts of March reach the gate, then something happen, then the gate open; gives what came of it."""

    def done(between):
        found, policy = load(stream.directory / "carrel.toml"), stream.policy
        with open_counts(found.counts_store) as counts:
            keyring = KeyringAt(str(found.keyring), "example", counts.store_id, NOW)
        table = policy.table("circ_branch_material_month")
        gate = Gate("carrel-event", (table,), (GateFeed(SOURCE, ("circulation",), day_number("2026-03-01"), False),))
        key = WindowKey(table.name, "2026-03-01", "2026-04-01")
        sealed = seal_tally(Tally.empty(key), keyring.open().month("2026-03"))
        between(Keyring(found.keyring))
        deciding = _Decide(Releasing(found, policy, keyring), gate)
        deciding.setup()
        deciding.start_bundle()
        acts = Waiting(key, ACTS, SOURCE, rows=1, blob=sealed.blob)
        tick = Waiting(key, TICK, SOURCE, readers=1, policy=policy.digest)
        try:
            return list(deciding.process(("key", [acts, tick])))
        finally:
            deciding.teardown()

    return done


def test_acts_whose_key_was_destroyed_are_void(stream, decide):
    def shredded(keyring):
        keyring.destroy_token_key("example", "2026-03")
        with open_counts(stream.directory / "counts.db") as counts:
            counts.record_receipt("example", "token", "2026-03", "by hand", "2026-04-01")

    (out,) = decide(shredded)

    assert (out.tag, out.value.reason) == ("void", "token key destroyed")
    assert "2026-03" not in keys(stream.directory), "none is made in its place"


def test_acts_whose_key_is_missing_wait_for_the_operator(stream, decide):
    with pytest.raises(KeyringError, match="token key of 2026-03 that acts wait under is missing; restore"):
        decide(lambda keyring: keyring.destroy_token_key("example", "2026-03"))

    assert "2026-03" not in keys(stream.directory), "none is made in its place"


@pytest.mark.parametrize("is_told", [True, False])
def test_acts_under_another_key_are_void_where_theirs_was_destroyed(stream, decide, is_told):
    def replaced(keyring):
        keyring.destroy_token_key("example", "2026-03")
        keyring.token_key("example", "2026-03", now_ms=NOW)
        if is_told:
            with open_counts(stream.directory / "counts.db") as counts:
                counts.record_receipt("example", "token", "2026-03", "by hand", "2026-04-01")

    if is_told:
        assert [out.value.reason for out in decide(replaced)] == ["token key destroyed"]
    else:
        with pytest.raises(KeyringError, match="that acts wait under is missing"):
            decide(replaced)


def test_with_its_key_it_is_released(decide):
    (out,) = decide(lambda keyring: None)

    assert out.key.start == "2026-03-01"


def test_what_is_published_needs_no_key_when_it_comes_again(stream, decide):
    stream.run(stream.delivered(until=APRIL_3))

    assert decide(lambda keyring: keyring.destroy_token_key("example", "2026-03")) == []


def test_without_its_noise_key_a_window_is_void(tmp_path, monkeypatch):
    noisy = Streamed(deployment(tmp_path / "noisy", preset="standard"), NOW)
    keyring = Keyring(load(noisy.directory / "carrel.toml").keyring)
    keyring.noise_key("example", "2026-03", "store", create=True, now_ms=NOW)
    keyring.destroy_noise_key("example", "2026-03")

    noisy.run(noisy.delivered(until=APRIL_3))

    assert states(noisy) == {"2026-03-01": "void"}


def test_a_worker_that_lives_on_does_not_keep_a_key_that_was_destroyed(stream, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("pipelines.keys.time.monotonic", lambda: clock[0])
    ring = load(stream.directory / "carrel.toml").keyring
    opened = KeyringAt(str(ring), "example", "store", NOW).open()
    first = opened.month("2026-03")
    Keyring(ring).destroy_token_key("example", "2026-03")

    assert opened.month("2026-03") is first
    clock[0] = 601.0
    assert opened.month("2026-03") is not first
