"""A disk without room, for one process: files may not grow past a size, as long as a file beside them says so.

The kernel refuses what goes past it (EFBIG, after a part of it where a part has room), as it would on a full disk.
"""

import json
import resource
from pathlib import Path
from typing import Any, Callable, Optional

from pipelines.counts_sql import SqlCounts
from pipelines.dead_letters import DeadLetterDirectory


def heed(told: Path, folder: Path) -> None:
    """Let this process have no room while `told` is there.

    Args:
      told: what `say` has written.
      folder: the deployment; what is written already stays.
    """
    SqlCounts.begin = _cramped(SqlCounts.begin, told, "counts", folder)  # type: ignore[method-assign]
    SqlCounts.publish = _cramped(SqlCounts.publish, told, "counts", folder)  # type: ignore[method-assign]
    DeadLetterDirectory.write = _cramped(DeadLetterDirectory.write, told, "letters", folder)  # type: ignore[method-assign]
    if (room := _room(told, "all")) is not None:
        _limit(max(_size(folder / name) for name in ("work.db-wal", "counts.db-wal", "journal.jsonl")) + 4_096 + room)


def say(told: Path, place: str, room: int) -> None:
    """From now on, until the file is removed; a process that has begun without room never gets any.

    Args:
      place: `all` of a process that starts now, or where its `counts` or `letters` are written.
      room: bytes that files may still grow.
    """
    told.write_text(json.dumps([place, room]))


def _cramped(product: Callable[..., Any], told: Path, place: str, folder: Path) -> Callable[..., Any]:
    def write(*given: Any) -> Any:
        if (room := _room(told, place)) is None:
            return product(*given)
        before, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
        _limit(room + (_size(folder / "counts.db-wal") if place == "counts" else 0))
        try:
            return product(*given)
        finally:
            _limit(before)

    return write


def _room(told: Path, place: str) -> Optional[int]:
    try:
        wanted, room = json.loads(told.read_text())
    except FileNotFoundError:
        return None
    return int(room) if wanted == place else None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
