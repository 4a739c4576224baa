"""How commands speak to a person: words wrapped and set off on a terminal, whole plain lines elsewhere.

Nothing here knows what it prints; no text is read as markup, so that a label may hold brackets.
"""

import json
import sys
import textwrap
from typing import Collection, Iterable, Optional, Sequence, TextIO, Union

from rich.console import Console
from rich.table import Table
from rich.text import Text

Cell = Union[str, int, None]
_WIDEST = 100_000  # elsewhere than on a terminal a table is as wide as it is


def _console(stream: Optional[TextIO]) -> Console:
    file = stream or sys.stdout
    return Console(file=file, highlight=False, width=None if file.isatty() else _WIDEST)


def say(text: str, *, indent: int = 0, style: str = "", stream: Optional[TextIO] = None) -> None:
    """Print one line; on a terminal it is broken between words, its further lines set in by two more.

    Args:
      indent: spaces before it.
      style: as rich names styles; shown on a terminal only.
      stream: default standard output.
    """
    console = _console(stream)
    line = " " * indent + text
    if console.is_terminal:
        further = " " * (indent + 2)
        line = textwrap.fill(
            line, console.width, subsequent_indent=further, break_long_words=False, break_on_hyphens=False
        )
    console.print(Text(line, style=style), soft_wrap=True)


def say_command(text: str) -> None:
    """Print a command to be copied: on one line, however long it is."""
    _console(None).print(Text(f"  {text}", style="bold"), soft_wrap=True)


def say_json(value: object) -> None:
    """Print a value for scripts: JSON on one line, on a terminal too."""
    sys.stdout.write(json.dumps(value) + "\n")


def show_table(
    columns: Sequence[str],
    lines: Iterable[Sequence[Cell]],
    *,
    numbers: Collection[str] = (),
    indent: int = 0,
    stream: Optional[TextIO] = None,
) -> None:
    """Print lines under their columns' names, two spaces apart; None is an empty place.

    Args:
      numbers: the columns that are set to the right and never broken.
      indent: spaces before each line.
      stream: default standard output.
    """
    console = _console(stream)
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for name in columns:
        is_number = name in numbers
        table.add_column(Text(name), justify="right" if is_number else "left", overflow="fold", no_wrap=is_number)
    for line in lines:
        table.add_row(*(Text("" if value is None else str(value)) for value in line))
    with console.capture() as captured:
        console.print(table, width=console.width - indent)
    for text in captured.get().splitlines():
        console.file.write(f"{' ' * indent}{text.rstrip()}\n")
