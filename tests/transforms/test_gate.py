"""The gate's arithmetic, against a plain walk over all windows of some years, one instant at a time."""

import datetime as dt
from itertools import pairwise

import pytest
from generated_logs import DAY, HOUR, ZONES, a_policy
from hypothesis import example, given
from hypothesis import strategies as st
from rowwise import begins as instant_of

from schemas.counts import WindowKey
from schemas.gate import ACTS, GAP, TICK, Passage, Waiting
from transforms.gate import (
    GateFeed,
    earliest_needed,
    is_open,
    opens_at,
    void_reason,
    windows_lost,
    windows_passed,
)
from transforms.privacy.times import Zone

TABLES = ("totals", "days", "day_types", "holds", "changes")
FIRST, LAST = dt.date(2025, 12, 1), dt.date(2026, 7, 1)  # of the walk
MINUTES_15 = 15 * 60_000
MARCH = WindowKey("totals", "2026-03-01", "2026-04-01")
TOTALS = a_policy().table("totals")


def day_number(day):
    return (day - dt.date(1970, 1, 1)).days


def all_windows(table):
    """Every window of the walk: key, first and last day after."""
    day = FIRST
    while day < LAST:
        after = day + dt.timedelta(days=1)
        if table.grain == "month":
            after = (day.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
        yield WindowKey(table.name, day.isoformat(), after.isoformat()), day, after
        day = after


def published_at(table, after, zone):
    """Window end + H + one hour, up to the full hour: written out once more."""
    exact = instant_of(after, zone) + table.horizon + HOUR
    return exact + -exact % HOUR


a_table = st.sampled_from(TABLES)
a_zone = st.sampled_from(ZONES)
an_hour = st.integers(0, 100 * 24).map(
    lambda hours: 1_769_900_400_000 // HOUR * HOUR + hours * HOUR
)  # from February on
a_day = st.dates(dt.date(2026, 1, 1), dt.date(2026, 3, 31))


@given(a_table, a_zone, st.dates(FIRST, LAST - dt.timedelta(days=1)))
def test_a_window_opens_at_its_publication_time(name, time_zone, day):
    table = a_policy(time_zone).table(name)
    (found,) = [(key, after) for key, start, after in all_windows(table) if start <= day < after]

    assert opens_at(table, found[0], Zone(time_zone)) == published_at(table, found[1], time_zone)


@given(a_table, a_zone, st.none() | an_hour, st.integers(1, 60 * 24), a_day)
@example("totals", "America/New_York", None, 24, dt.date(2026, 1, 15))
def test_a_passage_tells_each_window_whose_publication_time_lies_in_it(name, time_zone, after, hours, begins):
    table, zone = a_policy(time_zone).table(name), Zone(time_zone)
    until = (1_769_900_400_000 // HOUR * HOUR if after is None else after) + hours * HOUR

    told = list(windows_passed(table, Passage(after, until), day_number(begins), zone))

    assert told == [
        key
        for key, _, end in all_windows(table)
        if end > begins and (after is None or published_at(table, end, time_zone) > after)
        and published_at(table, end, time_zone) <= until
    ]  # fmt: skip


@given(a_table, a_zone, st.lists(st.integers(1, 500), min_size=1, max_size=6), a_day)
def test_however_a_clock_is_cut_into_passages_each_window_is_told_once(name, time_zone, steps, begins):
    table, zone = a_policy(time_zone).table(name), Zone(time_zone)
    hours = [1_769_900_400_000 // HOUR * HOUR]
    for step in steps:
        hours.append(hours[-1] + step * HOUR)
    passages = [Passage(None, hours[0]), *(Passage(one, other) for one, other in pairwise(hours))]

    told = [key for passage in passages for key in windows_passed(table, passage, day_number(begins), zone)]

    assert told == list(windows_passed(table, Passage(None, hours[-1]), day_number(begins), zone))


@given(a_table, a_zone, an_hour, st.integers(0, 40 * DAY))
def test_lost_messages_may_be_of_windows_that_had_begun_and_were_not_over(name, time_zone, after, length):
    table, until = a_policy(time_zone).table(name), after + length

    told = list(windows_lost(table, after, until, Zone(time_zone)))

    assert told == [
        key
        for key, start, end in all_windows(table)
        if instant_of(start, time_zone) <= until + MINUTES_15 and after < instant_of(end, time_zone) + table.horizon
    ]


def test_a_window_is_told_when_the_clock_reaches_its_hour_and_not_again():
    opens = opens_at(TOTALS, MARCH, Zone("America/New_York"))
    told = [
        list(windows_passed(TOTALS, Passage(after, until), day_number(dt.date(2026, 3, 1)), Zone("America/New_York")))
        for after, until in ((None, opens - HOUR), (opens - HOUR, opens), (opens, opens + HOUR))
    ]

    assert told == [[], [MARCH], []]


@pytest.mark.parametrize(("until", "is_told"), [(-MINUTES_15 - 1, False), (-MINUTES_15, True), (0, True)])
def test_what_was_lost_before_a_window_may_be_of_it_as_far_as_clocks_go_wrong(until, is_told):
    start = instant_of(dt.date(2026, 3, 1), "America/New_York")

    told = list(windows_lost(TOTALS, start - DAY, start + until, Zone("America/New_York")))

    assert (MARCH in told) is is_told


def feed(source="ils", begins="2026-03-01", *, kinds=("circulation",), by_default=False):
    return GateFeed(source, kinds, day_number(dt.date.fromisoformat(begins)), by_default)


def tick(source="ils", reader=0, policy="digest", readers=1):
    return Waiting(MARCH, TICK, source, reader, readers=readers, policy=policy)


def test_a_window_is_open_when_every_reader_of_every_source_has_passed_it():
    feeds = (feed(), feed("crm"))
    ticks = [tick(reader=0, readers=2), tick(reader=1, readers=2), tick("crm")]

    assert is_open(feeds, [*ticks, Waiting(MARCH, ACTS, "ils", rows=1, blob=b"x")], "digest")
    for missing in ticks:
        assert not is_open(feeds, [one for one in ticks if one is not missing], "digest")
    assert not is_open(feeds, [], "digest")


def test_acts_and_gaps_open_nothing():
    assert not is_open(
        (feed(),), [Waiting(MARCH, ACTS, "ils", rows=1, blob=b"x"), Waiting(MARCH, GAP, "ils")], "digest"
    )


def test_readers_of_another_number_are_no_part_of_each_other():
    assert not is_open((feed(),), [tick(reader=0, readers=2), tick(reader=1, readers=3)], "digest")
    assert is_open(
        (feed(),), [tick(reader=0, readers=2), tick(reader=1, readers=2), tick(reader=1, readers=3)], "digest"
    )


def test_the_word_of_a_reader_that_began_under_another_policy_opens_nothing():
    assert not is_open((feed(),), [tick(policy="older")], "digest")
    assert is_open((feed(),), [tick(policy="older"), tick()], "digest")


@pytest.mark.parametrize(
    ("feeds", "reason"),
    [
        ((feed(begins="2026-03-01"),), ""),
        ((feed(begins="2026-03-02"),), "complete_from 2026-03-02"),
        ((feed(begins="2026-03-02", by_default=True),), "default complete_from 2026-03-02"),
        ((feed(begins="2026-03-02", by_default=True), feed("crm", "2026-03-02")), "complete_from 2026-03-02"),
        ((feed(begins="2026-03-02", by_default=True), feed("crm", "2026-02-01")), "default complete_from 2026-03-02"),
        # Where a source that gives no acts of the table began says nothing of them.
        ((feed(), feed("crm", "2026-05-01", kinds=("patron",))), ""),
    ],
)
def test_a_window_that_begins_before_its_sources_is_void(feeds, reason):
    assert void_reason(TOTALS, MARCH, feeds, [tick()]) == reason


def test_a_window_that_lost_messages_is_void():
    assert void_reason(TOTALS, MARCH, (feed(),), [tick(), Waiting(MARCH, GAP, "ils")]) == "gap"


@given(a_zone, st.integers(0, 3), st.integers(0, 70), a_day)
def test_a_clean_start_reads_from_the_first_window_that_is_not_settled(time_zone, months, days, begins):
    policy, zone = a_policy(time_zone), Zone(time_zone)
    tables = [policy.table("totals"), policy.table("days")]
    settled, waiting = set(), []
    for table, n in zip(tables, (months, days), strict=True):
        windows = [(key, start) for key, start, end in all_windows(table) if end > begins]
        settled |= {(table.name, key.start) for key, _ in windows[:n]}
        waiting.append(windows[n][1])

    assert earliest_needed(tables, settled, day_number(begins), zone) == instant_of(min(waiting), time_zone)


def test_a_start_without_tables_needs_nothing():
    assert earliest_needed([], set(), 0, Zone("UTC")) is None
