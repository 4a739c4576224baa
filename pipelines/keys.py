"""The one way from a keyring's address to open keys: the address travels, what is opened stays in the process."""

import time
from dataclasses import dataclass

from pipelines.keyring import Keyring
from transforms.privacy.tokens import MonthKey

_KEPT = 600.0  # seconds


class OpenKeys:
    """The keys of one tenant; made when a month has none.

    A month's key is read again after some minutes: a worker of an engine lives for months, and a key that was
    destroyed must not live on in it.
    """

    def __init__(self, keyring: Keyring, tenant: str, store_id: str, now: int) -> None:
        self._keyring = keyring
        self._tenant = tenant
        self._store_id = store_id
        self._now = now
        self._months: dict[str, tuple[MonthKey, float]] = {}

    def month(self, month: str) -> MonthKey:
        """The token key of a month (YYYY-MM)."""
        key, read = self._months.get(month, (None, 0.0))
        if key is None or time.monotonic() - read > _KEPT:
            key, read = self._keyring.token_key(self._tenant, month, now_ms=self._now), time.monotonic()
            self._months[month] = key, read
        return key

    def noise(self, month: str) -> bytes:
        """The noise key of a month; KeyringError when it was destroyed."""
        key = self._keyring.noise_key(self._tenant, month, self._store_id, create=True, now_ms=self._now)
        assert key is not None  # noqa: S101 - create=True gives one or raises
        return key

    def month_is_gone(self, month: str) -> bool:
        """Whether the month has no token key; none is made."""
        return not self._keyring.has_token_key(self._tenant, month)

    def noise_is_gone(self, month: str) -> bool:
        """Whether the month's noise key was destroyed: of it no second one is made."""
        return self._keyring.has_noise_tombstone(self._tenant, month)

    def seen(self) -> bytes:
        """The key of reject tags."""
        return self._keyring.store_key()


@dataclass(frozen=True)
class KeyringAt:
    """Names a keyring: may be pickled, holds no key."""

    address: str
    tenant: str
    store_id: str
    now: int

    def open(self) -> OpenKeys:
        """Open it, on the worker."""
        return OpenKeys(Keyring(self.address), self.tenant, self.store_id, self.now)
