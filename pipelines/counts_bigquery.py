"""A counts store in a BigQuery dataset: insert if absent by MERGE, each statement whole or not at all.

Tables and columns are those of SQLite; `rows` gives sealed releases only. There is no lock: the ledger row of a window
is merged first and its hash decides whose rows may follow, so of two writers the first wins and the other one is told.
"""

import json
import os
import secrets
from dataclasses import astuple, fields
from typing import Any, Iterator, Literal, Optional, Self

import requests
from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, TransportError
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

from pipelines.counts_address import BIGQUERY
from pipelines.counts_bigquery_statements import (
    BEGIN,
    COUNTS,
    IS_SEALED,
    LEDGER,
    LEDGER_COLUMNS,
    LEDGER_KEY,
    MERGE_COUNTS,
    META,
    RECEIPT,
    SCHEMA,
    SEAL,
    STOP,
    TYPES,
    VERIFICATION,
    VOID,
)
from pipelines.counts_rows import (
    CountRow,
    KeyReceipt,
    LedgerRow,
    SourceStop,
    StoreAwayError,
    StoreError,
    Verification,
    column_names,
    ledger_row,
    ledger_row_of,
    release_id,
)
from pipelines.counts_rules import (
    NOT_BEGUN,
    OTHER_VERSION,
    RULE_BROKEN,
    iso,
    keeps_the_rules,
    missing_rows,
    names_twice,
    void_row,
)
from pipelines.crash_points import crash_point
from schemas.counts import ReleasedTable, WindowKey

_VERSION = "1"
_SECONDS = 60.0
_ROWS = 20_000  # in one statement: a request has at most 10 MB
_EMULATOR = "BIGQUERY_EMULATOR_HOST"  # the client library asks there when it is set
_FAULTS = {
    400: "BigQuery refused the statement; look at the job in its console",
    401: "these credentials are refused; sign in anew",
    403: "these credentials may not do that, or a quota is used up; grant what docs/stores.md lists",
    404: "no such project, dataset or table; create the dataset; `carrel init --counts-store` makes the tables",
}


