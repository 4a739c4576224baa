"""Tokens: golden vectors, no linking across cells and windows, weak keys refused."""

import copy
import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given
from hypothesis import strategies as st

from transforms.privacy.tokens import (
    IdRefused,
    MonthKey,
    WeakKeyError,
    act_tags,
    encipher,
    length_prefixed,
    normalize,
    rekey,
    subkey,
    tokenize,
    unbound,
)

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "tokens.json").read_text())
SECRET = bytes.fromhex(GOLDEN["secret"])
WINDOW = bytes.fromhex(GOLDEN["window_key"])
KEY = MonthKey("2026-03", SECRET)


@pytest.mark.parametrize("vector", GOLDEN["tokens"])
def test_the_golden_vectors_of_subkeys_and_tokens_hold(vector):
    key = subkey(KEY, vector["purpose"], *vector["labels"])

    assert key.hex() == vector["subkey"]
    assert tokenize(vector["id"], key).hex() == vector["token"]


def test_the_golden_vectors_of_rekeying_hold_one_by_one_and_as_a_column():
    vectors = GOLDEN["rekeyed"]
    tokens = np.frombuffer(bytes.fromhex("".join(vector["token"] for vector in vectors)), np.uint8).reshape(-1, 16)
    cells = np.array([vector["cell"] for vector in vectors], np.int64)
    expected = [vector["rekeyed"] for vector in vectors]

    assert [row.tobytes().hex() for row in rekey(tokens, cells, WINDOW)] == expected
    assert [rekey(tokens[at : at + 1], cells[at : at + 1], WINDOW).tobytes().hex() for at in range(5)] == expected


@pytest.mark.parametrize("vector", GOLDEN["enciphered"])
def test_enciphering_is_aes_as_published(vector):
    tag = np.frombuffer(bytes.fromhex(vector["tag"]), np.uint8).reshape(1, 16)

    assert encipher(tag, WINDOW).tobytes().hex() == vector["enciphered"]


@pytest.mark.parametrize("vector", GOLDEN["length_prefixed"])
def test_the_golden_vectors_of_length_prefixes_hold(vector):
    assert length_prefixed(*vector["parts"]).hex() == vector["joined"]
    assert length_prefixed(*(part.encode() for part in vector["parts"])).hex() == vector["joined"]


def test_columns_of_no_rows_stay_columns():
    empty = act_tags([], WINDOW)

    assert empty.shape == rekey(empty, np.empty(0, np.int64), WINDOW).shape == encipher(empty, WINDOW).shape == (0, 16)


def test_columns_are_contiguous_bytes():
    tokens = act_tags(["a", "b"], WINDOW)

    for column in (tokens, rekey(tokens[::-1], np.array([1, 2]), WINDOW)):
        assert column.dtype == np.uint8
        assert column.flags.c_contiguous


@given(st.lists(st.text(alphabet=st.characters(codec="utf-8"), max_size=70), max_size=12))
def test_act_tags_are_the_cmac_of_each_id(ids):
    tags = act_tags(ids, WINDOW)

    assert [row.tobytes() for row in tags] == [cmac(one) for one in ids]


def cmac(text: str) -> bytes:
    """The same by a library, one id at a time."""
    one = CMAC(AES128(WINDOW))
    one.update(text.encode())
    return one.finalize()


