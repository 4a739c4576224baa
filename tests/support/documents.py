"""The documents of the project, and what stands in them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
CARREL = """#!/bin/sh
PYTHONPATH={root} exec {python} -m pipelines.command_line "$@"
"""
MAKE = """#!/bin/sh
exec {make} --dry-run --directory {root} "$@"
"""


def documents() -> list[Path]:
    """Every page that people read, the runbooks too."""
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
    return [
        *pages,
        *sorted((ROOT / "docs").rglob("*.md")),
        ROOT / "examples" / "README.md",
        *sorted((ROOT / "deploy").rglob("README.md")),
    ]


def blocks(page: Path) -> list[str]:
    """The command blocks of a page."""
    return re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)


def run_blocks(page: Path, place: Path) -> list[str]:
    """Run a page's command blocks as they stand, in order, in a new folder that looks like a clone.

    `.venv/bin/carrel` is this code; `make` shows what it would do. Gives what each block printed.
    """
    (place / "build").mkdir()
    (place / "examples").symlink_to(ROOT / "examples")
    tools = {place / ".venv" / "bin" / "carrel": CARREL, place / "tools" / "make": MAKE}
    for tool, text in tools.items():
        tool.parent.mkdir(parents=True, exist_ok=True)
        tool.write_text(text.format(root=ROOT, python=sys.executable, make=shutil.which("make")))
        tool.chmod(0o755)
    said = []
    for block in blocks(page):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], cwd=place, capture_output=True, text=True, timeout=500,
            check=False, env={"PATH": f"{place}/tools:/usr/local/bin:/usr/bin:/bin", "HOME": str(place)},
        )  # fmt: skip
        assert done.returncode == 0, block + done.stdout[-1000:] + done.stderr
        said.append(done.stdout)
    return said
