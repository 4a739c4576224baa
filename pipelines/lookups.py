"""Lookups from exports: item -> codes, patron -> codes, campaign -> type. In memory only, never written.

An export is JSON lines, TSV with a header as PostgreSQL's COPY writes it, or CSV with a header, gzipped or
not. Each line is reduced to an id and codes while reading; a broken line is skipped and counted.
"""

import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Mapping, Protocol, cast

from schemas.rejects import DecodeError, Reason
from schemas.wire import envelopes
from schemas.wire.adapter import Adapter, Reduce

LONGEST_LINE = 1 << 20


class LookupsError(ValueError):
    """A declared lookup cannot be read; the text is one line: what, where, what to do."""


class _SaysNothingError(DecodeError):
    """No line of an export could be used: it is of another form, and everything would become `other`."""


class Configured(Protocol):
    """The part of a source's configuration that is read here."""

    @property
    def name(self) -> str:
        """The source's name."""

    @property
    def lookups(self) -> Mapping[str, Path | tuple[Path, ...]]:
        """Lookup name -> export files."""


@dataclass(frozen=True)
class Lookups:
    """What the exports say.

    Attributes:
      tables: lookup name -> wire id -> canonical column -> source code; a later line of the same id adds to
        and replaces what an earlier one said.
      skipped: lookup name -> lines that were broken.
    """

    tables: Mapping[str, Mapping[str, Mapping[str, str]]]
    skipped: Mapping[str, int]


def read(adapter: Adapter, config: Configured) -> Lookups:
    """Reads every declared export of a source into memory.

    Raises:
      LookupsError: a lookup that the adapter does not have, or an export that is missing, unreadable, of an
        unknown form, without header, or of which no line can be used.
    """
    tables: dict[str, dict[str, dict[str, str]]] = {}
    skipped: dict[str, int] = {}
    for name, declared in config.lookups.items():
        reduce = adapter.lookups.get(name)
        if reduce is None:
            known = ", ".join(sorted(adapter.lookups)) or "none"
            msg = f"source {config.name}: adapter {adapter.name} has no lookup {name}; known: {known}"
            raise LookupsError(msg)
        table: dict[str, dict[str, str]] = {}
        broken = 0
        for path in declared if isinstance(declared, tuple) else (declared,):
            try:
                broken += add_export(table, path, reduce)
            except (OSError, EOFError, zlib.error, DecodeError) as fault:
                what = "is missing" if isinstance(fault, FileNotFoundError) else "cannot be read"
                if isinstance(fault, _SaysNothingError):
                    what = "has no line with an id that this adapter knows"
                msg = f"source {config.name}: lookup {name}: {path} {what}; export it again or correct the path"
                raise LookupsError(msg) from None
        tables[name], skipped[name] = table, broken
    return Lookups(tables, skipped)


def add_export(table: dict[str, dict[str, str]], path: Path, reduce: Reduce) -> int:
    """Adds one export to a table; returns how many of its lines were broken.

    Raises:
      OSError, EOFError, zlib.error, DecodeError: it cannot be read, or says nothing.
    """
    lines = used = broken = 0
    with _opened(path) as stream:
        for record in _records(stream, path):
            lines += 1
            if record is None:
                broken += 1
                continue
            try:
                reduced = reduce(record)
            except DecodeError:
                broken += 1
                continue
            if reduced is not None:
                used += 1
                key, codes = reduced
                table.setdefault(key, {}).update(codes)
    if lines and not used:
        raise _SaysNothingError(Reason.MISSING_FIELD)
    return broken


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb"))


def _form(path: Path) -> str:
    return (path.with_suffix("") if path.suffix == ".gz" else path).suffix


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines without their ends; one that is too long counts as one broken line."""
    while line := stream.readline(LONGEST_LINE):
        whole = line.endswith(b"\n") or len(line) < LONGEST_LINE
        while not line.endswith(b"\n") and (rest := stream.readline(LONGEST_LINE)):
            line = rest
        yield line.rstrip(b"\r\n") if whole else b"\xff"


def _records(stream: IO[bytes], path: Path) -> Iterator[dict[str, Any] | None]:
    """The records of an export, None for a broken line; empty lines are passed over."""
    form = _form(path)
    if form in {".jsonl", ".json"}:
        for line in _lines(stream):
            if line.strip():
                yield _json(line)
    elif form == ".tsv":
        lines = _lines(stream)
        columns = envelopes.header(next(lines, b""))
        for line in lines:
            if line.strip():
                yield _row(line, columns)
    elif form == ".csv":
        yield from _csv(stream)
    else:
        raise DecodeError(Reason.ENVELOPE)


def _json(line: bytes) -> dict[str, Any] | None:
    try:
        record = envelopes.parse_json(line)
    except DecodeError:
        return None
    return record if isinstance(record, dict) else None


def _row(line: bytes, columns: tuple[str, ...]) -> dict[str, Any] | None:
    try:
        cells = envelopes.cells(line)
    except DecodeError:
        return None
    return dict(zip(columns, cells, strict=True)) if len(cells) == len(columns) else None


def _csv(stream: IO[bytes]) -> Iterator[dict[str, Any] | None]:
    # Bytes that are no UTF-8 become lone surrogates, so that one bad line does not end the file.
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    rows = csv.reader(text, strict=True)
    columns: list[str] | None = None
    while True:
        try:
            row = next(rows)
        except StopIteration:
            break
        except csv.Error:
            yield None
            continue
        if columns is None:
            columns = row
        elif row:
            yield dict(zip(columns, row, strict=True)) if len(row) == len(columns) and _is_utf8(row) else None
    if not columns or len(set(columns)) != len(columns):
        raise DecodeError(Reason.NOT_TSV)


def _is_utf8(row: list[str]) -> bool:
    try:
        "".join(row).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
