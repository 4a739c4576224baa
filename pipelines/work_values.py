"""What the work store keeps, as plain values; its lanes and its errors."""

from dataclasses import dataclass
from typing import Optional

from pipelines.try_again import TryAgainError
from schemas.counts import ReleasedTable

# Acts that are to be published, and those of published windows, which are only compared.
OPEN, VERIFY = "open", "verify"


class WorkStoreError(ValueError):
    """The work store cannot be used; the text says what, where and what to do."""


class HeldByAnotherError(WorkStoreError, TryAgainError):
    """Another instance holds the store."""


class ServerAwayError(WorkStoreError, TryAgainError):
    """The store's server cannot be reached, or its session is lost, and with it the hold on the store."""


@dataclass(frozen=True)
class Position:
    """Where reading of one file stands.

    Attributes:
      next: the byte to read next.
      head: tells this file, as far as it was read, from another one under the same name.
      done: whether it was read to its end.
      clock: effective arrival of its last message, ms UTC; None of a file that need not be in order.
    """

    part: str
    next: int
    head: bytes
    done: bool
    clock: Optional[int] = None


@dataclass(frozen=True)
class Clock:
    """What is known of one source's time, ms UTC; None when never read."""

    first_arrival: Optional[int]
    last_arrival: Optional[int]
    last_event: Optional[int]
    clock: Optional[int]
    complete_from: Optional[str]
    complete_through: Optional[str]


NEVER = Clock(None, None, None, None, None, None)


@dataclass(frozen=True)
class PendingSeal:
    """Final rows that are frozen and must reach the counts store before anything else is read."""

    table: ReleasedTable
    completeness: str
    reason: str
    backfill: bool
