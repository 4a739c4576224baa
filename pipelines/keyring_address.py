"""`keyring` in carrel.toml: a folder of key files, or a key ring of Google Cloud and the secrets beside it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Union

from pipelines.addresses import SCHEME, AddressError

KeyringAddress = Union[Path, str]  # a path is a folder; a text is an address of Google Cloud

CLOUD = "gcp-secrets:"
# `_` ends the key ring's name in the names of its secrets, so that it has none itself.
_KEY_RING = re.compile(
    r"gcp-secrets:projects/(?P<project>[a-z][a-z0-9-]{4,28}[a-z0-9])"
    r"/locations/(?P<location>[a-z]+-[a-z]+[0-9]+)/keyRings/(?P<ring>[A-Za-z0-9-]{1,63})"
)


@dataclass(frozen=True)
class CloudKeyring:
    """A key ring of Cloud KMS, and the secrets beside it: same project, same region."""

    project: str
    location: str
    ring: str


def keyring_address(text: str, at: Callable[[str], Path]) -> KeyringAddress:
    """Read what `keyring` says; the keyring itself is not asked.

    Args:
      text: as configured.
      at: makes a path absolute.

    Raises:
      AddressError: it is no path and no address.
    """
    if SCHEME.match(text) is None:
        return at(text)
    cloud_keyring(text)
    return text


def cloud_keyring(text: str) -> CloudKeyring:
    """The parts of an address of Google Cloud.

    Raises:
      AddressError: it is none.
    """
    found = _KEY_RING.fullmatch(text)
    if found is None:
        message = f"need the path of a folder, or {CLOUD}projects/PROJECT/locations/REGION/keyRings/NAME"
        raise AddressError(message)
    return CloudKeyring(**found.groupdict())
