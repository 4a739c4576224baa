"""`carrel demo`: a synthetic library, from raw logs to counts, in one folder."""

import datetime as dt
from pathlib import Path

import typer

from pipelines.configuration import capabilities, load
from pipelines.counts_output import arrange, write_counts
from pipelines.counts_store import CountsStore
from pipelines.dead_letters import DeadLetterDirectory
from pipelines.initialise import init
from pipelines.replay import Request, replay
from pipelines.report import print_summary
from pipelines.synthetic import write_sample
from schemas.policy_compiler import compile_policy

_SOURCES = ("carrel-event", "folio", "evergreen", "salesforce")
_PATRONS, _DAYS = 3_000, 90
_MONTH = "2026-03"


def run_demo(directory: Path, *, now: int) -> int:
    """Sample -> init -> replay -> what came of it.

    Raises:
      ValueError: the folder is not empty.
    """
    if directory.exists() and any(directory.iterdir()):
        message = f"{directory}: is not empty; name a new folder or remove it"
        raise ValueError(message)
    logs, deployed = directory / "logs", directory / "deployment"
    typer.echo(f"1. a synthetic library of {_PATRONS} patrons writes {_DAYS} days of logs")
    write_sample(logs, patrons=_PATRONS, days=_DAYS, seed=1, sources=_SOURCES)
    init(deployed, size="medium", preset="standard", sources=list(_SOURCES), secrets=directory / "secrets", logs=logs)
    deployment = load(deployed / "carrel.toml")
    CountsStore(deployment.counts_store, create=True).close()
    policy = compile_policy(deployment.policy_text, capabilities(deployment))
    typer.echo("2. carrel replay")
    last = dt.date(2026, 2, 1) + dt.timedelta(days=_DAYS - 1)
    summary = replay(deployment, policy, Request(complete_through=last.isoformat()), now=now)
    print_summary(summary)
    with CountsStore(deployment.counts_store) as store:
        for table in ("circ_branch_month", "circ_age_month"):
            typer.echo(f"3. {table}, {_MONTH}")
            write_counts(arrange(store.rows(table, _MONTH)), "table")
        typer.echo("4. the release ledger (state, completeness: windows)")
        states: dict[tuple[str, str, str], int] = {}
        for row in store.ledger(deployment.tenant).values():
            where = (row.table_name, row.state, row.completeness)
            states[where] = states.get(where, 0) + 1
        for (name, state, completeness), number in sorted(states.items()):
            typer.echo(f"  {name}: {state}, {completeness}: {number}")
    typer.echo("5. sealed dead letters by reason")
    for one in DeadLetterDirectory(deployment.dead_letters).list():
        typer.echo(f"  {one.source} {one.reason}: {one.letters}")
    typer.echo(f"logs and truth: {logs}; deployment: {deployed}; keys: {directory / 'secrets'}")
    typer.echo(f"next: carrel -c {deployed / 'carrel.toml'} counts --table circ_system_day --month {_MONTH}")
    return 0 if not summary.differs else 1
