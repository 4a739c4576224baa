"""The command `carrel`: its words and their help. What a command does is imported when it runs.

Help must come at once: nothing here imports Beam, numpy or rich.
"""

import gc
import logging
import os
import resource
import sys
import time
from pathlib import Path
from typing import Annotated, Optional, Sequence

import typer
from typer.exceptions import TyperException

from pipelines.command_groups import Json, deadletters, examples, keys, sources
from pipelines.invocation import DONE, USAGE, Invocation, guarded, say_error

_SOURCES = "carrel-event,folio,evergreen,salesforce"
app = typer.Typer(
    help="Turn the events of library systems into statistics that hold no patron.",
    epilog=examples("carrel demo", "carrel init library", "carrel -c library/carrel.toml replay"),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(deadletters, name="deadletters")
app.add_typer(keys, name="keys")
app.add_typer(sources, name="sources")


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415

        typer.echo(f"carrel {version('carrel')}")
        raise typer.Exit(DONE)


@app.callback()
def _choose(
    context: typer.Context,
    configuration: Annotated[
        Path,
        typer.Option(
            "-c",
            metavar="FILE",
            envvar="CARREL_CONFIG",
            help="Configuration file; may also stand after the command.",
        ),
    ] = Path("carrel.toml"),
    version: Annotated[  # noqa: ARG001 - its callback has answered
        bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Show the version and exit.")
    ] = False,
) -> None:
    context.obj = Invocation(configuration, now=time.time_ns() // 1_000_000)


@app.command(epilog=examples("carrel demo", "carrel demo build/demo"))
def demo(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder; everything stays under it.")] = Path(
        "carrel-demo"
    ),
) -> None:
    """Run the whole job on a synthetic library in one folder."""

    def work(run: Invocation) -> int:
        from pipelines.demo import run_demo  # noqa: PLC0415

        return run_demo(directory, now=run.now)

    guarded(context, work)


@app.command(epilog=examples("carrel sample logs", "carrel sample logs --patrons 1000 --days 60 --sources folio"))
def sample(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where the logs and truth.csv go.")],
    patrons: Annotated[int, typer.Option(metavar="N", help="How many patrons.", min=1)] = 20_000,
    days: Annotated[int, typer.Option(metavar="N", help="How many days from 2026-02-01.", min=1)] = 90,
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed gives the same bytes.")] = 1,
    names: Annotated[
        str, typer.Option("--sources", metavar="NAMES", help="Which systems write logs; comma-separated.")
    ] = _SOURCES,
) -> None:
    """Write a synthetic library's logs in real wire formats.

    Beside them truth.csv: the true values of every cell of the default tables.
    """

    def work(_: Invocation) -> int:
        from pipelines.commands import deploying  # noqa: PLC0415

        return deploying.sample(directory, patrons=patrons, days=days, seed=seed, sources=names)

    guarded(context, work)


@app.command(epilog=examples("carrel init library --sources folio", "carrel init try --logs logs --preset plain"))
def init(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The new deployment.")],
    size: Annotated[
        str, typer.Option(metavar="SIZE", help="small, medium or large: the grain of the tables.")
    ] = "medium",
    preset: Annotated[
        str, typer.Option(metavar="PRESET", help="standard: with noise; plain: threshold and clip only.")
    ] = "standard",
    names: Annotated[
        str, typer.Option("--sources", metavar="NAMES", help="Comma-separated; the others become comments.")
    ] = "carrel-event",
    secrets: Annotated[
        Optional[Path],
        typer.Option(
            metavar="DIR",
            help="Where keyring and private key go.",
            show_default="among this user's data, outside the deployment",
        ),
    ] = None,
    logs: Annotated[
        Optional[Path],
        typer.Option(metavar="DIR", help="A `carrel sample` folder.", show_default="archive/ in the deployment"),
    ] = None,
    counts_store: Annotated[
        str,
        typer.Option(
            metavar="STORE", help="A file, postgresql://USER@HOST/DATABASE, parquet:DIR or bigquery:PROJECT.DATASET."
        ),
    ] = "counts.db",
) -> None:
    """Write a commented deployment with its keys and stores."""

    def work(_: Invocation) -> int:
        from pipelines.commands import deploying  # noqa: PLC0415

        return deploying.init(
            directory,
            size=size,
            preset=preset,
            sources=names,
            secrets=secrets,
            logs=logs,
            counts_store=counts_store,
        )

    guarded(context, work)


@app.command(epilog=examples("carrel check", "carrel -c library/carrel.toml check --json"))
def check(context: typer.Context, as_json: Json = False) -> None:
    """Explain policy and contracts; refuse what is unsafe."""

    def work(run: Invocation) -> int:
        from pipelines.commands import deploying  # noqa: PLC0415

        return deploying.check(run, as_json=as_json)

    guarded(context, work)


@app.command(
    epilog=examples(
        "carrel replay",
        "carrel replay --source folio loan-2026-03.jsonl.gz",
        "carrel replay --complete-through 2026-03-31",
    )
)
def replay(
    context: typer.Context,
    paths: Annotated[
        Optional[list[Path]],
        typer.Argument(
            metavar="PATH",
            help="Archives. Without any: the new files of each source's `archive` pattern.",
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        Optional[str],
        typer.Option(metavar="NAME", help="Whose archives these are; needed for PATHs if there are several."),
    ] = None,
    complete_from: Annotated[
        Optional[str],
        typer.Option(
            metavar="DATE", help="The first day from which nothing is missing.", show_default="the first event's day"
        ),
    ] = None,
    complete_through: Annotated[
        Optional[str],
        typer.Option(metavar="DATE", help="Your word that all is there through this day; the ledger records it."),
    ] = None,
    backfill: Annotated[
        bool, typer.Option("--backfill", help="Release past windows under a changed policy; the ledger records it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read archives, release what is due, verify the rest.

    Exits with 1 when the archives differ from what was released.
    """

    def work(run: Invocation) -> int:
        from pipelines.commands import replaying  # noqa: PLC0415

        return replaying.replay(
            run,
            paths or (),
            source=source,
            complete_from=complete_from,
            complete_through=complete_through,
            backfill=backfill,
            as_json=as_json,
        )

    guarded(context, work)


@app.command(epilog=examples("carrel live", "carrel -c library/carrel.toml live"))
def live(context: typer.Context) -> None:
    """Read the buses and release what is due, until stopped.

    Stopped by SIGTERM or Ctrl-C, it finishes the batch in work; killed, it goes on where it stood. Its log is JSON
    lines on standard output, plain lines on a terminal: windows, keys and gaps, never data.
    """

    def work(run: Invocation) -> int:
        from pipelines.commands import living  # noqa: PLC0415

        return living.live(run)

    guarded(context, work)


@app.command(
    epilog=examples(
        "carrel stream --flink http://127.0.0.1:8081 -- \\\n"
        "    --runner=PortableRunner --job_endpoint=127.0.0.1:8099 \\\n"
        "    --environment_type=EXTERNAL --environment_config=127.0.0.1:50000 \\\n"
        "    --checkpointing_interval=30000 --finish_bundle_before_checkpointing",
        "carrel stream -- --runner=PrismRunner --prism_location=bin/prism",
    )
)
def stream(
    context: typer.Context,
    options: Annotated[Optional[list[str]], typer.Argument(metavar="-- OPTIONS", help="Options of Beam.")] = None,
    readers: Annotated[
        int, typer.Option(metavar="N", min=1, max=20, help="How many read each source's partitions or subscription.")
    ] = 1,
    flink: Annotated[
        Optional[str],
        typer.Option(
            metavar="URL", help="Flink's REST address: the job's checkpoints are looked at.", show_default=False
        ),
    ] = None,
) -> None:
    """Submit the streaming graph to Flink, Dataflow or Prism.

    The engine keeps the state; a job that starts without it reads again what open windows need. Options of Beam that
    are unknown, or would leak, are refused. With --flink URL a job without the checkpoints asked for is cancelled.
    """

    def work(run: Invocation) -> int:
        from pipelines.commands import streaming  # noqa: PLC0415

        return streaming.stream(run, options or (), readers=readers, flink=flink)

    guarded(context, work)


@app.command(
    epilog=examples(
        "carrel counts --table circ_branch_month --month 2026-03 --labels",
        "carrel counts --format csv --output counts.csv",
    )
)
def counts(
    context: typer.Context,
    table: Annotated[Optional[str], typer.Option(metavar="NAME", help="One table.", show_default="all")] = None,
    month: Annotated[Optional[str], typer.Option(metavar="YYYY-MM", help="One month.", show_default="all")] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Labels of the policy in place of codes.")] = False,
    style: Annotated[str, typer.Option("--format", metavar="FORMAT", help="table, csv, json or parquet.")] = "table",
    output: Annotated[
        Optional[Path], typer.Option(metavar="FILE", help="Write to this file.", show_default="standard output")
    ] = None,
) -> None:
    """Show released counts."""

    def work(run: Invocation) -> int:
        from pipelines.commands import counts as released  # noqa: PLC0415

        return released.counts(run, table=table, month=month, labels=labels, style=style, output=output)

    guarded(context, work)


@app.command(epilog=examples("carrel status", "carrel status --json"))
def status(context: typer.Context, as_json: Json = False) -> None:
    """Show clocks, open windows and ages of keys."""

    def work(run: Invocation) -> int:
        from pipelines.commands import status as standing  # noqa: PLC0415

        return standing.status(run, as_json=as_json)

    guarded(context, work)


def _configuration_first(words: Sequence[str]) -> list[str]:
    """Move `-c FILE` before the command, where it is read: people write it in both places."""
    given = list(words)
    end = given.index("--") if "--" in given else len(given)
    if "-c" in given[: end - 1]:
        at = given.index("-c")
        return given[at : at + 2] + given[:at] + given[at + 2 :]
    return given


def main() -> None:
    """Run the command line. Core dumps are switched off: they would hold raw events and keys."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    gc.set_threshold(100_000, 50, 100)  # columns are no cycles: looking for some is a tenth of a run's time
    logging.disable(logging.CRITICAL)  # engines log elements with their errors; this terminal shows our lines only
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its core writes to standard error past any logger
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # a label that a terminal cannot show
    try:
        code = app(_configuration_first(sys.argv[1:]), prog_name="carrel", standalone_mode=False)
    except TyperException as error:
        code = _misused(error)
    sys.exit(code)


def _misused(error: TyperException) -> int:
    """One line for wrong words; the help itself where there were none."""
    text = error.format_message()
    command = getattr(getattr(error, "ctx", None), "command_path", "carrel")
    if text.startswith("Usage:"):
        sys.stderr.write(f"{text}\n")
    else:
        line = text.rstrip(".")
        say_error(f"{line}{'' if line.endswith('?') else ';'} see {command} --help")
    return USAGE


if __name__ == "__main__":
    main()
