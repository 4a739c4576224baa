"""Layout, packaging and what no committed file may hold."""

import importlib.metadata
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("pipelines", "schemas", "transforms")


def committed() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def test_no_file_names_a_package_index_or_a_path_of_this_machine():
    index = re.compile(r"https?://(files|registry|repo\d?|proxy|deb|index|static|packages?)\.|py" + r"pi\.org")
    for path in committed():
        text = path.read_text(errors="replace")
        assert not index.search(text), path
        assert f"{ROOT.parent}/" not in text, path
        assert "--index-url" not in text or path.name in ("CONTRIBUTING.md", Path(__file__).name), path


def test_requirements_are_pinned_by_hash():
    for name in ("runtime", "dev"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        pins = [line for line in text.splitlines() if re.match(r"^[a-z0-9].*==", line, re.IGNORECASE)]
        assert len(pins) > 30
        assert text.count("--hash=sha256:") >= len(pins)


def test_the_three_packages_are_ours_alone():
    found = importlib.metadata.packages_distributions()

    assert {name: set(found[name]) for name in PACKAGES} == {name: {"carrel"} for name in PACKAGES}


def test_no_module_switches_type_hints_off_or_has_a_name_without_meaning():
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            assert "from __future__ import annotations" not in path.read_text(), path
            assert path.stem not in ("utils", "common", "helpers", "base", "manager"), path
            assert len(path.read_text().splitlines()) <= 500, path


def test_the_generated_contracts_are_those_of_the_models():
    from pipelines.contract_files import DIRECTORY, contract_files

    for name, content in contract_files().items():
        assert (DIRECTORY / name).read_text() == content
