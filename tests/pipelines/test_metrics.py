"""What an operator sees of `carrel live` over HTTP: coarse counters, health, and nothing that moves with one person."""

import itertools
import re
import shutil
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

import pipelines.watch
from pipelines.configuration import ConfigurationError, ListensAt, load
from pipelines.counts_opening import open_counts
from pipelines.health import PATIENCE, Health
from pipelines.journal import EVENTS
from pipelines.metrics_server import served
from pipelines.supervisor import Supervisor
from schemas.rejects import Reason
from tests.support.child_process import free_port
from tests.support.scripted_live import SOURCE, ScriptedLive, checkouts

RUNBOOK = Path(__file__).parent.parent.parent / "docs" / "runbooks" / "live.md"
HOUR = 3_600_000
START = 1_773_144_000_000  # 2026-03-10T12:00Z


@pytest.fixture(scope="module")
def untouched(run, tmp_path_factory):
    """A new deployment with its secrets beside it; never used itself."""
    directory = tmp_path_factory.mktemp("untouched")
    run("init", directory / "library", "--secrets", directory / "secrets")
    return directory


@pytest.fixture
def toml(untouched, tmp_path):
    shutil.copytree(untouched, tmp_path, dirs_exist_ok=True)
    text = (tmp_path / "library" / "carrel.toml").read_text()
    (tmp_path / "library" / "carrel.toml").write_text(text.replace(str(untouched), str(tmp_path)))
    return tmp_path / "library" / "carrel.toml"


@pytest.fixture
def live(toml, monkeypatch):
    """A live loop that answers, and shows at each scrape what its stores have."""
    one = ScriptedLive(toml, monkeypatch, START)
    one.listen()
    monkeypatch.setattr(pipelines.watch, "EVERY", 0.0)
    return one


def test_a_scrape_shows_the_closed_set_floored_and_to_the_hour(live):
    seen = []
    live.bus.put(checkouts(range(12_060), START - 90_000))
    live.bus.put(checkouts(range(120), START - 60_000, shoe_size="CANARY777"))

    live.run(lambda: None, lambda: None, lambda: None, lambda: seen.append(live.series()))

    (series,) = seen
    names = {name.partition("{")[0] for name in series}
    assert names == {
        "carrel_messages_total", "carrel_rejects_total", "carrel_conservation_holds", "carrel_batches_total",
        "carrel_batch_seconds_total", "carrel_last_commit_timestamp_seconds", "carrel_clock_timestamp_seconds",
        "carrel_clock_lag_seconds", "carrel_breaker_open", "carrel_windows", "carrel_frozen_windows", "carrel_key_age_days",
        "carrel_released_numbers",
    }  # fmt: skip
    assert series[f'carrel_messages_total{{source="{SOURCE}"}}'] == 12_100
    rejects = {name: value for name, value in series.items() if name.startswith("carrel_rejects_total")}
    assert len(rejects) == len(Reason)
    assert {name for name, value in rejects.items() if value} == {
        f'carrel_rejects_total{{reason="{Reason.DISALLOWED_FIELD}",source="{SOURCE}"}}'
    }
    assert set(rejects.values()) == {0, 100}
    assert series["carrel_conservation_holds"] == 1
    assert series[f'carrel_breaker_open{{source="{SOURCE}"}}'] == 0
    assert series["carrel_batches_total"] == series["carrel_batch_seconds_total"] == 0
    assert series["carrel_last_commit_timestamp_seconds"] == START // 1000
    assert series[f'carrel_clock_timestamp_seconds{{source="{SOURCE}"}}'] == (START - HOUR) // 1000
    assert series[f'carrel_clock_lag_seconds{{source="{SOURCE}"}}'] == 3600
    assert series['carrel_key_age_days{purpose="token"}'] == 0
    assert series['carrel_windows{state="released"}'] == series['carrel_windows{state="void"}'] == 0
    assert series['carrel_windows{state="held"}'] > 5  # one of each monthly table, one of each daily one


def test_a_source_that_is_not_read_on_is_said(live):
    seen = []
    live.bus.put(checkouts(range(300), START - 90_000, shoe_size=1))

    events = live.run(lambda: None, lambda: seen.append(live.series()))

    assert seen[0][f'carrel_breaker_open{{source="{SOURCE}"}}'] == 1
    assert {"event": "breaker_open", "source": SOURCE, "reason": Reason.DISALLOWED_FIELD} in events


