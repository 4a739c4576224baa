"""Sealing: only the right key and the right clear part open; sizes are classes."""

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from pipelines.opening import RecipientError, generate_recipient, load_private, load_public, open_reject
from transforms.privacy.sealing import TooLarge, fingerprint, open_blob, seal, seal_blob, size_class


@pytest.fixture
def pair(tmp_path):
    generate_recipient(tmp_path / "r.key", tmp_path / "r.pub")
    return load_private(tmp_path / "r.key"), load_public(tmp_path / "r.pub")


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


def test_lengths_are_seen_as_classes_only(pair):
    _, public = pair

    assert len(seal(public, b"", b"a")) == len(seal(public, b"", b"b" * 256))
    assert [size_class(size) for size in (0, 256, 257, 65_536, 65_537)] == ["256B", "256B", "1KiB", "64KiB", "over"]
    with pytest.raises(TooLarge):
        seal(public, b"", b"x" * 65_537)


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


def test_recipients_are_told_apart_by_fingerprint():
    assert fingerprint(b"a" * 32) != fingerprint(b"b" * 32)
