"""Sealing: only the right key and the right clear part open; sizes are classes."""

import hmac
import json
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from pipelines.opening import RecipientError, generate_recipient, load_private, load_public, open_reject
from transforms.privacy.sealing import (
    SIZES,
    TooLarge,
    fingerprint,
    info,
    open_blob,
    pad,
    seal,
    seal_blob,
    size_class,
    unpad,
)

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "sealing.json").read_text())
PRIVATE, PUBLIC = bytes.fromhex(GOLDEN["recipient_private"]), bytes.fromhex(GOLDEN["recipient_public"])
ENCAPSULATED, TAG, LENGTH = 32, 16, 4


def hkdf(salt, secret):
    return hmac.digest(salt, secret, "sha256")


def schedule(private_key, encapsulated, bound_to):
    """Key and nonce of HPKE's base mode, written from RFC 9180, sections 4.1, 5.1 and 7.1, apart from the product."""
    kem, hpke = b"KEM\x00\x20", b"HPKE\x00\x20\x00\x01\x00\x03"

    def extract(suite, salt, label, secret):
        return hkdf(salt, b"HPKE-v1" + suite + label + secret)

    def expand(suite, secret, label, context, size):
        return hkdf(secret, size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + context + b"\x01")[:size]

    recipient = X25519PrivateKey.from_private_bytes(private_key)
    shared = recipient.exchange(X25519PublicKey.from_public_bytes(encapsulated))
    both = encapsulated + recipient.public_key().public_bytes_raw()
    shared = expand(kem, extract(kem, b"", b"eae_prk", shared), b"shared_secret", both, 32)
    context = b"\x00" + extract(hpke, b"", b"psk_id_hash", b"") + extract(hpke, b"", b"info_hash", bound_to)
    secret = extract(hpke, shared, b"secret", b"")
    return expand(hpke, secret, b"key", context, 32), expand(hpke, secret, b"base_nonce", context, 12)


@pytest.fixture
def pair(tmp_path):
    generate_recipient(tmp_path / "r.key", tmp_path / "r.pub")
    return load_private(tmp_path / "r.key"), load_public(tmp_path / "r.pub")


def test_the_key_schedule_of_these_tests_is_that_of_the_rfc():
    vector = GOLDEN["rfc9180_a_2_1"]
    private, encapsulated, bound_to = (bytes.fromhex(vector[name]) for name in ("recipient_private", "enc", "info"))

    assert [part.hex() for part in schedule(private, encapsulated, bound_to)] == [vector["key"], vector["base_nonce"]]


@pytest.mark.parametrize("letter", GOLDEN["letters"])
def test_letters_that_were_sealed_by_the_rfc_open_with_their_clear_part(letter):
    clear = letter["clear"].encode()

    assert info(clear).hex() == letter["info"]
    assert open_reject(PRIVATE, clear, bytes.fromhex(letter["sealed"])) == letter["payload"].encode()
    with pytest.raises(RecipientError):
        open_reject(PRIVATE, clear + b" ", bytes.fromhex(letter["sealed"]))


@given(st.binary(max_size=300), st.binary(max_size=1100))
def test_what_is_sealed_opens_by_the_rfc_with_nothing_but_key_and_clear_part(clear, payload):
    sealed = seal(PUBLIC, clear, payload)
    context = b"carrel 2026-11-23 dead letter v1"
    bound_to = b"".join(len(part).to_bytes(4, "big") + part for part in (context, clear))
    key, nonce = schedule(PRIVATE, sealed[:ENCAPSULATED], bound_to)

    padded = ChaCha20Poly1305(key).decrypt(nonce, sealed[ENCAPSULATED:], b"")
    assert padded[:LENGTH] == len(payload).to_bytes(LENGTH, "big")
    assert padded[LENGTH:].rstrip(b"\0") == payload.rstrip(b"\0")


