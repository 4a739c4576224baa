"""The words of `carrel deadletters`, `keys` and `sources`. Imports nothing heavy: help must come at once."""

from pathlib import Path
from typing import Annotated, Optional

import typer

from pipelines.invocation import Invocation, guarded

Json = Annotated[bool, typer.Option("--json", help="One line of JSON, for scripts.")]


def examples(*commands: str) -> str:
    """The end of a help page, kept as it is written."""
    return "\n  ".join(("\b\nExamples:", *commands))


def _group(text: str, *commands: str) -> typer.Typer:
    return typer.Typer(help=text, epilog=examples(*commands), no_args_is_help=True, rich_markup_mode=None)


deadletters = _group(
    "Sealed rejects: list, open, redrive, purge.",
    "carrel deadletters list",
    "carrel deadletters purge --older-than 14",
)
keys = _group("The keyring: list, rotate, shred.", "carrel keys list", "carrel keys rotate --month 2026-06")
sources = _group(
    "What the sources' contracts name; resume a stopped one.",
    "carrel sources list --fields",
    "carrel sources resume folio",
)


@deadletters.command("list", epilog=examples("carrel deadletters list", "carrel deadletters list --json"))
def _list_letters(context: typer.Context, as_json: Json = False) -> None:
    """Count dead letters by day, source and reason; opens none."""

    def work(run: Invocation) -> int:
        from pipelines.commands import dead_letters  # noqa: PLC0415

        return dead_letters.list_letters(run, as_json=as_json)

    guarded(context, work)


@deadletters.command("open", epilog=examples("carrel deadletters open --key recipient.key --output opened.jsonl"))
def _open_letters(
    context: typer.Context,
    key: Annotated[Path, typer.Option(metavar="FILE", help="The officer's private key.")],
    output: Annotated[Path, typer.Option(metavar="FILE", help="A new file for the records; only you may read it.")],
) -> None:
    """Open dead letters with the officer's private key; it is logged."""

    def work(run: Invocation) -> int:
        from pipelines.commands import dead_letters  # noqa: PLC0415

        return dead_letters.open_letters(run, key, output)

    guarded(context, work)


@deadletters.command(
    "redrive",
    epilog=examples(
        "carrel deadletters redrive --key recipient.key --source folio --to-archive mended.jsonl",
        "carrel deadletters redrive --key recipient.key --reason disallowed_field --to-bus",
    ),
)
def _redrive(
    context: typer.Context,
    key: Annotated[Path, typer.Option(metavar="FILE", help="The officer's private key.")],
    source: Annotated[Optional[str], typer.Option(metavar="NAME", help="Of one source.", show_default="all")] = None,
    reason: Annotated[Optional[str], typer.Option(metavar="REASON", help="Of one reason.", show_default="all")] = None,
    archive: Annotated[
        Optional[Path],
        typer.Option("--to-archive", metavar="FILE", help="A new archive for carrel replay.", show_default=False),
    ] = None,
    bus: Annotated[bool, typer.Option("--to-bus", help="Publish to the source's own topic.")] = False,
) -> None:
    """Read dead letters again, by what carrel.toml says now.

    What is accepted goes on as the message that it was; what is not stays a letter. An archive keeps when it
    arrived, a bus does not: there it arrives now, and windows that are over do not take it. Twice is harmless:
    an act counts once.
    """

    def work(run: Invocation) -> int:
        from pipelines.commands import redriving  # noqa: PLC0415

        return redriving.redrive(run, key, source=source, reason=reason, archive=archive, to_bus=bus)

    guarded(context, work)


@deadletters.command("log", epilog=examples("carrel deadletters log", "carrel deadletters log --json"))
def _show_log(context: typer.Context, as_json: Json = False) -> None:
    """Show who opened letters when; refuses an altered log.

    Keep the last hash elsewhere: it tells whether the whole log was made anew.
    """

    def work(run: Invocation) -> int:
        from pipelines.commands import dead_letters  # noqa: PLC0415

        return dead_letters.show_log(run, as_json=as_json)

    guarded(context, work)


@deadletters.command("purge", epilog=examples("carrel deadletters purge", "carrel deadletters purge --older-than 7"))
def _purge_letters(
    context: typer.Context,
    days: Annotated[int, typer.Option("--older-than", metavar="DAYS", help="Days to keep.", min=0)] = 14,
) -> None:
    """Delete dead letters that are older than some days."""

    def work(run: Invocation) -> int:
        from pipelines.commands import dead_letters  # noqa: PLC0415

        return dead_letters.purge_letters(run, days)

    guarded(context, work)


@keys.command("list", epilog=examples("carrel keys list", "carrel keys list --json"))
def _list_keys(context: typer.Context, as_json: Json = False) -> None:
    """Show every key's purpose, month and age; no byte of it."""

    def work(run: Invocation) -> int:
        from pipelines.commands import keys as keyring  # noqa: PLC0415

        return keyring.list_keys(run, as_json=as_json)

    guarded(context, work)


@keys.command("rotate", epilog=examples("carrel keys rotate --month 2026-06"))
def _rotate(
    context: typer.Context,
    month: Annotated[str, typer.Option(metavar="YYYY-MM", help="Whose keys to make.")],
) -> None:
    """Make a month's keys before its first event comes."""

    def work(run: Invocation) -> int:
        from pipelines.commands import keys as keyring  # noqa: PLC0415

        return keyring.rotate(run, month)

    guarded(context, work)


@keys.command("shred", epilog=examples("carrel keys shred --purpose token --month 2026-03 --yes"))
def _shred(
    context: typer.Context,
    month: Annotated[str, typer.Option(metavar="YYYY-MM", help="Whose key to destroy.")],
    purpose: Annotated[str, typer.Option(metavar="PURPOSE", help="token or noise.")],
    yes: Annotated[bool, typer.Option("--yes", help="Really destroy it.")] = False,
) -> None:
    """Destroy a month's key now, with a receipt.

    What it protected is lost: open windows of the month become void for good, and without its noise key
    published ones cannot be verified.
    """

    def work(run: Invocation) -> int:
        from pipelines.commands import keys as keyring  # noqa: PLC0415

        return keyring.shred(run, month, purpose, yes=yes)

    guarded(context, work)


@sources.command("list", epilog=examples("carrel sources list", "carrel sources list --fields --json"))
def _list_sources(
    context: typer.Context,
    fields: Annotated[bool, typer.Option("--fields", help="Every known field, its use and its class.")] = False,
    as_json: Json = False,
) -> None:
    """Show the systems that can be read, and what they feed."""

    def work(_: Invocation) -> int:
        from pipelines.commands import sources as contracts  # noqa: PLC0415

        return contracts.list_sources(fields=fields, as_json=as_json)

    guarded(context, work)


@sources.command("resume", epilog=examples("carrel sources resume folio", "carrel sources resume folio --accept"))
def _resume_source(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The source, as in carrel.toml.", show_default=False)],
    accept: Annotated[
        bool, typer.Option("--accept", help="Take what it refuses as dead letters for one hour, however many.")
    ] = False,
) -> None:
    """Read a source on that refused too much and was stopped.

    Mend the cause first: what it sent since then was kept by its bus and is read as if nothing had been. Stop
    carrel live before, start it after; a job of carrel stream reads on within a minute.
    """

    def work(run: Invocation) -> int:
        from pipelines.commands import sources as contracts  # noqa: PLC0415

        return contracts.resume_source(run, name, accept=accept)

    guarded(context, work)