def test_the_published_vector_of_cmac_holds():
    # RFC 4493, section 4: the example of length 0.
    tag = act_tags([""], bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"))

    assert tag.tobytes().hex() == "bb1d6929e95937287fa37d129b756746"


def test_length_prefixes_keep_parts_apart():
    assert length_prefixed("ab", "c") != length_prefixed("a", "bc")


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_same_id_same_token_and_other_id_other_token(one, other):
    key = subkey(KEY, "token", "ils")

    assert tokenize(one, key) == tokenize(one, key)
    assert (one == other) == (tokenize(one, key) == tokenize(other, key))


def test_purposes_namespaces_and_months_give_other_tokens():
    other = MonthKey("2026-04", SECRET[::-1])
    keys = [subkey(KEY, "token", "a"), subkey(KEY, "token", "b"), subkey(KEY, "act", "a"), subkey(other, "token", "a")]

    assert len({tokenize("x", key) for key in keys}) == len(keys)


@given(st.lists(st.tuples(st.binary(min_size=16, max_size=16), st.integers(-1, 2**62)), max_size=20))
def test_with_the_windows_key_alone_tokens_come_back(rows):
    tokens = np.frombuffer(b"".join(token for token, _ in rows), np.uint8).reshape(-1, 16)
    cells = np.array([cell for _, cell in rows], np.int64)

    bound = rekey(tokens, cells, b"k" * 16)

    assert (unbound(bound, cells, b"k" * 16) == tokens).all()
    assert not len(rows) or not (unbound(bound, cells, b"K" * 16) == tokens).all()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2**40)), min_size=1, max_size=30))
def test_rekeyed_tokens_are_equal_only_in_the_same_cell(rows):
    tokens = np.zeros((len(rows), 16), np.uint8)
    tokens[:, 0] = [person for person, _ in rows]
    cells = np.array([cell for _, cell in rows], np.int64)

    found = [row.tobytes() for row in rekey(tokens, cells, b"k" * 16)]

    assert len(set(found)) == len(set(rows))
    assert len(set(found) & {row.tobytes() for row in rekey(tokens, cells, b"l" * 16)}) == 0
    assert len({row.tobytes() for row in encipher(tokens, b"k" * 16)}) == len({person for person, _ in rows})


@pytest.mark.parametrize("vector", GOLDEN["normalised"])
def test_the_golden_vectors_of_normalisation_hold(vector):
    assert normalize(vector["ref"], vector["profile"]) == vector["form"]


@pytest.mark.parametrize("vector", GOLDEN["refused"])
def test_ids_that_do_not_fit_are_refused_without_being_quoted(vector):
    with pytest.raises(IdRefused) as refused:
        normalize(vector["ref"], vector["profile"])

    assert str(refused.value) == ""


@given(st.text(max_size=70), st.sampled_from(["opaque", "email-like", "int", "codabar14"]))
def test_what_is_normalised_can_be_tokenized_and_stays_as_it_is(ref, profile):
    try:
        form = normalize(ref, profile)
    except IdRefused:
        return

    assert len(tokenize(form, SECRET)) == 16
    if profile in ("int", "codabar14"):
        assert normalize(form, profile) == form


def test_an_unknown_profile_is_refused():
    with pytest.raises(ValueError, match="id_profile"):
        normalize("x", "guess")


@pytest.mark.parametrize(
    "secret",
    [
        b"",
        SECRET[:31],
        SECRET + b"\x01",
        bytes(32),
        b"\x07" * 32,
        bytes(range(32)),
        bytes(range(200, 168, -1)),
        bytes(3 * at % 256 for at in range(100, 132)),
        b"0123456789abcdef" * 2,
        b"changeme" * 4,
        b"a passphrase of 32 characters!!!",
        SECRET[:16] * 2,
        SECRET[:11] * 2 + SECRET[:10],
        blake3(b"").digest(),
        hashlib.sha256(b"").digest(),
        hashlib.sha256(b"password").digest(),
    ],
)
def test_short_and_known_keys_are_refused(secret):
    with pytest.raises(WeakKeyError) as refused:
        MonthKey("2026-03", secret)

    assert secret.hex() not in str(refused.value) or not secret


@given(st.binary(min_size=32, max_size=32).map(lambda seed: hashlib.sha512(seed).digest()[:32]))
def test_random_keys_are_taken(secret):
    assert repr(MonthKey("2026-03", secret)) == "MonthKey(2026-03, <secret>)"


def test_a_key_shows_no_byte_and_cannot_be_pickled_or_copied():
    assert SECRET.hex() not in repr(KEY)
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(KEY)
