"""A dead letter as a line: the reject's clear part with the sealed bytes added at its end.

So the exact bytes that the sealing is bound to can be cut out again, wherever the line is kept.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.try_again import TryAgainError
from schemas.rejects import SealedReject

_SEALED = b',"sealed":"'


class DeadLetterError(ValueError):
    """The dead letters cannot be used; one line says what, where and what to do, and quotes no data."""


class LettersAwayError(DeadLetterError, TryAgainError):
    """Where they are kept does not answer now."""


@dataclass(frozen=True, repr=False)
class Letter:
    """One line of a file.

    Attributes:
      file, number: where it is; lines are numbered from 1.
      clear: the exact bytes that the sealing is bound to; fields: the same, read.
      sealed: empty when the message was over the size limit and is not kept.
    """

    file: Path
    number: int
    day: str
    clear: bytes
    fields: dict[str, Any]
    sealed: bytes
    is_redriven: bool

    def __repr__(self) -> str:
        return "Letter(<sealed>)"

    @property
    def what(self) -> tuple[str, str]:
        """Its source and reason."""
        return self.fields["source"], self.fields["reason"]


def line_of(reject: SealedReject) -> bytes:
    """The line of a letter, wherever it is kept: its clear part with the sealed bytes at its end."""
    clear = reject.clear
    fields = json.loads(clear)
    named = (fields.get("source"), fields.get("reason")) if isinstance(fields, dict) else ()
    if named != (reject.source, reject.reason) or "sealed" in fields or not clear.endswith(b"}") or b"\n" in clear:
        message = "dead letters: a reject's clear part does not describe it; report this as a bug"
        raise DeadLetterError(message)
    return clear[:-1] + _SEALED + base64.b64encode(reject.sealed) + b'"}\n'


def letter_of(line: bytes, file: Path, number: int, day: str, *, is_redriven: bool) -> Letter:
    """Read a line that `line_of` made, without its end.

    Raises:
      DeadLetterError: it is no such line.
    """
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
        raise damaged(file, number, "is not a dead letter")
    return Letter(file, number, day, clear, fields, sealed, is_redriven)


def damaged(file: Path, number: int, what: str) -> DeadLetterError:
    """The error that says which line is not what it should be."""
    return DeadLetterError(f"dead letters {file}, line {number}: {what}; move the file away and look into it")
