"""A session with a PostgreSQL server, as both stores want it, and what its faults are called, in one line each."""

import re
from typing import Any, NamedTuple, Optional

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.pq import PGconn, Ping

PostgresSession = psycopg.Connection[tuple[Any, ...]]
_SECONDS = 10  # to wait for a server that does not answer


class Fault(NamedTuple):
    """What went wrong and what to do, without the server's own text, which may quote a value of a row.

    Attributes:
      passes: the server is away or busy: the same may be done later.
    """

    text: str
    passes: bool


_LEFT = "the server ended the session; nothing was half written, run again when it is back"
_FULL_HOUSE = "the server has no session left; raise max_connections or end some, and run again"
_SIGNED_WRONG = "the server refuses this user or password; correct the address, or PGPASSFILE or PGPASSWORD"
_BY_CODE = {
    "25006": "the server is read-only here; give the address of the primary, and a role that may write",
    "28000": "the server refuses this role; check the user of the address, and pg_hba.conf",
    "28P01": _SIGNED_WRONG,
    "3D000": "there is no such database; create it or correct the address",
    "3F000": "there is no such schema; create it or correct search_path",
    "42501": "this role may not do that; grant it what docs/stores.md lists",
    "42P01": "its tables are not all there; restore it from a backup",
    "42703": "another kind of tables; correct the address or give Carrel a schema of its own",
    "53100": "the server's disk is full; nothing was half written, free space there and run again",
}
_BY_CLASS = {
    "58": "the server's disk reports an error; check it, then restore the database if need be",
    "XX": "the server reports corrupt data; restore the database from a backup",
}
_PASSING_BY_CODE = {
    "25P03": "this process stood still for 20 s while it was writing, so the server let go of it; run again",
    "53200": "the server is out of memory; run again later",
    "53300": _FULL_HOUSE,
    "55P03": "another process holds it; wait for it to end and run again",
    "57P01": _LEFT,
    "57P02": _LEFT,
    "57P03": "the server is starting or stopping; run again when it is up",
    "57P05": _LEFT,
}
_PASSING_BY_CLASS = {"08": _LEFT}
_NO_SESSION_LEFT = re.compile("too many|connection slots")


def connected(address: str, name: str, *, prepare_after: Optional[int] = 5) -> PostgresSession:
    """Open a session in which each statement is a transaction of its own unless one is begun.

    Args:
      address: postgresql://USER@HOST:PORT/DATABASE, without a password: libpq finds that by itself.
      name: under which the server lists it.
      prepare_after: how often a statement is sent before the server keeps it prepared; None never, for behind a
        pooler the next transaction may be elsewhere.

    Raises:
      psycopg.Error: there is no such server, or it refuses; `fault_of` says which.
    """
    try:
        return psycopg.connect(
            address,
            autocommit=True,
            prepare_threshold=prepare_after,
            application_name=name,
            client_encoding="utf8",
            connect_timeout=_SECONDS,
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
            tcp_user_timeout=30_000,
        )
    except psycopg.Error as error:
        raise _NoSessionError(_why_not(error, address)) from None


def fault_of(error: psycopg.Error) -> Fault:
    """Say what an error of a session, or of opening one by `connected`, means."""
    if isinstance(error, _NoSessionError):
        return error.fault
    code = error.sqlstate
    if code is None:  # nothing the server said: the way to it is lost
        return Fault(_LEFT, passes=True)
    if text := _PASSING_BY_CODE.get(code) or _PASSING_BY_CLASS.get(code[:2]):
        return Fault(text, passes=True)
    text = _BY_CODE.get(code) or _BY_CLASS.get(code[:2])
    return Fault(
        text or f"the server refused it with code {code}; nothing of it was kept, look into its log", passes=False
    )


class _NoSessionError(psycopg.OperationalError):
    """No session came about."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.text)
        self.fault = fault


def _why_not(error: psycopg.Error, address: str) -> Fault:
    """Why no session came about: the server's code does not reach us, so it is asked whether it is there at all."""
    if not isinstance(error, psycopg.OperationalError):
        return Fault("the address cannot be used; need postgresql://USER@HOST/DATABASE", passes=False)
    if error.pgconn is not None and error.pgconn.needs_password:
        return Fault("the server wants a password; give it by PGPASSFILE, PGPASSWORD or a service file", passes=False)
    # The one text that is read, and only to tell that it passes; in another language it counts as a refusal.
    if _NO_SESSION_LEFT.search(str(error)):
        return Fault(_FULL_HOUSE, passes=True)
    there = PGconn.ping(make_conninfo(address, connect_timeout=_SECONDS).encode())
    if there == Ping.REJECT:
        return Fault(_PASSING_BY_CODE["57P03"], passes=True)
    if there != Ping.OK:
        return Fault("the server cannot be reached; check address, server and network, then run again", passes=True)
    if error.pgconn is not None and error.pgconn.used_password:
        return Fault(_SIGNED_WRONG, passes=False)
    return Fault("the server refuses this user or database; check the address and pg_hba.conf", passes=False)
