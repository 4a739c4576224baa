"""What a service manager is told: that the work has begun, goes on, ends. systemd's notification protocol."""

import socket
import time
from typing import Callable, Mapping


class Supervisor:
    """The service manager that started this process; without one nothing is sent.

    Args:
      environment: NOTIFY_SOCKET is a path or, after `@`, an abstract name; WATCHDOG_USEC the time in microseconds
        within which it must hear that the work goes on.
      clock: seconds that never go back.
    """

    def __init__(self, environment: Mapping[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        within = environment.get("WATCHDOG_USEC", "")
        self._every = int(within) / 2_000_000 if within.isdecimal() else None
        self._clock = clock
        self._told = -float("inf")

    def ready(self) -> None:
        """The first round is done."""
        self._tell("READY=1")

    def going_on(self) -> None:
        """A step was made; told twice in the time that the service manager waits."""
        if self._every is not None and self._clock() - self._told >= self._every:
            self._told = self._clock()
            self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """Told to stop: the rest takes its time."""
        self._tell("STOPPING=1")

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.setblocking(False)
                out.sendto(state.encode(), address)
        except OSError:
            return  # nobody listens: the work goes on
