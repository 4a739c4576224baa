"""The log of a long run: from a closed list of events, each with its own fields in a closed form; never data.

One JSON object a line for machines, a plain line for the person at a terminal. No times: whoever keeps the log
adds its own. Field values are names of ours: sources, topic partitions, tables with their windows, keys.
"""

import json
import re
import threading
from typing import Literal, Mapping, NotRequired, TextIO, TypedDict, Unpack, get_args

from schemas.rejects import Reason

Event = Literal[
    "live_started",
    "live_stopped",
    "window_released",
    "window_void",
    "window_differs",
    "key_destroyed",
    "gap_found",
    "breaker_open",
    "library_erred",
    "library_failed",
]


class Fields(TypedDict):
    """All fields that there are."""

    source: NotRequired[str]
    sources: NotRequired[int]
    part: NotRequired[str]
    reason: NotRequired[str]
    window: NotRequired[str]
    key: NotRequired[str]
    library: NotRequired[str]
    level: NotRequired[str]


# Event -> its fields, and how a person is told.
_SAID: Mapping[Event, str] = {
    "live_started": "started: reads the buses of {sources} sources",
    "live_stopped": "stopped: what was read of {sources} sources is committed",
    "window_released": "released {window}",
    "window_void": "void, never published: {window}",
    "window_differs": "DIFFERS from what was published: {window}; see the replay runbook",
    "key_destroyed": "key destroyed: {key}",
    "gap_found": "GAP: source {source} has lost messages of {part}; their windows are void",
    "breaker_open": "STOPPED: source {source} refuses too much, mostly {reason}; see the dead-letter runbook",
    "library_erred": "{level} of the library {library}; its text may quote an event and is not shown",
    "library_failed": "a thread failed in the library {library}; its text may quote an event and is not shown",
}
EVENTS: frozenset[Event] = frozenset(get_args(Event))
FIELDS: Mapping[Event, frozenset[str]] = {
    event: frozenset(re.findall(r"\{(\w+)\}", text)) for event, text in _SAID.items()
}
_FORMS: Mapping[str, str] = {
    "source": r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}",
    "part": r"[A-Za-z0-9._~+%/-]{1,300}",
    "reason": "|".join(Reason),
    "window": r"[a-z][a-z0-9_]{0,80} \d{4}-\d{2}-\d{2}",
    "key": r"(token|noise) \d{4}-\d{2}",
    "library": r"[a-z0-9_]{1,40}",
    "level": r"(ERROR|CRITICAL)",
}


class Journal:
    """Writes the log; from any thread.

    Args:
      stream: where the lines go, for instance standard output.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_for_people = stream.isatty()
        self._writing = threading.RLock()  # a finalizer may fail, and be noted, in the middle of a line's writing

    def note(self, event: Event, **fields: Unpack[Fields]) -> None:
        """Write one line.

        Raises:
          ValueError: an event, a field or the form of a value that is not of the closed list: a fault of ours.
        """
        if event not in EVENTS or FIELDS[event] != fields.keys() or not all(map(_is_sound, fields, fields.values())):
            message = "journal: an event, field or value that is not of its list; report this as a bug"
            raise ValueError(message)
        if self._is_for_people:
            line = _SAID[event].format(**fields)
        else:
            line = json.dumps({"event": event, **fields}, sort_keys=True)
        with self._writing:
            self._stream.write(line + "\n")
            self._stream.flush()


def _is_sound(field: str, value: object) -> bool:
    if field == "sources":
        return type(value) is int
    return isinstance(value, str) and re.fullmatch(_FORMS[field], value) is not None
