"""How long a bus must keep its messages, so that open windows can be read again after a loss."""

from typing import Iterable, Optional

from schemas.policy import Table
from transforms.privacy.times import DAY, GRACE

OUTAGE = 7 * DAY  # nobody may notice for a week
_LONGEST = {"day": DAY, "month": 31 * DAY}


class RetentionError(ValueError):
    """A bus forgets too early; the text names the source, both lengths in days, and what to do."""


def required_days(tables: Iterable[Table]) -> int:
    """Whole days: the largest window with its horizon, the grace, and a week for outages; 0 without tables.

    Source: design, section 6: 40 days for monthly circulation tables, 52 for programmes, 73 for vendor logs.
    """
    longest = max((_LONGEST[table.grain] + table.horizon for table in tables), default=None)
    return 0 if longest is None else (longest + GRACE + OUTAGE) // DAY


def check_retention(source: str, kept: Optional[int], tables: Iterable[Table], *, state_is_only_copy: bool) -> None:
    """Refuse a bus that forgets before the windows of its tables are released.

    Args:
      kept: how long the bus keeps messages, ms; None when for ever.
      tables: those that the source feeds.
      state_is_only_copy: the operator's word that the work store is kept as the only copy.

    Raises:
      RetentionError: it forgets too early and nothing else is declared.
    """
    needed = required_days(tables)
    if kept is None or kept >= needed * DAY or state_is_only_copy:
        return
    message = (
        f"source {source}: its bus keeps messages {kept // DAY} days and open windows need {needed}; raise its"
        " retention, or declare state_is_only_copy = true in carrel.toml and keep the work store as the only copy"
    )
    raise RetentionError(message)
