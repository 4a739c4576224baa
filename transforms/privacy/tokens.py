"""Keyed tokens: who a patron is, inside the job and nowhere else.

    id -> normalize -> BLAKE3 keyed, 16 bytes -> AES-128 under the window's key, bound to the cell

Keys are independent random bytes per tenant and month; subkeys come from `derive_key` with a constant
context. Source: BLAKE3 specification, sections 2.3 and 7.8; docs/privacy-model.md.
"""

import hashlib
import re
import struct
import unicodedata
from itertools import pairwise
from typing import NoReturn, Sequence, Union

import numpy as np
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

_CONTEXT = "carrel 2026-11-23 patron token subkey v1"
_KEY_BYTES = 32
_TOKEN_BYTES = 16
_BLOCK = 16
_LENGTH = struct.Struct(">I")
_LONGEST_ID = 64
_FIRST_PRINTABLE, _LAST_PRINTABLE = 0x20, 0x7E

# Hashes that anybody can make: of nothing and of what people type first. Patterns are found by rule.
_TYPED_FIRST = (b"", b"test", b"secret", b"password", b"changeme", b"key", b"carrel")
_KNOWN_KEYS = frozenset(
    digest for word in _TYPED_FIRST for digest in (blake3(word).digest(), hashlib.sha256(word).digest())
)


class WeakKeyError(ValueError):
    """A key that must not be used; the text never shows it."""


class IdRefused(ValueError):  # noqa: N818 - an outcome for one id, not a fault of the program
    """A patron id that does not fit its profile; the text never shows it."""


class MonthKey:
    """The secret of one month. Shows no byte, cannot be pickled or copied.

    Args:
      month: YYYY-MM.
      secret: 32 random bytes.

    Raises:
      WeakKeyError: wrong length, or a key that is known.
    """

    __slots__ = ("_secret", "month")

    def __init__(self, month: str, secret: bytes) -> None:
        check_key(secret)
        self.month = month
        self._secret = secret

    def __repr__(self) -> str:
        return f"MonthKey({self.month}, <secret>)"

    def __reduce__(self) -> NoReturn:
        message = "MonthKey: keys are opened in DoFn.setup, never serialized"
        raise TypeError(message)

    def __copy__(self) -> NoReturn:
        self.__reduce__()

    def __deepcopy__(self, memo: object) -> NoReturn:
        self.__reduce__()


def check_key(secret: bytes) -> None:
    """Refuse a key that is short or known.

    Raises:
      WeakKeyError: not 32 bytes, a published test key, text, a repeated pattern or a counting sequence.
    """
    if len(secret) != _KEY_BYTES:
        message = "key: need 32 bytes; destroy it and let a new one be made"
        raise WeakKeyError(message)
    if _is_guessable(secret):
        message = "key: this is a known test key; destroy it and let a new one be made"
        raise WeakKeyError(message)


