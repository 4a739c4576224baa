"""A server that answers as Flink's REST interface does, from a list of answers; it keeps what it was asked."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from pipelines.flink_rest import FlinkRest


@contextmanager
def answering(answers):
    """Serve `answers`: of each "METHOD /path" one answer or a list, the last of which is given for ever.

    Yields the client, and the list of (method, path, body) asked so far.
    """
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            size = int(self.headers.get("Content-Length") or 0)
            asked.append((self.command, self.path, json.loads(self.rfile.read(size)) if size else None))
            found = answers.get(f"{self.command} {self.path}")
            if isinstance(found, list):
                found = found.pop(0) if len(found) > 1 else found[0]
            body = b"" if found is None else json.dumps(found).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PATCH = do_GET  # noqa: N815 - the names are http.server's

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield FlinkRest(f"http://127.0.0.1:{server.server_address[1]}"), asked
        server.shutdown()
