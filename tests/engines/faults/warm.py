"""What a fork server has imported before it forks: everything, so that an instance starts at once."""

import pytest  # noqa: F401 - a child imports the parent's main module

from tests.engines.faults import instance  # noqa: F401
