"""Raw messages become events of the canonical contract, or are refused one by one. Plain code, no Beam."""

import base64
import datetime as dt
import io
import json
from dataclasses import replace
from functools import partial
from typing import Any, Callable, Container, Iterator, Optional, Tuple

import fastavro
import msgspec
import numpy as np

from schemas.chunks import RawChunk, Wrapping
from schemas.events import EARLIEST, LATEST
from schemas.fast import READER
from schemas.rejects import DecodeError, Reason
from schemas.wire import carrel_event
from schemas.wire.adapter import Adapter, Context
from schemas.wire.envelopes import BOM, OPENERS, Delivered, open_avro, open_json, parse_json
from schemas.wire.timestamps import checked

LIMIT = 64 * 1024  # bytes of one message; more is a reject whose payload is not kept
_PIECE = 256 * 1024  # bytes
_NEWLINE, _OPENING, _CLOSING = b"\n{}"


class Messages:
    """The events of a chunk, and which message each came from.

    Attributes:
      events: structs of `schemas.fast`.
      owners: for each event the position of its message.
      stamps: for each event its arrival by the envelope, ms UTC; None where the event itself may say it.
      refused: position of a message -> why; such a message has no events.
      lost: messages that could not even be told apart.
    """

    def __init__(self, wrapping: Optional[Wrapping] = None) -> None:
        self.events: list[Any] = []
        self.owners: list[int] = []
        self.stamps: list[Optional[int]] = []
        self.refused: dict[int, DecodeError] = {}
        self.lost = 0
        self._payloads: list[bytes] = []
        self._unsplit = b""
        self._wrapping = wrapping

    @staticmethod
    def of_lines(block: bytes, events: list[Any], wrapping: Optional[Wrapping] = None) -> "Messages":
        """One event from each line; the block is split only when a line's own bytes are asked for."""
        messages = Messages(wrapping)
        messages.events, messages._unsplit = events, block
        messages.owners = list(range(len(events)))
        messages.stamps = list(wrapping.stamps) if wrapping else [None] * len(events)
        return messages

    def __len__(self) -> int:
        return len(self.owners) if self._unsplit else len(self._payloads)

    def _split(self) -> list[bytes]:
        if self._unsplit:
            self._payloads, self._unsplit = lines_of(self._unsplit), b""
        return self._payloads

    def payload(self, owner: int) -> bytes:
        """The bytes of one message, as an archive would hold it: with what the bus wrapped around it."""
        payload = self._split()[owner]
        return rewrapped(payload, self._wrapping, owner) if self._wrapping else payload

    def refuse(self, payload: bytes, error: DecodeError) -> None:
        """One message that cannot be used."""
        payloads = self._split()
        self.refused[len(payloads)] = error
        payloads.append(payload)

    def add(self, payload: bytes, read: Callable[[], Tuple[list[Any], Optional[int]]]) -> None:
        """Read one message; what cannot be read costs that message only."""
        if len(payload) > LIMIT:
            self.refuse(payload, DecodeError(Reason.OVERSIZE))
            return
        try:
            events, stamp = read()
        except DecodeError as error:
            self.refuse(payload, error)
            return
        self.events += events
        self.owners += [len(self._payloads)] * len(events)
        self.stamps += [stamp] * len(events)
        self._payloads.append(payload)

    def leave_out(self, refused: Container[int]) -> None:
        """Forget the events of these messages: a message is decoded whole or not at all."""
        left = [at for at, owner in enumerate(self.owners) if owner not in refused]
        self.events = [self.events[at] for at in left]
        self.stamps = [self.stamps[at] for at in left]
        self.owners = [self.owners[at] for at in left]


def lines_of(block: bytes) -> list[bytes]:
    """The messages of a block of lines; empty lines are none, and a byte-order mark at a line's head is no part."""
    return [line for marked in block.split(b"\n") if (line := marked.removeprefix(BOM)).strip()]