def test_a_golden_blob_of_the_work_store_opens():
    blob = {name: bytes.fromhex(value) for name, value in GOLDEN["blob"].items()}

    assert open_blob(blob["key"], blob["bound_to"], blob["sealed"]) == blob["blob"]


@pytest.mark.parametrize("size", [0, 1, 256, 257, 65_536])
def test_what_is_sealed_opens_with_its_key_and_its_clear_part(pair, size):
    private, public = pair
    payload = b"x" * size

    assert open_reject(private, b"clear", seal(public, b"clear", payload)) == payload


def test_another_clear_part_or_key_opens_nothing(pair):
    private, public = pair
    sealed = seal(public, b"clear", b"payload")

    with pytest.raises(RecipientError):
        open_reject(private, b"other", sealed)
    for broken in (b"", sealed[:31], sealed[:-1], sealed[:-1] + bytes([sealed[-1] ^ 1])):
        with pytest.raises(RecipientError):
            open_reject(private, b"clear", broken)
    with pytest.raises(RecipientError):
        open_reject(X25519PrivateKey.generate().private_bytes_raw(), b"clear", sealed)


@pytest.mark.parametrize(
    ("size", "padded", "label"),
    [
        (0, 256, "256B"),
        (256, 256, "256B"),
        (257, 1024, "1KiB"),
        (1024, 1024, "1KiB"),
        (1025, 4096, "4KiB"),
        (4096, 4096, "4KiB"),
        (4097, 16_384, "16KiB"),
        (16_384, 16_384, "16KiB"),
        (16_385, 65_536, "64KiB"),
        (65_536, 65_536, "64KiB"),
    ],
)
def test_lengths_are_seen_as_classes_only(size, padded, label):
    payload = b"x" * size

    assert len(seal(PUBLIC, b"", payload)) == ENCAPSULATED + LENGTH + padded + TAG
    assert size_class(size) == label
    assert unpad(pad(payload)) == payload


@pytest.mark.parametrize("size", [65_537, 1_000_000])
def test_what_is_over_64_kib_is_not_sealed_at_all(size):
    assert SIZES[-1][0] == 65_536
    assert size_class(size) == "over"
    with pytest.raises(TooLarge) as refused:
        seal(PUBLIC, b"", b"x" * size)
    assert str(refused.value) == ""


def test_blobs_are_bound_to_key_and_window():
    sealed = seal_blob(b"k" * 32, b"window", b"tally")

    assert open_blob(b"k" * 32, b"window", sealed) == b"tally"
    with pytest.raises(InvalidTag):
        open_blob(b"k" * 32, b"other", sealed)
    with pytest.raises(InvalidTag):
        open_blob(b"l" * 32, b"window", sealed)


def test_the_private_key_is_for_its_owner_only_and_never_overwritten(tmp_path):
    generate_recipient(tmp_path / "r.key", tmp_path / "r.pub")

    assert (tmp_path / "r.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        generate_recipient(tmp_path / "r.key", tmp_path / "r.pub")
    with pytest.raises(RecipientError, match="not a"):
        load_public(tmp_path / "r.key")


def test_sealing_twice_gives_other_bytes(pair):
    _, public = pair

    assert seal(public, b"c", b"p") != seal(public, b"c", b"p")
    assert seal_blob(b"k" * 32, b"w", b"t") != seal_blob(b"k" * 32, b"w", b"t")


def test_a_wrong_key_file_is_one_clear_line(tmp_path):
    (tmp_path / "bad").write_text("nonsense %%%")

    with pytest.raises(RecipientError, match="carrel init"):
        load_public(tmp_path / "bad")
    with pytest.raises(RecipientError, match="cannot be read"):
        load_private(tmp_path / "none")


def test_recipients_are_told_apart_by_a_fingerprint_that_stays():
    assert fingerprint(PUBLIC) == GOLDEN["fingerprint"]
    assert fingerprint(b"a" * 32) != fingerprint(b"b" * 32)
