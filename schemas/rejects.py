"""Why an input was refused, and what is kept of it: sealed bytes under a clear part that quotes nothing.

Errors of this module:

    Exception
    └── DecodeError      one message cannot be used; carries a `Reason` and names from our own dictionary
"""

import enum
from dataclasses import dataclass
from typing import Tuple


class Reason(enum.StrEnum):
    """The closed list of reasons. A reason never depends on the value that caused it."""

    EMPTY = "empty"
    OVERSIZE = "oversize"
    NOT_UTF8 = "not_utf8"
    NUL_BYTE = "nul_byte"
    NOT_JSON = "not_json"
    NOT_AVRO = "not_avro"
    NOT_TSV = "not_tsv"
    TOO_DEEP = "too_deep"
    TRUNCATED = "truncated"
    ENVELOPE = "envelope"
    UNKNOWN_KIND = "unknown_kind"
    UNKNOWN_VERSION = "unknown_version"
    DISALLOWED_FIELD = "disallowed_field"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    BAD_VALUE = "bad_value"
    BAD_TIME = "bad_time"
    BAD_PATRON_ID = "bad_patron_id"
    UNKNOWN_BRANCH = "unknown_branch"
    UNKNOWN_CODE = "unknown_code"
    CLOCK = "clock"
    FUTURE = "future"
    GAP = "gap"
    UNNAMED_ACT = "unnamed_act"


class DecodeError(Exception):
    """One message cannot be used.

    Args:
      reason: from the closed list.
      fields: names of offending fields, from the contract's own dictionary only, never from the data.
      unknown: how many fields were not in the dictionary.
    """

    def __init__(self, reason: Reason, fields: Tuple[str, ...] = (), unknown: int = 0) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.fields = fields
        self.unknown = unknown


@dataclass(frozen=True)
class SealedReject:
    """One dead letter: a clear part without data, and the message sealed to the library's key.

    Attributes:
      source: the configured source's name.
      reason: a `Reason` value.
      clear: canonical JSON of the clear part; the sealing is bound to it.
      sealed: HPKE ciphertext; empty when the message was over the size limit and is not kept.
      seen: 16 bytes, keyed; lets a repeated message make no second dead letter. Never leaves the work store.
    """

    source: str
    reason: str
    clear: bytes
    sealed: bytes
    seen: bytes
