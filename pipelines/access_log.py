"""Who opened dead letters, when and how many: a hash chain of JSON lines, and a note beside it of where it ends.

A changed, removed or inserted entry breaks the chain; an end that was cut off does not reach the note any more.
Who may write both files can make both anew: against that only a copy of the last hash helps that is kept elsewhere.
"""

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Mapping

from blake3 import blake3

ACCESS_LOG, ACCESS_END = "access.log", "access.end"
_NO_ENTRY = "0" * 64


class AccessLogError(ValueError):
    """The log was altered; one line says where and what to do (exit code 1)."""


@dataclass(frozen=True)
class Access:
    """Who does what.

    Attributes:
      who: the user of this machine.
      hour: UTC, as `2026-03-05T14Z`.
      action: open or redrive.
    """

    who: str
    hour: str
    action: str


@dataclass(frozen=True)
class Chain:
    """A chain that holds: its entries, and the hash that the next one will name."""

    entries: tuple[Mapping[str, Any], ...]
    end: str


class AccessLog:
    """The log in the directory of dead letters."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / ACCESS_LOG
        self._end = directory / ACCESS_END

    def check(self) -> Chain:
        """Follow the chain to its end; empty without a log.

        Raises:
          AccessLogError: it is broken, or its end was cut off.
          OSError: not readable.
        """
        return self._followed(self._log.read_bytes() if self._log.exists() else b"")

    def add(self, access: Access, letters: Mapping[tuple[str, str], int]) -> None:
        """Append one entry, on disk when this returns: names, hours and numbers only, never content.

        Args:
          letters: (source, reason) -> how many.

        Raises:
          AccessLogError, OSError: the log cannot be gone on with, so that nothing may be opened.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with os.fdopen(os.open(self._log, flags, 0o600), "r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # two openings at once must not name the same predecessor
            chain = self._followed(file.read())
            entry = {
                "hour": access.hour,
                "who": access.who,
                "action": access.action,
                "count": sum(letters.values()),
                "letters": [[*what, number] for what, number in sorted(letters.items())],
                "previous": chain.end,
            }
            line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
            file.write(line)
            os.fsync(file.fileno())
            self._note(len(chain.entries) + 1, blake3(line).hexdigest())

    def _note(self, entries: int, end: str) -> None:
        partial = self._end.with_suffix(".new")
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(json.dumps({"entries": entries, "hash": end}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._end)

    def _followed(self, log: bytes) -> Chain:
        previous, entries = _NO_ENTRY, []
        hashes = [previous]
        for line in log.splitlines(keepends=True):
            try:
                entry = json.loads(line)
                sound = line.endswith(b"\n") and entry["previous"] == previous
            except (ValueError, KeyError, TypeError, RecursionError):
                sound = False
            if not sound:
                raise self._broken("the chain is broken")
            previous = blake3(line).hexdigest()
            hashes.append(previous)
            entries.append(entry)
        self._compare(hashes)
        return Chain(tuple(entries), previous)

    def _compare(self, hashes: list[str]) -> None:
        """A kill between entry and note leaves the chain longer than its note; it is never shorter."""
        try:
            noted = json.loads(self._end.read_bytes())
            is_there = hashes[noted["entries"]] == noted["hash"]
        except FileNotFoundError:
            is_there = len(hashes) <= 2
        except (ValueError, KeyError, TypeError, IndexError):
            is_there = False
        if not is_there:
            raise self._broken("entries are missing at its end")

    def _broken(self, what: str) -> AccessLogError:
        return AccessLogError(f"dead letters {self._log}: {what}; keep the file elsewhere and ask who changed it")
