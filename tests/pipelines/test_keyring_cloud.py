"""The keyring in Google Cloud: what is destroyed there, what its administrators could bring back, what it says."""

import logging
import subprocess
import sys

import pytest
from google.api_core import exceptions as api
from google.auth.exceptions import DefaultCredentialsError
from google.protobuf.duration_pb2 import Duration

import pipelines.key_secrets
from pipelines.commands import keys as keys_commands
from pipelines.configuration import ConfigurationError, load
from pipelines.counts_opening import open_counts
from pipelines.invocation import Invocation
from pipelines.key_ages import key_ages
from pipelines.key_secrets import Connection, KeySecrets
from pipelines.keyring import Keyring, KeyringError
from pipelines.keys import KeyringAt
from pipelines.try_again import TryAgainError
from tests.support.google_keys import SCHEDULED, FakeKms, FakeSecretManager
from tests.support.replaying import at, checkouts, deployment, edit, replayed, write

ADDRESS = "gcp-secrets:projects/library-keys/locations/europe-west3/keyRings/carrel"
RING = "projects/library-keys/locations/europe-west3/keyRings/carrel"
SECRET = "projects/library-keys/secrets/carrel_token-lib-2026-03_key"
DAY = 86_400_000


class Cloud:
    def __init__(self) -> None:
        self.secrets, self.kms = FakeSecretManager(), FakeKms()

    def kms_states(self):
        return {name.rpartition("/")[2]: [one.state for one in found] for name, found in self.kms.versions.items()}


@pytest.fixture
def cloud(monkeypatch):
    found = Cloud()
    connected = Connection(found.secrets, found.kms)
    monkeypatch.setattr(pipelines.key_secrets, "connection", lambda *_: connected)
    return found


def secret(key):
    return key._secret


def test_what_a_secret_holds_is_wrapped_under_its_own_name(cloud):
    key = secret(Keyring(ADDRESS).token_key("lib", "2026-03", now_ms=5))
    stored = cloud.secrets.data[f"{SECRET}/versions/1"]

    assert key not in stored
    assert stored.startswith(b"token-lib-2026-03-1\n")
    assert cloud.secrets.secrets[SECRET].replication.user_managed.replicas[0].location == "europe-west3"
    assert list(cloud.kms.keys) == [f"{RING}/cryptoKeys/token-lib-2026-03-1"]


def test_a_destroyed_key_is_gone_in_both_services_and_a_copy_of_its_secret_opens_nothing(cloud):
    keyring = Keyring(ADDRESS)
    keyring.token_key("lib", "2026-03", now_ms=5)
    copy = cloud.secrets.data[f"{SECRET}/versions/1"]

    keyring.destroy_token_key("lib", "2026-03")

    assert (cloud.secrets.secrets, cloud.secrets.data) == ({}, {})
    assert cloud.kms_states() == {"token-lib-2026-03-1": [SCHEDULED]}
    cloud.secrets.create_secret(
        parent="projects/library-keys", secret_id="carrel_token-lib-2026-03_key", timeout=1,
        secret={"replication": {"user_managed": {"replicas": [{"location": "europe-west3"}]}}},
    )  # fmt: skip
    cloud.secrets.add_secret_version(parent=SECRET, payload={"data": copy}, timeout=1)
    with pytest.raises(KeyringError, match="half destroyed"):
        Keyring(ADDRESS).token_key("lib", "2026-03", now_ms=5)


def test_a_month_that_gets_a_key_again_gets_another_wrapping_key(cloud):
    keyring = Keyring(ADDRESS)
    keyring.token_key("lib", "2026-03", now_ms=5)
    keyring.destroy_token_key("lib", "2026-03")
    again = secret(keyring.token_key("lib", "2026-03", now_ms=6))

    assert secret(Keyring(ADDRESS).token_key("lib", "2026-03", now_ms=7)) == again
    assert list(cloud.kms_states()) == ["token-lib-2026-03-1", "token-lib-2026-03-2"]
    keyring.destroy_token_key("lib", "2026-03")
    assert cloud.kms_states() == {"token-lib-2026-03-1": [SCHEDULED], "token-lib-2026-03-2": [SCHEDULED]}


