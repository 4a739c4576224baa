"""The keyring: random keys, one a month, refused when weak or shared, gone when destroyed."""

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
