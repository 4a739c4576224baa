"""A counts store in a folder: one Parquet file for each release, and a ledger that says which of them count.

    DIR/store.json                version and store id
    DIR/release_ledger.jsonl      one line each time a window's row changes; the last one stands. It is the manifest:
                                  a file is part of the store once its window is `sealed`
    DIR/released_counts/*.parquet one whole release, under the name of its release id
    DIR/key_receipts.jsonl, DIR/verifications.jsonl, DIR/source_stops.jsonl

A file takes its name only when it is complete and on the disk, and is never changed after that.
"""

import io
import json
import secrets
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Iterator, Literal, Optional, Self, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.counts_directory import Directory, Log
from pipelines.counts_rows import CountRow, KeyReceipt, LedgerRow, SourceStop, Verification, ledger_row, release_id
from pipelines.counts_rules import (
    NOT_BEGUN,
    OTHER_VERSION,
    RULE_BROKEN,
    iso,
    keeps_the_rules,
    missing_rows,
    names_twice,
    stays,
    void_row,
)
from pipelines.crash_points import crash_point
from schemas.counts import ReleasedTable, WindowKey

_VERSION = "1"
_STORE, _COUNTS = "store.json", "released_counts"
_NUMBERS = {"value": pa.int64(), "revision": pa.int32()}
_SCHEMA = pa.schema(
    [pa.field(one.name, _NUMBERS.get(one.name, pa.string()), nullable=one.name == "value") for one in fields(CountRow)]
)
_Said = TypeVar("_Said", KeyReceipt, SourceStop, Verification)
_Place = tuple[str, str, str, int]  # tenant, table, window start, revision


