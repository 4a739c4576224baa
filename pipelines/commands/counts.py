"""`carrel counts`: what was released."""

from pathlib import Path
from typing import Optional

from pipelines.configuration import labels as labels_of
from pipelines.counts_opening import open_counts
from pipelines.counts_output import arrange, write_counts
from pipelines.invocation import DONE, Invocation, UsageError, need_month


def counts(
    run: Invocation, *, table: Optional[str], month: Optional[str], labels: bool, style: str, output: Optional[Path]
) -> int:
    """Show or write released counts."""
    need_month("--month", month)
    deployment = run.deployment()
    with open_counts(deployment.counts_store) as store:
        rows = [row for row in store.rows(table, month) if row.tenant == deployment.tenant]
    # A table that left the policy keeps its numbers: only a name that has none needs the policy's word.
    if not rows and table is not None and table not in {one.name for one in run.policy(deployment).tables}:
        message = "--table: no such table in the policy; `carrel check` lists them"
        raise UsageError(message)
    write_counts(arrange(rows, labels_of(deployment) if labels else None), style, output)
    return DONE
