"""What the addresses in carrel.toml share: a scheme, and that none holds a password.

carrel.toml is shown, copied and kept in version control.
"""

import re
from typing import Optional
from urllib.parse import parse_qsl, urlsplit

SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # of an address; what begins otherwise is a path
POSTGRESQL = "postgresql:"
_SECRET = {"password", "sslpassword", "oauth_client_secret"}


class AddressError(ValueError):
    """What names a store, a keyring or the place of letters is no path and no address."""


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
