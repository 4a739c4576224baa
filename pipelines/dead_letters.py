"""The dead-letter directory: refused messages, sealed, one file a batch, and a log of who opened them when.

A line is the reject's clear part with the sealed bytes added at its end, so that the exact bytes the
sealing is bound to can be cut out again. `access.log` is a hash chain: a changed or removed entry breaks
it (a log cut at its end, or replaced whole, cannot be seen from inside the directory).
"""

import base64
import binascii
import fcntl
import json
import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

from blake3 import blake3
from cryptography.exceptions import InvalidTag

from pipelines.iso_days import is_iso_day
from schemas.rejects import SealedReject

ACCESS_LOG = "access.log"
Opener = Callable[[bytes, bytes, bytes], bytes]
_BATCH = re.compile(r"[A-Za-z0-9._-]{1,160}")
_FILE = re.compile(r"(\d{4}-\d{2}-\d{2})_([A-Za-z0-9._-]{1,160})(?:~\d+)?\.jsonl")
_PARTIAL = re.compile(r"\.(\d{4}-\d{2}-\d{2})_.*\.partial")
_SEALED = b',"sealed":"'
_NO_ENTRY = "0" * 64


class DeadLetterError(ValueError):
    """The dead letters cannot be used; one line says what, where and what to do, and quotes no data."""


@dataclass(frozen=True, order=True)
class DeadLetterCount:
    """How many dead letters there are of one day, source and reason: exact, for the operator's terminal."""

    day: str
    source: str
    reason: str
    letters: int


def _iso(day: str) -> str:
    if not is_iso_day(day):
        message = "dead letters: a day is not written YYYY-MM-DD"
        raise DeadLetterError(message)
    return day


def _line(reject: SealedReject) -> bytes:
    clear = reject.clear
    fields = json.loads(clear)
    named = (fields.get("source"), fields.get("reason")) if isinstance(fields, dict) else ()
    if named != (reject.source, reject.reason) or "sealed" in fields or not clear.endswith(b"}") or b"\n" in clear:
        message = "dead letters: a reject's clear part does not describe it; report this as a bug"
        raise DeadLetterError(message)
    return clear[:-1] + _SEALED + base64.b64encode(reject.sealed) + b'"}\n'


