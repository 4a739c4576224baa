"""Sealing: rejects to a key that the job does not hold, tallies under a key that dies with their window.

Opening a reject is not here: it belongs to the privacy officer's tools (`pipelines.opening`).
Source: RFC 9180 (HPKE), base mode, X25519, HKDF-SHA256, ChaCha20-Poly1305.
"""

import struct
from secrets import token_bytes

from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

CONTEXT = b"carrel 2026-11-23 dead letter v1"
SIZES = ((256, "256B"), (1024, "1KiB"), (4096, "4KiB"), (16_384, "16KiB"), (65_536, "64KiB"))
_LENGTH = struct.Struct(">I")
_NONCE = 12


class TooLarge(ValueError):  # noqa: N818 - an outcome for one message, not a fault of the program
    """A payload over 64 KiB: it is not kept at all."""


def suite() -> Suite:
    """The one HPKE suite in use."""
    return Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


def size_class(size: int) -> str:
    """The label of the padded size: all that the clear part says of a message's length."""
    for limit, label in SIZES:
        if size <= limit:
            return label
    return "over"


def info(clear: bytes) -> bytes:
    """What a sealed reject is bound to: its clear part cannot be exchanged for another."""
    return _LENGTH.pack(len(CONTEXT)) + CONTEXT + _LENGTH.pack(len(clear)) + clear


def pad(payload: bytes) -> bytes:
    """Length, payload and zeros up to the size class.

    Raises:
      TooLarge: over 64 KiB.
    """
    for limit, _ in SIZES:
        if len(payload) <= limit:
            return _LENGTH.pack(len(payload)) + payload + bytes(limit - len(payload))
    raise TooLarge


def unpad(padded: bytes) -> bytes:
    """The inverse of `pad`."""
    (length,) = _LENGTH.unpack_from(padded)
    return padded[_LENGTH.size : _LENGTH.size + length]


def seal(public_key: bytes, clear: bytes, payload: bytes) -> bytes:
    """Seal a payload to a public key, bound to its clear part.

    Args:
      public_key: X25519, 32 raw bytes.
      clear: canonical bytes of the clear part.

    Raises:
      TooLarge: the payload is over 64 KiB.
    """
    recipient = X25519PublicKey.from_public_bytes(public_key)
    return suite().encrypt(pad(payload), recipient, info=info(clear))


def fingerprint(public_key: bytes) -> str:
    """16 hex digits that tell recipients apart."""
    return blake3(public_key).hexdigest(length=8)


def seal_blob(key: bytes, bound_to: bytes, blob: bytes) -> bytes:
    """AES-256-GCM under a window's key, bound to table and window. The random nonce is no part of a result."""
    nonce = token_bytes(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, blob, bound_to)


def open_blob(key: bytes, bound_to: bytes, sealed: bytes) -> bytes:
    """The inverse of `seal_blob`; InvalidTag when key, window or bytes differ."""
    return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], bound_to)
