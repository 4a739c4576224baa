"""Civil time against the standard library, one instant at a time."""

import datetime as dt
import zoneinfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.privacy.times import (
    AGE_BANDS,
    DAY_TYPES,
    DAYPARTS,
    UNKNOWN_BIRTH,
    Zone,
    age_band_of,
    birth_days,
    day_type_of,
    daypart_of,
    is_late,
    local_resolver,
    publication_time,
    window_name,
    zone_rules,
)

HOUR = 3_600_000
NAMES = st.sampled_from(
    [
        "America/New_York",
        "Europe/Oslo",
        "Asia/Kolkata",
        "America/Havana",
        "Australia/Lord_Howe",
        "Africa/Casablanca",
        "UTC",
    ]
)
INSTANTS = st.integers(631_152_000_000, 4_102_444_799_999)


def day(iso):
    return int(np.datetime64(iso, "D").astype(int))


@given(NAMES, INSTANTS)
def test_civil_time_is_that_of_the_standard_library(name, instant):
    zone = Zone(name)
    civil = dt.datetime.fromtimestamp(instant // 1000, zone_rules(name))

    assert window_name("day", int(zone.day_of(np.array([instant]))[0])) == civil.date().isoformat()
    assert window_name("month", int(zone.month_of(np.array([instant]))[0])) == civil.date().replace(day=1).isoformat()
    local = zone.local(np.array([instant]))
    assert int(local[0]) // HOUR % 24 == civil.hour
    assert bool(day_type_of(local)[0]) == (civil.weekday() >= 5)
    starts = {"night": 0, "early": 6, "morning": 9, "afternoon": 12, "evening": 17, "late": 20}
    assert DAYPARTS[daypart_of(local)[0]] == max((s, n) for n, s in starts.items() if s <= civil.hour)[1]


@given(NAMES, st.integers(7305, 47000))
def test_days_tile_the_year_and_begin_at_their_first_instant(name, number):
    zone = Zone(name)
    start = zone.start_of_day(number)

    assert zone.day_of(np.array([start, start - 1])).tolist() == [number, number - 1]


@pytest.mark.parametrize(("iso", "hours"), [("2026-03-08", 23), ("2026-11-01", 25), ("2026-05-05", 24)])
def test_days_with_a_clock_change_have_23_and_25_hours(iso, hours):
    zone = Zone("America/New_York")

    assert zone.start_of_day(day(iso) + 1) - zone.start_of_day(day(iso)) == hours * HOUR


@given(NAMES, st.integers(0, 400), st.integers(-1000, 1000))
def test_around_every_clock_change_civil_time_is_right_to_the_millisecond(name, change, away):
    zone = Zone(name)
    changes = zone._changes[1:].tolist() or [1_000_000_000_000]
    instant = changes[change % len(changes)] + away
    civil = dt.datetime.fromtimestamp(instant // 1000, zone_rules(name)).replace(tzinfo=dt.UTC)

    assert int(zone.local(np.array([instant]))[0]) == int(civil.timestamp()) * 1000 + instant % 1000


@pytest.mark.parametrize(
    ("name", "instant", "hour"), [("Africa/Cairo", 1_745_532_000_000, 1), ("Africa/Casablanca", 1_212_278_400_000, 1)]
)
def test_a_clock_change_holds_from_its_first_millisecond(name, instant, hour):
    local = Zone(name).local(np.array([instant - 1, instant]))

    assert (local // HOUR % 24).tolist() == [23, hour]


def test_a_day_without_midnight_begins_when_its_clocks_begin():
    start = Zone("Africa/Cairo").start_of_day(day("2025-04-25"))

    assert start == 1_745_532_000_000


def test_a_day_that_the_zone_skipped_is_empty():
    zone = Zone("Pacific/Apia")

    assert zone.start_of_day(day("2011-12-30")) == zone.start_of_day(day("2011-12-31"))


@given(NAMES, st.integers(240, 1559))
def test_months_tile_the_years_and_begin_with_their_first_day(name, number):
    zone = Zone(name)
    start = zone.start_of_month(number)

    assert zone.month_of(np.array([start, start - 1])).tolist() == [number, number - 1]
    assert window_name("month", number) == window_name("day", int(zone.day_of(np.array([start]))[0]))


@pytest.mark.parametrize(
    "date", ["", "20260301", "2026-W01-1", "2026-3-1", "2026-02-30", "2026-03-01T00:00", "２０２６-03-01"]
)
def test_only_plain_dates_are_birth_dates(date):
    days, bad = birth_days([date, "2000-02-29", None])

    assert bad.tolist() == [True, False, False]
    assert days.tolist() == [UNKNOWN_BIRTH, day("2000-02-29"), UNKNOWN_BIRTH]


def test_who_is_born_on_a_leap_day_comes_of_age_on_the_first_of_march():
    born, _ = birth_days(["2000-02-29"])

    assert [
        AGE_BANDS[age_band_of(born, np.array([day(iso)], np.int32))[0]] for iso in ("2018-02-28", "2018-03-01")
    ] == ["13-17", "18-24"]


def test_civil_days_months_dayparts_and_weekends_are_those_of_the_librarys_clock():
    zone = Zone("America/New_York")
    # 2026-02-28 Saturday 23:59:59.999 in New York, and one millisecond later; both are March in UTC.
    instants = np.array([1_772_341_199_999, 1_772_341_200_000])
    local = zone.local(instants)

    assert [window_name("day", number) for number in zone.day_of(instants).tolist()] == ["2026-02-28", "2026-03-01"]
    assert [window_name("month", number) for number in zone.month_of(instants).tolist()] == ["2026-02-01", "2026-03-01"]
    assert [DAYPARTS[at] for at in daypart_of(local)] == ["late", "night"]
    assert [DAY_TYPES[at] for at in day_type_of(local)] == ["weekend", "weekend"]
    assert zone.start_of_month(int(zone.month_of(instants)[1])) == instants[1]


@pytest.mark.parametrize(
    ("hour", "daypart"),
    [
        (0, "night"), (5, "night"), (6, "early"), (8, "early"), (9, "morning"), (11, "morning"), (12, "afternoon"),
        (16, "afternoon"), (17, "evening"), (19, "evening"), (20, "late"), (23, "late"),
    ],
)  # fmt: skip
def test_a_daypart_begins_on_the_hour_and_ends_before_the_next_begins(hour, daypart):
    begins = 20_000 * 24 * HOUR + hour * HOUR

    assert [DAYPARTS[at] for at in daypart_of(np.array([begins, begins + HOUR - 1]))] == [daypart] * 2


def test_weekdays_are_monday_to_friday():
    monday = day("2026-03-02")
    week = np.arange(monday, monday + 7) * 24 * HOUR

    assert [DAY_TYPES[at] for at in day_type_of(week)] == ["weekday"] * 5 + ["weekend"] * 2


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc", "America", "a b"])
def test_unknown_zones_are_refused(name):
    with pytest.raises(ValueError, match="time_zone"):
        zone_rules(name)


def test_publication_is_rounded_up_to_the_hour_and_lateness_is_exact():
    assert publication_time(0, 48 * HOUR) == 49 * HOUR
    assert publication_time(1, 48 * HOUR) == 50 * HOUR
    assert is_late(np.array([9, 10, 11]), np.array([5, 5, 5]), 5).tolist() == [False, True, True]


@given(st.dates(dt.date(1900, 1, 1), dt.date(2026, 1, 1)), st.dates(dt.date(2000, 1, 1), dt.date(2099, 1, 1)))
def test_ages_are_completed_years(born, today):
    age = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
    days, bad = birth_days([born.isoformat(), None, "2026-02-31"])
    band = age_band_of(days, np.full(3, day(today.isoformat()), np.int32)).tolist()

    expected = sum(age >= limit for limit in (13, 18, 25, 45, 65)) if 0 <= age <= 120 else len(AGE_BANDS)
    assert band == [expected, len(AGE_BANDS), len(AGE_BANDS)]
    assert bad.tolist() == [False, False, True]
    assert days[1] == UNKNOWN_BIRTH


def test_times_without_a_zone_need_the_sources_zone():
    assert local_resolver(None) is None
    resolve = local_resolver("America/New_York")

    assert resolve("2026-03-01T10:00:00.5") == round(
        dt.datetime(2026, 3, 1, 10, 0, 0, 500_000, tzinfo=zoneinfo.ZoneInfo("America/New_York")).timestamp() * 1000
    )
