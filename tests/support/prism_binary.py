"""Prism, Beam's runner for trials: built from its source, once for each version of Beam."""

import os
import shutil
import subprocess
from pathlib import Path

import apache_beam


class PrismMissingError(Exception):
    """There is no Prism here: no Go, or its modules cannot be had."""


def prism_binary() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "carrel"
    binary = cache / f"prism-{apache_beam.__version__}" / "prism"
    if binary.exists():
        return binary
    if shutil.which("go") is None:
        raise PrismMissingError("go is not installed")
    done = subprocess.run(
        ["go", "install", f"github.com/apache/beam/sdks/v2/go/cmd/prism@v{apache_beam.__version__}"],
        env=os.environ | {"GOBIN": str(binary.parent)}, capture_output=True, timeout=600, check=False,
    )  # fmt: skip
    if done.returncode:
        raise PrismMissingError("go cannot build it")
    return binary
