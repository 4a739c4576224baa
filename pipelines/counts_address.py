"""`counts_store` in carrel.toml: the path of a SQLite file, or the address of another store.

An address never holds a password: carrel.toml is shown, copied and kept in version control.
"""

import re
from pathlib import Path
from typing import Callable, Optional, Union
from urllib.parse import parse_qsl, urlsplit

CountsAddress = Union[Path, str]  # a path is a SQLite file; a text is an address of one of `SCHEMES`

POSTGRESQL, PARQUET, BIGQUERY = "postgresql:", "parquet:", "bigquery:"
SCHEMES = (POSTGRESQL, PARQUET, BIGQUERY)
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_DATASET = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]\.[A-Za-z0-9_]{1,1024}")
_SECRET = {"password", "sslpassword", "oauth_client_secret"}


class AddressError(ValueError):
    """What names a store is no path and no address."""


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


def postgresql_fault(text: str) -> Optional[str]:
    """What is wrong with an address of PostgreSQL, in words that quote nothing of it; None of a good one."""
    if not text.startswith("postgresql://"):
        return "need postgresql://USER@HOST/DATABASE"
    try:
        parts = urlsplit(text)
        has_secret = parts.password is not None or _SECRET & {name.lower() for name, _ in parse_qsl(parts.query, True)}
    except ValueError:
        return "is not a well-formed address; need postgresql://USER@HOST/DATABASE"
    if has_secret:
        return "holds a password; take it out and give it by PGPASSFILE, PGPASSWORD or a service file"
    return None


def _bigquery(text: str) -> Optional[str]:
    return None if _DATASET.fullmatch(text.removeprefix(BIGQUERY)) else "need bigquery:PROJECT.DATASET"


def _unknown(text: str) -> Optional[str]:
    del text
    return f"need the path of a SQLite file, or an address that begins with {', '.join(SCHEMES)}"
