"""`carrel status`: where sources, tables and keys of a live deployment stand, to the hour and the hundred."""

import json

import pytest

from pipelines.configuration import capabilities, load
from pipelines.status import print_status, status_of
from schemas.policy_compiler import compile_policy
from tests.support.scripted_live import SOURCE, ScriptedLive, checkouts

HOUR, DAY = 3_600_000, 86_400_000
START = 1_773_144_000_000  # 2026-03-10T12:00Z


@pytest.fixture
def standing(run, tmp_path, monkeypatch):
    """A live loop that has read 260 checkouts and was stopped; a function from now to its status."""
    run("init", tmp_path / "library", "--secrets", tmp_path / "secrets", "--sources", "carrel-event,folio")
    toml = tmp_path / "library" / "carrel.toml"
    live = ScriptedLive(toml, monkeypatch, START)
    live.bus.put(checkouts(range(260), START - 30 * 60_000))
    live.run(*[lambda: None] * 3)
    deployment = load(toml)
    policy = compile_policy(deployment.policy_text, capabilities(deployment))
    return lambda now: status_of(deployment, policy, now=now)


def test_sources_say_how_far_they_are_behind_in_whole_hours(standing):
    at_once, later = standing(START)["sources"], standing(START + 3 * HOUR + 59 * 60_000)["sources"]

    assert at_once[SOURCE] == {
        "clock": "2026-03-10T11Z", "lag_hours": 1, "complete_from": "first event", "complete_through": "-",
    }  # fmt: skip
    assert later[SOURCE]["lag_hours"] == 4
    assert (at_once["folio"]["clock"], at_once["folio"]["lag_hours"]) == ("never read", None)


def test_a_table_is_read_to_where_the_last_of_its_sources_is(standing):
    found = standing(START)

    # Engagement comes from one source; the other tables wait for one that was never read.
    assert found["watermarks"]["engagement_month"] == "2026-03-10T11Z"
    assert found["watermarks"]["circ_branch_month"] == "never read"
    assert found["next"]["circ_branch_month 2026-03-01"] == "2026-04-03T05Z"
    assert found["held"]["circ_branch_month 2026-03-01"] == 200


def test_each_key_says_its_age_and_its_last_day(standing):
    keys = {(key["purpose"], key["month"]): key for key in standing(START + 5 * DAY)["keys"]}

    token = keys["token", "2026-03"]
    assert (token["state"], token["days"]) == ("kept", 5)
    assert token["ends"] == "2026-04-22"  # April 1 in New York, the largest horizon of 7 days, 14 of outage
    assert keys["store", "-"]["ends"] is None


def test_people_see_the_same(standing, capsys):
    print_status(standing(START))

    said = capsys.readouterr().out
    lines = [line.split() for line in said.splitlines()]
    assert [SOURCE, "2026-03-10T11Z", "1", "first", "event", "-"] in lines
    assert ["circ_branch_month", "1", "2026-03-01", "2026-04-03T05Z", "never", "read"] in lines
    assert ["token", "2026-03", "kept", "0", "2026-04-22"] in lines


def test_nothing_finer_than_an_hour_or_a_hundred_is_told(standing):
    text = json.dumps(standing(START) | {"policy_hash": ""})

    assert "260" not in text
    assert "11:30" not in text
    assert str(START - 30 * 60_000) not in text