class BigQueryCounts:
    """A `CountsStore` in a dataset.

    Args:
      address: bigquery:PROJECT.DATASET; credentials are the application default ones.
      create: make the tables when they are absent; the dataset must exist.

    Raises:
      StoreError: cannot be reached within a minute, no such tables, not allowed, of another version.
    """

    def __init__(self, address: str, *, create: bool = False) -> None:
        self._address = address
        project, _, dataset = address.removeprefix(BIGQUERY).partition(".")
        self._prefix = f"`{project}.{dataset}`."
        credentials = AnonymousCredentials() if os.environ.get(_EMULATOR) else None
        try:
            self._client = bigquery.Client(project=project, credentials=credentials)
        except DefaultCredentialsError:
            message = "there are no credentials; set GOOGLE_APPLICATION_CREDENTIALS or sign in with gcloud"
            raise self._refused(message) from None
        if create:
            for statement in SCHEMA:
                self._run(statement)
            for key, value in (("version", _VERSION), ("store_id", secrets.token_hex(16))):
                self._run(META, name=key, text=value)
        meta = dict(self._run("SELECT key, value FROM DATASET.store_meta"))
        if not meta:
            raise self._refused(_FAULTS[404])
        if meta.get("version") != _VERSION or not meta.get("store_id"):
            raise self._refused(OTHER_VERSION)
        self.store_id = str(meta["store_id"])

    def _refused(self, what: str) -> StoreError:
        return StoreError(f"counts store {self._address}: {what}")

    def _run(self, statement: str, **values: object) -> list[tuple[Any, ...]]:
        """Run one statement, which happens as a whole or not at all; an answer that got lost is asked for again."""
        job = bigquery.QueryJobConfig(
            query_parameters=[_parameter(name, value) for name, value in values.items()],
            use_query_cache=False,
        )
        try:
            asked = self._client.query(  # a job has a name: asked for again, it is the same job
                statement.replace("DATASET.", self._prefix),
                job_config=job,
                retry=DEFAULT_RETRY.with_timeout(_SECONDS),
                job_retry=None,
                timeout=_SECONDS,
            )
            found = asked.result(retry=DEFAULT_RETRY.with_timeout(_SECONDS), job_retry=None, timeout=10 * _SECONDS)
            return [tuple(row) for row in found]
        except GoogleAPICallError as error:  # its text may quote a value; these lines never do
            if error.code in _FAULTS:
                raise self._refused(_FAULTS[error.code]) from None
            what = "BigQuery does not answer; nothing was half written, run again later"
        except GoogleAuthError as error:
            if not isinstance(error, TransportError) and not error.retryable:
                raise self._refused(_FAULTS[401]) from None
            what = "no credentials can be had, since their server does not answer; check the network, then run again"
        except (RetryError, requests.RequestException, TimeoutError):
            what = "BigQuery cannot be reached; check the network, then run again"
        message = f"counts store {self._address}: {what}"
        raise StoreAwayError(message)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def _entry(self, row: LedgerRow) -> Optional[LedgerRow]:
        found = self._run(f"{LEDGER} WHERE {LEDGER_KEY}", **_place(row))
        return ledger_row_of(found[0]) if found else None

    def ledger(self, tenant: str) -> dict[tuple[str, str], LedgerRow]:
        query = f"{LEDGER} WHERE tenant = @tenant AND revision = 0 ORDER BY table_name, window_start"
        found = map(ledger_row_of, self._run(query, tenant=tenant))
        return {(row.table_name, row.window_start): row for row in found}

    def begin(self, table: ReleasedTable, completeness: str, reason: str, backfill: bool) -> str:
        if names_twice(table):
            raise self._refused("a release names one number twice; report this as a bug")
        entry = ledger_row(table, completeness, reason, backfill=backfill)
        self._run(BEGIN, **_values(entry))
        there = self._entry(entry)
        if there is None:
            raise self._refused("a row of the ledger is gone; restore the dataset as it was")
        return there.state

    def publish(self, table: ReleasedTable) -> Literal["sealed", "differs"]:
        mine = ledger_row(table, "", "", backfill=False)
        entry = self._entry(mine)
        if entry is None:
            raise self._refused(NOT_BEGUN)
        name = release_id(mine.tenant, mine.table_name, mine.window_start, mine.revision)
        there = self._run(f"{COUNTS} WHERE release_id = @release_id", release_id=name)
        missing = missing_rows(entry, table, (CountRow(*columns) for columns in there))
        if missing is None:
            return "differs"
        if not all(map(keeps_the_rules, missing)):
            raise self._refused(RULE_BROKEN)
        for at in range(0, len(missing), _ROWS):
            self._run(MERGE_COUNTS, rows=[json.dumps(_values(row)) for row in missing[at : at + _ROWS]])
        crash_point("rows-inserted")
        if entry.state != "sealed":
            self._run(SEAL, **_place(mine), rows_hash=mine.rows_hash)
        return "sealed"

    def void(self, tenant: str, kind: str, key: WindowKey, policy_hash: str, reason: str) -> None:
        self._run(VOID, **_values(void_row(tenant, kind, key, policy_hash, reason)))

    def record_verification(
        self, tenant: str, table: str, window_start: str, revision: int, verdict: str, day: str
    ) -> None:
        self._run(VERIFICATION, **_values(Verification(tenant, table, window_start, revision, verdict, iso(day))))

    def verifications(self, tenant: str) -> tuple[Verification, ...]:
        query = f"SELECT {column_names(Verification)} FROM DATASET.verifications WHERE tenant = @tenant ORDER BY seq"  # noqa: S608
        return tuple(Verification(*row) for row in self._run(query, tenant=tenant))

    def record_stop(self, stop: SourceStop) -> None:
        iso(stop.day)
        self._run(STOP, **_values(stop))

    def stops(self, tenant: str) -> tuple[SourceStop, ...]:
        query = f"SELECT {column_names(SourceStop)} FROM DATASET.source_stops WHERE tenant = @tenant ORDER BY seq"  # noqa: S608
        return tuple(SourceStop(*row) for row in self._run(query, tenant=tenant))

    def record_receipt(self, tenant: str, purpose: str, month: str, why: str, destroyed_day: str) -> None:
        self._run(RECEIPT, **_values(KeyReceipt(tenant, purpose, month, why, iso(destroyed_day))))

    def receipts(self, tenant: str) -> tuple[KeyReceipt, ...]:
        query = (
            f"SELECT {column_names(KeyReceipt)} FROM DATASET.key_receipts WHERE tenant = @tenant "  # noqa: S608 - our own names
            "ORDER BY purpose, month, destroyed_day, why"
        )
        return tuple(KeyReceipt(*row) for row in self._run(query, tenant=tenant))

    def pinned_policy(self, tenant: str, kind: str, window_start: str, window_end: str) -> set[str]:
        found = self._run(
            "SELECT DISTINCT policy_hash FROM DATASET.release_ledger WHERE tenant = @tenant AND event_kind = @kind "
            "AND window_start = @window_start AND window_end = @window_end AND state = 'sealed'",
            tenant=tenant,
            kind=kind,
            window_start=window_start,
            window_end=window_end,
        )
        return {policy_hash for (policy_hash,) in found}

    def rows(self, table: Optional[str] = None, month: Optional[str] = None) -> Iterator[CountRow]:
        wanted = {"table_name = @table_name": table, "SUBSTR(window_start, 1, 7) = @month": month}
        tests = [IS_SEALED, *(test for test, value in wanted.items() if value is not None)]
        values = {name: value for name, value in (("table_name", table), ("month", month)) if value is not None}
        found = self._run(
            f"{COUNTS} WHERE {' AND '.join(tests)} ORDER BY tenant, table_name, window_start, revision, cell, measure",
            **values,
        )
        return (CountRow(*row) for row in found)


def _values(row: object) -> dict[str, object]:
    named = zip((field.name for field in fields(row)), astuple(row), strict=True)  # type: ignore[arg-type,call-overload]
    return {name: int(value) if isinstance(value, bool) else value for name, value in named}


def _place(row: LedgerRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in LEDGER_COLUMNS}


def _parameter(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return bigquery.ArrayQueryParameter(name, "STRING", value)
    return bigquery.ScalarQueryParameter(name, TYPES.get(name, "STRING"), value)
