"""Which addresses a process listens on, as the kernel tells."""

from pathlib import Path

_LISTENS = "0A"
_LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")


def _sockets(pid):
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(str(link.readlink()).removeprefix("socket:[").rstrip("]"))
        except OSError:  # closed meanwhile
            continue
    return found


def listening(pid):
    """Of each port that a process listens on: is it reached from this machine only?"""
    sockets = _sockets(pid)
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == _LISTENS and inode in sockets:
                address, _, port = local.partition(":")
                found[int(port, 16)] = address in _LOOPBACK
    return found