class ParquetCounts:
    """A `CountsStore` in a folder of a local disk.

    Args:
      path: the folder.
      create: make it when it is absent or empty; the folder around it must exist.

    Raises:
      StoreError: missing, corrupt, not readable, of another kind or version; any later call: disk full,
        not writable, held by another process for 30 s.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self._directory = Directory(path)
        with self._directory.explaining():
            if create:
                self._create()
            self.store_id = self._identity()
        self._ledger_log = Log(self._directory, "release_ledger.jsonl", LedgerRow)
        self._receipt_log = Log(self._directory, "key_receipts.jsonl", KeyReceipt)
        self._verification_log = Log(self._directory, "verifications.jsonl", Verification)
        self._stop_log = Log(self._directory, "source_stops.jsonl", SourceStop)
        self._entries: dict[_Place, LedgerRow] = {}

    def _create(self) -> None:
        path = self._directory.path
        path.mkdir(exist_ok=True)
        if {one.name for one in path.iterdir()} - {"lock", "lock.part", _STORE} and not (path / _STORE).is_file():
            raise self._directory.refused("another kind of folder; name a new or an empty one")
        if (path / _STORE).is_file():
            return
        with self._directory.writing():
            if not (path / _STORE).is_file():
                made = {"version": _VERSION, "store_id": secrets.token_hex(16)}
                self._directory.write_whole(_STORE, json.dumps(made).encode() + b"\n")

    def _identity(self) -> str:
        if not (self._directory.path / _STORE).is_file():
            message = "there is no counts store; `carrel init --counts-store` makes one, or correct counts_store"
            raise self._directory.refused(message)
        try:
            found = json.loads((self._directory.path / _STORE).read_bytes())
            version, store_id = found["version"], str(found["store_id"])
        except (ValueError, KeyError, TypeError):
            raise self._directory.refused(f"{_STORE} is corrupt; restore it from a backup") from None
        if version != _VERSION or not store_id:
            raise self._directory.refused(OTHER_VERSION)
        return store_id

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is held open between two calls."""

    def _known(self) -> dict[_Place, LedgerRow]:
        """The ledger as it is now."""
        with self._directory.reading():
            for row in self._ledger_log.more():
                self._entries[row.tenant, row.table_name, row.window_start, row.revision] = row
            return dict(self._entries)

    def ledger(self, tenant: str) -> dict[tuple[str, str], LedgerRow]:
        known = sorted(self._known().items())
        return {where[1:3]: row for where, row in known if where[0] == tenant and where[3] == 0}

    def begin(self, table: ReleasedTable, completeness: str, reason: str, backfill: bool) -> str:
        if names_twice(table):
            raise self._directory.refused("a release names one number twice; report this as a bug")
        entry = ledger_row(table, completeness, reason, backfill=backfill)
        with self._directory.writing():
            there = self._known().get((entry.tenant, entry.table_name, entry.window_start, entry.revision))
            if there is not None and stays(there):
                return there.state
            self._ledger_log.append(entry)
        return entry.state

    def publish(self, table: ReleasedTable) -> Literal["sealed", "differs"]:
        where = (table.tenant, table.key.table, table.key.start, table.revision)
        with self._directory.writing():
            entry = self._known().get(where)
            if entry is None:
                raise self._directory.refused(NOT_BEGUN)
            there = self._read(entry, absent_is_empty=True)
            missing = missing_rows(entry, table, there)
            if missing is None:
                return "differs"
            if not all(map(keeps_the_rules, missing)):
                raise self._directory.refused(RULE_BROKEN)
            if missing or not self._file(entry).exists():
                whole = sorted([*there, *missing], key=lambda row: (row.cell, row.measure))
                self._directory.write_whole(f"{_COUNTS}/{self._file(entry).name}", _encoded(whole))
            crash_point("rows-inserted")
            if entry.state != "sealed":
                self._ledger_log.append(replace(entry, state="sealed"))
        return "sealed"

    def _file(self, entry: LedgerRow) -> Path:
        name = release_id(entry.tenant, entry.table_name, entry.window_start, entry.revision)
        return self._directory.path / _COUNTS / f"{name}.parquet"

    def _read(self, entry: LedgerRow, *, absent_is_empty: bool = False) -> list[CountRow]:
        path = self._file(entry)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            if absent_is_empty:
                return []
            message = "the file of a sealed release is missing; restore it, or replay that window"
            raise self._directory.refused(message) from None
        try:
            found = pq.read_table(io.BytesIO(content), use_threads=False).to_pylist()
            return [CountRow(**row) for row in found]
        except (pa.ArrowException, OSError, TypeError):  # what it says may quote a value
            message = "the file of a release is corrupt; restore it from a backup"
            raise self._directory.refused(message) from None

    def void(self, tenant: str, kind: str, key: WindowKey, policy_hash: str, reason: str) -> None:
        with self._directory.writing():
            if (tenant, key.table, key.start, 0) not in self._known():
                self._ledger_log.append(void_row(tenant, kind, key, policy_hash, reason))

    def record_verification(
        self, tenant: str, table: str, window_start: str, revision: int, verdict: str, day: str
    ) -> None:
        self._append(self._verification_log, Verification(tenant, table, window_start, revision, verdict, iso(day)))

    def verifications(self, tenant: str) -> tuple[Verification, ...]:
        return self._mine(self._verification_log, tenant)

    def record_receipt(self, tenant: str, purpose: str, month: str, why: str, destroyed_day: str) -> None:
        self._append(self._receipt_log, KeyReceipt(tenant, purpose, month, why, iso(destroyed_day)), once=True)

    def receipts(self, tenant: str) -> tuple[KeyReceipt, ...]:
        mine = self._mine(self._receipt_log, tenant)
        return tuple(sorted(mine, key=lambda row: (row.purpose, row.month, row.destroyed_day, row.why)))

    def record_stop(self, stop: SourceStop) -> None:
        iso(stop.day)
        self._append(self._stop_log, stop)

    def stops(self, tenant: str) -> tuple[SourceStop, ...]:
        return self._mine(self._stop_log, tenant)

    def _append(self, log: Log[_Said], row: _Said, *, once: bool = False) -> None:
        with self._directory.writing():
            if row not in log.all() or not once:
                log.append(row)

    def _mine(self, log: Log[_Said], tenant: str) -> tuple[_Said, ...]:
        with self._directory.reading():
            return tuple(row for row in log.all() if row.tenant == tenant)

    def pinned_policy(self, tenant: str, kind: str, window_start: str, window_end: str) -> set[str]:
        wanted = (tenant, kind, window_start, window_end, "sealed")
        return {
            row.policy_hash
            for row in self._known().values()
            if (row.tenant, row.event_kind, row.window_start, row.window_end, row.state) == wanted
        }

    def rows(self, table: Optional[str] = None, month: Optional[str] = None) -> Iterator[CountRow]:
        found: list[CountRow] = []
        for where, entry in sorted(self._known().items()):
            if entry.state != "sealed" or (table or where[1]) != where[1] or (month or where[2][:7]) != where[2][:7]:
                continue
            with self._directory.explaining():
                found += self._read(entry)
        return iter(found)


def _encoded(rows: list[CountRow]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema=_SCHEMA), file, compression="zstd")
    return file.getvalue()