@pytest.mark.parametrize("call", ["create_secret", "add_secret_version"])
def test_a_process_killed_while_it_makes_a_key_leaves_nothing_that_costs_or_blocks(cloud, call):
    cloud.secrets.failing[call] = api.ServiceUnavailable("CANARY")
    with pytest.raises(KeyringError, match="does not answer"):
        Keyring(ADDRESS).token_key("lib", "2026-03", now_ms=5)
    cloud.secrets.failing.clear()

    made = secret(Keyring(ADDRESS).token_key("lib", "2026-03", now_ms=6))

    assert secret(Keyring(ADDRESS).token_key("lib", "2026-03", now_ms=7)) == made
    assert list(cloud.kms_states()) == ["token-lib-2026-03-1"]


@pytest.mark.parametrize("call", ["destroy_secret_version", "delete_secret", "list_crypto_key_versions"])
def test_a_destruction_that_is_cut_short_is_finished_by_the_next(cloud, call):
    keyring = Keyring(ADDRESS)
    keyring.token_key("lib", "2026-03", now_ms=5)
    for service in (cloud.secrets, cloud.kms):
        service.failing[call] = api.ServiceUnavailable("CANARY")
    with pytest.raises(KeyringError, match="does not answer"):
        keyring.destroy_token_key("lib", "2026-03")
    assert [(key.month, key.made) for key in keyring.listing()] == [("2026-03", 0)]
    for service in (cloud.secrets, cloud.kms):
        service.failing.clear()

    keyring.destroy_token_key("lib", "2026-03")

    assert keyring.listing() == []
    assert cloud.secrets.data == {}
    assert cloud.kms_states() == {"token-lib-2026-03-1": [SCHEDULED]}


def test_a_secret_copied_to_another_name_is_refused(cloud):
    keyring = Keyring(ADDRESS)
    for month in ("2026-03", "2026-04"):
        keyring.token_key("lib", month, now_ms=5)
    other = SECRET.replace("2026-03", "2026-04")
    copied = cloud.secrets.data[f"{other}/versions/1"]
    cloud.secrets.data[f"{SECRET}/versions/1"] = copied
    with pytest.raises(KeyringError, match="not wrapped for this name"):
        Keyring(ADDRESS).token_key("lib", "2026-03", now_ms=5)

    cloud.secrets.data[f"{SECRET}/versions/1"] = copied.replace(b"2026-04-1", b"2026-03-1")
    with pytest.raises(KeyringError, match="not wrapped for this name"):
        Keyring(ADDRESS).token_key("lib", "2026-03", now_ms=5)


def test_a_version_that_somebody_adds_is_no_key(cloud):
    first = secret(Keyring(ADDRESS).token_key("lib", "2026-03", now_ms=5))
    cloud.secrets.add_secret_version(parent=SECRET, payload={"data": b"token-lib-2026-03-1\nx"}, timeout=1)

    assert secret(Keyring(ADDRESS).token_key("lib", "2026-03", now_ms=5)) == first


def test_secrets_of_other_key_rings_are_not_seen(cloud):
    Keyring(f"{ADDRESS}-two").token_key("lib", "2026-03", now_ms=5)
    Keyring(ADDRESS.replace("carrel", "my-carrel")).token_key("lib", "2026-03", now_ms=5)

    assert Keyring(ADDRESS).listing() == []


def test_one_question_lists_all_keys(cloud):
    keyring = Keyring(ADDRESS)
    for month in ("2026-03", "2026-04", "2026-05"):
        keyring.token_key("lib", month, now_ms=5)
    cloud.secrets.asked.clear()
    cloud.kms.asked.clear()

    keyring.listing()

    assert (cloud.secrets.asked, cloud.kms.asked) == (["list_secrets"], [])


def test_a_key_is_read_once_to_tell_the_others_from_it_however_often_keyrings_are_opened(cloud):
    for month in ("2026-03", "2026-04", "2026-05"):
        Keyring(ADDRESS).token_key("lib", month, now_ms=5)
    Keyring(ADDRESS).token_key("lib", "2026-03", now_ms=5)
    cloud.kms.asked.clear()

    for _ in range(10):
        Keyring(ADDRESS).token_key("lib", "2026-03", now_ms=5)

    assert cloud.kms.asked == ["decrypt"] * 10


