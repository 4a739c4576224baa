"""What lies in the bytes of a Beam graph: its functions are pickled, compressed and written in base64."""

import base64
import binascii
import bz2
import re

_PACKED = re.compile(rb"QlpoO[A-Za-z0-9+/]{20,}={0,2}")  # base64 of what bzip2 begins with


def with_unpacked(data: bytes) -> bytes:
    """The bytes themselves, and behind them what is packed in them, however deep."""
    found = [data]
    for match in _PACKED.finditer(data):
        text = match.group()
        try:
            inner = bz2.decompress(base64.b64decode(text[: len(text) // 4 * 4]))
        except (binascii.Error, OSError, ValueError):
            continue
        found.append(with_unpacked(inner))
    return b"\0".join(found)
