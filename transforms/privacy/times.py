"""Civil time of the library: days of 23, 24 or 25 hours, months, parts of the day, ages.

The zone rules are those of the pinned `tzdata` package, never of the machine, so that the same log
gives the same buckets everywhere. Instants are int64 milliseconds since 1970-01-01T00:00:00Z.
"""

import datetime as dt
import importlib.resources
import re
import zoneinfo
from functools import lru_cache
from typing import Callable, Optional, Sequence

import numpy as np

HOUR = 3_600_000
DAY = 24 * HOUR
TOLERANCE = 15 * 60_000  # ms that a clock may be ahead of another
GRACE = HOUR  # G: the bus's last words after its end was proven
DAY_TYPES = ("weekday", "weekend")
DAYPARTS = ("night", "early", "morning", "afternoon", "evening", "late")
AGE_BANDS = ("0-12", "13-17", "18-24", "25-44", "45-64", "65+")
UNKNOWN_BIRTH = int(np.iinfo(np.int32).min)
_NO_DATE = UNKNOWN_BIRTH + 1

_DAYPART_STARTS = np.array([0, 6, 9, 12, 17, 20])
_BAND_STARTS = np.array([0, 13, 18, 25, 45, 65])
_OLDEST = 120
_SECONDS_OF_DAY = 86_400
_FIRST, _LAST = 7_274 * _SECONDS_OF_DAY, 47_513 * _SECONDS_OF_DAY  # 1989-12-01 and 2100-02-01, UTC
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EPOCH_DAY = dt.date(1970, 1, 1).toordinal()


@lru_cache(maxsize=64)
def zone_rules(name: str) -> zoneinfo.ZoneInfo:
    """The rules of an IANA zone from the pinned tzdata package.

    Raises:
      ValueError: no such zone.
    """
    parts = name.split("/")
    fits = all(part and all(char.isalnum() or char in "+-_" for char in part) for part in parts)
    resource = importlib.resources.files("tzdata.zoneinfo").joinpath(*parts) if fits else None
    if resource is None or not resource.is_file():
        message = "time_zone: need an IANA zone such as Europe/Oslo"
        raise ValueError(message)
    with resource.open("rb") as stream:
        return zoneinfo.ZoneInfo.from_file(stream, key=name)


@lru_cache(maxsize=64)
def _offsets(name: str) -> tuple[np.ndarray, np.ndarray]:
    """When the zone's offset from UTC changes (ms UTC) and the offset (ms) from then on."""
    rules = zone_rules(name)

    def offset(at: int) -> int:
        delta = dt.datetime.fromtimestamp(at, rules).utcoffset()
        return int((delta or dt.timedelta()).total_seconds() * 1000)

    changes, offsets = [np.iinfo(np.int64).min], [offset(_FIRST)]
    # Whole seconds, as the rules are written in: a fraction would put a change a second off. No zone
    # changes twice within a day.
    for at in range(_FIRST, _LAST, _SECONDS_OF_DAY):
        low, high = at, at + _SECONDS_OF_DAY
        if offset(high) != offsets[-1]:
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(middle) == offsets[-1] else (low, middle)
            changes.append(high * 1000)
            offsets.append(offset(high))
    return np.array(changes, np.int64), np.array(offsets, np.int64)


