"""`metrics` in carrel.toml: where `carrel live` answers about itself."""

import ipaddress
import re
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict

from pipelines.addresses import AddressError


class MetricsFile(BaseModel):
    """`metrics` as a table."""

    model_config = ConfigDict(extra="forbid", strict=True)
    address: str
    beyond_loopback: bool = False


@dataclass(frozen=True)
class ListensAt:
    """Where `carrel live` answers about itself: an IP address and a port."""

    host: str
    port: int


def metrics_address(file: MetricsFile) -> ListensAt:
    """Read the table; nothing is opened.

    Raises:
      AddressError: no address, or one that others can ask without a word that they may.
    """
    host, colon, port = file.address.rpartition(":")
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        address = None
    if address is None or not colon or not re.fullmatch("[1-9][0-9]{0,4}", port) or int(port) > 65_535:
        message = "need an IP address and a port, such as 127.0.0.1:9464 or [::1]:9464"
        raise AddressError(message)
    if not address.is_loopback and not file.beyond_loopback:
        message = (
            "others than this machine could ask there, unasked for who they are;"
            " take 127.0.0.1, or declare beyond_loopback = true"
        )
        raise AddressError(message)
    return ListensAt(str(address), int(port))
