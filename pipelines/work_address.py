"""`work_store` in carrel.toml: the path of a SQLite file, or the address of a PostgreSQL database."""

from pathlib import Path
from typing import Callable, Union

from pipelines.addresses import POSTGRESQL, SCHEME, AddressError, postgresql_fault

WorkAddress = Union[Path, str]  # a path is a SQLite file; a text is an address of PostgreSQL


def work_address(text: str, at: Callable[[str], Path]) -> WorkAddress:
    """Read what `work_store` says; the store itself is not asked.

    Args:
      text: as configured.
      at: makes a path absolute.

    Raises:
      AddressError: what is wrong with it, in one line that quotes nothing of it.
    """
    scheme = SCHEME.match(text)
    if scheme is None:
        return at(text)
    if scheme[0] != POSTGRESQL:
        message = "need the path of a SQLite file, or postgresql://USER@HOST/DATABASE"
        raise AddressError(message)
    if fault := postgresql_fault(text):
        raise AddressError(fault)
    return text
