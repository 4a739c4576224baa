"""Envelopes of archives: what the bus wrapped around a message, taken off.

Plain JSON lines, `kcat -J` records, the JSON of a Pub/Sub pull, and tab-separated lines as PostgreSQL's COPY
writes them. Avro containers are opened by their reader; their records arrive here as objects.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

import msgspec

from schemas.rejects import DecodeError, Reason
from schemas.wire.timestamps import checked, parse

BOM = b"\xef\xbb\xbf"
KCAT_NAMES = frozenset(("topic", "partition", "offset", "tstype", "ts", "broker", "headers", "key", "payload"))
PUBSUB_OUTER = frozenset(("ackId", "message", "deliveryAttempt", "subscription", "topic"))
PUBSUB_NAMES = frozenset(
    ("data", "attributes", "messageId", "message_id", "publishTime", "publish_time", "orderingKey")
)
_JSON: "msgspec.json.Decoder[Any]" = msgspec.json.Decoder()
_COPY_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_COPY_MEANING = {"t": "\t", "n": "\n", "r": "\r", "b": "\b", "f": "\f", "v": "\v"}


@dataclass(frozen=True)
class Delivered:
    """A message out of its envelope. `repr` shows none of it.

    Attributes:
      value: the decoded message (for TSV: the list of cells, None for a null).
      key: the record key or ordering key.
      headers: (name, value) pairs.
      arrived_at: when the bus took it, ms since 1970 UTC, where the envelope says so.
      topic: where it was published, where the envelope says so.
    """

    value: Any
    key: Optional[str] = None
    headers: Tuple[Tuple[str, Optional[str]], ...] = ()
    arrived_at: Optional[int] = None
    topic: Optional[str] = None

    def __repr__(self) -> str:
        return "Delivered(<redacted>)"

    def wrapped(self) -> Dict[str, Any]:
        """The key and headers as fields `@key` and `@headers.<lower-case name>` of a record."""
        found: Dict[str, Any] = {}
        if self.key is not None:
            found["@key"] = self.key
        if self.headers:
            found["@headers"] = {name.lower(): value for name, value in self.headers}
        return found


def decode_text(message: bytes) -> str:
    """UTF-8 text without byte-order mark; EMPTY, NOT_UTF8 or NUL_BYTE otherwise."""
    try:
        text = message.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError:
        raise DecodeError(Reason.NOT_UTF8) from None
    if "\0" in text:
        raise DecodeError(Reason.NUL_BYTE)
    if not text.strip():
        raise DecodeError(Reason.EMPTY)
    return text


def parse_json(message: bytes) -> Any:
    """One JSON value; NaN and infinities are not JSON, and no string or name may hold a NUL.

    Raises:
      DecodeError: EMPTY (also for `null`), NOT_UTF8, NUL_BYTE, NOT_JSON or TOO_DEEP.
    """
    text = decode_text(message)
    try:
        value = _JSON.decode(text)
    except RecursionError:
        raise DecodeError(Reason.TOO_DEEP) from None
    except (ValueError, msgspec.MsgspecError):
        raise DecodeError(Reason.NOT_JSON) from None
    if value is None:
        raise DecodeError(Reason.EMPTY)
    if "\\u0000" in text and _holds_nul(value):
        raise DecodeError(Reason.NUL_BYTE)
    return value


def _holds_nul(value: Any) -> bool:
    waiting: List[Any] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if "\0" in item:
                return True
        elif isinstance(item, dict):
            waiting.extend(item.keys())
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return False


def open_json(message: bytes) -> Delivered:
    """A plain JSON line."""
    return Delivered(parse_json(message))


def _only(record: Any, known: frozenset[str], parent: Tuple[str, ...] = ()) -> Mapping[str, Any]:
    if not isinstance(record, dict):
        raise DecodeError(Reason.ENVELOPE)
    if unknown := sum(name not in known for name in record):
        raise DecodeError(Reason.DISALLOWED_FIELD, parent, unknown)
    return record


def _optional_text(value: Any) -> Optional[str]:
    if value is None or isinstance(value, str):
        return value
    raise DecodeError(Reason.ENVELOPE)


def open_kcat(message: bytes) -> Delivered:
    """A line of `kcat -J`; the payload is JSON text, or an object where kcat decoded it.

    Raises:
      DecodeError: EMPTY for a record without payload, ENVELOPE where the record is not kcat's form,
        DISALLOWED_FIELD for names that kcat does not write, else as `parse_json`.
    """
    record = _only(parse_json(message), KCAT_NAMES)
    payload = record.get("payload")
    if payload is None:
        raise DecodeError(Reason.EMPTY)
    arrived = record.get("ts")
    if arrived is not None and (not isinstance(arrived, int) or isinstance(arrived, bool)):
        raise DecodeError(Reason.ENVELOPE)
    return Delivered(
        value=parse_json(payload.encode()) if isinstance(payload, str) else payload,
        key=_optional_text(record.get("key")),
        headers=_pairs(record.get("headers")),
        # kcat writes -1 where the broker keeps no time
        arrived_at=None if arrived is None or arrived == -1 else checked(arrived),
        topic=_optional_text(record.get("topic")),
    )


def _pairs(headers: Any) -> Tuple[Tuple[str, Optional[str]], ...]:
    """Kcat's headers: one flat list of names and values in turn."""
    if headers is None:
        return ()
    if not isinstance(headers, list) or len(headers) % 2 or not all(isinstance(n, str) for n in headers[::2]):
        raise DecodeError(Reason.ENVELOPE)
    return tuple((name, _optional_text(value)) for name, value in zip(headers[::2], headers[1::2], strict=True))


