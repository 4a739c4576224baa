"""How transforms get at keys: by a name that may travel, opened on the worker only. No key is ever pickled."""

from typing import Protocol

from transforms.privacy.tokens import MonthKey


class MonthKeys(Protocol):
    """The open keyring of one tenant."""

    def month(self, month: str) -> MonthKey:
        """The token key of windows that start in this month (YYYY-MM); made when there is none yet."""

    def noise(self, month: str) -> bytes:
        """The noise key, 32 bytes, of windows that start in this month."""

    def seen(self) -> bytes:
        """32 bytes: keys the tags by which a repeated reject is recognised."""


class OpensKeys(Protocol):
    """Names a keyring without holding a key; `open` is called in `DoFn.setup`."""

    def open(self) -> MonthKeys:
        """Open the keyring."""
