"""A release for tests of counts stores; as a program it begins and publishes it, so that it can be killed.

python -m tests.support.counts_sample ADDRESS begin|publish
"""

import sys
from dataclasses import replace
from pathlib import Path

from pipelines.counts_opening import open_counts
from schemas.counts import ReleasedRow, ReleasedTable, WindowKey

KEY = WindowKey("circ_branch_month", "2026-03-01", "2026-04-01")
ROWS = (
    ReleasedRow('{"branch":"B01"}', "patrons", 57, "published", "geometric2/k11"),
    ReleasedRow('{"branch":"B02"}', "patrons", None, "withheld", "geometric2/k11"),
    ReleasedRow('{"branch":"B03"}', "patrons", 0, "structural_zero", "geometric2/k11"),
)
TABLE = ReleasedTable(
    tenant="example",
    kind="circulation",
    key=KEY,
    time_zone="America/New_York",
    revision=0,
    policy_digest="ab" * 16,
    mechanism="geometric2/k11",
    charge=0.5,
    rows=ROWS,
)
OTHER = replace(TABLE, rows=(replace(ROWS[0], value=58), *ROWS[1:]))


def many_rows(number: int, *, value: int = 57) -> tuple[ReleasedRow, ...]:
    """Rows of as many branches."""
    return tuple(replace(ROWS[0], cell=f'{{"branch":"B{at:05}"}}', value=value) for at in range(number))


def address_of(text: str) -> Path | str:
    """As `Deployment.counts_store`: a path, or the address of another store."""
    return text if ":" in text else Path(text)


if __name__ == "__main__":
    with open_counts(address_of(sys.argv[1])) as opened:
        opened.begin(TABLE, "complete", "", False)
        if sys.argv[2] == "publish":
            opened.publish(TABLE)
