"""The log of a long run: a closed list of events and fields; what libraries say is emptied before it is shown."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.journal import EVENTS, FIELDS, Fields, Journal

ROOT = Path(__file__).parent.parent.parent
SOUND = {
    "source": "folio",
    "sources": 2,
    "part": "loans.v1/3",
    "reason": "bad_time",
    "window": "circ_branch_month 2026-03-01",
    "key": "token 2026-03",
    "library": "apache_beam",
    "level": "ERROR",
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_an_event_is_one_json_line_with_exactly_its_fields(event):
    stream = io.StringIO()

    Journal(stream).note(event, **{field: SOUND[field] for field in FIELDS[event]})

    assert stream.getvalue().count("\n") == 1
    assert json.loads(stream.getvalue()) == {"event": event} | {field: SOUND[field] for field in FIELDS[event]}


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_on_a_terminal_an_event_is_a_plain_line_with_the_same_values(event):
    stream = Terminal()

    Journal(stream).note(event, **{field: SOUND[field] for field in FIELDS[event]})

    assert "{" not in stream.getvalue()
    assert [field for field in FIELDS[event] if str(SOUND[field]) not in stream.getvalue()] == []


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ("patron_seen", {}),
        ("gap_found", {"source": "folio"}),
        ("gap_found", {"source": "folio", "part": "loans/0", "patron": "p1"}),
        ("gap_found", {"source": "folio", "part": "loans/0", "window": SOUND["window"]}),
        ("window_released", {"window": "21234000123456"}),
        ("window_released", {"window": "circ_branch_month 2026-03-01\nforged"}),
        ("key_destroyed", {"key": "token 2026-03 deadbeef"}),
        ("breaker_open", {"source": "folio", "reason": "p1 is unknown"}),
        ("library_erred", {"library": "patron p1", "level": "ERROR"}),
        ("live_started", {"sources": "two"}),
        ("live_started", {"sources": True}),
    ],
)
def test_what_is_not_of_the_list_is_refused_without_quoting_it(event, fields):
    stream = io.StringIO()

    with pytest.raises(ValueError, match=r"^journal: an event, field or value that is not of its list") as refused:
        Journal(stream).note(event, **fields)

    assert stream.getvalue() == ""
    assert not [value for value in fields.values() if str(value) in str(refused.value)]


def test_the_fields_of_all_events_are_those_that_the_type_has():
    assert frozenset().union(*FIELDS.values()) == Fields.__annotations__.keys() == SOUND.keys()


NOISE = """
import logging, sys, threading, warnings
own = logging.getLogger("google.cloud.pubsub")
own.addHandler(logging.StreamHandler(sys.stderr))
logging.disable(logging.CRITICAL)

from pipelines.journal import Journal
from pipelines.library_logs import hush_libraries
hush_libraries(Journal(sys.stdout))

def failing(name="CANARY777"):
    raise ValueError(f"{name} in {locals()}")

class Finalizer:
    __del__ = failing

try:
    failing()
except ValueError:
    logging.getLogger("apache_beam.runners").exception("of %s", "CANARY777", extra={"element": "CANARY777"})
own.error("CANARY777")
own.error("CANARY777 again")
own.warning("CANARY777")
logging.getLogger("CANARY777").critical("CANARY777", stack_info=True)
logging.getLogger("grpc").info("CANARY777")
warnings.warn("CANARY777")
thread = threading.Thread(target=failing, name="CANARY777")
thread.start()
thread.join()
Finalizer()
"""


def test_no_library_shows_its_texts():
    done = subprocess.run(
        [sys.executable, "-c", NOISE], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )

    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"event": "library_erred", "library": "apache_beam", "level": "ERROR"},
        {"event": "library_erred", "library": "google", "level": "ERROR"},
        {"event": "library_erred", "library": "other", "level": "CRITICAL"},
        {"event": "library_failed", "library": "other"},
        {"event": "library_failed", "library": "other"},
    ]
    assert set(done.stderr.splitlines()) == {"(not shown)"}  # of the library that has a handler of its own


# The real command, over a bus whose answer fails or whose message makes the graph fail.
LIVE = """
import sys
import pipelines.live
from contextlib import contextmanager
from tests.support.scripted_bus import ScriptedBus
from transforms.decode import Decoder

where = sys.argv.pop(1)

@contextmanager
def buses(deployment, policy, store, now):
    bus = ScriptedBus("carrel-event", now)
    if where == "bus":
        bus.fail(RuntimeError("no answer to CANARY777"))
    bus.put([(now(), {"kind": "circulation", "patron_ref": "CANARY777"})])
    yield {"carrel-event": bus}

def judge(self, chunk):
    raise RuntimeError(f"CANARY777 {chunk.blocks}")

pipelines.live.open_buses = buses
Decoder.decode = judge
from pipelines.command_line import main
main()
"""


@pytest.mark.parametrize("where", ["bus", "graph"])
def test_an_error_in_live_that_quotes_a_message_is_told_by_its_place_alone(run, tmp_path, where):
    run("init", tmp_path / "library", "--secrets", tmp_path / "secrets")

    words = [where, "-c", str(tmp_path / "library" / "carrel.toml"), "live"]
    done = subprocess.run(
        [sys.executable, "-c", LIVE, *words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 2
    assert "CANARY777" not in done.stdout + done.stderr
    assert done.stderr.startswith("carrel: internal fault, RuntimeError at ")
    (started, *others) = [json.loads(line) for line in done.stdout.splitlines()]
    assert started == {"event": "live_started", "sources": 1}
    assert [one for one in others if one["event"] != "library_erred"] == []
