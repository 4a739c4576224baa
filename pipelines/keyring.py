"""The keyring: one folder of mode-0600 files, one independent random key per file.

    token-TENANT-YYYY-MM.key   months of open windows; destroyed when the month is released or its deadline passes
    noise-TENANT-YYYY-MM.key   noise of released windows; destroyed 35 days after release, leaving a tombstone
    store.key                  tags of files and repeated rejects; long-lived

Errors:

    ValueError
    └── KeyringError         a key is missing, weak, shared or readable by others
        └── NoiseKeyGone     the noise key of a month was destroyed: its windows cannot be verified
"""

import os
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from transforms.privacy.tokens import MonthKey, WeakKeyError, check_key, subkey

DAY = 86_400_000
OUTAGE = 14 * DAY  # a key dies this long after its windows should have been released, whatever happened
NOISE_DAYS = 35
_BYTES = 32
_NAME = re.compile(r"(token|noise)-(.+)-(\d{4}-\d{2})\.(key|gone)")


class KeyringError(ValueError):
    """The keyring cannot be used; the text names a file, never a key."""


class NoiseKeyGone(KeyringError):  # noqa: N818 - a state, not a fault
    """The noise key was destroyed on schedule; no other is ever made for its month."""


@dataclass(frozen=True)
class KeyAge:
    """One key of the listing: purpose token, noise or store; made at (ms UTC); whether only a tombstone is left."""

    purpose: str
    tenant: str
    month: str
    made: int
    gone: bool


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
    """A folder of keys.

    Raises:
      KeyringError: the folder is missing or open to others.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            mode = directory.stat().st_mode
        except OSError:
            message = f"{directory}: no keyring there; name it in carrel.toml or run `carrel init`"
            raise KeyringError(message) from None
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            message = f"{directory}: others may enter this keyring; run chmod 700 on it"
            raise KeyringError(message)

    def token_key(self, tenant: str, month: str, *, now_ms: int) -> MonthKey:
        """The token key of a month; made when there is none."""
        name = f"token-{tenant}-{month}.key"
        secret = self._read(name)
        if secret is None:
            secret = self._make(name, now_ms)
        return MonthKey(month, secret)

    def has_token_key(self, tenant: str, month: str) -> bool:
        """Whether the month has a token key."""
        return (self._directory / f"token-{tenant}-{month}.key").exists()

    def destroy_token_key(self, tenant: str, month: str) -> None:
        """Overwrite and remove a token key; nothing that it protected can be joined again."""
        self._shred(f"token-{tenant}-{month}.key")

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
        return (self._directory / f"noise-{tenant}-{month}.gone").exists()

    def destroy_noise_key(self, tenant: str, month: str, *, used: bool = True) -> None:
        """Remove a noise key; one that was used leaves a tombstone, so that no second one is made for its month."""
        name = f"noise-{tenant}-{month}"
        if used:
            (self._directory / f"{name}.gone").touch(mode=0o600)
            self._sync()  # the tombstone is on disk before the key goes
        self._shred(f"{name}.key")

    def store_key(self) -> bytes:
        """The long-lived key of file fingerprints and reject tags."""
        return self._read("store.key") or self._make("store.key", 0)

    def listing(self) -> list[KeyAge]:
        """All keys and tombstones, sorted; never a byte of them."""
        found = []
        for path in sorted(self._directory.iterdir()):
            if match := _NAME.fullmatch(path.name):
                purpose, tenant, month, kind = match.groups()
                made = 0 if kind == "gone" else self.made(path.name)
                found.append(KeyAge(purpose, tenant, month, made, kind == "gone"))
            elif path.name == "store.key":
                found.append(KeyAge("store", "", "", self.made(path.name), gone=False))
        return found

    def made(self, name: str) -> int:
        """When a key was made, ms UTC; 0 of one whose destruction a crash cut short, so that it is overdue."""
        return int((self._directory / name).read_bytes()[_BYTES:].strip(b"\0") or b"0")

    def _read(self, name: str) -> Optional[bytes]:
        path = self._directory / name
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as error:
            message = f"{name}: cannot be read ({error.strerror}); check the keyring's owner"
            raise KeyringError(message) from None
        with os.fdopen(handle, "rb") as stream:
            if os.fstat(handle).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                message = f"{name}: others may read this key; shred it, and let a new one be made"
                raise KeyringError(message)
            secret = stream.read()[:_BYTES]
        try:
            check_key(secret)
        except WeakKeyError as error:
            message = f"{name}: {error}"
            raise KeyringError(message) from None
        self._refuse_twins(name, secret)
        return secret

    def _refuse_twins(self, name: str, secret: bytes) -> None:
        for other in sorted(self._directory.glob("*.key")):
            if other.name != name and other.read_bytes()[:_BYTES] == secret:
                message = f"{name}: the same key as {other.name}; shred both, and let new ones be made"
                raise KeyringError(message)

    def _make(self, name: str, now_ms: int) -> bytes:
        """A new random key: complete under its name or not there at all, and on disk before it is used."""
        # A name of its own: process ids repeat in containers, and a killed run may have left its draft.
        path, draft = self._directory / name, self._directory / f".{name}.{secrets.token_hex(8)}"
        secret = secrets.token_bytes(_BYTES)
        try:
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as stream:
                stream.write(secret + str(now_ms).encode())
                stream.flush()
                os.fsync(handle)
            os.link(draft, path)
        except FileExistsError:
            # Another process was first. A key that is on no disk must never be used.
            made = self._read(name)
            if made is None:
                message = f"{name}: made and destroyed by another process at this moment; run again"
                raise KeyringError(message) from None
            secret = made
        except OSError as error:
            message = f"{name}: cannot be made ({error.strerror}); check the keyring's disk and owner"
            raise KeyringError(message) from None
        finally:
            draft.unlink(missing_ok=True)
        self._sync()
        return secret

    def _shred(self, name: str) -> None:
        path = self._directory / name
        if not path.exists():
            return
        size = path.stat().st_size
        with path.open("r+b") as stream:
            stream.write(bytes(size))
            stream.flush()
            os.fsync(stream.fileno())
        path.unlink()
        self._sync()

    def _sync(self) -> None:
        handle = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
