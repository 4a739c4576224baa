"""Whether words that a text shows are a command that exists."""

import shlex

import typer.main

from pipelines.command_line import app


def commands() -> dict[tuple[str, ...], object]:
    """Every command that can be run, by its words: `("keys", "list")`."""
    found = {}
    for name, command in typer.main.get_command(app).commands.items():
        for below, one in getattr(command, "commands", {"": command}).items():
            found[(name, below) if below else (name,)] = one
    return found


def faults(line: str) -> list[str]:
    """What is wrong with a line `... carrel [-c FILE] WORDS`: its command or an option does not exist.

    Only words are judged, no file is looked for and nothing runs; behind `--` they are another program's.
    """
    words = shlex.split(line, comments=True)
    words = words[: words.index("--")] if "--" in words else words
    at = next(index for index, word in enumerate(words) if word.rpartition("/")[2] == "carrel") + 1
    given = words[at:]
    if given[:1] == ["-c"]:
        given = given[2:]
    if not given or given in (["--help"], ["--version"]):
        return []
    known = commands()
    name = tuple(given[:2]) if tuple(given[:2]) in known else tuple(given[:1])
    if name not in known:
        return [f"{' '.join(name)}: no such command"]
    options = {option for param in known[name].params for option in param.opts} | {"--help", "-c"}
    return [word for word in given[len(name) :] if word.startswith("-") and word.partition("=")[0] not in options]
