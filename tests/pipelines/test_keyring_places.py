"""What a keyring promises, wherever its keys lie: in a folder of files, or in Google Cloud's secrets."""

import pickle

import pytest
from google.api_core.exceptions import PermissionDenied

import pipelines.key_secrets
from pipelines.key_folder import KeyFolder
from pipelines.key_secrets import Connection, KeySecrets
from pipelines.keyring import Keyring, KeyringError, NoiseKeyGone
from tests.support.google_keys import FakeKms, FakeSecretManager
from tests.support.google_keys_server import clients

ADDRESS = "gcp-secrets:projects/library-keys/locations/europe-west3/keyRings/carrel"
KNOWN = [b"", b"short", bytes(32), bytes(range(32))]


class InFolder:
    """A folder of keys."""

    def __init__(self, directory, monkeypatch) -> None:
        directory.mkdir(mode=0o700)
        del monkeypatch
        self.address = directory
        self.place = KeyFolder(directory)

    def names(self):
        return sorted(path.name for path in self.address.iterdir())

    def cut_destruction_short(self, name, monkeypatch):
        del monkeypatch
        path = self.address / name
        path.write_bytes(bytes(path.stat().st_size))

    def holds(self, secret):
        return any(secret in path.read_bytes() for path in self.address.iterdir())


class InCloud:
    """The fakes of both services, which every keyring that is opened here asks."""

    def __init__(self, directory, monkeypatch) -> None:
        del directory
        self.secrets, self.kms = FakeSecretManager(), FakeKms()
        monkeypatch.setattr(pipelines.key_secrets, "connection", lambda *_: Connection(self.secrets, self.kms))
        self.address = ADDRESS
        self.place = KeySecrets(ADDRESS)

    def names(self):
        return [key.name for key in self.place.kept()]

    def cut_destruction_short(self, name, monkeypatch):
        class Killed(BaseException):
            pass

        with monkeypatch.context() as patch:
            patch.setitem(self.secrets.failing, "delete_secret", Killed())
            with pytest.raises(Killed):
                self.place.destroy(name)

    def holds(self, secret):
        return any(secret in data for data in self.secrets.data.values())