def open_pubsub(message: bytes) -> Delivered:
    """One received message of a Pub/Sub pull, or the message alone; `data` is JSON in base64.

    A pull tells no topic; where one stands beside the message, it is the one that a dead letter had.

    Raises:
      DecodeError: as `open_kcat`.
    """
    record = parse_json(message)
    topic = None
    if isinstance(record, dict) and "message" in record:
        topic = _optional_text(_only(record, PUBSUB_OUTER).get("topic"))
        record = record["message"]
        inner = _only(record, PUBSUB_NAMES, ("message",))
    else:
        inner = _only(record, PUBSUB_NAMES)
    data = _optional_text(inner.get("data"))
    if not data:
        raise DecodeError(Reason.EMPTY)
    attributes = inner.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise DecodeError(Reason.ENVELOPE)
    published = _optional_text(inner.get("publishTime", inner.get("publish_time")))
    try:
        payload = base64.b64decode(data.encode(), validate=True)
    except binascii.Error:
        raise DecodeError(Reason.ENVELOPE) from None
    return Delivered(
        value=parse_json(payload),
        key=_optional_text(inner.get("orderingKey")),
        headers=tuple((name, _optional_text(value)) for name, value in attributes.items()),
        arrived_at=None if published is None else parse(published, "publishTime"),
        topic=topic,
    )


def cells(message: bytes) -> List[Optional[str]]:
    """The cells of one line of PostgreSQL's COPY text format; its null (backslash N) is None.

    Raises:
      DecodeError: EMPTY, NOT_UTF8, NUL_BYTE, or NOT_TSV for a line break inside.
    """
    line = decode_text(message.rstrip(b"\r\n"))
    if "\n" in line:
        raise DecodeError(Reason.NOT_TSV)
    if "\\" not in line:
        return list(line.split("\t"))
    return [None if cell == "\\N" else _COPY_ESCAPE.sub(_unescaped, cell) for cell in line.split("\t")]


def _unescaped(match: "re.Match[str]") -> str:
    return _COPY_MEANING.get(match[1], match[1])


def open_tsv(message: bytes) -> Delivered:
    """A tab-separated line; the value is its list of cells."""
    return Delivered(cells(message))


def header(message: bytes) -> Tuple[str, ...]:
    """The column names of a TSV archive's first line.

    Raises:
      DecodeError: NOT_TSV when a name is empty or repeated, else as `cells`.
    """
    names = cells(message)
    found = tuple(name for name in names if name)
    if len(found) != len(names) or len(set(found)) != len(found):
        raise DecodeError(Reason.NOT_TSV)
    return found


def open_avro(record: Any) -> Delivered:
    """A record that the reader of an Avro container has decoded."""
    if not isinstance(record, dict):
        raise DecodeError(Reason.NOT_AVRO)
    return Delivered(record)


OPENERS: Mapping[str, Callable[[bytes], Delivered]] = {
    "json": open_json,
    "kcat": open_kcat,
    "pubsub": open_pubsub,
    "tsv": open_tsv,
}
