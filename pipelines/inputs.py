"""Reads archives: plain lines, kcat records, Pub/Sub pulls, TSV and Avro containers, each gzipped or not.

A file is read in batches of whole messages; a position is the byte after the last message taken
(in the unpacked stream where the file is gzipped), so that a killed run goes on where it stopped.
"""

import gzip
import io
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Iterator, Optional

import fastavro
from blake3 import blake3

from schemas.chunks import RawChunk
from transforms.messages import LIMIT

CHUNK = 4 * 1024 * 1024  # bytes of one element
BATCH = 128 * 1024 * 1024  # bytes of one run of the graph: its fixed cost is 0.2 s
_HEAD = 4096
_AVRO = b"Obj\x01"
_GZIP = b"\x1f\x8b"
_SYNC = 16


class InputError(ValueError):
    """A file cannot be read at all; the text says which, why and what to do."""


@dataclass(frozen=True)
class Batch:
    """Some chunks of one file and the position after them."""

    chunks: tuple[RawChunk, ...]
    next: int
    done: bool


def fingerprint(path: Path, upto: int, key: bytes) -> bytes:
    """A keyed tag of a file's first bytes: tells a grown file from another one under the same name."""
    with _opened(path) as stream:
        return blake3(stream.read(min(_HEAD, upto)), key=key).digest(length=16)


def batches(path: Path, source: str, envelope: str, start: int) -> Iterator[Batch]:
    """Read a file from a position, in batches of about `BATCH` bytes.

    Raises:
      InputError: missing, a directory, or not readable.
    """
    with _opened(path) as stream:
        try:
            form = _form(stream, envelope)
            parts = _avro(stream, source, start) if form == "avro" else _lines(stream, source, form, start)
            yield from _grouped(parts)
        except OSError as error:
            message = f"{path.name}: reading failed ({error.strerror or 'input/output error'}); run again"
            raise InputError(message) from None


def _opened(path: Path) -> BinaryIO:
    try:
        stream = path.open("rb")
        packed = stream.read(2) == _GZIP
        stream.seek(0)
    except IsADirectoryError:
        message = f"{path}: is a directory; name the files in it"
        raise InputError(message) from None
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror}); check the path and its rights"
        raise InputError(message) from None
    return gzip.GzipFile(fileobj=stream) if packed else stream  # type: ignore[return-value]


def _form(stream: BinaryIO, envelope: str) -> str:
    """How messages are wrapped: told by the content, except that TSV is told by the adapter."""
    head, _ = _read(stream, CHUNK)
    stream.seek(0)
    if head.startswith(_AVRO):
        return "avro"
    if envelope == "tsv":
        return "tsv"
    for line in head.split(b"\n", 20)[:20]:
        try:
            first = json.loads(line[: LIMIT + 1])
        except (ValueError, RecursionError):
            continue
        if isinstance(first, dict):
            if {"topic", "partition", "offset"} <= first.keys():
                return "kcat"
            return "pubsub" if {"message"} <= first.keys() <= {"message", "ackId", "deliveryAttempt"} else "lines"
    return "kcat" if envelope == "kcat" else "lines"


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


def _grouped(parts: Iterator[tuple[RawChunk, int]]) -> Iterator[Batch]:
    """Chunks with their next positions become batches; the last one is marked done."""
    chunks: list[RawChunk] = []
    size, at = 0, 0
    for chunk, following in parts:
        if size >= BATCH:
            yield Batch(tuple(chunks), at, done=False)
            chunks, size = [], 0
        chunks.append(chunk)
        size += sum(map(len, chunk.blocks))
        at = following
    yield Batch(tuple(chunks), at, done=True)


def _lines(stream: BinaryIO, source: str, form: str, start: int) -> Iterator[tuple[RawChunk, int]]:
    header = b""
    if form == "tsv":
        line = stream.readline(LIMIT)
        header, start = line.strip(b"\r\n"), max(start, len(line))
    stream.seek(start)
    at, rest, broken = start, b"", False
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
        at += cut
        yield RawChunk(source, header, (whole,), form, truncated=broken), at
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


def _avro(stream: BinaryIO, source: str, start: int) -> Iterator[tuple[RawChunk, int]]:
    size = _avro_header(stream)
    if size is None:
        yield RawChunk(source, b"", (), "avro", truncated=True), start
        return
    stream.seek(0)
    header = stream.read(size)
    at = max(start, size)
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
        if held >= CHUNK or broken or not block:
            yield RawChunk(source, header, tuple(blocks), "avro", truncated=broken), at
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
