"""The command `carrel`. Imports nothing heavy until a command runs: help must come at once."""

import json
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Callable, NoReturn, Optional

import typer

if TYPE_CHECKING:
    from pipelines.configuration import Deployment
    from schemas.policy import PrivacyPolicy

FINDING, USAGE, HELD = 1, 2, 75
app = typer.Typer(
    help="Turn the events of library systems into statistics that hold no patron.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
deadletters = typer.Typer(help="Sealed rejects: list, open with the officer's key, purge.", no_args_is_help=True)
keys = typer.Typer(help="The keyring: list, rotate, shred.", no_args_is_help=True)
sources = typer.Typer(help="What the sources' contracts name.", no_args_is_help=True)
app.add_typer(deadletters, name="deadletters")
app.add_typer(keys, name="keys")
app.add_typer(sources, name="sources")

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
_chosen: dict[str, Optional[Path]] = {"configuration": None}


@app.callback()
def choose(
    configuration: Annotated[
        Optional[Path], typer.Option("-c", help="Configuration file. [default: $CARREL_CONFIG, else ./carrel.toml]")
    ] = None,
) -> None:
    """Turn the events of library systems into statistics that hold no patron."""
    _chosen["configuration"] = configuration


def _fail(text: str, code: int = USAGE) -> NoReturn:
    sys.stderr.write(f"carrel: {text}\n")
    raise typer.Exit(code)


def _guarded(work: Callable[[], int]) -> NoReturn:
    """Run a command's work: one line for every error that has a cause outside, its exit code for the rest."""
    from pipelines.work_store import HeldByAnotherError  # noqa: PLC0415

    try:
        code = work()
    except HeldByAnotherError as error:
        _fail(str(error), HELD)
    except ValueError as error:
        _fail(str(error).splitlines()[0] if str(error) else "refused; run `carrel check`")
    except OSError as error:
        _fail(f"{error.strerror or 'input/output error'}; free the disk or check the rights, then run again")
    except typer.Exit:
        raise
    except Exception as error:  # noqa: BLE001 - a fault of ours: its text may quote data, so only its place is shown
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "?"
        _fail(f"internal fault, {type(error).__name__} at {place}; nothing of this step was kept, please report it")
    raise typer.Exit(code)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _deployment() -> "Deployment":
    import os  # noqa: PLC0415

    from pipelines.configuration import load  # noqa: PLC0415

    return load(_chosen["configuration"] or Path(os.environ.get("CARREL_CONFIG", "carrel.toml")))


def _policy(deployment: "Deployment") -> "PrivacyPolicy":
    from pipelines.configuration import capabilities  # noqa: PLC0415
    from schemas.policy_compiler import compile_policy  # noqa: PLC0415

    return compile_policy(deployment.policy_text, capabilities(deployment))


@app.command()
def demo(directory: Annotated[Path, typer.Argument(help="Everything stays under it.")] = Path("carrel-demo")) -> None:
    """Make a synthetic library, replay its logs, show counts, dead letters and where to look next."""

    def work() -> int:
        from pipelines.demo import run_demo  # noqa: PLC0415

        return run_demo(directory, now=_now())

    _guarded(work)


@app.command()
def sample(
    directory: Annotated[Path, typer.Argument(help="Where the logs and truth.csv go.")],
    patrons: Annotated[int, typer.Option(help="How many patrons.", min=1)] = 20_000,
    days: Annotated[int, typer.Option(help="How many days.", min=1)] = 90,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 1,
    source: Annotated[
        str, typer.Option("--sources", help="Comma-separated.")
    ] = "carrel-event,folio,evergreen,salesforce",
) -> None:
    """Write the logs of a synthetic library in the real wire formats, with truth.csv."""

    def work() -> int:
        from pipelines.synthetic import write_sample  # noqa: PLC0415

        write_sample(directory, patrons=patrons, days=days, seed=seed, sources=source.split(","))
        typer.echo(f"logs and truth.csv are in {directory}")
        return 0

    _guarded(work)


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(help="The new deployment.")],
    size: Annotated[str, typer.Option(help="small, medium or large: the grain of the default tables.")] = "medium",
    preset: Annotated[str, typer.Option(help="plain or standard.")] = "standard",
    source: Annotated[
        str, typer.Option("--sources", help="Comma-separated; the others are commented out.")
    ] = "carrel-event",
    secrets: Annotated[
        Optional[Path], typer.Option(help="Where keyring and private key go. [default: outside the deployment]")
    ] = None,
    logs: Annotated[Optional[Path], typer.Option(help="A `carrel sample` folder to read from.")] = None,
) -> None:
    """Write a commented deployment: carrel.toml, policy.toml, keys and stores."""

    def work() -> int:
        from pipelines.configuration import load  # noqa: PLC0415
        from pipelines.counts_store import CountsStore  # noqa: PLC0415
        from pipelines.initialise import init as initialise  # noqa: PLC0415

        initialise(directory, size=size, preset=preset, sources=source.split(","), secrets=secrets, logs=logs)
        deployment = load(directory / "carrel.toml")
        CountsStore(deployment.counts_store, create=True).close()
        typer.echo(f"wrote {directory}/carrel.toml and policy.toml; keys are in {deployment.keyring.parent}")
        typer.echo(f"next: carrel -c {directory}/carrel.toml check")
        return 0

    _guarded(work)


