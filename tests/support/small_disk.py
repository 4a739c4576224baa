"""Small disks that get full: ENOSPC from a real file system, not from a limit.

To replay on one, within a mount namespace:
unshare -Urm python -m tests.support.small_disk DISK LIBRARY RESULT ROOM...
"""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.replaying import replayed, said_of_replay

_SIZE = 64 << 20
_ALONE = ("unshare", "-Urm")
_ROOT = Path(__file__).parents[2]


class SmallDiskMissingError(Exception):
    """No mount namespace may be made here."""


class SmallDisk:
    """A disk of its own, which only those processes see that are started by `launcher`.

    In its folder `full` is another, on which there is room for a page.

    Args:
      folder: an empty one, where they find it.
      size: bytes.

    Raises:
      SmallDiskMissingError: there can be none.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        tmpfs = "mount -t tmpfs carrel -o size"
        mount = f'{tmpfs}={size} "$0" && mkdir "$0/full" && {tmpfs}=4096 "$0/full" && echo there'
        try:
            self._holder = subprocess.Popen(
                [*_ALONE, "sh", "-c", f"{mount} && exec cat", str(folder)],  # it ends with who started it
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise SmallDiskMissingError(error.strerror) from None
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"there\n":
            self.close()
            message = "no mount namespace may be made here"
            raise SmallDiskMissingError(message)
        self.launcher = (
            "nsenter",
            f"--target={self._holder.pid}",
            "--user",
            "--mount",
            "--wd",
            "--preserve-credentials",
        )
        self.seen = Path(f"/proc/{self._holder.pid}/root{folder}")  # from here

    def fill(self) -> None:
        """Write until the kernel says that nothing is left; once more, what others have freed meanwhile."""
        with (self.seen / "filler").open("ab", buffering=0) as filler:
            try:
                while filler.write(bytes(4096)):
                    pass
            except OSError as error:
                assert error.errno == errno.ENOSPC

    def make_room(self) -> None:
        (self.seen / "filler").unlink()

    def close(self) -> None:
        self._holder.kill()
        self._holder.communicate()


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
        said.append(said_of_replay(home))
        filler.unlink()
    replayed(home)
    shutil.copytree(home, result)
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), list(map(int, sys.argv[4:])))
