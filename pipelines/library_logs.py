"""What libraries log reaches the journal as the library's name and a level, and nobody otherwise.

Their texts quote what they were working on: Beam an element with its error, a client an answer of its service.
"""

import logging
import sys
import threading
import time
import warnings
from typing import Any, Callable, Optional

from pipelines.journal import Journal

# Others are told of as "other": the name of a logger may be made from data too.
LIBRARIES = frozenset(
    {"apache_beam", "asyncio", "concurrent", "confluent_kafka", "google", "grpc", "psycopg", "pyarrow", "urllib3"}
)
_OURS = frozenset({"pipelines", "schemas", "transforms"})
_EVERY = 600.0  # seconds: the same library and level is noted at most so often


def hush_libraries(journal: Journal, clock: Callable[[], float] = time.monotonic) -> None:
    """Empty every log record where it is made, and note errors, failed threads and finalizers in the journal.

    Records are emptied before any handler sees them, so that a library with a handler of its own shows nothing.

    Args:
      clock: seconds that never go back.
    """
    logging.setLogRecordFactory(_emptied)
    logging.raiseExceptions = False  # a handler that fails would print its record
    root = logging.getLogger()
    root.handlers = [_ToJournal(journal, clock)]
    root.setLevel(logging.ERROR)  # Beam warns of its own type hints at each batch
    logging.disable(logging.NOTSET)
    warnings.simplefilter("ignore")

    def thread_failed(given: threading.ExceptHookArgs) -> None:
        journal.note("library_failed", library=_where(given.exc_traceback))

    def finalizer_failed(given: "sys.UnraisableHookArgs") -> None:
        journal.note("library_failed", library=_where(given.exc_traceback))

    threading.excepthook = thread_failed
    sys.unraisablehook = finalizer_failed


class _ToJournal(logging.Handler):
    def __init__(self, journal: Journal, clock: Callable[[], float]) -> None:
        super().__init__(logging.ERROR)
        self._journal = journal
        self._clock = clock
        self._noted: dict[tuple[str, str], float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        library, level = _known(record.name), "CRITICAL" if record.levelno >= logging.CRITICAL else "ERROR"
        now, last = self._clock(), self._noted.get((library, level))
        if last is None or now - last >= _EVERY:
            self._noted[library, level] = now
            self._journal.note("library_erred", library=library, level=level)


def _emptied(name: str, level: int, path: str, line: int, *_: Any, **__: Any) -> logging.LogRecord:
    return logging.LogRecord(name, level, path, line, "(not shown)", (), None)


def _known(module: str) -> str:
    name = module.partition(".")[0]
    return name if name in LIBRARIES | _OURS else "other"


def _where(trace: Optional[Any]) -> str:
    """The library of the innermost frame of a traceback."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "other" if trace is None else _known(str(trace.tb_frame.f_globals.get("__name__", "")))
