"""What no committed file may hold: an index of packages, a path of this machine, a requirement without hash."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
# Taken apart, so that this file may be searched too.
HOSTS = re.compile(
    r"py" + r"pi\.(org|io)|python" + r"hosted|arti" + r"factory\.[a-z]+|pkg\.dev|devpi\."
    r"|https?://(files|registry|repo\d?|proxy|deb|index|static|packages?|mirrors?)\."
)  # fmt: skip
SETTINGS = re.compile(
    r"--(extra-)?index" + r"-url[= ]\S*/|--find" + r"-links|--trusted" + r"-host|tool\.uv\." + r"index"
    r"|^\s*(extra-)?index" + r"-url\s*=", re.MULTILINE,
)  # fmt: skip


def committed() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout: which files are committed is not known")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_search_finds_what_it_is_for():
    assert HOSTS.search("https://py" + "pi.org/simple")
    assert HOSTS.search("https://files" + ".python" + "hosted.org/a.whl")
    assert SETTINGS.search("pip install --index" + "-url https://x/simple")
    assert not HOSTS.search("http://www.apache.org/licenses/")
    assert not SETTINGS.search("compile with --no-emit-index" + "-url")


def test_no_committed_file_names_a_package_index():
    for path in committed():
        text = path.read_text(errors="replace")
        assert not HOSTS.search(text), path
        assert not SETTINGS.search(text), path


def test_no_committed_file_names_a_path_of_this_machine():
    here = [f"{folder}/" for folder in {ROOT.parent, Path.home()} if folder != Path(folder.anchor)]
    for path in committed():
        text = path.read_text(errors="replace")
        for folder in here:
            assert not re.search(rf"(?<![\w./]){re.escape(folder)}", text), (path, folder)


@pytest.mark.parametrize("name", ["runtime", "dev"])
def test_every_requirement_is_one_version_with_hashes(name):
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    logical = text.replace("\\\n", " ").splitlines()
    lines = [line for line in logical if line.strip() and not line.lstrip().startswith("#")]

    assert len(lines) > 30
    for line in lines:
        assert re.match(r"[A-Za-z0-9_.-]+(\[[^\]]*\])?==\S+ .*--hash=sha256:[0-9a-f]{64}", line), line[:60]
