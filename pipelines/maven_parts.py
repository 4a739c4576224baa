"""The parts of an engine that runs on Java: the jars that a pom of `deploy/` names, kept in the user's cache."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

_SECONDS = 600


class PartsMissingError(Exception):
    """The engine cannot be had here: no Java, no Maven, or its parts cannot be resolved; one line says which."""


def jars_of(pom: Path) -> Path:
    """The folder of the jars that a pom names, resolved once for each version of the pom.

    Raises:
      PartsMissingError: as its text says.
    """
    engine = pom.parent.name
    if shutil.which("java") is None:
        message = f"{engine}: java is not installed; install Java 17"
        raise PartsMissingError(message)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "carrel"
    try:
        jars = cache / f"{engine}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    except OSError:
        message = f"{engine}: {pom} is not there; run from a checkout of Carrel"
        raise PartsMissingError(message) from None
    if not jars.is_dir():
        _resolve(pom, jars)
    return jars


def _resolve(pom: Path, jars: Path) -> None:
    engine = pom.parent.name
    if shutil.which("mvn") is None:
        message = f"{engine}: mvn is not installed; install Maven"
        raise PartsMissingError(message)
    jars.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=jars.parent) as part:
        command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime"]
        try:
            done = subprocess.run(  # noqa: S603 - fixed words
                [*command, f"-DoutputDirectory={part}/jars"],
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=_SECONDS,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            done = 1
        if done:
            message = f"{engine}: Maven cannot resolve deploy/{engine}/pom.xml; run `{' '.join(command)}` to see why"
            raise PartsMissingError(message)
        try:
            Path(part, "jars").rename(jars)
        except OSError:  # another run was faster
            if not jars.is_dir():
                raise
