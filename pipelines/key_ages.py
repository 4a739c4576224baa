"""What may be shown of the keyring: each key's purpose, month, age and last day; never a byte of one."""

from typing import TYPE_CHECKING, Any, Callable, Optional

from pipelines.iso_days import utc_day
from pipelines.keyring import DAY, KeyAge, Keyring
from pipelines.terminal import say, show_table

if TYPE_CHECKING:
    from pipelines.configuration import Deployment


def _unknown(key: KeyAge) -> Optional[int]:
    del key
    return None


def key_ages(
    deployment: "Deployment", *, now: int, end_of: Callable[[KeyAge], Optional[int]] = _unknown
) -> list[dict[str, Any]]:
    """Purpose, month, state, age in days and last UTC day of every key and tombstone.

    The last day counts what a cloud keeps of a destroyed key: until then its administrators could
    bring it back.

    Args:
      now: ms UTC.
      end_of: when a key is destroyed as things stand, ms UTC; None when it stays or that is not known here.
    """
    return [
        {
            "purpose": key.purpose,
            "month": key.month or "-",
            "state": "destroyed" if key.gone else "kept",
            "days": None if key.gone or not key.made else (now - key.made) // DAY,
            "ends": None if (end := end_of(key)) is None else utc_day(end + key.lingers).isoformat(),
            "recoverable_days": -(-key.lingers // DAY),
        }
        for key in Keyring(deployment.keyring).listing()
    ]


def print_keys(found: list[dict[str, Any]]) -> None:
    """The same for people."""
    names = ["purpose", "month", "state", "days"] + ["ends"] * any(one["ends"] for one in found)
    lines = [tuple(one[name] for name in names) for one in found]
    show_table(("key", *names[1:]), lines, numbers=("days",))
    if longest := max((one["recoverable_days"] for one in found), default=0):
        say(f"the cloud's administrators can bring a destroyed key back for {longest} days{_counted(found)}")


def _counted(found: list[dict[str, Any]]) -> str:
    return ", counted in `ends`" if any(one["ends"] for one in found) else ""
