"""A TCP proxy on loopback whose connections can be cut: the broker is there, and not to be reached."""

import contextlib
import socket
import threading
from typing import Self


class TcpProxy:
    """Listens on one port and passes what comes to another; use as a context manager.

    Args:
      port: where it listens; to: the port that it leads to, both on 127.0.0.1.
    """

    def __init__(self, port: int, to: int) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", port))
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._is_open = True
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Cut every connection and let none through until `heal`."""
        with self._lock:
            self._is_open = False
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for end in pair:
                _end(end)

    def heal(self) -> None:
        """Let connections through again."""
        with self._lock:
            self._is_open = True

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._to), timeout=10)
                far.settimeout(None)
            except OSError:
                _end(near)
                continue
            with self._lock:
                is_open = self._is_open
                if is_open:
                    self._pairs.add((near, far))
            if not is_open:
                _end(near)
                _end(far)
                continue
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(one, other, (near, far)), daemon=True).start()

    def _pass_on(self, one: socket.socket, other: socket.socket, pair: tuple[socket.socket, socket.socket]) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65_536):
                other.sendall(data)
        with self._lock:
            self._pairs.discard(pair)
        for end in pair:
            _end(end)


def _end(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
