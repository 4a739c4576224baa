"""A real PostgreSQL for tests: loopback, its own data folder; it dies with the process that started it.

The server refuses to run as root: there it runs as `postgres` (or `nobody`), so its folder lies directly
below the system's temporary folder, where that user can reach it.
"""

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
from psycopg import sql

from tests.support.child_process import free_port

OWNER, SIGNED, PASSWORD = "carrel", "signed", "right-horse-battery"
_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql*/bin")
# Becomes the server's user first (that clears the parent-death signal), asks the kernel to end this process at once
# (SIGQUIT: the server takes its children with it) when the test run is gone, then becomes the program.
_STARTER = (
    "import ctypes, os, sys; uid, gid = int(sys.argv[1]), int(sys.argv[2]);"
    "uid == os.getuid() or (os.setgroups([]), os.setgid(gid), os.setuid(uid));"
    "ctypes.CDLL(None).prctl(1, 3) if sys.platform == 'linux' else None; os.execv(sys.argv[3], sys.argv[3:])"
)
_ACCESS = f"""
local all all trust
host all {SIGNED} 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
"""
_SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
shared_buffers = 16MB
max_connections = 100
autovacuum = off
log_statement = none
"""
_NUMBERS = itertools.count()


class PostgresMissingError(Exception):
    """There is no PostgreSQL server here."""


def postgres_binaries() -> Path:
    """The folder of `initdb` and `postgres`; the newest of several."""
    found = [path for place in _PLACES for path in sorted(Path("/").glob(place[1:])) if (path / "initdb").exists()]
    if found:
        return found[-1]
    if there := shutil.which("initdb"):
        return Path(there).resolve().parent
    raise PostgresMissingError("no initdb was found; install the server (Debian: postgresql)")


def _user() -> tuple[int, int]:
    if os.getuid() != 0:
        return os.getuid(), os.getgid()
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    raise PostgresMissingError("it does not run as root, and there is neither a user postgres nor nobody")


class PostgresServer:
    """One server; `start` may be called again after `stop` or `kill`: data and port stay. `remove` ends all.

    Attributes:
      port: on 127.0.0.1.
      directory: its folder, owned by the server's user; tablespaces can be put here.
      owner: uid and gid of the server.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._binaries = postgres_binaries()
        self.owner = _user()
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="carrel-postgres-"))
        os.chown(self.directory, *self.owner)
        self._data = self.directory / "data"
        made = self._run("initdb", "-D", str(self._data), "-U", OWNER, "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        if made.wait(timeout=120):
            raise AssertionError(f"initdb failed: {self._said()}")
        (self._data / "pg_hba.conf").write_text(_ACCESS)
        with (self._data / "postgresql.conf").open("a") as settings:
            settings.write(_SETTINGS.format(port=self.port))

    def _run(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        with (self.directory / "output.log").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-c", _STARTER, *map(str, self.owner), str(self._binaries / program), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.directory,
            )

    def _said(self) -> str:
        return (self.directory / "output.log").read_text(errors="replace")[-2000:]

    def start(self) -> None:
        """Start and wait until it answers."""
        self._process = self._run("postgres", "-D", str(self._data))
        until = time.monotonic() + 90
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(psycopg.OperationalError), self.connect() as connection:
                connection.execute(f"DO $$ BEGIN CREATE ROLE {SIGNED} LOGIN PASSWORD '{PASSWORD}'; EXCEPTION WHEN duplicate_object THEN NULL; END $$")  # fmt: skip
                return
            time.sleep(0.05)
        said = self._said()
        self.kill()
        raise AssertionError(f"the server did not start: {said}")

    def pause(self) -> None:
        """Hold the postmaster: it accepts nobody new. Sessions that are open go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(number)
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=30)
        self._process = None

    def stop(self) -> None:
        """End it in order, sessions cut."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it at once, with all its sessions; the next start recovers from its log."""
        self._end(signal.SIGQUIT)

    def remove(self) -> None:
        """End it and remove its folder."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def address(self, database: str, user: str = OWNER) -> str:
        """The address of a database; `SIGNED` needs `PASSWORD` by PGPASSWORD or a PGPASSFILE."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres", user: str = OWNER) -> "psycopg.Connection[tuple]":
        """A session of its own for a test; every statement is its own transaction."""
        return psycopg.connect(self.address(database, user), autocommit=True, connect_timeout=5)

    def make_database(self, owner: str = OWNER) -> str:
        """Make an empty database; gives its name."""
        name = f"library_{next(_NUMBERS)}"
        with self.connect() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(owner))
            )
        return name

    def drop_database(self, name: str) -> None:
        """Drop a database, whoever is in it."""
        with self.connect() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
