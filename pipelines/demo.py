"""`carrel demo`: a synthetic library, from raw logs to counts, in one folder."""

import datetime as dt
import itertools
import shutil
import sys
from collections import Counter
from pathlib import Path

from pipelines.configuration import Deployment, capabilities, load
from pipelines.counts_opening import open_counts
from pipelines.counts_output import arrange, write_counts
from pipelines.dead_letters import DeadLetterDirectory
from pipelines.initialise import init
from pipelines.invocation import DONE, FINDING, UsageError
from pipelines.progress import progress
from pipelines.replay import Request, replay
from pipelines.report import print_summary
from pipelines.synthetic import SOURCES, write_sample
from pipelines.terminal import say, say_command, show_table
from schemas.policy_compiler import compile_policy

_PATRONS, _DAYS = 3_000, 90
_FIRST, _MONTH = dt.date(2026, 2, 1), "2026-03"
_CLEAR = ("source", "reason", "received_day", "size_class", "fields", "unknown_fields")
_TABLES = ("circ_branch_month", "circ_age_month")


def run_demo(directory: Path, *, now: int) -> int:
    """Sample -> init -> replay -> what came of it.

    Args:
      directory: new or empty; everything stays under it.
      now: the wall clock, ms UTC.

    Raises:
      UsageError: the folder is not empty.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        message = f"{directory}: is there already; name a new folder or remove it"
        raise UsageError(message)
    logs, deployed, secrets = directory / "logs", directory / "deployment", directory / "secrets"
    _head(f"1. A synthetic library of {_PATRONS} patrons writes {_DAYS} days of logs")
    write_sample(logs, patrons=_PATRONS, days=_DAYS, seed=1, sources=SOURCES)
    init(deployed, size="medium", preset="standard", sources=SOURCES, secrets=secrets, logs=logs)
    deployment = load(deployed / "carrel.toml")
    open_counts(deployment.counts_store, create=True).close()
    policy = compile_policy(deployment.policy_text, capabilities(deployment))
    _head("2. carrel replay reads them")
    last = _FIRST + dt.timedelta(days=_DAYS - 1)
    with progress(quiet=False) as told:
        summary = replay(deployment, policy, Request(complete_through=last.isoformat()), now=now, told=told)
    print_summary(summary, policy)
    _show(deployment)
    _head("6. Where things lie")
    for what, where in (
        ("logs, and truth.csv", logs),
        ("configuration and policy", deployed),
        ("released counts", deployed / "counts.db"),
        ("dead letters", deployed / deployment.dead_letters.name),
        ("keyring, and the officer's key", secrets),
    ):
        say(f"{what}: {where}", indent=2)
    configured = f"{_program()} -c {deployed / 'carrel.toml'}"
    say("next:")
    say_command(f"{configured} counts --table circ_system_day --month {_MONTH}")
    say_command(f"{configured} status")
    opened = directory / "opened.jsonl"
    say_command(f"{configured} deadletters open --key {secrets / 'recipient.key'} --output {opened}")
    return FINDING if summary.differs else DONE


def _program() -> str:
    """How this command was called, so that the commands shown can be copied."""
    called = Path(sys.argv[0])
    return "carrel" if called.name != "carrel" or shutil.which("carrel") == str(called) else str(called)


def _show(deployment: Deployment) -> None:
    with open_counts(deployment.counts_store) as store:
        _head("3. Counts that hold no patron")
        for at, table in enumerate(_TABLES):
            if at:
                say("")
            write_counts(arrange(store.rows(table, _MONTH)), "table")
        _head("4. The release ledger")
        windows = Counter(
            (row.table_name, row.state, row.completeness) for row in store.ledger(deployment.tenant).values()
        )
    lines = [(*what, number) for what, number in sorted(windows.items())]
    show_table(("table", "state", "completeness", "windows"), lines, numbers=("windows",), indent=2)
    _head("5. What was refused, sealed to the library's own key")
    directory = DeadLetterDirectory(deployment.dead_letters)
    letters = [(one.source, one.reason, one.letters) for one in directory.list()]
    show_table(("source", "reason", "dead letters"), letters, numbers=("dead letters",), indent=2)
    for clear, sealed in itertools.islice(directory.clear_parts(), 1):
        say("one of them; who lacks the officer's key reads this much of it:", indent=2)
        say(", ".join(f"{name} {_shown(clear[name])}" for name in _CLEAR) + f"; sealed: {sealed} bytes", indent=4)


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _head(text: str) -> None:
    say("")
    say(text, style="bold cyan")
