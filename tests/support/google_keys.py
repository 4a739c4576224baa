"""Secret Manager and Cloud KMS in this process: the calls that the keyring makes, answered as the services answer.

Requests are built of the services' own message types, so that a field that they do not have is an error. Wrapping is
real encryption, bound to the KMS key's version and to the name that it was wrapped under.
"""

import copy
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.api_core.exceptions import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from google.cloud import kms_v1, secretmanager_v1
from google.protobuf.duration_pb2 import Duration

ENABLED = secretmanager_v1.SecretVersion.State.ENABLED
DESTROYED = secretmanager_v1.SecretVersion.State.DESTROYED
LIVE = kms_v1.CryptoKeyVersion.CryptoKeyVersionState.ENABLED
SCHEDULED = kms_v1.CryptoKeyVersion.CryptoKeyVersionState.DESTROY_SCHEDULED


class Calls:
    """What both share: calls are counted, and one can be made to fail."""

    def __init__(self) -> None:
        self.asked = []
        self.failing = {}

    def _ask(self, call, kind, request, given, timeout):
        assert timeout
        self.asked.append(call)
        if call in self.failing:
            raise self.failing[call]
        return kind(request) if request is not None else kind(given)


class FakeSecretManager(Calls):
    """Secrets with versions, each numbered once."""

    def __init__(self) -> None:
        super().__init__()
        self.secrets = {}
        self.versions = {}
        self.data = {}

    def create_secret(self, *, request=None, timeout=None, **given):
        asked = self._ask("create_secret", secretmanager_v1.CreateSecretRequest, request, given, timeout)
        name = f"{asked.parent}/secrets/{asked.secret_id}"
        assert len(asked.secret_id) <= 255
        assert asked.secret_id.replace("-", "").replace("_", "").isalnum()
        if name in self.secrets:
            raise AlreadyExists("there")
        assert asked.secret.replication.user_managed.replicas[0].location
        self.secrets[name] = copy.deepcopy(asked.secret)
        self.secrets[name].name = name
        self.versions[name] = []
        return self.secrets[name]

    def update_secret(self, *, request=None, timeout=None, **given):
        asked = self._ask("update_secret", secretmanager_v1.UpdateSecretRequest, request, given, timeout)
        assert list(asked.update_mask.paths) == ["annotations"]
        found = self.get_secret(name=asked.secret.name, timeout=timeout)
        found.annotations = dict(asked.secret.annotations)
        return found

    def get_secret(self, *, request=None, timeout=None, **given):
        asked = self._ask("get_secret", secretmanager_v1.GetSecretRequest, request, given, timeout)
        if asked.name not in self.secrets:
            raise NotFound("none")
        return self.secrets[asked.name]

    def list_secrets(self, *, request=None, timeout=None, **given):
        asked = self._ask("list_secrets", secretmanager_v1.ListSecretsRequest, request, given, timeout)
        part = asked.filter.removeprefix("name:")
        return [one for name, one in self.secrets.items() if name.startswith(asked.parent + "/") and part in name]

    def delete_secret(self, *, request=None, timeout=None, **given):
        asked = self._ask("delete_secret", secretmanager_v1.DeleteSecretRequest, request, given, timeout)
        self.get_secret(name=asked.name, timeout=timeout)
        del self.secrets[asked.name]
        for version in self.versions.pop(asked.name):
            self.data.pop(version.name, None)

    def add_secret_version(self, *, request=None, timeout=None, **given):
        asked = self._ask("add_secret_version", secretmanager_v1.AddSecretVersionRequest, request, given, timeout)
        self.get_secret(name=asked.parent, timeout=timeout)
        versions = self.versions[asked.parent]
        name = f"{asked.parent}/versions/{len(versions) + 1}"
        versions.append(secretmanager_v1.SecretVersion(name=name, state=ENABLED))
        self.data[name] = asked.payload.data
        return versions[-1]

    def list_secret_versions(self, *, request=None, timeout=None, **given):
        asked = self._ask("list_secret_versions", secretmanager_v1.ListSecretVersionsRequest, request, given, timeout)
        return list(self.versions[asked.parent])

    def access_secret_version(self, *, request=None, timeout=None, **given):
        asked = self._ask("access_secret_version", secretmanager_v1.AccessSecretVersionRequest, request, given, timeout)
        version = self._version(asked.name)
        if version.state != ENABLED:
            raise FailedPrecondition("not enabled")
        return secretmanager_v1.AccessSecretVersionResponse(name=asked.name, payload={"data": self.data[asked.name]})

    def destroy_secret_version(self, *, request=None, timeout=None, **given):
        kind = secretmanager_v1.DestroySecretVersionRequest
        version = self._version(self._ask("destroy_secret_version", kind, request, given, timeout).name)
        if version.state == DESTROYED:
            raise FailedPrecondition("destroyed")
        version.state = DESTROYED
        del self.data[version.name]
        return version

    def _version(self, name):
        for version in self.versions.get(name.partition("/versions/")[0], []):
            if version.name == name:
                return version
        raise NotFound("none")


