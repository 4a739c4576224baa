"""Markers, Hypothesis profiles, one small sample library for all tests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Examples a law is tried on: at home, in CI (always the same ones), at night.
for _name, _examples in (("dev", 50), ("ci", 100), ("nightly", 10_000)):
    settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,
        derandomize=_name == "ci",
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile(os.environ.get("CARREL_HYPOTHESIS", "ci" if os.environ.get("CI") == "true" else "dev"))

ROOT = Path(__file__).parent.parent
SOURCES = "carrel-event,folio,evergreen,salesforce"


def carrel(*arguments: object, code: int | None = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would; `code` None takes any exit."""
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.command_line", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert code is None or done.returncode == code, done.stdout[-2000:] + done.stderr[-2000:]
    return done


@pytest.fixture(scope="session")
def run():
    return carrel


@pytest.fixture(scope="session")
def sample(tmp_path_factory) -> Path:
    """Logs of a synthetic library in all wire formats."""
    directory = tmp_path_factory.mktemp("sample") / "logs"
    carrel("sample", directory, "--patrons", 1500, "--seed", 7)
    return directory


@pytest.fixture
def deploy(tmp_path, sample):
    """Make a deployment that reads the sample; returns a function (name, preset, sources) -> its folder."""

    def made(name: str = "deployment", preset: str = "standard", sources: str = SOURCES) -> Path:
        directory = tmp_path / name
        carrel(
            "init", directory, "--preset", preset, "--sources", sources, "--secrets", tmp_path / f"{name}-secrets",
            "--logs", sample,
        )  # fmt: skip
        return directory

    return made
