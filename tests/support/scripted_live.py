"""`carrel live` in this process, over a scripted bus: the test acts between its steps."""

import io
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pipelines.live
from pipelines.bus import Limits
from pipelines.configuration import capabilities, load
from pipelines.journal import Journal
from schemas.policy_compiler import compile_policy
from tests.support.child_process import free_port
from tests.support.scripted_bus import ScriptedBus

SOURCE = "carrel-event"


class ScriptedLive:
    """One deployment's live loop, its wall clock and its bus.

    Attributes:
      now: the wall clock, ms UTC; a test moves it.
      address: where it answers, once `listen` was called.
    """

    def __init__(self, toml: Path, monkeypatch, now: int) -> None:
        self.toml, self.now = toml, now
        self.bus = ScriptedBus(SOURCE, lambda: self.now)
        self.address = ""
        monkeypatch.setattr(pipelines.live, "open_buses", self._buses)

    @contextmanager
    def _buses(self, *_: object) -> Iterator[dict[str, ScriptedBus]]:
        yield {SOURCE: self.bus}

    def listen(self) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        text = self.toml.read_text()
        self.toml.write_text(text.replace("[sources.", f'[metrics]\naddress = "{self.address}"\n\n[sources.', 1))

    def run(self, *acts: Callable[[], object]) -> list[dict[str, object]]:
        """Run it; each act is done before a step, the last one after the last step. What the journal holds."""
        deployment = load(self.toml)
        stream, waiting = io.StringIO(), list(acts)

        def stopping() -> bool:
            waiting.pop(0)()
            return not waiting

        pipelines.live.live(
            deployment,
            compile_policy(deployment.policy_text, capabilities(deployment)),
            now=lambda: self.now,
            stopping=stopping,
            journal=Journal(stream),
            limits=Limits(),
        )
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    def ask(self, path: str, **given: object) -> tuple[int, str]:
        """Status and body of an answer over HTTP."""
        try:
            with urllib.request.urlopen(
                urllib.request.Request(f"http://{self.address}{path}", **given), timeout=30
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def series(self) -> dict[str, float]:
        """All that a scrape shows: name with labels -> value."""
        status, text = self.ask("/metrics")
        assert status == 200
        lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}


def checkout(number: int, occurred: int, **more: object) -> dict[str, object]:
    return {
        "kind": "circulation", "event_id": f"e{number}", "occurred_at": occurred, "action": "checkout",
        "branch": "B01", "material": "book", "patron_ref": f"p{number}", "patron_kind": "patron", **more,
    }  # fmt: skip


def checkouts(numbers: Iterable[int], at: int, **more: object) -> list[tuple[int, dict[str, object]]]:
    return [(at, checkout(number, at, **more)) for number in numbers]
