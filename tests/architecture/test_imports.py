"""Imports go one way, and what an auditor reads alone stands alone."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("pipelines", "schemas", "transforms")
ALLOWED = {("transforms/privacy/sealing.py", "secrets")}  # the nonce of a sealed tally


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{one.name}" for one in node.names)


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def test_the_linter_of_import_directions_passes():
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "0 broken" in done.stdout


@pytest.mark.parametrize("path", modules("schemas", "transforms/privacy"), ids=lambda path: path.stem)
def test_contracts_and_privacy_rules_have_no_clock_no_chance_no_files_and_no_log(path):
    where = path.relative_to(ROOT).as_posix()
    roots = {name.partition(".")[0] for name in imported(path)}
    banned = {"os", "time", "random", "secrets", "pathlib", "io", "socket", "logging", "apache_beam", "google"}

    assert {(where, name) for name in roots & banned} <= ALLOWED


def test_the_privacy_rules_import_nothing_else_of_ours():
    for path in modules("transforms/privacy"):
        ours = {name for name in imported(path) if name.partition(".")[0] in PACKAGES}
        assert all(name.startswith("transforms.privacy.") for name in ours), path


_CONNECTORS = ("inputs.py", "outputs.py", "bus_reader.py", "kafka_reader.py", "pubsub_reader.py", "unbounded_read.py")


def test_no_module_imports_tests_or_beam_s_connectors():
    for path in modules(*PACKAGES):
        for name in imported(path):
            assert name.partition(".")[0] != "tests", path
            assert name != "apache_beam.transforms", f"{path}: reads as ours"
            if path.name not in _CONNECTORS:
                assert not name.startswith("apache_beam.io"), path


def test_reading_the_privacy_rules_alone_loads_no_beam():
    names = [path.relative_to(ROOT).with_suffix("") for path in modules("schemas", "transforms/privacy")]
    lines = [f"import {'.'.join(name.parts).removesuffix('.__init__')}" for name in names]
    program = "\n".join(["import sys", *lines, "sys.exit('apache_beam' in sys.modules)"])

    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=False, timeout=60)

    assert done.returncode == 0, done.stderr[-2000:]
