"""The dead-letter directory: refused messages, sealed, one file a batch; which of them were redriven; who opened them.

Files never change: which of its lines were redriven is in one beside it.
"""

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Sequence

from cryptography.exceptions import InvalidTag

from pipelines.access_log import Access, AccessLog
from pipelines.iso_days import is_iso_day
from pipelines.letter import DeadLetterError, Letter, damaged, letter_of, line_of
from schemas.rejects import SealedReject

Opener = Callable[[bytes, bytes, bytes], bytes]
Wanted = Callable[[Letter], bool]
_BATCH = re.compile(r"[A-Za-z0-9._-]{1,160}")
_FILE = re.compile(r"(\d{4}-\d{2}-\d{2})_([A-Za-z0-9._-]{1,160})(?:~\d+)?\.jsonl")
_PARTIAL = re.compile(r"\.(\d{4}-\d{2}-\d{2})_.*\.partial")
_REDRIVEN = ".redriven"


@dataclass(frozen=True, order=True)
class DeadLetterCount:
    """How many dead letters there are of one day, source and reason: exact, for the operator's terminal.

    Attributes:
      redriven: how many of them were accepted since, and are kept until they are purged.
    """

    day: str
    source: str
    reason: str
    letters: int
    redriven: int = 0


def _iso(day: str) -> str:
    if not is_iso_day(day):
        message = "dead letters: a day is not written YYYY-MM-DD"
        raise DeadLetterError(message)
    return day


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
        content = b"".join(line_of(reject) for reject in rejects)
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

    def holds(self, batch_name: str) -> bool:
        """Whether there is a file of a batch of this name."""
        return any(batch == batch_name for _, _, batch in self._files())

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

    def _letters(self) -> Iterator[Letter]:
        """Every line in file order."""
        for file, day, _ in self._files():
            redriven = self._redriven(file)
            for number, line in enumerate(file.read_bytes().splitlines(), 1):
                yield letter_of(line, file, number, day, is_redriven=number in redriven)

    def _redriven(self, file: Path) -> frozenset[int]:
        marks = file.with_suffix(_REDRIVEN)
        try:
            return frozenset(map(int, marks.read_text().split()))
        except FileNotFoundError:
            return frozenset()
        except ValueError:
            raise damaged(marks, 1, "is not a list of line numbers") from None

    def list(self) -> tuple[DeadLetterCount, ...]:
        """How many letters there are by file day, source and reason, sorted.

        Raises:
          DeadLetterError: a line that this class did not write; the directory cannot be read.
        """
        try:
            counted: Counter[tuple[str, str, str]] = Counter()
            redriven: Counter[tuple[str, str, str]] = Counter()
            for letter in self._letters():
                counted[(letter.day, *letter.what)] += 1
                redriven[(letter.day, *letter.what)] += letter.is_redriven
        except OSError as error:
            raise self._explained(error) from None
        return tuple(DeadLetterCount(*what, letters, redriven[what]) for what, letters in sorted(counted.items()))

    def clear_parts(self) -> Iterator[tuple[dict[str, Any], int]]:
        """Every letter's clear part and how many bytes are sealed with it, in file order; opens none."""
        try:
            for letter in self._letters():
                yield letter.fields, len(letter.sealed)
        except OSError as error:
            raise self._explained(error) from None

    def open(
        self, private_key: bytes, opener: Opener, access: Access, wanted: Wanted = lambda _: True
    ) -> Iterator[tuple[Letter, bytes]]:
        """Open sealed letters, in file order.

        The access is logged before the first letter is opened, with the number of sealed letters there are.
        Letters without sealed bytes (over the size limit, not kept) are left out: there is nothing to open
        and nothing that vouches for their clear part.

        Args:
          private_key: the recipient's, 32 bytes.
          opener: `(private key, clear, sealed) -> payload`; ValueError or InvalidTag when they do not fit.
          access: who does what, for the log.
          wanted: which letters; all by default.

        Yields:
          The letter, its clear part now known to be the one that was sealed, and the message's bytes.

        Raises:
          AccessLogError: the log was altered.
          DeadLetterError: a forged or swapped line, a directory that cannot be used.
        """
        try:
            # Twice over the files rather than all letters in memory; the log comes before the first letter.
            counted = Counter(letter.what for letter in self._letters() if letter.sealed and wanted(letter))
            if self._path.is_dir():
                AccessLog(self._path).add(access, counted)
            for letter in self._letters():
                if letter.sealed and wanted(letter):
                    yield letter, self._opened(opener, private_key, letter)
        except OSError as error:
            raise self._explained(error) from None

    def _opened(self, opener: Opener, private_key: bytes, letter: Letter) -> bytes:
        try:
            return opener(private_key, letter.clear, letter.sealed)
        except (ValueError, InvalidTag):
            message = (
                f"dead letters {letter.file}, line {letter.number}: does not open: wrong key, or its line was "
                "altered; check the recipient key, then look into the file"
            )
            raise DeadLetterError(message) from None

    def mark_redriven(self, letters: Iterable[Letter]) -> None:
        """What these held is safe elsewhere; they stay until they are purged, and are not redriven again."""
        files: dict[Path, set[int]] = {}
        for letter in letters:
            files.setdefault(letter.file, set()).add(letter.number)
        try:
            for file, numbers in sorted(files.items()):
                lines = "".join(f"{number}\n" for number in sorted(numbers | self._redriven(file)))
                self._put(file.with_suffix(_REDRIVEN).name, lines.encode())
        except OSError as error:
            raise self._explained(error) from None

    def purge(self, older_than_day: str) -> int:
        """Delete whole files of days before `older_than_day`, and unfinished ones.

        Returns:
          How many files were deleted; the log of accesses always stays.
        """
        limit = _iso(older_than_day)
        gone = 0
        try:
            for file, day, _ in self._files():
                if day < limit:
                    file.with_suffix(_REDRIVEN).unlink(missing_ok=True)
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
