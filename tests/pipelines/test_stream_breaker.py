"""The hoard breaker of streams: what it counts, when it opens, and what the operator's word does."""

import pytest

from pipelines import stream_breaker
from pipelines.breaker import BreakerOpenError
from pipelines.configuration import load
from pipelines.counts_opening import open_counts
from pipelines.stream_breaker import JudgeRefusals, resume, stands
from tests.support.replaying import at, deployment

NOW = at("2026-04-03", 9)
HOUR = 3_600_000
SOURCE = "carrel-event"


@pytest.fixture
def found(tmp_path, monkeypatch):
    monkeypatch.setattr(stream_breaker, "_HOURS", {})  # what the process has counted
    return load(deployment(tmp_path / "library") / "carrel.toml")


def chunk(messages, **rejected):
    return {"messages": messages, "decoded": messages} | {f"rejected/{reason}": n for reason, n in rejected.items()}


def stop_of(found, source=SOURCE):
    with open_counts(found.counts_store) as counts:
        return stands(counts, found.tenant).get(source)


def resumed(found, *, now=NOW, accepts_until=0):
    with open_counts(found.counts_store) as counts:
        return resume(counts, found.tenant, SOURCE, now=now, accepts_until=accepts_until)


def test_a_hundred_in_fewer_than_ten_thousand_are_too_many(found):
    judge = JudgeRefusals(found)
    judge(SOURCE, chunk(4_000, not_json=60), None, NOW)
    judge(SOURCE, chunk(4_000, not_json=39), None, NOW)
    assert stop_of(found) is None

    with pytest.raises(BreakerOpenError, match="mostly not_json"):
        judge(SOURCE, chunk(100, not_json=2, bad_time=1), None, NOW)

    assert (stop_of(found).reason, stop_of(found).day) == ("not_json", "2026-04-03")


def test_each_hour_counts_for_itself_and_so_does_each_source(found):
    judge = JudgeRefusals(found)
    for hour in range(5):
        judge(SOURCE, chunk(500, not_json=99), None, NOW + hour * HOUR)
        judge("folio", chunk(500, not_json=99), None, NOW + hour * HOUR)

    assert stop_of(found) is None


def test_a_gap_is_no_refusal(found):
    JudgeRefusals(found)(SOURCE, chunk(5_000, gap=5_000), None, NOW)

    assert stop_of(found) is None


def test_a_thousand_an_hour_are_too_many_of_any_number(found):
    judge = JudgeRefusals(found)
    judge(SOURCE, chunk(1_000_000, unknown_code=999), None, NOW)

    with pytest.raises(BreakerOpenError):
        judge(SOURCE, chunk(4_000, unknown_code=1), None, NOW)


def test_chains_of_transforms_come_and_go_but_what_was_counted_stays(found):
    JudgeRefusals(found)(SOURCE, chunk(100, not_json=99), None, NOW)

    with pytest.raises(BreakerOpenError):
        JudgeRefusals(found)(SOURCE, chunk(100, not_json=1), None, NOW)


def test_after_it_was_resumed_it_is_judged_anew(found):
    judge = JudgeRefusals(found)
    with pytest.raises(BreakerOpenError):
        judge(SOURCE, chunk(100, not_json=100), None, NOW)

    assert resumed(found) == "not_json"
    assert stop_of(found).reason == ""
    assert resumed(found) == "", "a source that is not stopped"

    stream_breaker._HOURS.clear()  # the engine has started its workers again
    judge(SOURCE, chunk(100, not_json=99), None, NOW)
    with pytest.raises(BreakerOpenError):
        judge(SOURCE, chunk(100, not_json=1), None, NOW)
    assert stop_of(found).reason == "not_json"


def test_for_an_hour_all_is_taken_where_the_operator_says_so(found):
    judge = JudgeRefusals(found)
    resumed(found, accepts_until=NOW + HOUR)

    judge(SOURCE, chunk(5_000, not_json=5_000), None, NOW)
    judge(SOURCE, chunk(5_000, not_json=5_000), None, NOW + HOUR - 1)
    assert stop_of(found).reason == ""

    with pytest.raises(BreakerOpenError):
        judge(SOURCE, chunk(5_000, not_json=5_000), None, NOW + HOUR)


def test_a_stop_is_said_once_however_many_readers_meet_it(found):
    judge = JudgeRefusals(found)
    for _ in range(3):
        stream_breaker._HOURS.clear()
        with pytest.raises(BreakerOpenError):
            judge(SOURCE, chunk(100, not_json=100), None, NOW)

    with open_counts(found.counts_store) as counts:
        assert len(counts.stops(found.tenant)) == 1
