"""What `carrel counts` prints or writes, in four formats: the contract is one line a number, with its 95 % margin."""

import csv
import json
import math
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Callable, Iterable, Mapping, Optional, TextIO, Union

from pipelines.counts_rows import CountRow
from pipelines.counts_table import write_blocks

FORMATS = ("table", "csv", "json", "parquet")
Labels = Mapping[str, Mapping[str, str]]
Value = Union[str, int, None]
_FIRST = ("window_start", "window_end")
_LAST = ("measure", "value", "margin_95", "status")
_NUMBERS = frozenset({"value", "margin_95"})
_GEOMETRIC = re.compile(r"geometric([1-9]\d{0,3})(?:/|$)")
_ROUNDED = re.compile(r"total/round([1-9]\d{0,3})(?:/|$)")
_PLAIN = re.compile(r"plain(?:/|$)")


class OutputError(ValueError):
    """The counts cannot be shown or written; one line says why and what to do."""


@dataclass(frozen=True)
class CountsView:
    """Released numbers as a rectangle: each of `lines` is as long as `columns`; None is an empty field.

    Attributes:
      table: the name of the only table, which has no column; empty when there are several or none.
    """

    columns: tuple[str, ...]
    lines: tuple[tuple[Value, ...], ...]
    table: str = ""


def margin_95(mechanism: str) -> int:
    """Half the width of a 95 % interval around a published number.

    Two-sided geometric noise of scale s: the smallest m with P(|noise| <= m) >= 0.95, where
    P(|noise| > m) = 2 a**(m + 1) / (1 + a) and a = exp(-1 / s). Rounding to n: n / 2. Plain: 0.

    Args:
      mechanism: as in the store, for instance `geometric2/k11`, `total/round10/k11`, `plain/k11`.

    Raises:
      OutputError: a mechanism this release does not know; a margin is never guessed.
    """
    if noisy := _GEOMETRIC.match(mechanism):
        a = math.exp(-1 / int(noisy[1]))
        margin = 0
        while 2 * a ** (margin + 1) / (1 + a) > 0.05:
            margin += 1
        return margin
    if rounded := _ROUNDED.match(mechanism):
        return int(rounded[1]) // 2
    if _PLAIN.match(mechanism):
        return 0
    message = "counts: the store names a mechanism that this release does not know; update carrel"
    raise OutputError(message)


def arrange(rows: Iterable[CountRow], labels: Optional[Labels] = None) -> CountsView:
    """Put released numbers into columns, sorted by table, window, codes and measure.

    Columns: table_name (only when there is more than one table), window_start, window_end, the union of the
    dimensions in sorted order, measure, value, margin_95, status. Of several revisions the last is shown.

    Args:
      rows: as `CountsStore.rows` gives them.
      labels: dimension -> code -> label; codes without a label stay codes.

    Raises:
      OutputError: a dimension has the name of another column; an unknown mechanism.
    """
    last: dict[tuple[str, ...], CountRow] = {}
    for row in rows:
        place = (row.tenant, row.table_name, row.window_start, row.cell, row.measure)
        if place not in last or last[place].revision < row.revision:
            last[place] = row
    cells: dict[str, dict[str, str]] = {cell: json.loads(cell) for cell in {row.cell for row in last.values()}}
    dimensions = tuple(sorted({name for codes in cells.values() for name in codes}))
    tables = {row.table_name for row in last.values()}
    several = len(tables) > 1
    columns = (*(("table_name",) if several else ()), *_FIRST, *dimensions, *_LAST)
    if len(set(columns)) != len(columns) or "table_name" in dimensions:
        message = "counts: a dimension has the name of a fixed column; rename the group in policy.toml"
        raise OutputError(message)

    def order(row: CountRow) -> tuple[str, ...]:
        codes = cells[row.cell]
        window = (row.table_name, row.window_start, row.window_end)
        return (*window, *(codes.get(name, "") for name in dimensions), row.measure, row.tenant)

    margins = {mechanism: margin_95(mechanism) for mechanism in sorted({row.mechanism for row in last.values()})}
    shown = {name: (labels or {}).get(name, {}) for name in dimensions}
    lines: list[tuple[Value, ...]] = []
    for row in sorted(last.values(), key=order):
        codes = cells[row.cell]
        named = [shown[name].get(codes[name], codes[name]) if name in codes else None for name in dimensions]
        # A structural zero is exact by policy; a withheld number has no margin.
        margin = margins[row.mechanism] if row.status == "published" else (0 if row.value is not None else None)
        head = (row.table_name,) if several else ()
        lines.append((*head, row.window_start, row.window_end, *named, row.measure, row.value, margin, row.status))
    return CountsView(columns, tuple(lines), "" if several else "".join(tables))


def write_counts(view: CountsView, style: str, output: Optional[Path] = None, stream: Optional[TextIO] = None) -> None:
    """Write the counts to a file (whole or not at all) or to a stream.

    Args:
      view: from `arrange`.
      style: one of `FORMATS`.
      output: the file, replaced by rename; without it `stream` is written.
      stream: default standard output.

    Raises:
      OutputError: unknown format, parquet without a file, the file cannot be written.
    """
    if style not in FORMATS:
        message = f"counts: unknown format; choose one of {', '.join(FORMATS)}"
        raise OutputError(message)
    if output is None:
        if style == "parquet":
            message = "counts: parquet is not text; name a file with --output"
            raise OutputError(message)
        _TEXT[style](view, stream or sys.stdout)
        return
    try:
        _replace(output, lambda file: _write_file(view, style, file))
    except OSError as error:
        message = f"counts: cannot write {output} ({error.strerror or 'refused'}); choose another --output"
        raise OutputError(message) from None


def _write_file(view: CountsView, style: str, file: IO[bytes]) -> None:
    if style == "parquet":
        _write_parquet(view, file)
        return
    with open(file.fileno(), "w", encoding="utf-8", newline="", closefd=False) as text:
        _TEXT[style](view, text)


def _replace(output: Path, write: Callable[[IO[bytes]], None]) -> None:
    """Write beside the file, then rename: a reader sees the old file or the new one, never half of it."""
    handle, name = tempfile.mkstemp(dir=output.absolute().parent, prefix=f".{output.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(output)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _write_csv(view: CountsView, stream: TextIO) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(view.columns)
    writer.writerows(view.lines)


def _write_json(view: CountsView, stream: TextIO) -> None:
    lines = (json.dumps(dict(zip(view.columns, line, strict=True)), ensure_ascii=False) for line in view.lines)
    stream.write("[\n" + ",\n".join(lines) + "\n]\n" if view.lines else "[]\n")


def _write_table(view: CountsView, stream: TextIO) -> None:
    write_blocks(view.columns, view.lines, view.table, stream)


def _write_parquet(view: CountsView, file: IO[bytes]) -> None:
    import pyarrow as pa  # type: ignore[import-untyped] # noqa: PLC0415 - slow to import
    import pyarrow.parquet as pq  # type: ignore[import-untyped] # noqa: PLC0415

    schema = pa.schema([(name, pa.int64() if name in _NUMBERS else pa.string()) for name in view.columns])
    columns = [pa.array([line[at] for line in view.lines], schema.field(at).type) for at in range(len(view.columns))]
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), file)


_TEXT: Mapping[str, Callable[[CountsView, TextIO], None]] = {
    "table": _write_table,
    "csv": _write_csv,
    "json": _write_json,
}
