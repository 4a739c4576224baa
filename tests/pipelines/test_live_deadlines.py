"""Keys end on schedule while `carrel live` runs, whatever becomes of its buses."""

from datetime import UTC, datetime

import pytest

from tests.support.scripted_live import ScriptedLive, checkouts

START = 1_773_144_000_000  # 2026-03-10T12:00Z
DEADLINE = int(datetime(2026, 4, 22, 4, tzinfo=UTC).timestamp() * 1000)  # April 1 in New York, 7 + 14 days


@pytest.fixture
def live(run, tmp_path, monkeypatch):
    run("init", tmp_path / "library", "--secrets", tmp_path / "secrets")
    return ScriptedLive(tmp_path / "library" / "carrel.toml", monkeypatch, START)


def test_a_bus_that_answers_no_more_keeps_no_key_alive(live):
    live.bus.put(checkouts(range(20), START - 90_000))

    def fall_silent():
        live.bus.answers = False

    def wait_until(instant):
        live.now = instant

    before = live.run(lambda: None, fall_silent, lambda: wait_until(DEADLINE - 1), lambda: None)
    after = live.run(lambda: None, lambda: wait_until(DEADLINE + 3_600_000), lambda: None)

    destroyed = {"event": "key_destroyed", "key": "token 2026-03"}
    assert destroyed not in before
    assert destroyed in after
    assert {"event": "window_void", "window": "circ_branch_month 2026-03-01"} in after