def test_a_process_connects_once(monkeypatch):
    made = []
    for name in ("SecretManagerServiceClient", "KeyManagementServiceClient"):
        monkeypatch.setattr(pipelines.key_secrets, name, lambda name=name: made.append(name))
    pipelines.key_secrets.connection.cache_clear()

    for _ in range(3):
        KeySecrets(ADDRESS)

    assert len(made) == 2
    pipelines.key_secrets.connection.cache_clear()


def test_the_clients_never_write_an_opened_key_even_when_their_debug_messages_are_on(monkeypatch):
    loggers = [
        logging.getLogger(f"google.cloud.{one}.transports.grpc")
        for one in ("kms_v1.services.key_management_service", "secretmanager_v1.services.secret_manager_service")
    ]
    for name in ("SecretManagerServiceClient", "KeyManagementServiceClient"):
        monkeypatch.setattr(pipelines.key_secrets, name, lambda: None)
    for logger in loggers:
        assert logger.name in sys.modules
        logger.setLevel(logging.DEBUG)
    pipelines.key_secrets.connection.cache_clear()

    KeySecrets(ADDRESS)

    pipelines.key_secrets.connection.cache_clear()
    assert [logger.isEnabledFor(logging.DEBUG) for logger in loggers] == [False, False]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (api.PermissionDenied("CANARY"), "may not use the keyring"),
        (api.Unauthenticated("CANARY"), "may not use the keyring"),
        (api.ServiceUnavailable("CANARY"), "does not answer"),
        (api.DeadlineExceeded("CANARY"), "does not answer"),
        (api.RetryError("CANARY", None), "does not answer"),
        (api.InternalServerError("CANARY"), "refused (InternalServerError)"),
        (api.FailedPrecondition("CANARY"), "is disabled"),
    ],
)
@pytest.mark.parametrize("call", ["access_secret_version", "create_secret", "get_secret", "list_secrets"])
def test_a_refusal_is_one_line_that_quotes_nothing_of_the_cloud(cloud, error, said, call):
    cloud.secrets.failing[call] = error
    keyring = Keyring(ADDRESS)
    ask = {
        "access_secret_version": lambda: keyring.token_key("lib", "2026-03", now_ms=5),
        "create_secret": lambda: keyring.token_key("lib", "2026-03", now_ms=5),
        "get_secret": lambda: keyring.has_token_key("lib", "2026-03"),
        "list_secrets": keyring.listing,
    }[call]

    with pytest.raises(KeyringError) as caught:
        ask()

    assert said in str(caught.value)
    assert isinstance(caught.value, TryAgainError) == (said == "does not answer")
    assert "CANARY" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_is_not_taken_while_it_cannot_be_told_from_the_others(cloud):
    for month in ("2026-03", "2026-04"):
        Keyring(ADDRESS).token_key("lib", month, now_ms=5)
    read = cloud.kms.decrypt

    def answers_for_april_only(**given):
        if "2026-04" not in given["request"]["name"]:
            raise api.ServiceUnavailable("CANARY")
        return read(**given)

    cloud.kms.decrypt = answers_for_april_only

    with pytest.raises(KeyringError, match="does not answer"):
        Keyring(ADDRESS).token_key("lib", "2026-04", now_ms=5)


def test_without_credentials_the_keyring_says_so(monkeypatch):
    def refuse():
        raise DefaultCredentialsError("CANARY")

    monkeypatch.setattr(pipelines.key_secrets, "SecretManagerServiceClient", refuse)

    with pytest.raises(KeyringError, match="no credentials for Google Cloud"):
        Keyring(ADDRESS)


def test_what_travels_to_a_worker_is_the_address(cloud):
    keys = KeyringAt(ADDRESS, "lib", "store", 5).open()

    assert secret(keys.month("2026-03")) == secret(Keyring(ADDRESS).token_key("lib", "2026-03", now_ms=0))
    assert keys.noise("2026-03") == Keyring(ADDRESS).noise_key("lib", "2026-03", "store", create=False)


@pytest.fixture
def library(tmp_path, cloud):
    """A deployment whose keyring is in the cloud."""
    made = deployment(tmp_path / "library", preset="standard")
    edit(made / "carrel.toml", 'keyring = "../library-secrets/keyring"', f'keyring = "{ADDRESS}"')
    return made


