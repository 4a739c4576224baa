"""A disk that is really full: what a run says then, and that the next one with room ends as if nothing had been."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engines.conftest import missing
from tests.support.released import released
from tests.support.replaying import checkouts, deployment, replayed, write

pytestmark = pytest.mark.engine
ROOT = Path(__file__).parents[2]
ROOMS = ("0", "40000", "150000", "400000")


def test_wherever_a_real_disk_is_full_one_line_says_so_and_the_next_run_ends_the_same(tmp_path):
    alone = ["unshare", "-Urm"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        missing("small disk", "no mount namespace may be made here")
    library = deployment(tmp_path / "library", preset="standard")
    events = checkouts("2026-03-01", 40, of=30)
    write(library / "archive" / "carrel-event" / "a.jsonl", [*events, *({"kind": "loan", "n": n} for n in range(60))])
    whole, disk, result = (tmp_path / name for name in ("whole", "disk", "result"))
    shutil.copytree(library, whole)
    replayed(whole)
    disk.mkdir()

    words = [*alone, sys.executable, "-m", "tests.support.small_disk", disk, library, result, *ROOMS]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)

    said = json.loads(done.stdout)
    assert {code for _, code in said} == {2}
    assert not [line for line, _ in said if "\n" in line or "the disk is full" not in line]
    assert released(result) == released(whole) != []
