"""Reads archives: plain lines, kcat records, Pub/Sub messages or pulls, TSV and Avro containers, each gzipped or not.

A file is read in batches of whole messages; a position is the byte after the last message taken
(in the unpacked stream where the file is gzipped), so that a killed run goes on where it stopped. A
position holds a keyed tag of all bytes before it: a file that has grown is told from one that was
replaced or mended. Of a file that ends within a line, that line is read again when the file has grown.
"""

import gzip
import io
import stat
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import AbstractSet, BinaryIO, Iterator, Optional

import fastavro
from blake3 import blake3

from pipelines.archive_forms import FormError, form_of_head, messages_of_pulls, refuse_without_header
from pipelines.work_values import Position
from schemas.chunks import RawChunk
from transforms.messages import LIMIT

CHUNK = 4 * 1024 * 1024  # bytes of one element
BATCH = 128 * 1024 * 1024  # bytes of one run of the graph: its fixed cost is 0.2 s
_HEAD = struct.Struct(">16sqq")  # of a position: tag of the bytes before it; size and time of change of the file
_GZIP = b"\x1f\x8b"
_SYNC = 16


class InputError(ValueError):
    """A file cannot be read at all; the text says which, why and what to do."""


@dataclass(frozen=True)
class Standing:
    """Where reading of a file stands: the next byte, the hash of all before it, the file's size and time of change."""

    at: int
    taken: blake3
    size: int
    changed: int

    @property
    def head(self) -> bytes:
        """What a position remembers of the file."""
        return _HEAD.pack(self.taken.digest(length=16), self.size, self.changed)


@dataclass(frozen=True)
class Batch:
    """Some chunks of one file, and where reading stands after them."""

    chunks: tuple[RawChunk, ...]
    end: Standing
    done: bool


def refuse_unreadable(path: Path) -> None:
    """Refuse a file before anything of a run is read.

    Raises:
      InputError: missing, a directory, no regular file, or not readable.
    """
    _opened(path).close()


def refuse_unfit(path: Path, envelope: str, columns: AbstractSet[str]) -> None:
    """Refuse a file in which messages cannot be told apart, before anything of a run is read.

    Args:
      columns: the names that a table of this source may have in its first line.

    Raises:
      InputError: it is no log a message a line, or a table without header.
    """
    with _opened(path) as stream:
        try:
            _form(stream, envelope, path, columns)
        except OSError as error:
            raise _unreadable(path, error) from None


def standing(path: Path, known: Optional[Position], key: bytes) -> Optional[Standing]:
    """Where to read a file from: its beginning, also when it is another one than before; None when all is read.

    Args:
      known: its position when it was last read.
      key: of the tags of what was read.
    """
    try:
        about = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None
    size, changed = about.st_size, about.st_mtime_ns
    if known is not None:
        tag, *before = _HEAD.unpack(known.head)
        if known.done and before == [size, changed]:
            return None
        taken = _taken(path, known.next, key)
        if taken.digest(length=16) == tag:
            return None if known.done and before[0] == size else Standing(known.next, taken, size, changed)
    return Standing(0, blake3(key=key), size, changed)


def _taken(path: Path, upto: int, key: bytes) -> blake3:
    taken = blake3(key=key)
    with _opened(path) as stream:
        while upto:
            piece, broken = _read(stream, min(upto, CHUNK))
            taken.update(piece)
            upto -= len(piece)
            if broken or not piece:
                break
    return taken


def batches(path: Path, source: str, envelope: str, start: Standing, *, size: int = BATCH) -> Iterator[Batch]:
    """Read a file from where it stands, in batches of about `size` bytes, at least one chunk each.

    Raises:
      InputError: missing, a directory, not readable, or no log a message a line.
    """
    with _opened(path) as stream:
        try:
            form = _form(stream, envelope, path)
            parts = _avro(stream, source, start) if form == "avro" else _lines(stream, source, form, start)
            yield from _grouped(parts, start, size)
        except OSError as error:
            message = f"{path.name}: reading failed ({error.strerror or 'input/output error'}); run again"
            raise InputError(message) from None


def _opened(path: Path) -> BinaryIO:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            message = f"{path}: is a directory; name the files in it"
            raise InputError(message)
        if not stat.S_ISREG(mode):
            message = f"{path}: is a pipe or a device, which cannot be read again; write it to a file first"
            raise InputError(message)
        stream = path.open("rb")
        packed = stream.read(2) == _GZIP
        stream.seek(0)
    except OSError as error:
        raise _unreadable(path, error) from None
    if not packed:
        return stream
    stream.close()
    return gzip.open(path)  # type: ignore[return-value]


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be read ({error.strerror}); check the path and its rights")


