"""The counts store: released numbers, the ledger of releases, key receipts, verifications, stopped sources.

A number is published once. The first value of a (release, cell, measure) wins; another one changes
nothing and is reported as `differs`. Nothing here reads a clock: days are given by the caller.
"""

from typing import Iterator, Literal, Optional, Protocol, Self

from pipelines.counts_rows import CountRow, KeyReceipt, LedgerRow, SourceStop, Verification
from schemas.counts import ReleasedTable, WindowKey


class CountsStore(Protocol):
    """What every store does, wherever it lies; usable from several threads, never pickled.

    Attributes:
      store_id: made once with the store; keeps noise keys from being used with another, empty store.

    Raises:
      StoreError: from any call, when the store cannot do it; one line, and nothing is half written.
    """

    store_id: str

    def __enter__(self) -> Self: ...

    def __exit__(self, *raised: object) -> None: ...

    def close(self) -> None:
        """Let go of it; the store cannot be used afterwards."""

    def ledger(self, tenant: str) -> dict[tuple[str, str], LedgerRow]:
        """Give a tenant's first releases (revision 0), sorted: (table, window start) -> ledger row."""

    def begin(self, table: ReleasedTable, completeness: str, reason: str, backfill: bool) -> str:
        """Note that a window is being sealed; what is already in the ledger stays.

        Only a void row whose reason starts with `DEFAULT_REASON` gives way: it came from a default
        `complete_from` that the operator has since declared better.

        Returns:
          The state now in the ledger: `sealing`, `sealed` or `void`.

        Raises:
          StoreError: the table names one number twice; the store cannot be written.
        """

    def publish(self, table: ReleasedTable) -> Literal["sealed", "differs"]:
        """Insert the rows of a begun window and mark it sealed: readers see all of it or nothing.

        A second identical call changes nothing.

        Returns:
          `differs`, with nothing changed, when the ledger or the rows hold another release of this window
          (a void one counts); else `sealed`.

        Raises:
          StoreError: `begin` was not called; the store cannot be written.
        """

    def void(self, tenant: str, kind: str, key: WindowKey, policy_hash: str, reason: str) -> None:
        """Note that a window is never published; what is already in the ledger stays."""

    def record_verification(
        self, tenant: str, table: str, window_start: str, revision: int, verdict: str, day: str
    ) -> None:
        """Append one verification; `day` is the civil day of the run, YYYY-MM-DD."""

    def verifications(self, tenant: str) -> tuple[Verification, ...]:
        """All verifications of a tenant, oldest first."""

    def record_receipt(self, tenant: str, purpose: str, month: str, why: str, destroyed_day: str) -> None:
        """Note the destruction of a key; the same receipt twice is kept once."""

    def receipts(self, tenant: str) -> tuple[KeyReceipt, ...]:
        """All receipts of a tenant, by purpose, month, day and reason."""

    def record_stop(self, stop: SourceStop) -> None:
        """Append one word on whether a source is read."""

    def stops(self, tenant: str) -> tuple[SourceStop, ...]:
        """All that was said of a tenant's sources, oldest first."""

    def pinned_policy(self, tenant: str, kind: str, window_start: str, window_end: str) -> set[str]:
        """Policy hashes under which tables of this event kind were sealed for exactly this window."""

    def rows(self, table: Optional[str] = None, month: Optional[str] = None) -> Iterator[CountRow]:
        """Released numbers by tenant, table, window, revision, cell, measure; texts in the order of their code points.

        Args:
          table: only this table.
          month: only windows that start in this month, YYYY-MM.
        """