class DeadLetterDirectory:
    """Dead letters of one deployment.

    Args:
      path: the directory; made (mode 0700) by the first write, its parent must exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, batch_name: str, day: str, rejects: Sequence[SealedReject]) -> None:
        """Keep the rejects of one batch, on disk when this returns; the same batch again changes nothing.

        The same name with other rejects makes a second file (`~2`) beside the first: nothing is lost.

        Args:
          batch_name: letters, digits, `.`, `_`, `-`; unique per batch.
          day: received day, YYYY-MM-DD.
          rejects: none makes no file.

        Raises:
          DeadLetterError: bad name or day, directory not writable, disk full.
        """
        if not _BATCH.fullmatch(batch_name):
            message = "dead letters: a batch name has letters outside A-Z a-z 0-9 . _ -; report this as a bug"
            raise DeadLetterError(message)
        content = b"".join(_line(reject) for reject in rejects)
        stem = f"{_iso(day)}_{batch_name}"
        if not rejects:
            return
        try:
            self._path.mkdir(mode=0o700, exist_ok=True)
            if self._path.stat().st_mode & 0o077:
                self._path.chmod(0o700)
            # A retry after midnight is still the same batch.
            kept = [file for file, _, batch in self._files() if batch == batch_name]
            if any(file.read_bytes() == content for file in kept):
                return
            names = {file.name for file in kept}
            tries = (f"{stem}.jsonl" if n == 1 else f"{stem}~{n}.jsonl" for n in range(1, len(kept) + 2))
            self._put(next(name for name in tries if name not in names), content)
        except OSError as error:
            raise self._explained(error) from None

    def _put(self, name: str, content: bytes) -> None:
        partial = self._path / f".{name}.partial"
        partial.unlink(missing_ok=True)  # left by a kill; its mode is not ours to trust
        try:
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._path / name)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        self._sync()

    def _sync(self) -> None:
        folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _explained(self, error: OSError) -> DeadLetterError:
        what = error.strerror or "refused"
        advice = "give this user a writable directory with space"
        return DeadLetterError(f"dead letters {self._path}: cannot be used ({what}); {advice}")

    def _files(self) -> Sequence[tuple[Path, str, str]]:
        """Path, day and batch name of each file, in name order; a missing directory has none."""
        try:
            found = sorted(self._path.iterdir())
        except FileNotFoundError:
            return []
        named = ((file, _FILE.fullmatch(file.name)) for file in found)
        return [(file, match[1], match[2]) for file, match in named if match]

    def _letters(self) -> Iterator[tuple[str, bytes, dict[str, Any], bytes]]:
        """Every line in file order: day, exact clear bytes, clear fields, sealed bytes."""
        for file, day, _ in self._files():
            for number, line in enumerate(file.read_bytes().splitlines(), 1):
                at = line.rfind(_SEALED)
                try:
                    clear = line[:at] + b"}"
                    fields = json.loads(clear)
                    text, end = line[at + len(_SEALED) : -2], line[-2:]
                    sealed = base64.b64decode(text, validate=True)
                    sound = at > 0 and end == b'"}' and isinstance(fields["source"], str)
                    sound = sound and isinstance(fields["reason"], str)
                except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
                    sound = False
                if not sound:
                    raise self._refused(file, number, "is not a dead letter")
                yield day, clear, fields, sealed

    def _refused(self, file: Path, number: int, what: str) -> DeadLetterError:
        return DeadLetterError(f"dead letters {file}, line {number}: {what}; move the file away and look into it")

    def list(self) -> tuple[DeadLetterCount, ...]:
        """How many letters there are by file day, source and reason, sorted.

        Raises:
          DeadLetterError: a line that this class did not write; the directory cannot be read.
        """
        try:
            letters = self._letters()
            counted = Counter((day, fields["source"], fields["reason"]) for day, _, fields, _ in letters)
        except OSError as error:
            raise self._explained(error) from None
        return tuple(DeadLetterCount(*what, letters=letters) for what, letters in sorted(counted.items()))

    def clear_parts(self) -> Iterator[tuple[dict[str, Any], int]]:
        """Every letter's clear part and how many bytes are sealed with it, in file order; opens none."""
        try:
            for _, _, fields, sealed in self._letters():
                yield fields, len(sealed)
        except OSError as error:
            raise self._explained(error) from None

    def open(self, private_key: bytes, opener: Opener, *, day: str) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Open every sealed letter, in file order.

        The access is logged before the first letter is opened, with the number of sealed letters there are.
        Letters without sealed bytes (over the size limit, not kept) are left out: there is nothing to open
        and nothing that vouches for their clear part.

        Args:
          private_key: the recipient's, 32 bytes.
          opener: `(private key, clear, sealed) -> payload`; ValueError or InvalidTag when they do not fit.
          day: civil day of the opening, YYYY-MM-DD, for the log.

        Yields:
          The clear part, now known to be the one that was sealed, and the message's bytes.

        Raises:
          DeadLetterError: a forged or swapped line, an altered log, a directory that cannot be used.
        """
        try:
            # Twice over the files rather than all letters in memory; the log comes before the first letter.
            self._log(_iso(day), "open", sum(1 for *_, sealed in self._letters() if sealed))
            at = 0
            for _, clear, fields, sealed in self._letters():
                if sealed:
                    at += 1
                    yield fields, self._opened(at, opener, private_key, clear, sealed)
        except OSError as error:
            raise self._explained(error) from None

    def _opened(self, at: int, opener: Opener, private_key: bytes, clear: bytes, sealed: bytes) -> bytes:
        try:
            return opener(private_key, clear, sealed)
        except (ValueError, InvalidTag):
            message = (
                f"dead letters {self._path}: sealed letter {at} does not open: wrong key, or its line was "
                "altered; check the recipient key, then look into the file"
            )
            raise DeadLetterError(message) from None

    def purge(self, older_than_day: str) -> int:
        """Delete whole files of days before `older_than_day`, and unfinished ones.

        Returns:
          How many files were deleted; `access.log` always stays.
        """
        limit = _iso(older_than_day)
        gone = 0
        try:
            for file, day, _ in self._files():
                if day < limit:
                    file.unlink()
                    gone += 1
            if self._path.is_dir():
                for file in sorted(self._path.iterdir()):
                    partial = _PARTIAL.fullmatch(file.name)
                    if partial and partial[1] < limit:
                        file.unlink()
                        gone += 1
                self._sync()
        except OSError as error:
            raise self._explained(error) from None
        return gone

    def check_access_log(self) -> int:
        """Follow the hash chain of `access.log`.

        Returns:
          The number of entries; 0 without a log.

        Raises:
          DeadLetterError: the chain is broken.
        """
        try:
            return self._follow((self._path / ACCESS_LOG).read_bytes())[0]
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise self._explained(error) from None

    def _follow(self, log: bytes) -> tuple[int, str]:
        """Check the chain; gives the number of entries and the hash that the next one names."""
        previous, entries = _NO_ENTRY, 0
        for line in log.splitlines(keepends=True):
            try:
                sound = line.endswith(b"\n") and json.loads(line)["previous"] == previous
            except (ValueError, KeyError, TypeError):
                sound = False
            if not sound:
                what = "the chain is broken; keep the file elsewhere and ask who changed it"
                message = f"dead letters {self._path / ACCESS_LOG}: {what}"
                raise DeadLetterError(message)
            previous, entries = blake3(line).hexdigest(), entries + 1
        return entries, previous

    def _log(self, day: str, action: str, count: int) -> None:
        """Append one entry; days, actions and numbers only, never content."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        with os.fdopen(os.open(self._path / ACCESS_LOG, flags, 0o600), "r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # two openings at once must not name the same predecessor
            _, previous = self._follow(file.read())
            entry = {"day": day, "action": action, "count": count, "previous": previous}
            file.write(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
            os.fsync(file.fileno())