class Zone:
    """A library's civil time.

    Args:
      name: IANA zone.

    Raises:
      ValueError: no such zone.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._rules = zone_rules(name)
        self._changes, self._shift = _offsets(name)

    def local(self, instants: np.ndarray) -> np.ndarray:
        """Civil clock time as ms since 1970-01-01T00:00 civil; ambiguous times keep their own offset."""
        civil: np.ndarray = instants + self._shift[np.searchsorted(self._changes, instants, side="right") - 1]
        return civil

    def day_of(self, instants: np.ndarray) -> np.ndarray:
        """The civil day of each instant, int32 days since 1970."""
        return (self.local(instants) // DAY).astype(np.int32)

    def month_of(self, instants: np.ndarray) -> np.ndarray:
        """The civil month of each instant, int32 months since 1970-01."""
        days = (self.local(instants) // DAY).astype("datetime64[D]")
        return days.astype("datetime64[M]").astype(np.int32)

    def start_of_day(self, day: int) -> int:
        """The first instant (ms UTC) of a civil day, also where midnight is skipped by the clocks."""
        wanted = day * DAY
        # Offsets lie within a day of UTC, so one of the two candidates is right; the earlier one wins.
        around = np.array([wanted - DAY, wanted + DAY], np.int64)
        low, high = np.searchsorted(self._changes, around, side="right") - 1
        candidates = []
        for at in range(int(low), int(high) + 1):
            instant = max(wanted - int(self._shift[at]), int(self._changes[at]))
            if int(self.local(np.array([instant]))[0]) >= wanted:
                candidates.append(instant)
        return min(candidates)

    def start_of_month(self, month: int) -> int:
        """The first instant (ms UTC) of a civil month."""
        return self.start_of_day(int(np.datetime64(month, "M").astype("datetime64[D]").astype(np.int64)))


def window_name(grain: str, number: int) -> str:
    """The ISO date of a window's first civil day; `grain` is day or month."""
    return str(np.datetime64(number, "D" if grain == "day" else "M").astype("datetime64[D]"))


def publication_time(window_end: int, horizon: int) -> int:
    """Window end + H + G, rounded up to the hour (ms UTC)."""
    return -(-(window_end + horizon + GRACE) // HOUR) * HOUR


def is_late(arrived_at: np.ndarray, window_end: np.ndarray, horizon: int) -> np.ndarray:
    """Late if and only if the effective arrival is at or after window end + H."""
    late: np.ndarray = arrived_at >= window_end + horizon
    return late


def daypart_of(local: np.ndarray) -> np.ndarray:
    """Position in `DAYPARTS` of civil clock times: from 0, 6, 9, 12, 17 and 20 h."""
    return (np.searchsorted(_DAYPART_STARTS, local % DAY // HOUR, side="right") - 1).astype(np.int8)


def day_type_of(local: np.ndarray) -> np.ndarray:
    """Position in `DAY_TYPES`: 1970-01-01 was a Thursday."""
    return ((local // DAY + 3) % 7 >= 5).astype(np.int8)


@lru_cache(maxsize=65_536)
def _birth_day(date: Optional[str]) -> int:
    """Days since 1970 of a date; UNKNOWN_BIRTH of None, _NO_DATE of what is no date."""
    # fromisoformat alone also takes 20260301 and week dates.
    if date is None:
        return UNKNOWN_BIRTH
    if not _ISO_DATE.fullmatch(date):
        return _NO_DATE
    try:
        return dt.date.fromisoformat(date).toordinal() - _EPOCH_DAY
    except ValueError:
        return _NO_DATE


def birth_days(dates: Sequence[Optional[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Birth dates (YYYY-MM-DD or None) as int32 days since 1970, and which of them are no dates."""
    days = np.fromiter(map(_birth_day, dates), np.int32, len(dates))
    bad = days == _NO_DATE
    days[bad] = UNKNOWN_BIRTH
    return days, bad


def age_band_of(birth_day: np.ndarray, local_day: np.ndarray) -> np.ndarray:
    """Position in `AGE_BANDS` of the completed years at a civil day; one past the end when not known.

    Ages below 0 or above 120 are typing errors and count as not known.
    """
    known = birth_day != UNKNOWN_BIRTH
    born = np.where(known, birth_day, 0).astype("datetime64[D]")
    today = local_day.astype("datetime64[D]")
    born_month, month = born.astype("datetime64[M]"), today.astype("datetime64[M]")
    months = month.astype(np.int64) - born_month.astype(np.int64)
    not_yet = (today - month).astype(np.int64) < (born - born_month).astype(np.int64)
    age = (months - not_yet) // 12
    band = np.searchsorted(_BAND_STARTS, age, side="right") - 1
    return np.where(known & (age >= 0) & (age <= _OLDEST), band, len(AGE_BANDS)).astype(np.int8)


def local_resolver(name: Optional[str]) -> Optional[Callable[[str], int]]:
    """How an ISO time without a zone becomes an instant (ms UTC) in the source's configured zone; None refuses it."""
    if name is None:
        return None
    rules = zone_rules(name)

    def resolve(civil: str) -> int:
        local = dt.datetime.fromisoformat(civil).replace(tzinfo=rules)
        return round((local - _EPOCH).total_seconds() * 1000)

    return resolve
