"""A folder that many read and one writes: a lock, append-only logs, files that appear whole; faults in one line."""

import errno
import fcntl
import json
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Callable, Generic, Iterator, Sequence, TypeVar

from pipelines.counts_rows import KeyReceipt, LedgerRow, SourceStop, StoreAwayError, StoreError, Verification
from pipelines.counts_rules import DISK_FULL

_Row = TypeVar("_Row", LedgerRow, KeyReceipt, SourceStop, Verification)

_BUSY_SECONDS = 30.0
_LOCK = "lock"
_UNWRITABLE = "cannot be written; give this user write access to the folder and its files"
_FAULTS = {
    errno.ENOSPC: DISK_FULL,
    errno.EDQUOT: DISK_FULL,
    errno.EFBIG: DISK_FULL,
    errno.EACCES: _UNWRITABLE,
    errno.EPERM: _UNWRITABLE,
    errno.EROFS: _UNWRITABLE,
    errno.ENOENT: "a file or folder is missing; restore it or correct counts_store",
    errno.ENOTDIR: "is not a folder; correct counts_store",
    errno.EEXIST: "is not a folder; correct counts_store",
    errno.EIO: "the disk reports an error; check it, then restore the folder if need be",
}


class Directory:
    """A store's folder on a local disk.

    Args:
      path: the folder.

    Raises:
      StoreError: from any call: disk full, not writable, held by another process for 30 s.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._thread = threading.RLock()

    def refused(self, what: str) -> StoreError:
        """The error that says what is wrong with this folder and what to do."""
        return StoreError(f"counts store {self.path}: {what}")

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Say a fault of the disk in one line."""
        try:
            yield
        except OSError as error:
            what = _FAULTS.get(error.errno or 0, "the system refused to work on it; check the folder and its disk")
            raise self.refused(what) from None

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One thread at a time; other processes go on writing."""
        with self._thread, self.explaining():
            yield

    @contextmanager
    def writing(self) -> Iterator[None]:
        """The only writer, of all processes: the lock is the kernel's, which takes it from a process that died."""
        with self._thread, self.explaining():
            lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                self._wait_for(lock)
                yield
            finally:
                os.close(lock)

    def _wait_for(self, lock: int) -> None:
        until = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    message = f"counts store {self.path}: another process holds it; wait for it and run again"
                    raise StoreAwayError(message) from None
                time.sleep(0.02)
            else:
                return

    def write_whole(self, name: str, content: bytes) -> None:
        """Make a file appear with all its content, durably, in place of what had its name; the lock is held."""
        path = self.path / name
        path.parent.mkdir(exist_ok=True)
        part = self.path / f"{_LOCK}.part"  # one writer, so one name; what a killed one left is written over
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        for folder in {path.parent, self.path}:
            _sync(folder)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(handle: int, text: bytes, at: int) -> None:
    if os.pwrite(handle, text, at) < len(text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Log(Generic[_Row]):
    """Rows as JSON objects, one a line, appended and never changed; a line without its end was never written.

    Args:
      directory: where it lies.
      name: of the file; absent is empty.
      row: makes a row of the fields of a line.
    """

    def __init__(self, directory: Directory, name: str, row: Callable[..., _Row]) -> None:
        self._directory = directory
        self._row: Callable[..., _Row] = row
        self._path = directory.path / name
        self._read_to = 0
        self._rows: list[_Row] = []

    def more(self) -> list[_Row]:
        """The rows that were added since the last call of this object."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._read_to)
                found = file.read()
        except FileNotFoundError:
            return []
        whole = found[: found.rfind(b"\n") + 1]
        try:
            rows = [self._row(**json.loads(line)) for line in whole.splitlines()]
        except (ValueError, TypeError):
            raise self._directory.refused(f"{self._path.name} is corrupt; restore it from a backup") from None
        self._read_to += len(whole)
        return rows

    def all(self) -> Sequence[_Row]:
        """The rows that there are now; of a log of which `more` is not asked."""
        self._rows += self.more()
        return self._rows

    def append(self, row: _Row) -> None:
        """Add a row, durably, or nothing; the lock is held and all rows are read."""
        text = json.dumps(asdict(row), ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            os.ftruncate(handle, self._read_to)  # what a killed writer left without an end
            try:
                _write(handle, text, self._read_to)
                os.fsync(handle)
            except OSError:
                os.ftruncate(handle, self._read_to)
                raise
        finally:
            os.close(handle)
        if self._read_to == 0:
            _sync(self._path.parent)
