"""The log of a long run: one JSON object a line, from a closed list of events and fields; never data.

Field values are names of ours: sources, topic partitions, tables with their windows, keys.
"""

import json
from typing import TextIO

EVENTS = frozenset({
    "live_started", "live_stopped", "window_released", "window_void", "window_differs", "key_destroyed", "gap_found",
})  # fmt: skip
FIELDS = frozenset({"source", "sources", "part", "window", "key"})


class Journal:
    """Writes the log.

    Args:
      stream: where the lines go, for instance standard error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def note(self, event: str, **fields: str | int) -> None:
        """Write one line.

        Raises:
          ValueError: an event or a field that is not of the closed list: a fault of ours.
        """
        if event not in EVENTS or not FIELDS.issuperset(fields):
            message = "journal: an event or field that is not of its list; report this as a bug"
            raise ValueError(message)
        self._stream.write(json.dumps({"event": event, **fields}, sort_keys=True) + "\n")
        self._stream.flush()
