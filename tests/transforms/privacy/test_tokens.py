"""Tokens: golden vectors, no linking across cells and windows, weak keys refused."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.privacy.tokens import (
    IdRefused,
    MonthKey,
    WeakKeyError,
    encipher,
    length_prefixed,
    normalize,
    rekey,
    subkey,
    tokenize,
)

SECRET = bytes.fromhex("a1b2c3d4e5f60718293a4b5c6d7e8f90112233445566778899aabbccddeeff01")
KEY = MonthKey("2026-03", SECRET)
GOLDEN = "e637db733edbcdf1718e21e1caf72252"


def test_the_golden_vector_of_a_token_holds():
    token = tokenize(["21234000000017"], subkey(KEY, "token", "ils"))

    assert token.tobytes().hex() == GOLDEN


def test_length_prefixes_keep_parts_apart():
    assert length_prefixed("ab", "c") != length_prefixed("a", "bc")


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_same_id_same_token_and_other_id_other_token(one, other):
    tokens = tokenize([one, other, one], subkey(KEY, "token", "ils"))

    assert (tokens[0] == tokens[2]).all()
    assert (one == other) == bool((tokens[0] == tokens[1]).all())


def test_purposes_namespaces_and_months_give_other_tokens():
    other = MonthKey("2026-04", SECRET[::-1])
    keys = [subkey(KEY, "token", "a"), subkey(KEY, "token", "b"), subkey(KEY, "act", "a"), subkey(other, "token", "a")]

    assert len({tokenize(["x"], key).tobytes() for key in keys}) == len(keys)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2**40)), min_size=1, max_size=30))
def test_rekeyed_tokens_are_equal_only_in_the_same_cell(rows):
    tokens = np.zeros((len(rows), 16), np.uint8)
    tokens[:, 0] = [person for person, _ in rows]
    cells = np.array([cell for _, cell in rows], np.int64)

    found = [row.tobytes() for row in rekey(tokens, cells, b"k" * 16)]

    assert len(set(found)) == len(set(rows))
    assert len(set(found) & {row.tobytes() for row in rekey(tokens, cells, b"l" * 16)}) == 0
    assert len({row.tobytes() for row in encipher(tokens, b"k" * 16)}) == len({person for person, _ in rows})


@pytest.mark.parametrize(
    ("ref", "profile", "form"),
    [
        (" 2123 4000000013 ", "opaque", "21234000000013"),
        ("ＡＢ１", "opaque", "AB1"),
        ("A.B@Example.org", "email-like", "a.b@example.org"),
        ("007", "int", "7"),
        ("000", "int", "0"),
        ("A21234000000018B", "codabar14", "21234000000018"),
    ],
)
def test_the_golden_vectors_of_normalisation_hold(ref, profile, form):
    assert normalize(ref, profile) == form


@pytest.mark.parametrize(
    ("ref", "profile"),
    [
        ("", "opaque"),
        ("  ", "opaque"),
        ("x" * 65, "opaque"),
        ("a\0b", "opaque"),
        ("pаtron", "opaque"),  # a Cyrillic letter among Latin ones
        ("12a", "int"),
        ("21234000000017", "codabar14"),
        ("2123", "codabar14"),
    ],
)
def test_ids_that_do_not_fit_are_refused_without_being_quoted(ref, profile):
    with pytest.raises(IdRefused) as refused:
        normalize(ref, profile)

    assert str(refused.value) == ""


def test_an_unknown_profile_is_refused():
    with pytest.raises(ValueError, match="id_profile"):
        normalize("x", "guess")


@pytest.mark.parametrize("secret", [b"", b"k" * 31, bytes(32), b"\x07" * 32, bytes(range(32)), b"0123456789abcdef" * 2])
def test_short_and_known_keys_are_refused(secret):
    with pytest.raises(WeakKeyError):
        MonthKey("2026-03", secret)


def test_a_key_shows_no_byte_and_cannot_be_pickled_or_copied():
    assert SECRET.hex() not in repr(KEY)
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            attempt(KEY)
