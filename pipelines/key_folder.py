"""Keys as files: a folder of mode 0700, a file of mode 0600 each."""

import os
import secrets
import stat
from pathlib import Path
from typing import Optional

from pipelines.key_place import KeptKey, KeyringError

_BYTES = 32


class KeyFolder:
    """A folder of keys; see `KeyPlace`.

    Raises:
      KeyringError: the folder is missing or open to others.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.digests: dict[str, bytes] = {}
        try:
            mode = directory.stat().st_mode
        except OSError:
            message = f"{directory}: no keyring there; name it in carrel.toml or run `carrel init`"
            raise KeyringError(message) from None
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            message = f"{directory}: others may enter this keyring; run chmod 700 on it"
            raise KeyringError(message)

    def read(self, name: str) -> Optional[bytes]:
        path = self._directory / name
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except FileNotFoundError:
            return None
        except OSError as error:
            message = f"{name}: cannot be read ({error.strerror}); check the keyring's owner"
            raise KeyringError(message) from None
        with os.fdopen(handle, "rb") as stream:
            if os.fstat(handle).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                message = f"{name}: others may read this key; shred it, and let a new one be made"
                raise KeyringError(message)
            return stream.read()[:_BYTES]

    def make(self, name: str, secret: bytes, now_ms: int) -> bool:
        # A name of its own: process ids repeat in containers, and a killed run may have left its draft.
        path, draft = self._directory / name, self._directory / f".{name}.{secrets.token_hex(8)}"
        try:
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as stream:
                stream.write(secret + str(now_ms).encode())
                stream.flush()
                os.fsync(handle)
            os.link(draft, path)
        except FileExistsError:
            return False
        except OSError as error:
            message = f"{name}: cannot be made ({error.strerror}); check the keyring's disk and owner"
            raise KeyringError(message) from None
        finally:
            draft.unlink(missing_ok=True)
        self._sync()
        return True

    def bury(self, name: str) -> None:
        (self._directory / name).touch(mode=0o600)
        self._sync()

    def destroy(self, name: str) -> None:
        path = self._directory / name
        if not path.exists():
            return
        size = path.stat().st_size
        with path.open("r+b") as stream:
            stream.write(bytes(size))
            stream.flush()
            os.fsync(stream.fileno())
        path.unlink()
        self._sync()

    def has(self, name: str) -> bool:
        return (self._directory / name).exists()

    def kept(self) -> list[KeptKey]:
        return [
            KeptKey(path.name, _made(path.read_bytes()))
            for path in sorted(self._directory.iterdir())
            if path.suffix in {".key", ".gone"} and not path.name.startswith(".")
        ]

    def _sync(self) -> None:
        handle = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _made(content: bytes) -> int:
    said = content[_BYTES:].strip(b"\0")
    return int(said) if said.isdigit() else 0