def test_the_runbook_names_every_metric_and_every_event(live):
    seen = []
    live.bus.put(checkouts(range(3), START - 90_000))
    live.run(lambda: None, lambda: seen.extend(live.series()))
    tables = [line for line in RUNBOOK.read_text().splitlines() if line.startswith("| `")]
    named = {name for line in tables for name in re.findall(r"`(\w+)`", line.split("|")[1])}

    assert named == {name.partition("{")[0] for name in seen} | EVENTS


def test_labels_are_configured_names_and_closed_words_only(live):
    seen = []
    live.bus.put(checkouts(range(3), START - 90_000, branch="CANARY777", patron_ref="CANARY777"))

    live.run(lambda: None, lambda: seen.append(live.ask("/metrics")[1]))

    labels = set(re.findall(r'(\w+)="([^"]*)"', seen[0]))
    closed = {("reason", str(reason)) for reason in Reason} | {("source", SOURCE)}
    closed |= {("state", state) for state in ("held", "released", "void")}
    closed |= {("status", status) for status in ("published", "withheld", "structural_zero")}
    closed |= {
        ("table", table) for table in re.findall(r'(?m)^name = "(\w+)"', (live.toml.parent / "policy.toml").read_text())
    }
    assert labels - {("purpose", purpose) for purpose in ("noise", "store", "token")} == closed
    assert "CANARY777" not in seen[0]


def test_no_series_moves_with_a_single_person(live):
    seen = []
    live.bus.put(checkouts(range(90), START - 90_000))
    for number in range(90, 120):
        live.bus.put(checkouts([number], START - 80_000, **({"shoe_size": 1} if number % 3 else {})))

    live.run(lambda: None, *[lambda: seen.append(live.series())] * 31)

    moves = [abs(after[name] - before.get(name, 0)) for before, after in itertools.pairwise(seen) for name in after]
    assert set(moves) == {0, 100}  # once: the hundredth message


def test_windows_are_counted_by_the_calendar_whoever_came(live):
    """Whether a window holds acts of anybody is not shown: the first one's coming would be."""
    seen = []
    live.toml.write_text(
        live.toml.read_text().replace(
            'adapter = "carrel-event"\n',
            """adapter = "carrel-event"
complete_from = "2026-03-01"
""",
        )
    )

    def come():
        live.bus.put(checkouts([1], START - 90_000))

    look = lambda: seen.append(live.series()['carrel_windows{state="held"}'])  # noqa: E731
    live.run(lambda: None, look, come, look, look)

    assert len(set(seen)) == 1
    assert seen[0] > 10  # the daily tables have ten days of March


def test_released_and_void_windows_are_counted_when_their_time_has_come(live):
    seen = []
    live.bus.put(checkouts(range(5), START - 90_000))

    def a_year_later():
        live.now = START + 400 * 24 * HOUR

    live.run(lambda: None, a_year_later, lambda: seen.append(live.series()))

    assert seen[0]['carrel_windows{state="released"}'] > 50
    assert seen[0]['carrel_windows{state="void"}'] > 5  # March is not known from its beginning
    with open_counts(live.toml.parent / "counts.db") as counts:
        rows = list(counts.rows())
    last = {row.table_name: row.window_start for row in sorted(rows, key=lambda row: row.window_start)}
    held = Counter((row.table_name, row.status) for row in rows if row.window_start == last[row.table_name])
    assert len({table for table, _ in held}) > 3
    series = {
        (table, status): f'carrel_released_numbers{{status="{status}",table="{table}"}}' for table, status in held
    }
    assert {where: seen[0][name] for where, name in series.items()} == held
    assert sum(value for name, value in seen[0].items() if name.startswith("carrel_released_numbers")) == held.total()


def test_what_is_not_accounted_for_is_said(live):
    seen = []
    live.bus.put(checkouts(range(5), START - 90_000))

    def lose():
        watching[0]._work.before = {(SOURCE, "messages"): 1}

    watching = []
    made = pipelines.watch.Watch.__init__

    def keep(self, *given, **named):
        made(self, *given, **named)
        watching.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipelines.watch.Watch, "__init__", keep)
        live.run(lambda: None, lose, lambda: seen.append(live.series()["carrel_conservation_holds"]))

    assert seen == [0]