def pieces_of(chunk: RawChunk) -> Iterator[RawChunk]:
    """The chunk in pieces of whole lines, so small that their events stay in the processor's caches."""
    if chunk.wrapping:
        yield from _cut_delivered(chunk, chunk.wrapping)
        return
    blocks = list(chunk.blocks) if chunk.form == "avro" else [piece for one in chunk.blocks for piece in _cut(one)]
    for at, block in enumerate(blocks):
        yield replace(chunk, blocks=(block,), truncated=chunk.truncated and at == len(blocks) - 1)
    if not blocks:
        yield chunk


def _cut(block: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(block):
        end = block.rfind(b"\n", start, start + _PIECE) + 1 or block.find(b"\n", start) + 1 or len(block)
        yield block[start:end]
        start = end


def _cut_delivered(chunk: RawChunk, wrapping: Wrapping) -> Iterator[RawChunk]:
    start, size = 0, 0
    for end, message in enumerate(chunk.blocks, 1):
        size += len(message)
        if size >= _PIECE or end == len(chunk.blocks):
            yield replace(chunk, blocks=chunk.blocks[start:end], wrapping=wrapping.part(start, end))
            start, size = end, 0


def refuse_all(chunk: RawChunk, error: DecodeError) -> Messages:
    """Every message of a chunk, refused for one and the same reason."""
    messages = Messages()
    for block in chunk.blocks:
        for line in lines_of(block):
            messages.refuse(line, error)
    return messages


def read_messages(chunk: RawChunk, adapter: Adapter, context: Context) -> Messages:
    """All messages of a chunk; never raises for what is in them."""
    if chunk.form == "avro":
        messages = _read_avro(chunk, adapter, context)
    elif chunk.wrapping:
        messages = _read_delivered(chunk.blocks, chunk.wrapping, adapter, context)
    elif chunk.form == "lines" and _is_plain(adapter, context):
        messages = _read_canonical(b"\n".join(chunk.blocks))
    else:
        messages = _read_enveloped(chunk, adapter, context)
    if chunk.truncated:
        messages.refuse(b"", DecodeError(Reason.TRUNCATED))
    return messages


def _is_plain(adapter: Adapter, context: Context) -> bool:
    """Whether messages are canonical events as they stand: no field of them is to be dropped or stripped."""
    return adapter is carrel_event.ADAPTER and not (context.also_drop or context.strip)


def _read_canonical(block: bytes) -> Messages:
    """Canonical events as JSON lines: the whole block in one call, line by line when a line is bad."""
    if events := _all_at_once(block):
        return Messages.of_lines(block, events)
    messages = Messages()
    for line in lines_of(block):
        messages.add(line, partial(_canonical, line))
    return messages


def _read_delivered(payloads: Tuple[bytes, ...], wrapping: Wrapping, adapter: Adapter, context: Context) -> Messages:
    """Messages from a bus, JSON each: canonical ones without headers all at once, else one by one."""
    is_canonical = _is_plain(adapter, context)
    are_times = min(wrapping.stamps) >= EARLIEST and max(wrapping.stamps) < LATEST
    if is_canonical and are_times and not wrapping.headers:
        block = b"\n".join(payloads)
        events = _all_at_once(block)
        if events and len(events) == len(payloads):
            return Messages.of_lines(block, events, wrapping)
    messages = Messages(wrapping)

    def read(at: int) -> Tuple[list[Any], Optional[int]]:
        stamp = checked(wrapping.stamps[at])
        if is_canonical and not wrapping.headers:
            return _canonical(payloads[at])[0], stamp
        delivered = Delivered(parse_json(payloads[at]), wrapping.key(at), wrapping.header(at), stamp, wrapping.topic)
        return adapter.events(delivered, context), stamp

    for at, payload in enumerate(payloads):
        messages.add(payload, partial(read, at))
    return messages


def rewrapped(payload: bytes, wrapping: Wrapping, at: int) -> bytes:
    """One message from a bus as a line of an archive: the JSON of a Pub/Sub pull, which can hold any bytes.

    Its publish time is the effective arrival: read again, it is judged as late as it was. The topic stands beside it.
    """
    stamp = min(max(wrapping.stamps[at], 0), LATEST)  # a producer may write any number there
    published = dt.datetime.fromtimestamp(stamp / 1000, dt.UTC).isoformat(timespec="milliseconds")
    message = {
        "data": base64.b64encode(payload).decode(),
        "attributes": dict(wrapping.header(at)),
        "orderingKey": wrapping.key(at),
        "publishTime": published,
    }
    return json.dumps({"message": message, "topic": wrapping.topic}, sort_keys=True, separators=(",", ":")).encode()


def _all_at_once(block: bytes) -> list[Any]:
    """The event of each line; none when any line is not plainly one event."""
    n_lines = _lines_of_objects(block)
    if not n_lines:
        return []
    try:
        events: list[Any] = READER.decode_lines(block)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    return events if len(events) == n_lines else []


def _lines_of_objects(block: bytes) -> int:
    """How many lines there are if each is within the limit, begins with `{` and ends with `}`; else 0.

    Then no line can hold a part of an object only, so that as many objects as lines means one in each.
    """
    text = np.frombuffer(block, np.uint8, len(block) - block.endswith(b"\n"))
    ends = np.append(np.flatnonzero(text == _NEWLINE), len(text))
    starts = np.append(0, ends[:-1] + 1)
    lengths = ends - starts
    if not len(text) or int(lengths.min()) < 1 or int(lengths.max()) > LIMIT:
        return 0
    is_whole = (text[starts] == _OPENING).all() and (text[ends - 1] == _CLOSING).all()
    return len(ends) if is_whole else 0


def _canonical(message: bytes) -> Tuple[list[Any], Optional[int]]:
    try:
        return [READER.decode(message)], None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [carrel_event.exactly(open_json(message).value)], None


def _read_enveloped(chunk: RawChunk, adapter: Adapter, context: Context) -> Messages:
    opened = OPENERS["json" if chunk.form == "lines" else chunk.form]
    messages = Messages()

    def read(message: bytes) -> Tuple[list[Any], Optional[int]]:
        delivered = opened(message)
        return adapter.events(delivered, context), delivered.arrived_at

    for block in chunk.blocks:
        for line in lines_of(block):
            message = line.rstrip(b"\r") if chunk.form == "tsv" else line
            messages.add(message, partial(read, message))
    return messages


def _read_avro(chunk: RawChunk, adapter: Adapter, context: Context) -> Messages:
    """Avro blocks. A record that cannot be read makes the rest of its block unreadable: it is counted lost."""
    messages = Messages()
    for block in chunk.blocks:
        for read, record in enumerate(_records(chunk.header + block)):
            if record is _BROKEN:
                messages.refuse(block, DecodeError(Reason.NOT_AVRO))
                messages.lost += max(0, _varint(block) - read - 1)
                break
            payload = json.dumps(record, sort_keys=True, default=_plain).encode()
            messages.add(payload, partial(_record, record, adapter, context))
    return messages


_BROKEN: Any = object()


def _records(container: bytes) -> Iterator[Any]:
    """The records of a container; _BROKEN where the rest cannot be read."""
    try:
        yield from fastavro.reader(io.BytesIO(container))
    except Exception:  # noqa: BLE001 - any failure inside the decoder means the bytes are no Avro
        yield _BROKEN


def _record(record: Any, adapter: Adapter, context: Context) -> Tuple[list[Any], Optional[int]]:
    return adapter.events(open_avro(record), context), None


def _varint(data: bytes) -> int:
    """Avro's zigzag long at the start of a block: how many records it says it holds."""
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    return (value >> 1) ^ -(value & 1)


def _plain(value: object) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
