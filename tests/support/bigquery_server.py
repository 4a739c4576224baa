"""A BigQuery emulator for tests: loopback, in memory; it dies with the process that started it.

It lives in an environment of its own, made once for each version of `deploy/bigquery-emulator/requirements.txt`:
its many parts are none of Carrel's.
"""

import hashlib
import itertools
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from tests.support.child_process import free_port, start

LOCK = Path(__file__).parent.parent.parent / "deploy" / "bigquery-emulator" / "requirements.txt"
PROJECT = "carrel-tests"
# The emulator loads an extension from the network for GEOGRAPHY, which nobody here needs: it starts without it.
_START = """
from bqemulator.storage import engine
for one in vars(engine).values():
    if isinstance(one, type) and "_load_spatial" in vars(one):
        one._load_spatial = lambda self: None
from bqemulator.cli import main
main()
"""
_NUMBERS = itertools.count()


class BigQueryMissingError(Exception):
    """There is no emulator here: its parts cannot be resolved."""


def emulator_parts() -> Path:
    """The folder of the emulator's packages, made once for each version of the lock."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "carrel"
    tag = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:12]
    parts = cache / f"bigquery-{tag}"
    if parts.is_dir():
        return parts
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as made:
        install = ["-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target", f"{made}/parts"]
        done = subprocess.run(
            [sys.executable, *install, "-r", str(LOCK)], capture_output=True, timeout=600, check=False
        )
        if done.returncode:
            raise BigQueryMissingError(f"the packages of {LOCK.parent.name}/{LOCK.name} cannot be had")
        try:
            Path(made, "parts").rename(parts)
        except OSError:  # another run was faster
            if not parts.is_dir():
                raise
    return parts


class BigQueryServer:
    """One emulator; `host` is what BIGQUERY_EMULATOR_HOST must be.

    Attributes:
      client: asks it, as project `PROJECT`.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._parts = emulator_parts()
        self._port = free_port()
        self.host = f"http://127.0.0.1:{self._port}"
        self.client = bigquery.Client(
            project=PROJECT, credentials=AnonymousCredentials(), client_options={"api_endpoint": self.host}
        )

    def start(self) -> None:
        """Start and wait until it answers."""
        code = f"import sys; sys.path.insert(0, {str(self._parts)!r}){_START}"
        ports = ["--rest-port", str(self._port), "--grpc-port", str(free_port())]
        command = [sys.executable, "-I", "-S", "-c", code, "start", *ports, "--log-level", "error"]
        self._process = start(command, self._directory)
        until = time.monotonic() + 120
        while time.monotonic() < until and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.host}/bigquery/v2/projects/{PROJECT}/datasets", timeout=5):
                    return
            except OSError:
                time.sleep(0.05)
        said = (self._directory / "output.log").read_text(errors="replace")[-2000:]
        self.stop()
        raise AssertionError(f"the emulator did not start: {said}")

    def stop(self) -> None:
        self.client.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=30)
            self._process = None

    def make_dataset(self) -> str:
        """Make an empty dataset; gives its address for `counts_store`."""
        name = f"library_{next(_NUMBERS)}"
        self.client.create_dataset(name)
        return f"bigquery:{PROJECT}.{name}"
