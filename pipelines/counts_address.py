"""`counts_store` in carrel.toml: the path of a SQLite file, or the address of another store."""

import re
from pathlib import Path
from typing import Callable, Optional, Union

from pipelines.addresses import POSTGRESQL, SCHEME, AddressError, postgresql_fault

CountsAddress = Union[Path, str]  # a path is a SQLite file; a text is an address of one of `SCHEMES`

PARQUET, BIGQUERY = "parquet:", "bigquery:"
SCHEMES = (POSTGRESQL, PARQUET, BIGQUERY)
_DATASET = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]\.[A-Za-z0-9_]{1,1024}")


def counts_address(text: str, at: Callable[[str], Path]) -> CountsAddress:
    """Read what `counts_store` says; the store itself is not asked.

    Args:
      text: as configured.
      at: makes a path absolute.

    Raises:
      AddressError: what is wrong with it, in one line that quotes nothing of it.
    """
    scheme = SCHEME.match(text)
    if scheme is None:
        return at(text)
    if scheme[0] == PARQUET:
        return f"{PARQUET}{at(text.removeprefix(PARQUET))}"
    wrong = {POSTGRESQL: postgresql_fault, BIGQUERY: _bigquery}.get(scheme[0], _unknown)(text)
    if wrong is not None:
        raise AddressError(wrong)
    return text


def _bigquery(text: str) -> Optional[str]:
    return None if _DATASET.fullmatch(text.removeprefix(BIGQUERY)) else "need bigquery:PROJECT.DATASET"


def _unknown(text: str) -> Optional[str]:
    del text
    return f"need the path of a SQLite file, or an address that begins with {', '.join(SCHEMES)}"
