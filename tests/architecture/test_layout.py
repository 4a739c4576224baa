"""What lies where, and what a module may be called."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("pipelines", "schemas", "transforms")
FOLDERS = {".ci", "deploy", "docs", "examples", "requirements", "tests", *PACKAGES}
NEEDED = {
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "Makefile",
    "pyproject.toml",
    "setup.py",
}
SAY_NOTHING = ("utils", "util", "common", "helpers", "helper", "base", "manager", "misc")


def modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def test_the_top_level_is_three_packages_and_what_surrounds_them():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout: which files are committed is not known")
    names = [name.split("/") for name in listed.stdout.split("\0") if name]

    assert {parts[0] for parts in names if len(parts) > 1} <= FOLDERS
    assert {parts[0] for parts in names if len(parts) == 1} >= NEEDED
    assert not [parts for parts in names if parts[0] == "tests" and parts[-1] == "__init__.py"]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_typed(package):
    assert (ROOT / package / "__init__.py").exists()
    assert (ROOT / package / "py.typed").exists()


def test_no_module_switches_type_hints_off():
    for path in modules():
        assert "from __future__ import annotations" not in path.read_text(), path


def test_every_module_is_named_after_what_it_does_and_holds_one_subject():
    for path in modules():
        assert not {path.stem, path.parent.name} & set(SAY_NOTHING), path
        assert len(path.read_text().splitlines()) <= 500, path


def test_the_generated_contracts_are_those_of_the_models():
    from pipelines.contract_files import DIRECTORY, contract_files

    for name, content in contract_files().items():
        assert (DIRECTORY / name).read_text() == content
