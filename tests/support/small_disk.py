"""Replays a deployment on a disk of its own that is full: ENOSPC from a real file system, not from a limit.

Run within a mount namespace: unshare -Urm python -m tests.support.small_disk DISK LIBRARY RESULT ROOM...
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from pipelines.invocation import _said
from tests.support.replaying import replayed

_SIZE = 64 << 20


def main(disk: Path, library: Path, result: Path, rooms: list[int]) -> None:
    """Replay with so many bytes left, one after the other, then with room; print what each said, and its exit code.

    Args:
      disk: an empty folder, where the small disk is mounted.
      library: the deployment; it is copied there, with its secrets.
      result: where it is copied to in the end.
    """
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "carrel", str(disk)], check=True)
    home, filler, secrets = disk / library.name, disk / "filler", f"{library.name}-secrets"
    shutil.copytree(library, home)
    shutil.copytree(library.with_name(secrets), disk / secrets)
    said = []
    for room in rooms:
        left = os.statvfs(disk)
        filler.write_bytes(bytes(left.f_bavail * left.f_frsize - room))
        try:
            replayed(home)
        except Exception as error:  # noqa: BLE001 - what a person reads of any error
            said.append(_said(error))
        else:
            said.append(("", 0))
        filler.unlink()
    replayed(home)
    shutil.copytree(home, result)
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), list(map(int, sys.argv[4:])))
