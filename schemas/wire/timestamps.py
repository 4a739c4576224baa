"""Times of wire formats, parsed exactly into milliseconds since 1970-01-01T00:00:00Z.

RFC 3339 with and without a colon in the offset, `Z`, and PostgreSQL's form (a blank for the `T`, an offset of
hours only, microseconds). Fractions below a millisecond are cut off. Nothing is guessed: a time without a
zone needs the source's configured zone.
"""

import datetime as dt
import re
from typing import Any, Callable, Optional

from schemas.events import EARLIEST, LATEST
from schemas.rejects import DecodeError, Reason

_FORM = re.compile(
    r"(?P<day>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})"
    r"(?::(?P<second>[0-9]{2})(?:\.(?P<fraction>[0-9]{1,9}))?)?"
    r" ?(?P<zone>[Zz]|(?P<sign>[+-])(?P<zh>[0-9]{2})(?::?(?P<zm>[0-9]{2}))?)?"
)
_DAY = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[Tt ].*)?")
_UNIX_EPOCH = dt.date(1970, 1, 1).toordinal()
_DAY_MS = 86_400_000
_MAX_OFFSET_HOURS = 18


def checked(instant: Any, name: str = "") -> int:
    """A whole number of milliseconds within the accepted range.

    Args:
      instant: milliseconds since 1970 UTC.
      name: the field's name in our dictionary, for the reject.

    Raises:
      DecodeError: WRONG_TYPE when it is no whole number, BAD_TIME out of range.
    """
    names = (name,) if name else ()
    if not isinstance(instant, int) or isinstance(instant, bool):
        raise DecodeError(Reason.WRONG_TYPE, names)
    if not EARLIEST <= instant < LATEST:
        raise DecodeError(Reason.BAD_TIME, names)
    return instant


def parse(text: Any, name: str, zone: Optional[Callable[[str], int]] = None) -> int:
    """A wire time as milliseconds since 1970 UTC.

    Args:
      text: the value of the field.
      name: the field's name in our dictionary, for the reject.
      zone: resolves a local time without a zone; raises ValueError for one that does not exist.

    Raises:
      DecodeError: WRONG_TYPE when it is no string; BAD_TIME when it has no known form, no zone and none is
        configured, or is out of range.
    """
    if not isinstance(text, str):
        raise DecodeError(Reason.WRONG_TYPE, (name,))
    found = _FORM.fullmatch(text)
    try:
        instant = None if found is None else _instant(found, zone)
    except (ValueError, OverflowError):
        instant = None
    if instant is None:
        raise DecodeError(Reason.BAD_TIME, (name,))
    return checked(instant, name)


def _instant(found: "re.Match[str]", zone: Optional[Callable[[str], int]]) -> Optional[int]:
    second = found["second"] or "00"
    fraction = (found["fraction"] or "").ljust(9, "0")
    clock = dt.time(int(found["hour"]), int(found["minute"]), int(second))
    day = dt.date.fromisoformat(found["day"])
    if found["zone"] is None:
        if zone is None:
            return None
        return zone(f"{day}T{clock}.{fraction[:3]}")
    seconds = clock.hour * 3600 + clock.minute * 60 + clock.second
    local = (day.toordinal() - _UNIX_EPOCH) * _DAY_MS + seconds * 1000 + int(fraction[:3])
    if found["sign"] is None:
        return local
    hours, minutes = int(found["zh"]), int(found["zm"] or "0")
    if hours > _MAX_OFFSET_HOURS or minutes > 59:
        return None
    offset = (hours * 60 + minutes) * 60_000
    return local - offset if found["sign"] == "+" else local + offset


def day_part(text: Any, name: str) -> str:
    """The date that a date or date-time starts with, as "YYYY-MM-DD".

    Raises:
      DecodeError: WRONG_TYPE when it is no string, BAD_VALUE when it starts with no date.
    """
    if not isinstance(text, str):
        raise DecodeError(Reason.WRONG_TYPE, (name,))
    found = _DAY.fullmatch(text)
    try:
        return dt.date.fromisoformat(found[1] if found else "").isoformat()
    except ValueError:
        raise DecodeError(Reason.BAD_VALUE, (name,)) from None


def utc_day(instant: int) -> str:
    """The UTC date of an instant, as "YYYY-MM-DD"."""
    return dt.date.fromordinal(_UNIX_EPOCH + instant // _DAY_MS).isoformat()
