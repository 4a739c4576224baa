"""`carrel deadletters redrive`: letters whose cause was mended go on as the messages that they were."""

from pathlib import Path
from typing import Optional

from pipelines.commands.dead_letters import access
from pipelines.dead_letters import DeadLetterDirectory
from pipelines.invocation import DONE, Invocation, UsageError
from pipelines.letter import Letter
from pipelines.opening import load_private, open_reject
from pipelines.redrive import Kind, judge_letters, publish, write_archive
from pipelines.terminal import say, show_table
from schemas.rejects import Reason


def redrive(
    run: Invocation, key: Path, *, source: Optional[str], reason: Optional[str], archive: Optional[Path], to_bus: bool
) -> int:
    """Open, decode again, write what is accepted, and only then mark it; what is refused stays."""
    deployment = run.deployment()
    if (archive is None) != to_bus:
        message = "deadletters redrive: name one place: --to-archive FILE or --to-bus"
        raise UsageError(message)
    if source is not None and source not in (one.name for one in deployment.sources):
        message = "--source: no such source in carrel.toml"
        raise UsageError(message)
    if reason is not None and reason not in tuple(Reason):
        message = f"--reason: no such reason; there are {', '.join(Reason)}"
        raise UsageError(message)

    def wanted(letter: Letter) -> bool:
        its_source, its_reason = letter.what
        return not letter.is_redriven and source in {None, its_source} and reason in {None, its_reason}

    letters = DeadLetterDirectory(deployment.dead_letters)
    opened = letters.open(load_private(key), open_reject, access(run, "redrive"), wanted)
    judged = judge_letters(deployment, run.policy(deployment), opened, now=run.now)
    sources = {one.name: one for one in deployment.sources}
    for kind, accepted in sorted(judged.accepted.items()):
        name, form = kind
        if archive is None:
            publish(sources[name], form, accepted)
            where = "its bus"
        else:
            path = _path(archive, kind, alone=len(judged.accepted) == 1)
            write_archive(path, accepted)
            where = f"{path}: whole patron records; carrel replay --source {name} {path}, then delete it"
        letters.mark_redriven(one.letter for one in accepted)
        say(f"{name}: {len(accepted)} letters into {where}")
    if not judged.accepted:
        say("no letter is accepted")
    if judged.refused:
        lines = [(*what, number) for what, number in sorted(judged.refused.items())]
        say("still refused:")
        show_table(("source", "reason", "letters"), lines, numbers=("letters",), indent=2)
    if judged.without_columns:
        names = ", ".join(sorted(judged.without_columns))
        say(f"{names}: lines of a table do not say their columns and are not redriven; mend and replay its archive")
    return DONE


def _path(archive: Path, kind: Kind, *, alone: bool) -> Path:
    """A file has messages of one source in one form."""
    return archive if alone else archive.with_name(f"{archive.stem}-{kind[0]}-{kind[1]}{archive.suffix}")
