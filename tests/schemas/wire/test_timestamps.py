"""Times are parsed exactly or refused."""

import contextlib
import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import EARLIEST, LATEST
from schemas.rejects import DecodeError, Reason
from schemas.wire.timestamps import checked, day_part, parse, utc_day
from transforms.privacy.times import local_resolver


def reason_of(value: object, zone: object = None) -> Reason:
    with pytest.raises(DecodeError) as caught:
        parse(value, "when", zone)  # type: ignore[arg-type]
    assert caught.value.fields == ("when",)
    return caught.value.reason


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2014-05-14 08:39:13.070326-04", 1_400_071_153_070),
        ("2014-05-14T12:39:13.070Z", 1_400_071_153_070),
        ("2014-05-14T12:39:13,070Z", None),
        ("2014-05-14t12:39:13.0709999z", 1_400_071_153_070),
        ("2014-05-14T14:39:13.070+02:00", 1_400_071_153_070),
        ("2014-05-14T14:39:13.070+0200", 1_400_071_153_070),
        ("2014-05-14T18:09:13.07 +0530", 1_400_071_153_070),
        ("2020-02-12T16:17Z", 1_581_524_220_000),
        ("2017-03-01T23:11:00-01:00", 1_488_413_460_000),
        ("2017-02-29T00:00:00Z", None),
        ("2017-03-01T24:00:00Z", None),
        ("2017-03-01T23:59:60Z", None),
        ("2017-03-01T00:00:00+19:00", None),
        ("2017-03-01T00:00:00+01:60", None),
        ("0000-03-01T00:00:00Z", None),
        ("1989-12-31T23:59:59Z", None),
        ("2100-01-01T00:00:00Z", None),
        ("2017-03-01", None),
        ("infinity", None),
        ("", None),
        ("\uff12\uff10\uff11\uff17-03-01T00:00:00Z", None),
        ("2017-03-01T00:00:00Z\n", None),
        ("2017-03-01T00:00:00", None),
    ],
)
def test_known_forms_are_exact_and_others_are_refused(text: str, instant: int | None) -> None:
    if instant is None:
        assert reason_of(text) is Reason.BAD_TIME
    else:
        assert parse(text, "when") == instant


def test_a_time_without_zone_goes_through_the_configured_zone_only() -> None:
    seen: list[str] = []

    def zone(local: str) -> int:
        seen.append(local)
        return EARLIEST

    assert parse("2026-03-01 10:00:00.5", "when", zone) == EARLIEST
    assert parse("2026-03-01T10:00", "when", zone) == EARLIEST
    assert seen == ["2026-03-01T10:00:00.500", "2026-03-01T10:00:00.000"]


def test_a_local_time_is_cut_to_milliseconds_and_never_rounded_into_the_next_month() -> None:
    zone = local_resolver("America/Chicago")

    assert parse("2026-02-28 23:59:59.999999", "when", zone) == parse("2026-02-28 23:59:59.999-06", "when")


def test_a_local_time_that_does_not_exist_is_a_bad_time() -> None:
    def zone(local: str) -> int:
        raise ValueError(local)

    assert reason_of("2026-03-08 02:30:00", zone) is Reason.BAD_TIME
    assert reason_of("2026-03-08 02:30:00", lambda _: 0) is Reason.BAD_TIME


@pytest.mark.parametrize("value", [1, None, [], b"2017-03-01T00:00:00Z"])
def test_a_time_that_is_no_string_is_a_wrong_type(value: object) -> None:
    assert reason_of(value) is Reason.WRONG_TYPE


@pytest.mark.parametrize(
    ("value", "reason"),
    [(True, Reason.WRONG_TYPE), (1.5, Reason.WRONG_TYPE), (EARLIEST - 1, Reason.BAD_TIME), (LATEST, Reason.BAD_TIME)],
)
def test_instants_out_of_range_are_refused(value: object, reason: Reason) -> None:
    with pytest.raises(DecodeError) as caught:
        checked(value)
    assert (caught.value.reason, caught.value.fields) == (reason, ())


@given(st.datetimes(dt.datetime(1990, 1, 2), dt.datetime(2099, 12, 30), timezones=st.timezones()))  # noqa: DTZ001
def test_it_agrees_with_the_standard_library(when: dt.datetime) -> None:
    offset = when.utcoffset()
    assert offset is not None
    if offset.total_seconds() % 60 == 0:
        exact = (when - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)
        assert parse(when.isoformat(), "when") == exact
        assert utc_day(exact) == when.astimezone(dt.UTC).date().isoformat()


@given(st.text())
def test_no_text_makes_a_stray_exception(text: str) -> None:
    for call in (lambda: parse(text, "when"), lambda: day_part(text, "when")):
        with contextlib.suppress(DecodeError):
            call()


def test_a_date_is_the_start_of_a_date_or_date_time() -> None:
    assert day_part("2000-09-26", "born") == "2000-09-26"
    assert day_part("2000-09-26T00:00:00.000+0000", "born") == "2000-09-26"
    for value, reason in (("2000-13-01", Reason.BAD_VALUE), ("x", Reason.BAD_VALUE), (5, Reason.WRONG_TYPE)):
        with pytest.raises(DecodeError) as caught:
            day_part(value, "born")
        assert caught.value.reason is reason
