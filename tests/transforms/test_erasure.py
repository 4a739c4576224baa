"""Erasure against the row-wise reference: whose acts are gone from which windows, whatever came first."""

import datetime as dt

import pytest
from beam_free_job import decode_lines, merged, secret, tallied, tally_of
from generated_logs import HOUR, NOW, SOURCES, ZONES, a_policy, an_event, erasing_lines, line, logs
from hypothesis import given
from hypothesis import strategies as st
from rowwise import Window, acts_of_log

from schemas.counts import Tally
from schemas.rejects import Reason

DAY = 24 * HOUR


def rows_of(one: Tally) -> list[bytes]:
    """The rows of a tally as bytes, in no order."""
    return sorted(one.take(slice(at, at + 1)).to_bytes() for at in range(len(one)))


def acts_by_window(log, policy, cuts=()):
    tallies, _ = tallied(log, cuts, policy=policy, now=NOW)
    return {Window(one.key.table, one.key.start, one.key.end): one for one in merged(tallies)}


@given(st.data(), st.sampled_from(ZONES), st.randoms(use_true_random=False))
def test_the_acts_of_erased_patrons_are_gone_from_the_windows_that_were_open(data, time_zone, chance):
    policy = a_policy(time_zone)
    log = data.draw(logs(policy, most=4)) + data.draw(erasing_lines(policy))
    chance.shuffle(log)
    expected, _ = acts_of_log(log, policy=policy, now=NOW, secrets=secret)

    found = acts_by_window(log, policy, data.draw(st.lists(st.integers(0, len(log)), max_size=3)))

    assert {window: rows_of(one) for window, one in found.items()} == {
        window: rows_of(tally_of(acts, policy.table(window.table), window)) for window, acts in expected.items()
    }


def event(day: str, **changes: object):
    at = round(dt.datetime.fromisoformat(f"{day}T12:00:00+00:00").timestamp() * 1000)
    return line(an_event(occurred_at=at, arrived_at=at, **changes))


def left(*lines: bytes, table: str = "materials") -> dict[str, int]:
    """How many acts are left in each window of a table."""
    found = acts_by_window([(SOURCES[0], one) for one in lines], a_policy())
    return {window.start: len(one) for window, one in found.items() if window.table == table}


GONE = {"kind": "patron", "event_id": "gone", "change": "deleted", "patron_ref": "17"}


def test_the_whole_window_is_cleared_also_of_what_comes_after():
    acts = [event("2026-03-02", event_id="a"), event("2026-03-30", event_id="b", patron_ref="18")]

    assert left(*acts, event("2026-03-10", **GONE), event("2026-03-20", event_id="c")) == {"2026-03-01": 1}


def test_a_window_that_ended_within_its_horizon_is_cleared_too_and_an_older_one_is_not():
    acts = [event(day, event_id=day) for day in ("2026-02-10", "2026-03-10", "2026-04-01")]

    assert left(*acts, event("2026-04-02", **GONE)) == {"2026-02-01": 1, "2026-03-01": 0, "2026-04-01": 0}
    assert left(*acts, event("2026-04-20", **GONE)) == {"2026-02-01": 1, "2026-03-01": 1, "2026-04-01": 0}


def test_days_are_cleared_as_far_back_as_they_are_open_also_over_the_end_of_a_month():
    acts = [event(day, event_id=day) for day in ("2026-03-29", "2026-03-30", "2026-03-31", "2026-04-01", "2026-04-02")]

    kept = left(*acts, event("2026-04-01", **GONE), table="days")

    assert kept == {"2026-03-29": 1, "2026-03-30": 0, "2026-03-31": 0, "2026-04-01": 0, "2026-04-02": 1}


def test_the_next_window_begins_anew():
    acts = [event(day, event_id=day) for day in ("2026-03-10", "2026-04-10")]

    assert left(*acts, event("2026-03-20", **GONE)) == {"2026-03-01": 0, "2026-04-01": 1}


def test_an_erasure_that_is_taken_back_erases_nothing():
    back = event("2026-03-21", **GONE | {"op": "retract"})

    assert left(event("2026-03-10"), event("2026-03-20", **GONE), back) == {"2026-03-01": 1}


@pytest.mark.parametrize("change", ["deleted", "opted_out"])
def test_an_erasure_that_names_nobody_is_refused_and_kept_sealed(change):
    nobody = event("2026-03-21", **GONE | {"patron_ref": None, "change": change})
    no_people = event("2026-03-21", **GONE | {"patron_ref": "guest", "change": change, "event_id": "other"})
    no_erasure = event("2026-03-21", **GONE | {"patron_ref": None, "change": "updated", "event_id": "third"})

    decoded = decode_lines([nobody, no_people, no_erasure], SOURCES[0], a_policy(), NOW)

    assert [(error.reason, error.fields) for _, error in decoded.rejects] == [(Reason.UNNAMED_ACT, ("patron_ref",))]
    assert decoded.counts["rejected/unnamed_act"] == 1
    assert decoded.counts["filtered/no_patron"] == 2


@pytest.mark.parametrize("who", [None, "guest"])
@pytest.mark.parametrize("change", ["deleted", "opted_out"])
def test_an_erasure_is_taken_back_by_its_patron_only_and_one_that_names_nobody_is_refused(who, change):
    back = event("2026-03-21", **GONE | {"op": "retract", "patron_ref": who, "change": change})

    decoded = decode_lines([back], SOURCES[0], a_policy(), NOW)

    assert [(error.reason, error.fields) for _, error in decoded.rejects] == [(Reason.UNNAMED_ACT, ("patron_ref",))]
    assert decoded.counts["messages"] == decoded.counts["rejected/unnamed_act"] == 1
    assert decoded.batches == []


def test_another_namespace_has_other_patrons():
    policy = a_policy()
    log = [(SOURCES[2], event("2026-03-10")), (SOURCES[0], event("2026-03-20", **GONE))]

    (one,) = (one for window, one in acts_by_window(log, policy).items() if window.table == "materials")

    assert len(one) == 1


def test_an_erasure_under_the_id_of_an_act_is_not_that_act():
    assert left(event("2026-03-10", event_id="gone", patron_ref="18"), event("2026-03-20", **GONE)) == {"2026-03-01": 1}
