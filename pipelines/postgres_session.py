"""A session with a PostgreSQL server, as both stores want it: a server that is gone is noticed in a minute."""

from typing import Any, Optional

import psycopg

PostgresSession = psycopg.Connection[tuple[Any, ...]]


def connected(address: str, name: str, *, prepare_after: Optional[int] = 5) -> PostgresSession:
    """Open a session in which each statement is a transaction of its own unless one is begun.

    Args:
      address: postgresql://USER@HOST:PORT/DATABASE, without a password: libpq finds that by itself.
      name: under which the server lists it.
      prepare_after: how often a statement is sent before the server keeps it prepared; None never, for behind a
        pooler the next transaction may be elsewhere.

    Raises:
      psycopg.Error: there is no such server, or it refuses.
    """
    return psycopg.connect(
        address,
        autocommit=True,
        prepare_threshold=prepare_after,
        application_name=name,
        client_encoding="utf8",
        connect_timeout=10,
        keepalives_idle=30,
        keepalives_interval=10,
        keepalives_count=3,
        tcp_user_timeout=30_000,
    )
