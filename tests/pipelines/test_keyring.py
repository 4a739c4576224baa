"""The keyring: random keys, one a month, refused when weak or shared, gone when destroyed."""

import os
import pickle

import pytest

from pipelines.keyring import Keyring, KeyringError, NoiseKeyGone, deadline

DAY = 86_400_000


@pytest.fixture
def directory(tmp_path):
    found = tmp_path / "keyring"
    found.mkdir(mode=0o700)
    return found


def secret(key):
    return key._secret


def test_a_month_has_one_key_and_a_destroyed_one_never_comes_back(directory):
    keyring = Keyring(directory)
    first = secret(keyring.token_key("lib", "2026-03", now_ms=5))

    assert secret(Keyring(directory).token_key("lib", "2026-03", now_ms=9)) == first
    assert secret(keyring.token_key("lib", "2026-04", now_ms=5)) != first
    assert keyring.made("token-lib-2026-03.key") == 5
    keyring.destroy_token_key("lib", "2026-03")
    assert not keyring.has_token_key("lib", "2026-03")
    assert secret(keyring.token_key("lib", "2026-03", now_ms=5)) != first


def test_a_destroyed_noise_key_leaves_a_tombstone_and_is_never_made_again(directory):
    keyring = Keyring(directory)
    assert keyring.noise_key("lib", "2026-03", "store", create=False) is None
    first = keyring.noise_key("lib", "2026-03", "store", create=True)
    assert keyring.noise_key("lib", "2026-03", "store", create=False) == first
    assert keyring.noise_key("lib", "2026-03", "another store", create=False) != first

    keyring.destroy_noise_key("lib", "2026-03")

    with pytest.raises(NoiseKeyGone):
        keyring.noise_key("lib", "2026-03", "store", create=True)
    assert [key.gone for key in keyring.listing()] == [True]


@pytest.mark.parametrize("content", [b"", b"short", bytes(32), bytes(range(32))])
def test_short_and_known_keys_are_refused(directory, content):
    path = directory / "token-lib-2026-03.key"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(KeyringError, match="token-lib-2026-03"):
        Keyring(directory).token_key("lib", "2026-03", now_ms=0)


def test_identical_keys_are_refused(directory):
    keyring = Keyring(directory)
    keyring.token_key("lib", "2026-03", now_ms=0)
    twin = directory / "token-lib-2026-04.key"
    twin.write_bytes((directory / "token-lib-2026-03.key").read_bytes())
    twin.chmod(0o600)

    with pytest.raises(KeyringError, match="the same key as"):
        keyring.token_key("lib", "2026-04", now_ms=0)


def test_keys_and_folders_that_others_may_read_are_refused(directory):
    keyring = Keyring(directory)
    keyring.store_key()
    (directory / "store.key").chmod(0o640)
    with pytest.raises(KeyringError, match="others may read"):
        keyring.store_key()
    directory.chmod(0o750)
    with pytest.raises(KeyringError, match="others may enter"):
        Keyring(directory)
    with pytest.raises(KeyringError, match="no keyring"):
        Keyring(directory / "none")


def test_the_deadline_is_the_later_of_horizon_and_making_plus_14_days():
    assert deadline(100 * DAY, 7 * DAY, 0) == 121 * DAY
    assert deadline(100 * DAY, 7 * DAY, 500 * DAY) == 514 * DAY


def test_a_destroyed_key_is_overwritten_before_it_goes(directory):
    keyring = Keyring(directory)
    keyring.token_key("lib", "2026-03", now_ms=5)
    (directory / "copy").hardlink_to(directory / "token-lib-2026-03.key")

    keyring.destroy_token_key("lib", "2026-03")
    keyring.destroy_token_key("lib", "2026-03")

    assert set((directory / "copy").read_bytes()) == {0}


def test_a_key_whose_destruction_was_cut_short_is_listed_as_overdue_and_refused(directory):
    keyring = Keyring(directory)
    keyring.token_key("lib", "2026-03", now_ms=1_700_000_000_000)
    path = directory / "token-lib-2026-03.key"
    path.write_bytes(bytes(path.stat().st_size))

    assert [(key.month, key.made) for key in keyring.listing()] == [("2026-03", 0)]
    with pytest.raises(KeyringError, match="known test key"):
        keyring.token_key("lib", "2026-03", now_ms=0)
    keyring.destroy_token_key("lib", "2026-03")
    assert keyring.listing() == []


def test_a_draft_left_by_a_killed_run_does_not_lead_to_a_key_that_is_on_no_disk(directory):
    (directory / f".token-lib-2026-03.key.{os.getpid()}").write_bytes(b"")

    made = secret(Keyring(directory).token_key("lib", "2026-03", now_ms=0))

    assert secret(Keyring(directory).token_key("lib", "2026-03", now_ms=0)) == made


def test_of_two_processes_that_make_a_key_both_get_the_first(directory, monkeypatch):
    first = secret(Keyring(directory).token_key("lib", "2026-03", now_ms=0))
    keyring = Keyring(directory)

    assert keyring._make("token-lib-2026-03.key", 0) == first
    monkeypatch.setattr(Keyring, "_read", lambda _self, _name: None)
    with pytest.raises(KeyringError, match="run again"):
        keyring._make("token-lib-2026-03.key", 0)


def test_keys_are_files_for_their_owner_only_and_leave_no_drafts(directory):
    keyring = Keyring(directory)
    keyring.token_key("lib", "2026-03", now_ms=0)
    keyring.noise_key("lib", "2026-03", "store", create=True, now_ms=0)
    keyring.store_key()

    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    assert sorted(path.name for path in directory.iterdir()) == [
        "noise-lib-2026-03.key",
        "store.key",
        "token-lib-2026-03.key",
    ]


def test_the_listing_names_keys_and_no_byte_of_them(directory):
    keyring = Keyring(directory)
    key = keyring.token_key("lib", "2026-03", now_ms=7)
    keyring.store_key()
    (directory / "notes.txt").write_text("x")

    listing = keyring.listing()

    assert [(one.purpose, one.tenant, one.month, one.made) for one in listing] == [
        ("store", "", "", 0), ("token", "lib", "2026-03", 7),
    ]  # fmt: skip
    assert secret(key).hex() not in repr(listing)
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_a_link_in_place_of_a_key_is_not_followed(directory, tmp_path):
    (tmp_path / "elsewhere").write_bytes(os.urandom(32))
    (directory / "store.key").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(KeyringError, match="cannot be read"):
        Keyring(directory).store_key()


def test_a_keyring_that_cannot_be_written_is_one_clear_line(directory, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", refuse)

    with pytest.raises(KeyringError, match="cannot be made"):
        Keyring(directory).store_key()
    assert list(directory.iterdir()) == []