def test_a_replay_makes_its_keys_in_the_cloud_and_destroys_them_there_with_receipts(library, cloud):
    write(library / "archive" / "carrel-event" / "log.jsonl", checkouts("2026-03-01", 45, of=10))

    replayed(library, now="2026-04-15", complete_from="2026-03-01", complete_through="2026-04-14")

    listing = {(key.purpose, key.month): key.gone for key in Keyring(ADDRESS).listing()}
    assert ("noise", "2026-03") in listing
    assert ("token", "2026-03") not in listing
    with open_counts(library / "counts.db") as counts:
        assert ("token", "2026-03", "released") in {
            (one.purpose, one.month, one.why) for one in counts.receipts("example")
        }
    assert cloud.kms_states()["token-example-2026-03-1"] == [SCHEDULED]
    noise = KeySecrets(ADDRESS).read("noise-example-2026-03.key")
    assert len(noise) == 32
    assert not [path for path in library.rglob("*") if path.is_file() and noise in path.read_bytes()]


@pytest.mark.parametrize(("delay", "days"), [(None, 1), (Duration(seconds=30 * 86_400), 30)])
def test_keys_list_says_how_long_a_destroyed_key_could_be_brought_back(library, cloud, capsys, delay, days):
    run = Invocation(library / "carrel.toml", at("2026-03-15"))
    keys_commands.rotate(run, "2026-03")
    if delay is not None:
        for one in cloud.secrets.secrets.values():
            one.version_destroy_ttl = delay
    capsys.readouterr()

    keys_commands.list_keys(run, as_json=False)

    said = capsys.readouterr().out
    assert f"administrators can bring a destroyed key back for {days} days" in said
    assert "2026-03" in said


def test_the_last_day_of_a_key_counts_what_the_cloud_keeps(library, cloud):
    Keyring(ADDRESS).token_key("example", "2026-03", now_ms=at("2026-03-15"))
    ask = {"now": at("2026-03-15"), "end_of": lambda key: at("2026-04-20") if key.purpose == "token" else None}

    (soon,) = key_ages(load(library / "carrel.toml"), **ask)
    for one in cloud.secrets.secrets.values():
        one.version_destroy_ttl = Duration(seconds=10 * 86_400)
    (late,) = key_ages(load(library / "carrel.toml"), **ask)

    assert (soon["ends"], soon["recoverable_days"]) == ("2026-04-21", 1)
    assert (late["ends"], late["recoverable_days"]) == ("2026-04-30", 10)


def test_keys_shred_destroys_in_the_cloud_with_a_receipt(library, cloud, capsys):
    run = Invocation(library / "carrel.toml", at("2026-03-15"))
    keys_commands.rotate(run, "2026-03")

    keys_commands.shred(run, "2026-03", "noise", yes=True)

    assert "destroyed; the receipt is in the counts store" in capsys.readouterr().out
    assert cloud.kms_states()["noise-example-2026-03-1"] == [SCHEDULED]
    with open_counts(library / "counts.db") as counts:
        assert [(one.purpose, one.why) for one in counts.receipts("example")] == [("noise", "by hand")]


@pytest.mark.parametrize(
    "address",
    [
        "gcp-secrets:projects/library-keys",
        f"{ADDRESS}/",
        ADDRESS.replace("europe-west3", "global"),
        ADDRESS.replace("keyRings/carrel", "keyRings/my_ring"),
        "aws-secrets:somewhere",
    ],
)
def test_an_address_that_is_none_is_a_wrong_configuration(library, address):
    edit(library / "carrel.toml", ADDRESS, address)

    with pytest.raises(ConfigurationError, match="keyring: need the path of a folder, or gcp-secrets:projects/"):
        load(library / "carrel.toml")


def test_local_runs_import_no_client_of_the_cloud(tmp_path):
    code = f"""
import sys
from pathlib import Path
import pipelines.command_line, pipelines.commands.keys
from pipelines.keyring import Keyring
Path({str(tmp_path / "k")!r}).mkdir(mode=0o700)
Keyring(Path({str(tmp_path / "k")!r})).store_key()
sys.exit(any(name in sys.modules for name in ("google.cloud.kms_v1", "google.cloud.secretmanager_v1", "grpc")))
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=120, check=False)

    assert done.returncode == 0