def test_the_page_is_made_anew_at_most_every_five_minutes(live, monkeypatch):
    monkeypatch.setattr(pipelines.watch, "EVERY", 300.0)
    seen = []
    live.bus.put(checkouts(range(150), START - 90_000))
    live.bus.put(checkouts(range(150, 300), START - 80_000))

    live.run(lambda: None, *[lambda: seen.append(live.series())] * 3)

    assert seen[0] == seen[1] == seen[2]
    assert seen[0][f'carrel_messages_total{{source="{SOURCE}"}}'] == 100


def test_ready_after_the_first_round_and_not_before(live):
    seen = []

    live.run(*[lambda: seen.append((live.ask("/readyz"), live.ask("/healthz")))] * 2)

    assert seen == [((503, "no\n"), (200, "yes\n")), ((200, "yes\n"), (200, "yes\n"))]


def test_a_loop_that_makes_no_step_is_not_healthy():
    clock = [0.0]
    health = Health(Supervisor({}), clock=lambda: clock[0])

    health.round_done()
    clock[0] = PATIENCE
    within = health.is_healthy
    clock[0] = PATIENCE + 1

    assert (within, health.is_healthy) == (True, False)


def test_nothing_else_is_answered_and_no_question_is_quoted(live):
    seen = []

    def ask():
        seen.append(live.ask("/CANARY777"))
        seen.append(live.ask("/metrics", data=b"CANARY777"))
        seen.append(live.ask("/metrics", method="CANARY777"))

    live.run(ask)

    assert [status for status, _ in seen] == [404, 501, 501]
    assert not [body for _, body in seen if "CANARY777" in body]


def test_without_the_word_nothing_listens(toml):
    assert load(toml).metrics is None


def test_an_address_that_is_taken_is_said_in_one_line(live):
    at = ListensAt("127.0.0.1", int(live.address.rpartition(":")[2]))
    with (
        served(at, Health(Supervisor({})), lambda: b""),
        pytest.raises(ConfigurationError, match=r"^metrics.address: cannot be listened on \(.+\); free it"),
    ):
        live.run(lambda: None)


@pytest.mark.parametrize(
    ("block", "found"),
    [
        ('address = "127.0.0.1:9464"', ListensAt("127.0.0.1", 9464)),
        ('address = "127.8.9.1:1"', ListensAt("127.8.9.1", 1)),
        ('address = "[::1]:9464"', ListensAt("::1", 9464)),
        ('address = "0.0.0.0:9464"\nbeyond_loopback = true', ListensAt("0.0.0.0", 9464)),
    ],
)
def test_an_address_is_an_ip_and_a_port(toml, block, found):
    assert configured(toml, block).metrics == found


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ('address = "0.0.0.0:9464"', "others than this machine could ask there"),
        ('address = "10.0.0.7:9464"', "others than this machine could ask there"),
        ('address = "[::]:9464"', "others than this machine could ask there"),
        ('address = "localhost:9464"', "need an IP address and a port"),
        ('address = "127.0.0.1"', "need an IP address and a port"),
        ('address = "127.0.0.1:0"', "need an IP address and a port"),
        ('address = "127.0.0.1:70000"', "need an IP address and a port"),
        ('address = "127.0.0.1:9464"\npath = "/"', "unknown key"),
    ],
)
def test_another_address_is_refused(toml, block, said):
    with pytest.raises(ConfigurationError, match=said):
        configured(toml, block)


def configured(toml, block):
    toml.write_text(toml.read_text().replace("[sources.", f"[metrics]\n{block}\n\n[sources.", 1))
    return load(toml)


def test_the_server_answers_on_ipv6_too():
    at = ListensAt("::1", free_port())
    try:
        with (
            served(at, Health(Supervisor({})), lambda: b"carrel 1\n"),
            urllib.request.urlopen(f"http://[::1]:{at.port}/metrics", timeout=30) as answer,
        ):
            assert answer.read() == b"carrel 1\n"
    except ConfigurationError:
        pytest.skip("this machine has no IPv6 loopback")
