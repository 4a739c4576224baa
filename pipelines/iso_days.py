"""Civil days as text, YYYY-MM-DD: the day of an instant, and whether a text is one."""

import datetime as dt


def utc_day(instant: int) -> dt.date:
    """The UTC day of an instant (ms since 1970); of the wall clock: the day of a run."""
    return dt.datetime.fromtimestamp(instant / 1000, dt.UTC).date()


def is_iso_day(text: str) -> bool:
    """Whether the text is a day of the calendar in its one form: the other ISO forms are refused.

    Example:
      >>> [is_iso_day(text) for text in ("2026-02-28", "2026-02-30", "20260228", "2026-2-8")]
      [True, False, False, False]
    """
    try:
        return dt.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def is_iso_month(text: str) -> bool:
    """Whether the text is a month, YYYY-MM."""
    return is_iso_day(f"{text}-01")