class FakeKms(Calls):
    """Keys whose names stay for ever; a destroyed version can be brought back until its time is over."""

    def __init__(self) -> None:
        super().__init__()
        self.keys = {}
        self.versions = {}
        self.material = {}

    def create_crypto_key(self, *, request=None, timeout=None, **given):
        asked = self._ask("create_crypto_key", kms_v1.CreateCryptoKeyRequest, request, given, timeout)
        assert len(asked.crypto_key_id) <= 63
        name = f"{asked.parent}/cryptoKeys/{asked.crypto_key_id}"
        if name in self.keys:
            raise AlreadyExists("there")
        key = copy.deepcopy(asked.crypto_key)
        key.name = name
        assert key.purpose == kms_v1.CryptoKey.CryptoKeyPurpose.ENCRYPT_DECRYPT
        if not kms_v1.CryptoKey.pb(key).HasField("destroy_scheduled_duration"):
            key.destroy_scheduled_duration = Duration(seconds=30 * 86_400)
        self.keys[name] = key
        self.versions[name] = [kms_v1.CryptoKeyVersion(name=f"{name}/cryptoKeyVersions/1", state=LIVE)]
        self.material[self.versions[name][0].name] = os.urandom(32)
        return self.get_crypto_key(name=name, timeout=timeout)

    def get_crypto_key(self, *, request=None, timeout=None, **given):
        asked = self._ask("get_crypto_key", kms_v1.GetCryptoKeyRequest, request, given, timeout)
        if asked.name not in self.keys:
            raise NotFound("none")
        key = copy.deepcopy(self.keys[asked.name])
        key.primary = self.versions[asked.name][0]
        return key

    def list_crypto_key_versions(self, *, request=None, timeout=None, **given):
        asked = self._ask("list_crypto_key_versions", kms_v1.ListCryptoKeyVersionsRequest, request, given, timeout)
        return list(self.versions[asked.parent])

    def destroy_crypto_key_version(self, *, request=None, timeout=None, **given):
        kind = kms_v1.DestroyCryptoKeyVersionRequest
        asked = self._ask("destroy_crypto_key_version", kind, request, given, timeout)
        for version in self.versions[asked.name.partition("/cryptoKeyVersions/")[0]]:
            if version.name == asked.name:
                if version.state != LIVE:
                    raise FailedPrecondition("not enabled")
                version.state = SCHEDULED
                return version
        raise NotFound("none")

    def encrypt(self, *, request=None, timeout=None, **given):
        asked = self._ask("encrypt", kms_v1.EncryptRequest, request, given, timeout)
        nonce = os.urandom(12)
        cipher = self._cipher(asked.name)
        aad = asked.additional_authenticated_data
        return kms_v1.EncryptResponse(ciphertext=nonce + cipher.encrypt(nonce, asked.plaintext, aad))

    def decrypt(self, *, request=None, timeout=None, **given):
        asked = self._ask("decrypt", kms_v1.DecryptRequest, request, given, timeout)
        cipher = self._cipher(asked.name)
        wrapped, aad = asked.ciphertext, asked.additional_authenticated_data
        try:
            return kms_v1.DecryptResponse(plaintext=cipher.decrypt(wrapped[:12], wrapped[12:], aad))
        except (InvalidTag, ValueError):
            raise InvalidArgument("not of this key") from None

    def _cipher(self, name):
        if name not in self.keys:
            raise NotFound("none")
        version = self.versions[name][0]
        if version.state != LIVE:
            raise FailedPrecondition("not enabled")
        return AESGCM(self.material[version.name])
