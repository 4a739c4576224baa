"""Released counts for the eye: one block a table and window, one line a cell, one column a measure."""

import datetime as dt
import itertools
from typing import Mapping, Optional, Sequence, TextIO, Union

from pipelines.terminal import Cell, say, show_table

WITHHELD, CANNOT_BE = "-", "x"
_SIGNS = {"withheld": WITHHELD, "structural_zero": CANNOT_BE}
_MEANING = {
    WITHHELD: "withheld: too few people, or in a total one who stands out",
    CANNOT_BE: "cannot be, by the policy",
}
_FIXED = ("table_name", "window_start", "window_end", "measure", "value", "margin_95", "status")
Line = Mapping[str, Union[str, int, None]]


def window_title(start: str, end: str) -> str:
    """A civil window as people name it: its day, its month, or its first and last day.

    Example:
      >>> window_title("2026-03-01", "2026-04-01"), window_title("2026-03-08", "2026-03-09")
      ('2026-03', '2026-03-08')
    """
    first, after = dt.date.fromisoformat(start), dt.date.fromisoformat(end)
    if after == first + dt.timedelta(days=1):
        return start
    if first.day == after.day == 1 and 28 <= (after - first).days <= 31:
        return start[:7]
    return f"{start} to {after - dt.timedelta(days=1)}"


def write_blocks(
    columns: Sequence[str], lines: Sequence[Sequence[Union[str, int, None]]], table: str, stream: Optional[TextIO]
) -> None:
    """Write the lines of a `CountsView`, which are in order of table, window and cell.

    A table without dimensions is one block, with a line a window.

    Args:
      table: the name of the only table; where there are several, lines have a `table_name`.
    """
    if not lines:
        say("nothing is released here; `carrel status` says what is held and until when", stream=stream)
        return
    named: list[Line] = [{"table_name": table, **dict(zip(columns, line, strict=True))} for line in lines]
    dimensions = [name for name in columns if name not in _FIXED]
    first = True
    for name, of_table in itertools.groupby(named, key=lambda line: line["table_name"]):
        block = list(of_table)
        used = [one for one in dimensions if any(line[one] is not None for line in block)]
        windows = [[block]] if not used else [[list(of)] for _, of in itertools.groupby(block, key=_window)]
        for (part,) in windows:
            if not first:
                say("", stream=stream)
            first = False
            title = f"{name}  {_window(part[0])}" if used else str(name)
            say(title, style="bold", stream=stream)
            _write_block(part, used, stream)


def _window(line: Line) -> str:
    return window_title(str(line["window_start"]), str(line["window_end"]))


def _write_block(block: Sequence[Line], dimensions: Sequence[str], stream: Optional[TextIO]) -> None:
    measures = list(dict.fromkeys(str(line["measure"]) for line in block))
    head = list(dimensions) or ["window"]
    cells: dict[tuple[Cell, ...], dict[str, Cell]] = {}
    signs: dict[str, None] = {}
    margins: dict[str, set[int]] = {}
    for line in block:
        measure, sign = str(line["measure"]), _SIGNS.get(str(line["status"]))
        place = tuple(line[name] for name in dimensions) or (_window(line),)
        cells.setdefault(place, {})[measure] = line["value"] if sign is None else sign
        if sign is not None:
            signs[sign] = None
        elif isinstance(line["margin_95"], int):
            margins.setdefault(measure, set()).add(line["margin_95"])
    rows = [(*place, *(values.get(measure) for measure in measures)) for place, values in cells.items()]
    show_table((*head, *measures), rows, numbers=measures, indent=2, stream=stream)
    said = [f"{measure} {_either(margins[measure])}" for measure in measures if measure in margins]
    if said:
        say(f"95 % margin: {', '.join(said)}", indent=2, stream=stream)
    for sign in sorted(signs):
        say(f"{sign} {_MEANING[sign]}", indent=2, stream=stream)


def _either(margins: set[int]) -> str:
    return " or ".join(f"±{margin}" if margin else "0" for margin in sorted(margins))
