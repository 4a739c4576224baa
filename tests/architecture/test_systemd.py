"""The units in deploy/systemd: every directive that they must have, and systemd's own judgement where it is there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.health import PATIENCE
from pipelines.invocation import HELD, USAGE

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from command_words import faults

UNITS = Path(__file__).parent.parent.parent / "deploy" / "systemd"
SERVICES = ("carrel-live.service", "carrel-replay.service")
HARDENED = {
    "NoNewPrivileges": ["yes"],
    "PrivateTmp": ["yes"],
    "PrivateDevices": ["yes"],
    "PrivateUsers": ["yes"],
    "ProtectSystem": ["strict"],
    "ProtectHome": ["yes"],
    "ProtectClock": ["yes"],
    "ProtectControlGroups": ["yes"],
    "ProtectHostname": ["yes"],
    "ProtectKernelLogs": ["yes"],
    "ProtectKernelModules": ["yes"],
    "ProtectKernelTunables": ["yes"],
    "ProtectProc": ["invisible"],
    "ProcSubset": ["pid"],
    "CapabilityBoundingSet": [""],
    "AmbientCapabilities": [""],
    "KeyringMode": ["private"],
    "LockPersonality": ["yes"],
    "MemoryDenyWriteExecute": ["yes"],
    "RemoveIPC": ["yes"],
    "RestrictAddressFamilies": ["AF_INET AF_INET6 AF_UNIX AF_NETLINK"],
    "RestrictNamespaces": ["yes"],
    "RestrictRealtime": ["yes"],
    "RestrictSUIDSGID": ["yes"],
    "SystemCallArchitectures": ["native"],
    "SystemCallFilter": ["@system-service", "~@privileged @resources"],
    "SystemCallErrorNumber": ["EPERM"],
    "UMask": ["0077"],
    "StateDirectory": ["carrel"],
    "StateDirectoryMode": ["0700"],
    "LimitCORE": ["0"],
    "MemorySwapMax": ["0"],
}
SECONDS = {"s": 1, "min": 60, "h": 3600}


def directives(name: str) -> dict[str, dict[str, list[str]]]:
    """Section -> directive -> its values, in their order; a line that is none of these is a fault."""
    found: dict[str, dict[str, list[str]]] = {}
    section = ""
    for line in (UNITS / name).read_text().splitlines():
        if match := re.fullmatch(r"\[(\w+)\]", line):
            section = match[1]
            found[section] = {}
        elif line and not line.startswith("#"):
            key, value = re.fullmatch(r"(\w+)=(.*)", line).groups()
            found[section].setdefault(key, []).append(value)
    return found


def seconds(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(s|min|h)", text).groups()
    return int(number) * SECONDS[unit]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_hardened(name):
    service = directives(name)["Service"]

    assert {key: service.get(key) for key in HARDENED} == HARDENED


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_runs_a_command_that_exists_as_the_user_that_is_made(name):
    service = directives(name)["Service"]
    (command,) = service["ExecStart"]
    kind, user, *_ = (UNITS / "carrel.sysusers").read_text().split()

    assert faults(command) == []
    assert (kind, [user], [user]) == ("u", service["User"], service["Group"])
    assert command.split()[2].startswith(f"/var/lib/{service['StateDirectory'][0]}/")
    assert service["ReadOnlyPaths"][0].split()[0] == "-" + command.split()[2]


def test_live_is_watched_and_what_needs_a_person_is_not_tried_again():
    service = directives("carrel-live.service")["Service"]

    assert (service["Type"], service["NotifyAccess"]) == (["notify"], ["main"])
    assert seconds(service["WatchdogSec"][0]) == PATIENCE
    assert (service["Restart"], service["RestartPreventExitStatus"]) == (["on-failure"], [str(USAGE)])
    assert seconds(service["TimeoutStopSec"][0]) >= 60


def test_a_replay_each_night_gives_way_to_another_instance():
    service, timer = directives("carrel-replay.service"), directives("carrel-replay.timer")

    assert service["Service"]["Type"] == ["oneshot"]
    assert service["Service"]["SuccessExitStatus"] == [str(HELD)]
    assert "Restart" not in service["Service"]
    assert timer["Timer"]["Persistent"] == ["yes"]
    assert re.fullmatch(r"\*-\*-\* \d\d:\d\d:00", timer["Timer"]["OnCalendar"][0])


@pytest.fixture
def analyze(tmp_path):
    """systemd's own reader, over copies whose program is one that is here."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze: not installed")
    for path in UNITS.glob("carrel-*"):
        (tmp_path / path.name).write_text(re.sub(r"/opt/\S+/carrel ", "/bin/true ", path.read_text()))

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["systemd-analyze", *words], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )

    return run


def test_systemd_reads_the_units_without_a_word(analyze):
    done = analyze("verify", *(f"./{name}" for name in (*SERVICES, "carrel-replay.timer")))

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("name", SERVICES)
def test_systemd_finds_little_exposed(analyze, name):
    done = analyze("security", "--offline=true", "--threshold=20", f"./{name}")

    assert done.returncode == 0, done.stdout[-1000:]
