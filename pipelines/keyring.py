"""The keyring: independent random keys of 32 bytes, by name, in a folder of files or in a cloud's secret store.

    token-TENANT-YYYY-MM.key   months of open windows; destroyed when the month is released or its deadline passes
    noise-TENANT-YYYY-MM.key   noise of released windows; destroyed 35 days after release, leaving a tombstone (.gone)
    store.key                  tags of files and repeated rejects; long-lived

Errors:

    ValueError
    └── KeyringError             a key is missing, weak, shared or readable by others, or the place cannot be used
        ├── KeyringAwayError     the place does not answer now; the same command may do later
        └── NoiseKeyGone         the noise key of a month was destroyed: its windows cannot be verified
"""

import hashlib
import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from pipelines.key_folder import KeyFolder
from pipelines.key_place import KeyPlace, KeyringAwayError, KeyringError
from pipelines.keyring_address import CLOUD, KeyringAddress
from transforms.privacy.tokens import MonthKey, WeakKeyError, check_key, subkey

__all__ = ["DAY", "NOISE_DAYS", "OUTAGE", "KeyAge", "Keyring", "KeyringError", "NoiseKeyGone", "deadline"]

DAY = 86_400_000
OUTAGE = 14 * DAY  # a key dies this long after its windows should have been released, whatever happened
NOISE_DAYS = 35
_BYTES = 32
_NAME = re.compile(r"(token|noise)-(.+)-(\d{4}-\d{2})\.(key|gone)")
_STORE = "store.key"


class NoiseKeyGone(KeyringError):  # noqa: N818 - a state, not a fault
    """The noise key was destroyed on schedule; no other is ever made for its month."""


@dataclass(frozen=True)
class KeyAge:
    """One key of the listing.

    Attributes:
      purpose: token, noise or store.
      made: ms UTC.
      gone: whether only a tombstone is left.
      lingers: how long after its destruction the cloud's administrators could still bring it back, ms.
    """

    purpose: str
    tenant: str
    month: str
    made: int
    gone: bool
    lingers: int = 0


def deadline(month_end: int, largest_horizon: int, made: int, *, began: Optional[int] = None) -> int:
    """When a token key is destroyed at the latest, whatever happened: month end + largest H + 14 days.

    A key that is made only after that serves a run over old logs: it lives 14 days from when that run began.

    Args:
      month_end, made: ms UTC; largest_horizon: ms.
      began: when the run that is not finished began, ms UTC; None when there is none.
    """
    own = month_end + largest_horizon + OUTAGE
    if made < own:
        return own
    return min(made, made if began is None else began) + OUTAGE


class Keyring:
    """The keys of one address: a folder, or `gcp-secrets:projects/P/locations/L/keyRings/R`.

    Raises:
      KeyringError: the folder is missing or open to others, the cloud refuses.
    """

    def __init__(self, address: KeyringAddress) -> None:
        self._place = _place(address)

    def token_key(self, tenant: str, month: str, *, now_ms: int) -> MonthKey:
        """The token key of a month; made when there is none."""
        name = f"token-{tenant}-{month}.key"
        secret = self._read(name)
        if secret is None:
            secret = self._make(name, now_ms)
        return MonthKey(month, secret)

    def has_token_key(self, tenant: str, month: str) -> bool:
        """Whether the month has a token key."""
        return self._place.has(f"token-{tenant}-{month}.key")

    def destroy_token_key(self, tenant: str, month: str) -> None:
        """Destroy a token key; nothing that it protected can be joined again."""
        self._place.destroy(f"token-{tenant}-{month}.key")

    def noise_key(self, tenant: str, month: str, store_id: str, *, create: bool, now_ms: int = 0) -> Optional[bytes]:
        """The noise key of a month, bound to one counts store; None when there is none and none is to be made.

        Raises:
          NoiseKeyGone: it was destroyed.
        """
        name = f"noise-{tenant}-{month}"
        if self.has_noise_tombstone(tenant, month):
            message = f"{name}: this noise key was destroyed on schedule; its windows are unverifiable"
            raise NoiseKeyGone(message)
        secret = self._read(f"{name}.key")
        if secret is None:
            if not create:
                return None
            secret = self._make(f"{name}.key", now_ms)
        bound = MonthKey(month, secret)
        return subkey(bound, "noise", tenant, store_id)

    def has_noise_tombstone(self, tenant: str, month: str) -> bool:
        """Whether the month's noise key was destroyed: nothing more can be released for it with noise."""
        return self._place.has(f"noise-{tenant}-{month}.gone")

    def destroy_noise_key(self, tenant: str, month: str, *, used: bool = True) -> None:
        """Remove a noise key; one that was used leaves a tombstone, so that no second one is made for its month."""
        name = f"noise-{tenant}-{month}"
        if used:
            self._place.bury(f"{name}.gone")  # it is kept before the key goes
        self._place.destroy(f"{name}.key")

    def store_key(self) -> bytes:
        """The long-lived key of file fingerprints and reject tags."""
        return self._read(_STORE) or self._make(_STORE, 0)

    def listing(self) -> list[KeyAge]:
        """All keys and tombstones, sorted; never a byte of them."""
        found = []
        for key in self._place.kept():
            if match := _NAME.fullmatch(key.name):
                purpose, tenant, month, kind = match.groups()
                found.append(KeyAge(purpose, tenant, month, key.made, kind == "gone", key.lingers))
            elif key.name == _STORE:
                found.append(KeyAge("store", "", "", key.made, gone=False, lingers=key.lingers))
        return found

    def _read(self, name: str) -> Optional[bytes]:
        secret = self._place.read(name)
        if secret is None:
            return None
        try:
            check_key(secret)
        except WeakKeyError as error:
            message = f"{name}: {error}"
            raise KeyringError(message) from None
        self._refuse_twins(name, secret)
        return secret

    def _refuse_twins(self, name: str, secret: bytes) -> None:
        for other in self._place.kept():
            if other.name != name and other.name.endswith(".key") and self._digest(other.name) == _digest(secret):
                message = f"{name}: the same key as {other.name}; shred both, and let new ones be made"
                raise KeyringError(message)

    def _digest(self, name: str) -> bytes:
        """Tells one key from another; each is read once, since a cloud asks its price for every look."""
        seen = self._place.digests
        if name not in seen:
            try:
                secret = self._place.read(name)
            except KeyringAwayError:
                raise
            except KeyringError:
                return b""  # what cannot be read is refused where it is needed
            if secret is None:
                return b""
            seen[name] = _digest(secret)
        return seen[name]

    def _make(self, name: str, now_ms: int) -> bytes:
        secret = secrets.token_bytes(_BYTES)
        if self._place.make(name, secret, now_ms):
            return secret
        # Another process was first. A key that is kept nowhere must never be used.
        made = self._read(name)
        if made is None:
            message = f"{name}: made and destroyed by another process at this moment; run again"
            raise KeyringError(message)
        return made


def _place(address: KeyringAddress) -> KeyPlace:
    if isinstance(address, Path) or not address.startswith(CLOUD):
        return KeyFolder(Path(address))
    from pipelines.key_secrets import KeySecrets  # noqa: PLC0415 - the cloud's clients take a second to import

    return KeySecrets(address)


def _digest(secret: bytes) -> bytes:
    return hashlib.blake2b(secret, digest_size=16).digest()
