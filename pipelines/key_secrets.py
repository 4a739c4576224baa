"""Keys in Google Cloud: secrets of Secret Manager, each wrapped by a key of Cloud KMS that is destroyed with it.

    secret RING_token-TENANT-YYYY-MM_key      version 1 is the key, wrapped; other versions are none
    KMS key token-TENANT-YYYY-MM-N            wraps that one key, under the secret's name; N grows when a month gets
                                              a key once more, since a KMS key's name stays when its version is gone
    secret RING_noise-TENANT-YYYY-MM_gone     a tombstone, without versions

Version 1 decides between two processes: versions are numbered by the service, and asking for one by its number is
always consistent. A copied version does not open under another name.
"""

import contextlib
import functools
import logging
import os
from dataclasses import dataclass, field
from typing import Any, Iterator, Optional

from google.api_core.exceptions import (
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    GoogleAPICallError,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    RetryError,
    ServiceUnavailable,
    Unauthenticated,
)
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.cloud.kms_v1 import CryptoKey, CryptoKeyVersion, KeyManagementServiceClient
from google.cloud.kms_v1.services.key_management_service.transports import KeyManagementServiceGrpcTransport
from google.cloud.secretmanager_v1 import Secret, SecretManagerServiceClient, SecretVersion
from google.cloud.secretmanager_v1.services.secret_manager_service.transports import SecretManagerServiceGrpcTransport

from pipelines.key_place import KeptKey, KeyringAwayError, KeyringError
from pipelines.keyring_address import cloud_keyring

SOFT_DELETE = 86_400  # seconds; the least that Cloud KMS allows
_PATIENCE = 20.0  # seconds for one answer
_BYTES = 32
_SPENT = (CryptoKeyVersion.CryptoKeyVersionState.DESTROYED, CryptoKeyVersion.CryptoKeyVersionState.DESTROY_SCHEDULED)


@dataclass(frozen=True)
class Connection:
    """A process's clients of both services.

    Attributes:
      digests: what tells the keys apart that were read so far, by name.
    """

    secrets: SecretManagerServiceClient
    kms: KeyManagementServiceClient
    digests: dict[str, bytes] = field(default_factory=dict)


@functools.cache
def connection(address: str, process: int) -> Connection:
    """Connect with the credentials of the place where this runs; nothing is sent yet.

    Once for each keyring and process: keyrings are opened for every batch, connections are kept.
    """
    del address, process
    for transport in (SecretManagerServiceGrpcTransport, KeyManagementServiceGrpcTransport):
        # Turned to debug it would write whole answers: a key that was opened.
        logging.getLogger(transport.__module__).setLevel(logging.WARNING)
    return Connection(SecretManagerServiceClient(), KeyManagementServiceClient())