@app.command()
def check() -> None:
    """Compile policy and contracts, explain them, refuse what is unsafe."""

    def work() -> int:
        from pipelines.keyring import Keyring  # noqa: PLC0415
        from pipelines.opening import load_public  # noqa: PLC0415
        from schemas.policy_compiler import explain  # noqa: PLC0415

        deployment = _deployment()
        policy = _policy(deployment)
        load_public(deployment.recipient)
        Keyring(deployment.keyring).listing()
        for line in explain(policy):
            typer.echo(line)
        typer.echo("ok")
        return 0

    _guarded(work)


@app.command()
def replay(
    paths: Annotated[
        Optional[list[Path]], typer.Argument(help="Archives; without any, each source's own, new files only.")
    ] = None,
    source: Annotated[Optional[str], typer.Option(help="Whose archives these are.")] = None,
    complete_from: Annotated[Optional[str], typer.Option(help="The first day from which nothing is missing.")] = None,
    complete_through: Annotated[
        Optional[str], typer.Option(help="Your word that everything through this day is there.")
    ] = None,
    backfill: Annotated[
        bool, typer.Option("--backfill", help="Release past windows under a changed policy; audited.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Read archives, release what is due, verify what was released."""

    def work() -> int:
        from pipelines.replay import Request  # noqa: PLC0415
        from pipelines.replay import replay as run  # noqa: PLC0415
        from pipelines.report import print_summary, summary_json  # noqa: PLC0415

        for option in (complete_from, complete_through):
            _check_day(option)
        deployment = _deployment()
        request = Request(source, tuple(paths or ()), complete_from, complete_through, backfill)
        summary = run(deployment, _policy(deployment), request, now=_now())
        typer.echo(json.dumps(summary_json(summary))) if as_json else print_summary(summary)
        return FINDING if summary.differs else 0

    _guarded(work)


def _check_day(day: Optional[str]) -> None:
    """A day of the calendar, in its one ISO form; nothing else reaches a store."""
    import datetime as dt  # noqa: PLC0415

    try:
        is_day = day is None or dt.date.fromisoformat(day).isoformat() == day
    except ValueError:
        is_day = False
    if not is_day:
        message = "day: need YYYY-MM-DD"
        raise ValueError(message)


@app.command()
def counts(
    table: Annotated[Optional[str], typer.Option(help="One table only.")] = None,
    month: Annotated[Optional[str], typer.Option(help="YYYY-MM.")] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Labels of the policy in place of codes.")] = False,
    style: Annotated[str, typer.Option("--format", help="table, csv, json or parquet.")] = "table",
    output: Annotated[Optional[Path], typer.Option(help="Write to this file.")] = None,
) -> None:
    """Show released counts."""

    def work() -> int:
        from pipelines.configuration import labels as labels_of  # noqa: PLC0415
        from pipelines.counts_output import arrange, write_counts  # noqa: PLC0415
        from pipelines.counts_store import CountsStore  # noqa: PLC0415

        deployment = _deployment()
        names = labels_of(deployment) if labels else None
        if table is not None:
            try:
                _policy(deployment).table(table)
            except KeyError:
                _fail("--table: no such table in the policy; `carrel check` lists them")
        with CountsStore(deployment.counts_store) as store:
            view = arrange(store.rows(table, month), names)
        write_counts(view, style, output)
        return 0

    _guarded(work)


@app.command()
def status(as_json: Json = False) -> None:
    """Sources, clocks, held and void windows, key ages."""

    def work() -> int:
        from pipelines.report import print_status, status_of  # noqa: PLC0415

        deployment = _deployment()
        found = status_of(deployment, _policy(deployment), now=_now())
        typer.echo(json.dumps(found)) if as_json else print_status(found)
        return 0

    _guarded(work)


@deadletters.command("list")
def list_letters(as_json: Json = False) -> None:
    """Count dead letters by day, source and reason."""

    def work() -> int:
        from dataclasses import asdict  # noqa: PLC0415

        from pipelines.dead_letters import DeadLetterDirectory  # noqa: PLC0415

        found = DeadLetterDirectory(_deployment().dead_letters).list()
        if as_json:
            typer.echo(json.dumps([asdict(one) for one in found]))
            return 0
        for one in found:
            typer.echo("  ".join(str(value) for value in asdict(one).values()))
        typer.echo(f"{sum(one.letters for one in found)} dead letters")
        return 0

    _guarded(work)


@deadletters.command("open")
def open_letters(
    key: Annotated[Path, typer.Option(help="The officer's private key file.")],
    output: Annotated[Path, typer.Option(help="Where the opened records go (mode 0600).")],
) -> None:
    """Open dead letters with the officer's private key. Every opening is logged."""

    def work() -> int:
        import base64  # noqa: PLC0415
        import datetime as dt  # noqa: PLC0415
        import os  # noqa: PLC0415

        from pipelines.dead_letters import DeadLetterDirectory  # noqa: PLC0415
        from pipelines.opening import load_private, open_reject  # noqa: PLC0415

        day = dt.datetime.fromtimestamp(_now() / 1000, dt.UTC).date().isoformat()
        letters = DeadLetterDirectory(_deployment().dead_letters)
        number = 0
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as stream:
            for clear, payload in letters.open(load_private(key), open_reject, day=day):
                record = {**clear, "payload": base64.b64encode(payload).decode()}
                stream.write(json.dumps(record, sort_keys=True) + "\n")
                number += 1
        typer.echo(f"opened {number} dead letters into {output}")
        return 0

    _guarded(work)


@deadletters.command("purge")
def purge_letters(
    days: Annotated[int, typer.Option("--older-than", help="Days to keep.", min=0)] = 14,
) -> None:
    """Delete dead letters older than 14 days."""

    def work() -> int:
        import datetime as dt  # noqa: PLC0415

        from pipelines.dead_letters import DeadLetterDirectory  # noqa: PLC0415

        limit = dt.datetime.fromtimestamp(_now() / 1000, dt.UTC).date() - dt.timedelta(days=days)
        number = DeadLetterDirectory(_deployment().dead_letters).purge(limit.isoformat())
        typer.echo(f"deleted {number} files")
        return 0

    _guarded(work)


@keys.command("list")
def list_keys(as_json: Json = False) -> None:
    """Purpose, month and age of every key; never a byte of one."""

    def work() -> int:
        from pipelines.report import key_lines  # noqa: PLC0415

        found = key_lines(_deployment(), now=_now())
        lines = [json.dumps(found)] if as_json else ["  ".join(map(str, one.values())) for one in found]
        typer.echo("\n".join(lines))
        return 0

    _guarded(work)


@keys.command()
def rotate(month: Annotated[str, typer.Option(help="YYYY-MM: make this month's keys ahead.")]) -> None:
    """Make the token and noise key of a month before its first event comes."""

    def work() -> int:
        from pipelines.counts_store import CountsStore  # noqa: PLC0415
        from pipelines.keyring import Keyring  # noqa: PLC0415

        _check_day(f"{month}-01")
        deployment = _deployment()
        with CountsStore(deployment.counts_store) as store:
            keyring = Keyring(deployment.keyring)
            keyring.token_key(deployment.tenant, month, now_ms=_now())
            keyring.noise_key(deployment.tenant, month, store.store_id, create=True, now_ms=_now())
        typer.echo(f"keys of {month} are there")
        return 0

    _guarded(work)


@keys.command()
def shred(
    month: Annotated[str, typer.Option(help="YYYY-MM.")],
    purpose: Annotated[str, typer.Option(help="token or noise.")],
    yes: Annotated[bool, typer.Option("--yes", help="Really destroy it.")] = False,
) -> None:
    """Destroy a month's key now, with a receipt. What it protected is lost: open windows become void."""

    def work() -> int:
        import datetime as dt  # noqa: PLC0415

        from pipelines.counts_store import CountsStore  # noqa: PLC0415
        from pipelines.keyring import Keyring  # noqa: PLC0415
        from pipelines.work_store import WorkStore  # noqa: PLC0415

        _check_day(f"{month}-01")
        if purpose not in ("token", "noise"):
            _fail("--purpose: need token or noise")
        if not yes:
            _fail("shred: this cannot be undone; add --yes")
        deployment = _deployment()
        policy = _policy(deployment)
        day = dt.datetime.fromtimestamp(_now() / 1000, dt.UTC).date().isoformat()
        with WorkStore(deployment.work_store) as work_store, CountsStore(deployment.counts_store) as store:
            keyring = Keyring(deployment.keyring)
            if purpose == "noise":
                keyring.destroy_noise_key(deployment.tenant, month)
            else:
                for window in work_store.windows("open"):
                    if window.month == month:
                        kind = policy.table(window.table).kind
                        store.void(deployment.tenant, kind, window, policy.digest, "key shredded by hand")
                        with work_store.transaction() as transaction:
                            transaction.drop_window("open", window)
                keyring.destroy_token_key(deployment.tenant, month)
            store.record_receipt(deployment.tenant, purpose, month, "by hand", day)
        typer.echo(f"{purpose} key of {month} is destroyed; the receipt is in the counts store")
        return 0

    _guarded(work)


@sources.command("list")
def list_sources(
    fields: Annotated[bool, typer.Option("--fields", help="Every known field and its use.")] = False,
) -> None:
    """The sources that can be read, and what they feed."""

    def work() -> int:
        from schemas.wire import ADAPTERS  # noqa: PLC0415

        for name, adapter in ADAPTERS.items():
            typer.echo(f"{name}  {adapter.envelope}  feeds {', '.join(sorted(adapter.fills))}")
            if fields:
                for message, table in adapter.fields.items():
                    for one in table.fields:
                        typer.echo(f"  {message}  {one.path}  {one.use}  {one.cls}  {one.note}")
        return 0

    _guarded(work)


def main() -> None:
    """Run the command line. Core dumps are switched off: they would hold raw events and keys."""
    import logging  # noqa: PLC0415

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.CRITICAL)  # engines log elements with their errors; this terminal shows our lines only
    app()


if __name__ == "__main__":
    main()
