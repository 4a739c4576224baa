"""Lets the tests of the contracts share the events that they are about."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
