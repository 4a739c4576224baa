"""What may be shown of the keyring: each key's purpose, month and age; never a byte of one."""

from typing import TYPE_CHECKING, Any

from pipelines.keyring import DAY, Keyring
from pipelines.terminal import show_table

if TYPE_CHECKING:
    from pipelines.configuration import Deployment


def key_ages(deployment: "Deployment", *, now: int) -> list[dict[str, Any]]:
    """Purpose, month, state and age in days of every key and tombstone; now in ms UTC."""
    return [
        {
            "purpose": key.purpose,
            "month": key.month or "-",
            "state": "destroyed" if key.gone else "kept",
            "days": None if key.gone or not key.made else (now - key.made) // DAY,
        }
        for key in Keyring(deployment.keyring).listing()
    ]


def print_keys(found: list[dict[str, Any]]) -> None:
    """The same for people."""
    lines = [(one["purpose"], one["month"], one["state"], one["days"]) for one in found]
    show_table(("key", "month", "state", "days"), lines, numbers=("days",))
