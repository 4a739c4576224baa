"""What the README says is what happens: every command block is run, in order."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_every_carrel_command_of_the_readme_runs(tmp_path):
    commands = [line for block in BLOCKS for line in block.splitlines() if "carrel" in line]
    (tmp_path / "build").mkdir()
    assert len(commands) > 10

    for command in commands:
        line = command.replace(".venv/bin/carrel", f"{sys.executable} -m pipelines.command_line")
        done = subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0, command + done.stderr


@pytest.mark.parametrize("target", [line for block in BLOCKS for line in block.splitlines() if line.startswith("make")])
def test_every_make_target_of_the_readme_exists(target):
    done = subprocess.run(["make", "-n", *target.split()[1:]], cwd=ROOT, capture_output=True, check=False, timeout=60)

    assert done.returncode == 0


def test_the_demo_shows_counts_ledger_rejects_and_where_things_lie(run, tmp_path):
    done = run("demo", tmp_path / "demo")

    for word in ("circ_branch_month", "circ_age_month", "sealed", "disallowed_field", "conservation holds", "next:"):
        assert word in done.stdout


def test_every_test_that_the_privacy_model_names_is_there():
    for name in re.findall(r"`(tests/[^`]+)`", (ROOT / "docs" / "privacy-model.md").read_text()):
        assert (ROOT / name).exists(), name
