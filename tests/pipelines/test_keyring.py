"""The keyring in a folder: files for their owner only. What every keyring promises is in `test_keyring_places.py`."""

import os

import pytest

from pipelines.keyring import Keyring, KeyringError, deadline

DAY = 86_400_000


@pytest.fixture
def directory(tmp_path):
    found = tmp_path / "keyring"
    found.mkdir(mode=0o700)
    return found


def secret(key):
    return key._secret


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


def test_a_draft_left_by_a_killed_run_does_not_lead_to_a_key_that_is_on_no_disk(directory):
    (directory / f".token-lib-2026-03.key.{os.getpid()}").write_bytes(b"")

    made = secret(Keyring(directory).token_key("lib", "2026-03", now_ms=0))

    assert secret(Keyring(directory).token_key("lib", "2026-03", now_ms=0)) == made


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


def test_other_files_in_the_folder_are_no_keys(directory):
    keyring = Keyring(directory)
    keyring.token_key("lib", "2026-03", now_ms=7)
    (directory / "notes.txt").write_text("x")
    (directory / "recipient.key").write_text("a text that is longer than any key")

    assert [key.purpose for key in keyring.listing()] == ["token"]
    assert secret(Keyring(str(directory)).token_key("lib", "2026-03", now_ms=7))
