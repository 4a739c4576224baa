"""Where the bytes of keys lie: what a keyring asks of a folder or of a cloud.

Names of keys are `token-TENANT-YYYY-MM.key` and the like; `keyring.py` says which there are.
"""

from dataclasses import dataclass
from typing import Optional, Protocol

from pipelines.try_again import TryAgainError


class KeyringError(ValueError):
    """The keyring cannot be used; the text names a key, never a byte of it."""


class KeyringAwayError(KeyringError, TryAgainError):
    """What keeps the keys does not answer now."""


@dataclass(frozen=True)
class KeptKey:
    """A key, or a tombstone, as a place lists it.

    Attributes:
      made: ms UTC; 0 of a tombstone, and of a key whose destruction a crash cut short.
      lingers: how long after its destruction the place's owner could still bring it back, ms.
    """

    name: str
    made: int
    lingers: int = 0


class KeyPlace(Protocol):
    """A place that keeps keys by name. All raise KeyringError when it cannot be used.

    read: the 32 bytes of a key (as many as there are of a broken one); None when there is none.
    make: keep a new key, complete under its name or not at all, and kept before this returns; False when another
      process made one first. `now_ms` is when it was made, ms UTC.
    bury: leave a tombstone by this name; again does nothing.
    destroy: nothing of the key is left that this place can give back; again, and without one, does nothing.
    has: whether a key or tombstone has this name.
    kept: all of them, sorted by name.
    digests: what tells the keys apart that were read through it, by name.
    """

    digests: dict[str, bytes]

    def read(self, name: str) -> Optional[bytes]: ...

    def make(self, name: str, secret: bytes, now_ms: int) -> bool: ...

    def bury(self, name: str) -> None: ...

    def destroy(self, name: str) -> None: ...

    def has(self, name: str) -> bool: ...

    def kept(self) -> list[KeptKey]: ...