class KeySecrets:
    """The secrets of one key ring; see `KeyPlace`.

    Raises:
      KeyringError: there are no credentials.
    """

    def __init__(self, address: str) -> None:
        at = cloud_keyring(address)
        self._location = at.location
        self._project = f"projects/{at.project}"
        self._ring = f"{self._project}/locations/{at.location}/keyRings/{at.ring}"
        self._prefix = f"{at.ring}_"
        try:
            connected = connection(address, os.getpid())
        except DefaultCredentialsError:
            message = "keyring: there are no credentials for Google Cloud; run as a service account that may use it"
            raise KeyringError(message) from None
        self._secrets, self._kms, self.digests = connected.secrets, connected.kms, connected.digests

    def read(self, name: str) -> Optional[bytes]:
        with _asked(name):
            try:
                version = self._secrets.access_secret_version(name=self._version(name, "1"), timeout=_PATIENCE)
            except NotFound:
                return None
            wrapped_by, _, wrapped = version.payload.data.partition(b"\n")
            opened = self._kms.decrypt(
                request={
                    "name": f"{self._ring}/cryptoKeys/{_text(name, wrapped_by)}",
                    "ciphertext": wrapped,
                    "additional_authenticated_data": self._id(name).encode(),
                },
                timeout=_PATIENCE,
            )
            return bytes(opened.plaintext)[:_BYTES]

    def make(self, name: str, secret: bytes, now_ms: int) -> bool:
        with _asked(name):
            wrapping = self._wrapping_key(name)
            wrapped = self._kms.encrypt(
                request={
                    "name": wrapping.name,
                    "plaintext": secret,
                    "additional_authenticated_data": self._id(name).encode(),
                },
                timeout=_PATIENCE,
            )
            lingers = int(wrapping.destroy_scheduled_duration.total_seconds())
            self._create(name, {"made": str(now_ms), "lingers": str(lingers)})
            data = wrapping.name.rpartition("/")[2].encode() + b"\n" + wrapped.ciphertext
            added = {"parent": self._secret(name), "payload": {"data": data}}
            version = self._secrets.add_secret_version(request=added, timeout=_PATIENCE)
            if version.name.endswith("/versions/1"):
                return True
            self._secrets.destroy_secret_version(name=version.name, timeout=_PATIENCE)
            return False

    def bury(self, name: str) -> None:
        with _asked(name):
            self._create(name, {})

    def destroy(self, name: str) -> None:
        with _asked(name):
            if not self._mark_overdue(name):
                return
            for version in self._secrets.list_secret_versions(parent=self._secret(name), timeout=_PATIENCE):
                if version.state != SecretVersion.State.DESTROYED:
                    self._secrets.destroy_secret_version(name=version.name, timeout=_PATIENCE)
            number = 1
            while (wrapping := self._kms_key(name, number)) is not None:
                for one in self._kms.list_crypto_key_versions(parent=wrapping.name, timeout=_PATIENCE):
                    if one.state not in _SPENT:
                        self._kms.destroy_crypto_key_version(name=one.name, timeout=_PATIENCE)
                number += 1
            self._secrets.delete_secret(name=self._secret(name), timeout=_PATIENCE)

    def has(self, name: str) -> bool:
        with _asked(name):
            try:
                self._secrets.get_secret(name=self._secret(name), timeout=_PATIENCE)
            except NotFound:
                return False
            return True

    def kept(self) -> list[KeptKey]:
        with _asked("keyring"):
            wanted = {"parent": self._project, "filter": f"name:{self._prefix}", "page_size": 500}
            found = list(self._secrets.list_secrets(request=wanted, timeout=_PATIENCE))
        keys = []
        for secret in found:
            prefix, _, rest = secret.name.rpartition("/")[2].partition("_")
            stem, _, kind = rest.rpartition("_")
            if f"{prefix}_" == self._prefix and kind in {"key", "gone"}:
                keys.append(KeptKey(f"{stem}.{kind}", _number(secret, "made"), _lingers(secret) * 1000))
        return sorted(keys, key=lambda key: key.name)

    def _wrapping_key(self, name: str) -> CryptoKey:
        """A KMS key of this name's own that can still wrap; one that a killed process left is taken."""
        number = 1
        while True:
            try:
                return self._kms.create_crypto_key(
                    request={
                        "parent": self._ring,
                        "crypto_key_id": self._kms_id(name, number),
                        "crypto_key": {
                            "purpose": CryptoKey.CryptoKeyPurpose.ENCRYPT_DECRYPT,
                            "destroy_scheduled_duration": {"seconds": SOFT_DELETE},
                        },
                    },
                    timeout=_PATIENCE,
                )
            except AlreadyExists:
                there = self._kms_key(name, number)
                if there is not None and there.primary.state == CryptoKeyVersion.CryptoKeyVersionState.ENABLED:
                    return there
                number += 1

    def _kms_key(self, name: str, number: int) -> Optional[CryptoKey]:
        path = f"{self._ring}/cryptoKeys/{self._kms_id(name, number)}"
        try:
            return self._kms.get_crypto_key(name=path, timeout=_PATIENCE)
        except NotFound:
            return None

    def _create(self, name: str, annotations: dict[str, str]) -> None:
        replicas = [{"location": self._location}]
        secret = {"replication": {"user_managed": {"replicas": replicas}}, "annotations": annotations}
        wanted = {"parent": self._project, "secret_id": self._id(name), "secret": secret}
        with contextlib.suppress(AlreadyExists):
            self._secrets.create_secret(request=wanted, timeout=_PATIENCE)

    def _mark_overdue(self, name: str) -> bool:
        """Say that a key is being destroyed, so that a crash leaves one that is overdue; False: there is no key."""
        secret = {"name": self._secret(name), "annotations": {"made": "0"}}
        wanted = {"secret": secret, "update_mask": {"paths": ["annotations"]}}
        try:
            self._secrets.update_secret(request=wanted, timeout=_PATIENCE)
        except NotFound:
            return False
        return True

    def _id(self, name: str) -> str:
        return self._prefix + name.replace(".", "_")

    def _secret(self, name: str) -> str:
        return f"{self._project}/secrets/{self._id(name)}"

    def _version(self, name: str, number: str) -> str:
        return f"{self._secret(name)}/versions/{number}"

    @staticmethod
    def _kms_id(name: str, number: int) -> str:
        return f"{name.partition('.')[0]}-{number}"


@contextlib.contextmanager
def _asked(name: str) -> Iterator[None]:
    """What the cloud answers when it refuses, as one line that holds none of its words."""
    try:
        yield
    except (FailedPrecondition, InvalidArgument):
        message = f"{name}: is disabled, half destroyed, or not wrapped for this name; enable it, or shred it"
        raise KeyringError(message) from None
    except (PermissionDenied, Unauthenticated):
        message = f"{name}: this service account may not use the keyring; give it the roles of deploy/terraform"
        raise KeyringError(message) from None
    except (ServiceUnavailable, DeadlineExceeded, RetryError, TransportError):
        message = f"{name}: Google Cloud does not answer; check the network and run again"
        raise KeyringAwayError(message) from None
    except (GoogleAPICallError, GoogleAuthError) as error:
        message = f"{name}: Google Cloud refused ({type(error).__name__}); check the keyring's project and key ring"
        raise KeyringError(message) from None


def _text(name: str, wrapped_by: bytes) -> str:
    """The KMS key's name in a version's data, which others could have written."""
    if not wrapped_by.startswith(name.partition(".")[0].encode() + b"-") or not wrapped_by.isascii():
        message = f"{name}: was not wrapped for this name; shred it, and let a new one be made"
        raise KeyringError(message)
    return wrapped_by.decode()


def _number(secret: Secret, annotation: str) -> int:
    said: Any = secret.annotations.get(annotation, "0")
    return int(said) if said.isascii() and said.isdigit() else 0


def _lingers(secret: Secret) -> int:
    """Seconds in which what was destroyed could be brought back: of its wrapping key, or of the secret's versions."""
    delay = secret.version_destroy_ttl
    return max(_number(secret, "lingers"), int(delay.total_seconds()) if delay else 0)
