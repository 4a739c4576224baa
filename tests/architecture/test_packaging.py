"""What is built holds three packages and nothing else, and every dependency is declared once, pinned and explained."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = {"pipelines", "schemas", "transforms"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", text, re.MULTILINE))


def wanted(name: str) -> list[str]:
    lines = (ROOT / "requirements" / f"{name}.in").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith(("#", "-"))]


def plain(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0].lower()


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Source and wheel, built from a copy: a build leaves its marks in the tree."""
    copy = tmp_path_factory.mktemp("source")
    for package in sorted(PACKAGES):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "tests", copy / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--sdist", "--wheel", str(copy)],
        capture_output=True, text=True, check=False, timeout=300, cwd=copy.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return copy / "dist"


def test_the_three_packages_are_ours_alone():
    found = importlib.metadata.packages_distributions()

    assert {name: set(found[name]) for name in PACKAGES} == {name: {"carrel"} for name in PACKAGES}


def test_the_source_distribution_holds_three_packages(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = [name.split("/", 1)[1] for name in tar.getnames() if "/" in name]

    assert {name.split("/")[0] for name in names if name.endswith(".py")} == PACKAGES | {"setup.py"}


def test_the_wheel_holds_every_module_with_types_and_contracts(built):
    (archive,) = built.glob("*.whl")
    with zipfile.ZipFile(archive) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    files = {path for package in PACKAGES for path in (ROOT / package).rglob("*") if "__pycache__" not in path.parts}
    suffixes = (".py", ".avsc", ".json", ".typed")

    assert names == {path.relative_to(ROOT).as_posix() for path in files if path.name.endswith(suffixes)}
    assert {f"{package}/py.typed" for package in PACKAGES} <= names


def test_dependencies_are_those_of_the_requirements_file():
    assert PROJECT["dependencies"] == wanted("runtime")
    assert {plain(one) for one in wanted("runtime")} <= set(pins("runtime"))
    assert {plain(one) for one in wanted("dev")} <= set(pins("dev"))


def test_development_runs_on_the_versions_that_users_get():
    assert pins("runtime").items() <= pins("dev").items()


def test_every_dependency_has_a_written_reason():
    reasons = (ROOT / "docs" / "decisions" / "0002-dependencies.md").read_text()

    for name in {plain(one) for one in (*wanted("runtime"), *wanted("dev"))}:
        assert re.search(rf"`{re.escape(name)}(\[[a-z]+\])?`", reasons), name


def test_the_command_is_installed_as_declared():
    (command,) = importlib.metadata.distribution("carrel").entry_points.select(group="console_scripts")

    assert PROJECT["scripts"] == {command.name: command.value} == {"carrel": "pipelines.command_line:main"}
