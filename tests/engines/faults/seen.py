"""What is seen while a run lasts, for the checker: JSON lines, each added whole, by any process."""

import json
import os
from pathlib import Path


def see(observed: Path, what: str, **about: object) -> None:
    """Add one line."""
    line = json.dumps({"see": what, **about}, sort_keys=True) + "\n"
    with observed.open("ab", buffering=0) as stream:
        os.write(stream.fileno(), line.encode())