def _is_guessable(secret: bytes) -> bool:
    """Whether a key looks typed and not drawn: a random key does so with a chance under 2^-45."""
    text = all(_FIRST_PRINTABLE <= byte <= _LAST_PRINTABLE for byte in secret)
    repeats = any(secret[period:] == secret[:-period] for period in range(1, _KEY_BYTES // 2 + 1))
    counts = len({(after - before) % 256 for before, after in pairwise(secret)}) == 1
    return text or repeats or counts or secret in _KNOWN_KEYS


def length_prefixed(*parts: Union[str, bytes]) -> bytes:
    """Join parts so that ("ab", "c") and ("a", "bc") differ: 4 bytes big-endian length before each."""
    encoded = [part.encode() if isinstance(part, str) else part for part in parts]
    return b"".join([_LENGTH.pack(len(part)) + part for part in encoded])


def subkey(key: MonthKey, purpose: str, *labels: str) -> bytes:
    """Derive the 32-byte key of one purpose; tenant, namespace and window are labels, never context."""
    material = key._secret + length_prefixed(purpose, *labels)  # noqa: SLF001 - the one reader of the secret
    return blake3(material, derive_key_context=_CONTEXT).digest()


def normalize(ref: str, profile: str) -> str:
    """Bring a patron id into the one form that is tokenized.

    Args:
      ref: the id as the source wrote it.
      profile: `opaque` (case matters), `codabar14` (digits with check digit, start and stop letters
        dropped), `int` (leading zeros dropped), `email-like` (case folded).

    Raises:
      IdRefused: empty, too long, mixed with control characters, or not of the profile.
      ValueError: unknown profile.
    """
    if len(ref) > _LONGEST_ID or "\0" in ref:
        raise IdRefused
    # Plain ASCII letters and digits are already in normal form: nearly every id there is.
    form = ref if ref.isascii() and ref.isalnum() else _clean(ref)
    if not form:
        raise IdRefused
    match profile:
        case "opaque":
            return form
        case "email-like":
            return form.casefold()
        case "int":
            if not (form.isascii() and form.isdigit()):
                raise IdRefused
            return form.lstrip("0") or "0"
        case "codabar14":
            digits = re.sub(r"^[A-D](.*)[A-D]$", r"\1", form, flags=re.IGNORECASE)
            if not re.fullmatch(r"[0-9]{14}", digits) or not _luhn(digits):
                raise IdRefused
            return digits
    message = "id_profile: need opaque, codabar14, int or email-like"
    raise ValueError(message)


def _clean(ref: str) -> str:
    """NFKC without spaces, format and control characters; refuses more than one script and half characters."""
    form = "".join(
        char
        for char in unicodedata.normalize("NFKC", ref)
        if not char.isspace() and unicodedata.category(char) not in ("Cf", "Cc")
    )
    scripts = {unicodedata.name(char, "UNNAMED").split(" ")[0] for char in form if char.isalpha()}
    if len(scripts) > 1 or any("\ud800" <= char <= "\udfff" for char in form):
        raise IdRefused
    return form


def _luhn(digits: str) -> bool:
    """The mod-10 check digit of library cards."""
    doubled = [int(digit) * (2 - at % 2) for at, digit in enumerate(digits)]
    return sum(number // 10 + number % 10 for number in doubled) % 10 == 0


def tokenize(patron_id: str, key: bytes) -> bytes:
    """Keyed BLAKE3 of a normalised id, 16 bytes."""
    return blake3(length_prefixed(patron_id), key=key).digest(length=_TOKEN_BYTES)


def act_tags(ids: Sequence[str], key: bytes) -> np.ndarray:
    """AES-CMAC of each id under a 16-byte key, as (n, 16) uint8: a whole column at a time.

    Source: RFC 4493. Every event has an act id of its own, so this is done once an event, unlike `tokenize`.
    """
    encoded = [one.encode() for one in ids]
    lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
    n_blocks = np.maximum(1, -(-lengths // _BLOCK))
    width = int(n_blocks.max(initial=1)) * _BLOCK
    text = np.array(encoded, dtype=f"S{width}").view(np.uint8).reshape(-1, width)
    # The last block takes one of two subkeys in, so that a padded id is never equal to a whole one.
    padded = np.flatnonzero(lengths < n_blocks * _BLOCK)
    text[padded, lengths[padded]] = 0x80
    encryptor = Cipher(algorithms.AES128(key), modes.ECB()).encryptor()  # noqa: S305 - one block is chained below
    whole_key = _doubled(encryptor.update(bytes(_BLOCK)))
    last_keys = np.frombuffer(whole_key + _doubled(whole_key), np.uint8).reshape(2, _BLOCK)
    blocks = text.reshape(-1, width // _BLOCK, _BLOCK)
    rows = np.arange(len(encoded))
    blocks[rows, n_blocks - 1] ^= last_keys[(lengths < n_blocks * _BLOCK).astype(np.intp)]
    state = np.zeros((len(encoded), _BLOCK), np.uint8)
    for at in range(width // _BLOCK):
        going = np.flatnonzero(n_blocks > at)
        chained = encryptor.update((state[going] ^ blocks[going, at]).tobytes())
        state[going] = np.frombuffer(chained, np.uint8).reshape(-1, _BLOCK)
    return state


def _doubled(block: bytes) -> bytes:
    """Multiplication by x in the field of RFC 4493: shift by one bit, reduced."""
    number = int.from_bytes(block, "big") << 1
    if number >> 128:
        number ^= (1 << 128) | 0x87
    return number.to_bytes(_BLOCK, "big")


def rekey(tokens: np.ndarray, cells: np.ndarray, window_key: bytes) -> np.ndarray:
    """Bind tokens to their window and cell: AES-128(window key, token XOR pad(cell)), (n, 16) uint8.

    One block per row, so one call serves the whole column; equal (token, cell) stay equal, and a
    token in two cells or two windows cannot be compared.
    """
    return encipher(tokens ^ _pads(cells), window_key)


def unbound(bound: np.ndarray, cells: np.ndarray, window_key: bytes) -> np.ndarray:
    """The inverse of `rekey`: only with a window's key, so only until its month is over."""
    decryptor = Cipher(algorithms.AES128(window_key), modes.ECB()).decryptor()  # noqa: S305 - as in `encipher`
    blocks = decryptor.update(np.ascontiguousarray(bound).tobytes())
    pads = _pads(cells)
    tokens: np.ndarray = np.frombuffer(blocks, np.uint8).reshape(len(bound), _TOKEN_BYTES) ^ pads
    return tokens


def _pads(cells: np.ndarray) -> np.ndarray:
    pads = np.zeros((len(cells), _TOKEN_BYTES), np.uint8)
    pads[:, 8:] = cells.astype(">i8").view(np.uint8).reshape(len(cells), 8)
    return pads


def encipher(tags: np.ndarray, window_key: bytes) -> np.ndarray:
    """AES-128 of each 16-byte tag under the window's key, (n, 16) uint8. A permutation: nothing collides."""
    # ECB is right here and only here: each row is one block, and equal rows must stay equal.
    encryptor = Cipher(algorithms.AES128(window_key), modes.ECB()).encryptor()  # noqa: S305
    blocks = encryptor.update(np.ascontiguousarray(tags).tobytes())
    return np.frombuffer(blocks, np.uint8).reshape(len(tags), _TOKEN_BYTES)
