"""Serves metrics and health over HTTP: `/metrics`, `/healthz`, `/readyz`, and nothing else."""

import socket
import threading
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Callable, Iterator

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from pipelines.configuration import ConfigurationError, ListensAt
from pipelines.health import Health

_PLAIN = "text/plain; charset=utf-8"
_PATIENCE = 5.0  # seconds for a question to arrive whole


@contextmanager
def served(at: ListensAt, health: Health, metrics: Callable[[], bytes]) -> Iterator[None]:
    """Answer in threads of its own until the block ends.

    Args:
      metrics: the page as it is now, from any thread.

    Raises:
      ConfigurationError: the address cannot be listened on.
    """

    class Answers(BaseHTTPRequestHandler):
        timeout = _PATIENCE

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(HTTPStatus.OK, metrics(), CONTENT_TYPE_PLAIN_0_0_4)
            elif self.path == "/healthz":
                self._say(holds=health.is_healthy)
            elif self.path == "/readyz":
                self._say(holds=health.is_ready)
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"there are /metrics, /healthz and /readyz\n", _PLAIN)

        def _say(self, *, holds: bool) -> None:
            if holds:
                self._answer(HTTPStatus.OK, b"yes\n", _PLAIN)
            else:
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, b"no\n", _PLAIN)

        def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
            self.send_response_only(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def send_error(self, code: int, *_: Any) -> None:  # an error page of its own would quote the question
            self.send_response_only(code)
            self.send_header("Content-Length", "0")
            self.end_headers()
            self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in at.host else socket.AF_INET
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass  # whoever asked has gone

    try:
        server = Server((at.host, at.port), Answers)
    except OSError as error:
        message = f"metrics.address: cannot be listened on ({error.strerror}); free it or choose another port"
        raise ConfigurationError(message) from None
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
