"""What systemd hears of `carrel live`, over a real notification socket."""

import secrets
import socket

import pytest

from pipelines.supervisor import Supervisor
from tests.support.scripted_live import ScriptedLive, checkouts

START = 1_773_144_000_000


@pytest.fixture
def hears(tmp_path):
    """A bound datagram socket: returns a function that gives all that it was sent."""
    made = []

    def bind(address):
        one = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        made.append(one)
        one.bind(address)
        one.setblocking(False)

        def heard():
            found = []
            while True:
                try:
                    found.append(one.recv(4096).decode())
                except BlockingIOError:
                    return found

        return heard

    yield bind
    for one in made:
        one.close()


def test_live_says_when_it_is_ready_goes_on_and_stops(run, tmp_path, monkeypatch, hears):
    heard = hears(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "2")  # told at each step
    run("init", tmp_path / "library", "--secrets", tmp_path / "secrets")
    live = ScriptedLive(tmp_path / "library" / "carrel.toml", monkeypatch, START)
    live.bus.put(checkouts(range(3), START - 90_000))
    told = []

    live.run(lambda: told.append(heard()), lambda: told.append(heard()), lambda: told.append(heard()))

    before, first, second = told
    assert before == []
    assert first == ["WATCHDOG=1", "WATCHDOG=1", "READY=1"]  # a batch, and the round with it
    assert set(second) == {"WATCHDOG=1"}
    assert heard() == ["STOPPING=1"]


def test_a_watchdog_hears_twice_in_its_time(tmp_path, hears):
    heard = hears(str(tmp_path / "notify"))
    clock = [100.0]
    supervisor = Supervisor(
        {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "10000000"}, clock=lambda: clock[0]
    )

    for moment in (100.0, 104.9, 105.0, 109.0, 110.0):
        clock[0] = moment
        supervisor.going_on()

    assert heard() == ["WATCHDOG=1"] * 3


def test_an_abstract_socket_is_known_by_its_sign(hears):
    name = f"carrel-{secrets.token_hex(8)}"
    heard = hears(f"\0{name}")

    Supervisor({"NOTIFY_SOCKET": f"@{name}"}).ready()

    assert heard() == ["READY=1"]


@pytest.mark.parametrize("environment", [{}, {"NOTIFY_SOCKET": "/nobody/listens/here", "WATCHDOG_USEC": "2"}])
def test_where_nobody_listens_the_work_goes_on(environment):
    supervisor = Supervisor(environment)

    supervisor.ready()
    supervisor.going_on()
    supervisor.stopping()


def test_without_a_watchdog_it_is_told_of_no_steps(tmp_path, hears):
    heard = hears(str(tmp_path / "notify"))

    Supervisor({"NOTIFY_SOCKET": str(tmp_path / "notify")}).going_on()

    assert heard() == []
