"""When keys end: token keys with the last window of their month, noise keys 35 days after its last release.

Nothing wakes by itself, so every command that holds the work store calls `keep_deadlines` first: what
is not released by then is void, whatever happened and whoever broke a source. The order of the steps
is the promise: what depends on a key is settled first, then the key goes, then its receipt is written.
"""

from dataclasses import dataclass
from typing import Collection, Iterator, Mapping, Optional

import numpy as np

from pipelines.calendar_windows import DAY
from pipelines.configuration import Deployment
from pipelines.counts_rows import LedgerRow
from pipelines.counts_store import CountsStore
from pipelines.crash_points import crash_point
from pipelines.iso_days import utc_day
from pipelines.keyring import NOISE_DAYS, KeyAge, Keyring, deadline
from pipelines.run import Ended, Place, begun, name_of, place_of
from pipelines.work_store import WorkStore
from pipelines.work_values import OPEN, VERIFY
from schemas.counts import WindowKey
from schemas.policy import PrivacyPolicy
from transforms.erasure import longest_horizon
from transforms.privacy.times import Zone

GIVEN_UP = ("deadline", "by hand")  # receipts of keys that took open windows with them
_REMOVED = "unknown"  # event kind of a table that the policy has no longer


@dataclass(frozen=True)
class KeyLife:
    """The keys of one deployment, and what depends on them; `now` is the wall clock, ms UTC."""

    deployment: Deployment
    policy: PrivacyPolicy
    store: WorkStore
    counts: CountsStore
    now: int

    def keep_deadlines(self) -> Ended:
        """Destroy what has reached its deadline.

        The windows of a token key are void then. Only those that a killed run over old logs has opened
        are not: its files are there, and without its keys it begins afresh.
        """
        ended = Ended()
        keyring = Keyring(self.deployment.keyring)
        unfinished = begun(self.store)
        for key in self._keys(keyring, "token"):
            if key.made and self.now <= self._deadline(key):
                continue
            # Of a key whose destruction a crash cut short only the month is left.
            serves_old_logs = (key.made or self.now) >= self._deadline(key, made=0)
            opened_before = {start[:7] for _, start in unfinished.open} if unfinished else {key.month}
            if serves_old_logs and key.month not in opened_before:
                why = "run"
            else:
                windows, void = self.give_up(key.month, "key destroyed at its deadline")
                ended.void += void
                why = "deadline" if windows else "unused"
            keyring.destroy_token_key(self.deployment.tenant, key.month)
            self._receipt(ended, key, why)
        self._end_noise(keyring, ended)
        return ended

    def end_released(self) -> Ended:
        """Destroy the token keys of months of which something was released and nothing is open."""
        ended = Ended()
        keyring = Keyring(self.deployment.keyring)
        needed = {key.month for lane in (OPEN, VERIFY) for key in self.store.windows(lane)}
        # A key that was made ahead waits for its month: only what has been released can be over.
        released = {start[:7] for _, start in self.counts.ledger(self.deployment.tenant)}
        for key in self._keys(keyring, "token"):
            if key.month in released - needed:
                self._forget(key.month, OPEN, VERIFY)
                keyring.destroy_token_key(self.deployment.tenant, key.month)
                self._receipt(ended, key, "released")
        crash_point("keys-destroyed")
        return ended

    def shred(self, purpose: str, month: str) -> Optional[list[WindowKey]]:
        """Destroy a month's key now: open windows become void for good, published ones unverifiable.

        A token key that is lost while windows wait for it is given up the same way.

        Returns:
          The windows that are void with it; None when there was no such key, and nothing was done.
        """
        keyring = Keyring(self.deployment.keyring)
        is_there = any(key.month == month for key in self._keys(keyring, purpose))
        is_missed = purpose == "token" and any(key.month == month for key in self.store.windows(OPEN))
        if not is_there and not is_missed:
            return None
        windows: list[WindowKey] = []
        if purpose == "token" or self.policy.noise_scale is not None:
            windows, _ = self.give_up(month, "key shredded by hand")
        if purpose == "token":
            keyring.destroy_token_key(self.deployment.tenant, month)
        else:
            keyring.destroy_noise_key(self.deployment.tenant, month)
        self.counts.record_receipt(self.deployment.tenant, purpose, month, "by hand", self._day)
        return windows

    def first_deadline(self, months: Collection[str]) -> Optional[int]:
        """When the first token key of these months is destroyed at the latest (ms UTC); None without any."""
        keyring = Keyring(self.deployment.keyring)
        return min((self._deadline(key) for key in self._keys(keyring, "token") if key.month in months), default=None)

    def end_of(self, key: KeyAge) -> Optional[int]:
        """When a key is destroyed as things stand (ms UTC); None of one that stays or is gone.

        A token key goes earlier once its month is released; a noise key is kept while windows of its month wait.
        """
        if key.gone or not key.made or key.tenant != self.deployment.tenant:
            return None
        if key.purpose == "token":
            return self._deadline(key)
        ledger = self.counts.ledger(self.deployment.tenant)
        return self._noise_end(key, used=key.month in _published(ledger) or self._was_released(key))

    def give_up(self, month: str, reason: str) -> tuple[list[WindowKey], list[str]]:
        """Make the open windows of a month void and forget their acts.

        Returns:
          Those windows, and the names of those that were not void before.
        """
        ledger = self.counts.ledger(self.deployment.tenant)
        kinds = {table.name: table.kind for table in self.policy.tables}
        windows = [key for key in self.store.windows(OPEN) if key.month == month]
        for key in windows:
            kind = kinds.get(key.table, _REMOVED)
            self.counts.void(self.deployment.tenant, kind, key, self.policy.digest, reason)
        self._forget(month, OPEN)
        return windows, [name_of(key) for key in windows if place_of(key) not in ledger]

    def _forget(self, month: str, *lanes: str) -> None:
        """Drop what the work store holds of a month: once its key is gone nobody can read it."""
        with self.store.transaction() as transaction:
            for lane in lanes:
                for key in self.store.stored(lane):
                    if key.month == month:
                        transaction.drop_window(lane, key)

    @property
    def _day(self) -> str:
        return utc_day(self.now).isoformat()

    def _keys(self, keyring: Keyring, purpose: str) -> Iterator[KeyAge]:
        for key in keyring.listing():
            if key.purpose == purpose and key.tenant == self.deployment.tenant and not key.gone:
                yield key

    def _deadline(self, key: KeyAge, *, made: Optional[int] = None) -> int:
        unfinished = begun(self.store)
        began = unfinished.at if unfinished else None
        return month_deadline(self.policy, key.month, key.made if made is None else made, began=began)

    def _end_noise(self, keyring: Keyring, ended: Ended) -> None:
        ledger = self.counts.ledger(self.deployment.tenant)
        published = _published(ledger)
        waiting = {key.month for key in self.store.windows(OPEN) if place_of(key) not in ledger}
        for key in self._keys(keyring, "noise"):
            is_buried = keyring.has_noise_tombstone(key.tenant, key.month)
            used = is_buried or key.month in published or self._was_released(key)
            if is_buried or (key.month not in waiting and self.now > self._noise_end(key, used=used)):
                keyring.destroy_noise_key(key.tenant, key.month, used=used)
                self._receipt(ended, key, "schedule" if used else "unused")

    def _was_released(self, key: KeyAge) -> bool:
        return self.store.value(f"released/{key.month}") is not None

    def _noise_end(self, key: KeyAge, *, used: bool) -> int:
        last = self.store.value(f"released/{key.month}")
        return (self._deadline(key) if last is None else int(last)) + (NOISE_DAYS * DAY if used else 0)

    def _receipt(self, ended: Ended, key: KeyAge, why: str) -> None:
        self.counts.record_receipt(self.deployment.tenant, key.purpose, key.month, why, self._day)
        ended.keys.append(f"{key.purpose} {key.month}")


def month_deadline(policy: PrivacyPolicy, month: str, made: int, *, began: Optional[int] = None) -> int:
    """When a month's token key is destroyed at the latest, ms UTC; see `pipelines.keyring.deadline`."""
    month_end = Zone(policy.time_zone).start_of_month(int(np.datetime64(month, "M").astype(np.int64)) + 1)
    return deadline(month_end, longest_horizon(policy), made, began=began)


def _published(ledger: Mapping[Place, LedgerRow]) -> frozenset[str]:
    """The months of which something is published or frozen."""
    return frozenset(start[:7] for (_, start), row in ledger.items() if row.state != "void")