class OverTheWire(InCloud):
    """The fakes behind gRPC, asked by the services' own clients."""

    def __init__(self, directory, monkeypatch) -> None:
        super().__init__(directory, monkeypatch)
        self._served = clients(self.secrets, self.kms)
        connected = Connection(*self._served.__enter__())
        monkeypatch.setattr(pipelines.key_secrets, "connection", lambda *_: connected)
        self.place = KeySecrets(ADDRESS)

    def close(self):
        self._served.__exit__(None, None, None)

    def cut_destruction_short(self, name, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setitem(self.secrets.failing, "delete_secret", PermissionDenied("CANARY"))
            with pytest.raises(KeyringError, match="may not use the keyring"):
                self.place.destroy(name)


@pytest.fixture(params=[InFolder, InCloud, OverTheWire], ids=["folder", "cloud", "wire"])
def kept(request, tmp_path, monkeypatch):
    made = request.param(tmp_path / "keyring", monkeypatch)
    yield made
    if request.param is OverTheWire:
        made.close()


def secret(key):
    return key._secret


def test_a_month_has_one_key_and_a_destroyed_one_never_comes_back(kept):
    keyring = Keyring(kept.address)
    first = secret(keyring.token_key("lib", "2026-03", now_ms=5))

    assert secret(Keyring(kept.address).token_key("lib", "2026-03", now_ms=9)) == first
    assert secret(keyring.token_key("lib", "2026-04", now_ms=5)) != first
    assert keyring.has_token_key("lib", "2026-03")
    keyring.destroy_token_key("lib", "2026-03")
    assert not keyring.has_token_key("lib", "2026-03")
    assert secret(keyring.token_key("lib", "2026-03", now_ms=5)) != first
    keyring.destroy_token_key("lib", "2026-03")
    keyring.destroy_token_key("lib", "2026-03")
    assert kept.names() == ["token-lib-2026-04.key"]


def test_a_destroyed_noise_key_leaves_a_tombstone_and_is_never_made_again(kept):
    keyring = Keyring(kept.address)
    assert keyring.noise_key("lib", "2026-03", "store", create=False) is None
    first = keyring.noise_key("lib", "2026-03", "store", create=True)
    assert keyring.noise_key("lib", "2026-03", "store", create=False) == first
    assert keyring.noise_key("lib", "2026-03", "another store", create=False) != first

    keyring.destroy_noise_key("lib", "2026-03")
    keyring.destroy_noise_key("lib", "2026-03")

    with pytest.raises(NoiseKeyGone):
        keyring.noise_key("lib", "2026-03", "store", create=True)
    assert [key.gone for key in keyring.listing()] == [True]
    assert keyring.has_noise_tombstone("lib", "2026-03")


def test_an_unused_noise_key_leaves_no_tombstone(kept):
    keyring = Keyring(kept.address)
    first = keyring.noise_key("lib", "2026-03", "store", create=True)

    keyring.destroy_noise_key("lib", "2026-03", used=False)

    assert keyring.listing() == []
    assert keyring.noise_key("lib", "2026-03", "store", create=True) != first


@pytest.mark.parametrize("content", KNOWN)
def test_short_and_known_keys_are_refused(kept, content):
    assert kept.place.make("token-lib-2026-03.key", content, 5)

    with pytest.raises(KeyringError, match="token-lib-2026-03"):
        Keyring(kept.address).token_key("lib", "2026-03", now_ms=0)


def test_identical_keys_are_refused(kept):
    keyring = Keyring(kept.address)
    first = secret(keyring.token_key("lib", "2026-03", now_ms=0))
    kept.place.make("token-lib-2026-04.key", first, 0)

    for opened in (keyring, Keyring(kept.address)):
        with pytest.raises(KeyringError, match="the same key as"):
            opened.token_key("lib", "2026-04", now_ms=0)


def test_a_key_that_a_process_made_first_is_everybodys(kept):
    first = secret(Keyring(kept.address).token_key("lib", "2026-03", now_ms=0))

    assert not kept.place.make("token-lib-2026-03.key", bytes(range(1, 33)), 0)
    assert secret(Keyring(kept.address).token_key("lib", "2026-03", now_ms=0)) == first
    assert not kept.holds(bytes(range(1, 33)))


def test_of_two_processes_that_make_a_key_both_get_the_first(kept, monkeypatch):
    first = secret(Keyring(kept.address).token_key("lib", "2026-03", now_ms=0))
    keyring = Keyring(kept.address)

    assert keyring._make("token-lib-2026-03.key", 0) == first
    monkeypatch.setattr(Keyring, "_read", lambda _self, _name: None)
    with pytest.raises(KeyringError, match="run again"):
        keyring._make("token-lib-2026-03.key", 0)


def test_a_key_whose_destruction_was_cut_short_is_listed_as_overdue_and_refused(kept, monkeypatch):
    keyring = Keyring(kept.address)
    keyring.token_key("lib", "2026-03", now_ms=1_700_000_000_000)
    kept.cut_destruction_short("token-lib-2026-03.key", monkeypatch)

    assert [(key.month, key.made) for key in keyring.listing()] == [("2026-03", 0)]
    with pytest.raises(KeyringError, match=r"known test key|half destroyed"):
        keyring.token_key("lib", "2026-03", now_ms=0)
    keyring.destroy_token_key("lib", "2026-03")
    assert keyring.listing() == []


def test_the_listing_names_keys_and_no_byte_of_them(kept):
    keyring = Keyring(kept.address)
    key = keyring.token_key("lib", "2026-03", now_ms=7)
    keyring.store_key()

    listing = keyring.listing()

    assert [(one.purpose, one.tenant, one.month, one.made) for one in listing] == [
        ("store", "", "", 0), ("token", "lib", "2026-03", 7),
    ]  # fmt: skip
    assert secret(key).hex() not in repr(listing)
    with pytest.raises(TypeError):
        pickle.dumps(key)


def test_the_store_key_stays_the_same(kept):
    first = Keyring(kept.address).store_key()

    assert Keyring(kept.address).store_key() == first
    assert len(first) == 32


@pytest.mark.parametrize("tenant", ["lib_-x", "L" * 41, "2026-03"])
def test_names_of_tenants_come_back_from_the_listing(kept, tenant):
    keyring = Keyring(kept.address)
    keyring.noise_key(tenant, "2026-03", "store", create=True)
    keyring.destroy_noise_key(tenant, "2026-03")
    keyring.noise_key(tenant, "2026-04", "store", create=True)

    assert [(key.tenant, key.month, key.gone) for key in keyring.listing()] == [
        (tenant, "2026-03", True), (tenant, "2026-04", False),
    ]  # fmt: skip
