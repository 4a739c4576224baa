"""How the messages of an archive are wrapped, told by its first lines; answers of a Pub/Sub pull are taken apart."""

import json
import re
from typing import AbstractSet, Any, Mapping, Optional

from schemas.wire.envelopes import BOM, PUBSUB_NAMES, PUBSUB_OUTER
from transforms.messages import LIMIT

_AVRO = b"Obj\x01"
_LOOKED_AT = 20  # lines: of so many one is an object, or the file is no log
_STAMPED = frozenset({"messageId", "message_id", "publishTime", "publish_time"})  # what a pull adds to each message
_PULLS = re.compile(rb'\s*\{\s*"receivedMessages"\s*:')
_ARRAY = re.compile(rb"\[\s*\{")
_SPREAD = re.compile(rb'\[\s*\n|\{\s*\n\s*"')


class FormError(ValueError):
    """No message a line; the text says what it is and what to do, without the file's name."""


def form_of_head(head: bytes, envelope: str) -> str:
    """How messages are wrapped: told by the content, except that TSV is told by the adapter.

    Args:
      head: how the file begins; with some lines at least, where it has them.

    Returns:
      A form of `schemas.chunks.RawChunk`, or `pulls`: a line holds what a Pub/Sub pull answered.

    Raises:
      FormError: one JSON document over several lines, or none of many lines is a JSON object.
    """
    if head.startswith(_AVRO):
        return "avro"
    if envelope == "tsv":
        return "tsv"
    text = head.removeprefix(BOM).lstrip()
    if _SPREAD.match(text):
        message = "is one JSON document, not a message a line; write each on a line of its own, such as with `jq -c`"
        raise FormError(message)
    lines = [line for line in text.split(b"\n", 4 * _LOOKED_AT) if line.strip()][:_LOOKED_AT]
    found = [form for line in lines if (form := _form_of_line(line))]
    told = next(filter("none".__ne__, found), None)
    if told is not None:
        return told
    if _ARRAY.match(text):
        message = "is a JSON array, not a message a line; write each on a line of its own, such as with `jq -c .[]`"
        raise FormError(message)
    if len(lines) == _LOOKED_AT and not found:
        message = f"none of its first {_LOOKED_AT} lines is a JSON object; check that it is a log of this source"
        raise FormError(message)
    return "kcat" if envelope == "kcat" else "lines"


def _form_of_line(line: bytes) -> Optional[str]:
    """The form that a line tells; `none` where it is a message that could be of any; None where it is no message."""
    if _PULLS.match(line):
        return "pulls"
    try:
        value = json.loads(line[: LIMIT + 1])
    except (ValueError, RecursionError):
        return None
    # A pull that found nothing answers {}, and null is a tombstone.
    return (form_of(value) if value else "none") if isinstance(value, dict) else "none" if value is None else None


def form_of(record: Mapping[str, object]) -> str:
    """How a message is wrapped, told by its names: lines where it is not."""
    if {"topic", "partition", "offset"} <= record.keys():
        return "kcat"
    is_alone = record.keys() <= PUBSUB_NAMES and bool(record.keys() & _STAMPED)
    return "pubsub" if is_alone or {"message"} <= record.keys() <= PUBSUB_OUTER else "lines"


def messages_of_pulls(lines: bytes) -> bytes:
    """A line for each received message; a line that is no answer of a pull stays as it is."""
    found: list[bytes] = []
    for line in lines.split(b"\n"):
        received = _received(line)
        found += [line] if received is None else [json.dumps(one, separators=(",", ":")).encode() for one in received]
    return b"\n".join(found)


def _received(line: bytes) -> Optional[list[Any]]:
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict) or answer.keys() > {"receivedMessages"}:
        return None
    received = answer.get("receivedMessages", None if answer else [])
    return received if isinstance(received, list) else None


def refuse_without_header(head: bytes, columns: AbstractSet[str]) -> None:
    """Refuse a table whose first line is none of column names: each row's cells would stand under another row's.

    Args:
      columns: the names that the adapter knows.

    Raises:
      FormError: it names none of them.
    """
    header = head.removeprefix(BOM).split(b"\n", 1)[0].strip(b"\r")
    if header and not {name.encode() for name in columns} & set(header.split(b"\t")):
        message = "its first line names no column of this source; export it again with a header (COPY ... HEADER)"
        raise FormError(message)
