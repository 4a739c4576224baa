"""The privacy officer's side of dead letters: making the key pair, and opening what was sealed to it."""

import base64
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from transforms.privacy.sealing import info, suite, unpad

_PUBLIC = "carrel-recipient-v1"
_PRIVATE = "carrel-recipient-private-v1"
_BYTES = 32


class RecipientError(ValueError):
    """A recipient key cannot be used; the text says which file and what to do."""


def generate_recipient(private: Path, public: Path) -> None:
    """Make a key pair: the private key for the officer (mode 0600), the public one for the job."""
    key = X25519PrivateKey.generate()
    secret = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    handle = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as stream:
        stream.write(f"{_PRIVATE} {base64.b64encode(secret).decode()}\n")
    shown = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    public.write_text(f"{_PUBLIC} {base64.b64encode(shown).decode()}\n")


def _load(path: Path, label: str) -> bytes:
    try:
        name, _, encoded = path.read_text().strip().partition(" ")
        secret = base64.b64decode(encoded, validate=True)
    except OSError as error:
        message = f"{path.name}: cannot be read ({error.strerror}); name the right file"
        raise RecipientError(message) from None
    except ValueError:
        name, secret = "", b""
    if name != label or len(secret) != _BYTES:
        message = f"{path.name}: not a {label} key; use the file that `carrel init` made"
        raise RecipientError(message)
    return secret


def load_public(path: Path) -> bytes:
    """The library's public key, 32 bytes."""
    return _load(path, _PUBLIC)


def load_private(path: Path) -> bytes:
    """The officer's private key, 32 bytes."""
    return _load(path, _PRIVATE)


def open_reject(private_key: bytes, clear: bytes, sealed: bytes) -> bytes:
    """Open one dead letter.

    Raises:
      RecipientError: another key, or clear part and sealed bytes do not belong together.
    """
    key = X25519PrivateKey.from_private_bytes(private_key)
    try:
        return unpad(suite().decrypt(sealed, key, info=info(clear)))
    except InvalidTag:
        message = "dead letter: this key does not open it, or it was changed; use the key of its fingerprint"
        raise RecipientError(message) from None