def _form(stream: BinaryIO, envelope: str, path: Path, columns: AbstractSet[str] = frozenset()) -> str:
    head, _ = _read(stream, CHUNK)
    stream.seek(0)
    try:
        form = form_of_head(head, envelope)
        if form == "tsv" and columns:
            refuse_without_header(head, columns)
    except FormError as error:
        message = f"{path.name}: {error}"
        raise InputError(message) from None
    return form


def _read(stream: BinaryIO, size: int) -> tuple[bytes, bool]:
    """Up to `size` bytes, and whether the stream broke off (a gzip cut short or damaged)."""
    pieces, left = [], size
    try:
        while left:
            piece = stream.read1(min(left, 1 << 20))  # type: ignore[attr-defined]
            if not piece:
                break
            pieces.append(piece)
            left -= len(piece)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return b"".join(pieces), True
    return b"".join(pieces), False


Part = tuple[RawChunk, int, blake3]  # a chunk, the byte after it, the hash of all before that


def _grouped(parts: Iterator[Part], start: Standing, limit: int) -> Iterator[Batch]:
    """Chunks become batches; the last one is marked done."""
    chunks: list[RawChunk] = []
    size, end = 0, start
    for chunk, following, taken in parts:
        if size >= limit:
            yield Batch(tuple(chunks), end, done=False)
            chunks, size = [], 0
        chunks.append(chunk)
        size += sum(map(len, chunk.blocks))
        end = replace(end, at=following, taken=taken)
    yield Batch(tuple(chunks), end, done=True)


def _lines(stream: BinaryIO, source: str, form: str, start: Standing) -> Iterator[Part]:
    header, at, taken = b"", start.at, start.taken.copy()
    if form == "tsv":
        line = stream.readline(LIMIT)
        header = line.strip(b"\r\n")
        if at == 0:
            at = len(line)
            taken.update(line)
    stream.seek(at)
    rest, broken = b"", False
    while not broken:
        block, broken = _read(stream, CHUNK)
        data = rest + block
        if not data and not broken:
            break
        last = len(block) < CHUNK or broken
        cut = len(data) if last else data.rfind(b"\n") + 1
        if data and not cut:
            cut, data = _overlong(stream, data)
        rest = data[cut:]
        whole = data[:cut]
        read = whole[: whole.rfind(b"\n") + 1] if last else whole
        at += len(read)
        taken.update(read)
        if form == "pulls":
            chunk = RawChunk(source, header, (messages_of_pulls(whole),), "pubsub", truncated=broken)
        else:
            chunk = RawChunk(source, header, (whole,), form, truncated=broken)
        yield chunk, at, taken.copy()
        if last:
            break


def _overlong(stream: BinaryIO, data: bytes) -> tuple[int, bytes]:
    """A line longer than a chunk: read on to its end; it is refused by size, so its bytes may stay whole."""
    while b"\n" not in data[-CHUNK:]:
        block, broken = _read(stream, CHUNK)
        data += block
        if broken or len(block) < CHUNK:
            return (data.rfind(b"\n") + 1 or len(data)), data
    return data.rfind(b"\n") + 1, data


def _avro(stream: BinaryIO, source: str, start: Standing) -> Iterator[Part]:
    taken = start.taken.copy()
    size = _avro_header(stream)
    if size is None:
        yield RawChunk(source, b"", (), "avro", truncated=True), start.at, taken.copy()
        return
    stream.seek(0)
    header = stream.read(size)
    at = start.at
    if at == 0:
        at = size
        taken.update(header)
    stream.seek(at)
    blocks: list[bytes] = []
    held = 0
    broken = False
    while not broken:
        block, broken = _block(stream)
        if block:
            blocks.append(block)
            held += len(block)
            at += len(block)
            taken.update(block)
        if held >= CHUNK or broken or not block:
            yield RawChunk(source, header, tuple(blocks), "avro", truncated=broken), at, taken.copy()
            blocks, held = [], 0
        if not block:
            break


def _avro_header(stream: BinaryIO) -> Optional[int]:
    head, _ = _read(stream, 1 << 20)
    whole = io.BytesIO(head)
    try:
        fastavro.reader(whole)
    except Exception:  # noqa: BLE001 - whatever fails here, this is no Avro container
        return None
    return whole.tell()


def _block(stream: BinaryIO) -> tuple[bytes, bool]:
    """One block with its count, size and sync marker; and whether the file ended inside it."""
    head = b""
    sizes = []
    for _ in range(2):
        value = shift = 0
        while True:
            byte, broken = _read(stream, 1)
            if not byte:
                return b"", broken or bool(head)
            head += byte
            value |= (byte[0] & 0x7F) << shift
            shift += 7
            if byte[0] < 0x80:
                break
            if shift > 63:
                return b"", True
        sizes.append((value >> 1) ^ -(value & 1))
    if not 0 <= sizes[1] <= BATCH:
        return b"", True
    data, broken = _read(stream, sizes[1] + _SYNC)
    if broken or len(data) < sizes[1] + _SYNC:
        return b"", True
    return head + data, False
