"""A machine that stood still while `carrel live` waited for messages: what comes then is judged by the time it is then."""

import pytest

from pipelines.work_store import WorkStore
from pipelines.work_values import OPEN
from tests.support.replaying import at, deployment
from tests.support.scripted_live import SOURCE, ScriptedLive, checkouts

HOUR = 3_600_000


@pytest.fixture
def live(tmp_path, monkeypatch):
    return ScriptedLive(deployment(tmp_path / "library") / "carrel.toml", monkeypatch, at("2026-03-10"))


def test_messages_that_came_while_it_slept_are_not_ahead_of_its_clock(live, tmp_path, monkeypatch):
    product = live.bus.poll

    def sleeps(limits):
        live.now += HOUR
        live.bus.put(checkouts(range(20), live.now))
        return product(limits)

    monkeypatch.setattr(live.bus, "poll", sleeps)

    live.run(lambda: None, lambda: None)

    with WorkStore(tmp_path / "library" / "work.db", read_only=True) as store:
        assert store.totals(OPEN)[SOURCE, "decoded"] == 20
