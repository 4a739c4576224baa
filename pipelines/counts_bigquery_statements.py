"""The statements of a counts store in BigQuery; `DATASET.` stands for the dataset."""

from dataclasses import fields
from typing import Sequence

from pipelines.counts_rows import (
    DEFAULT_REASON,
    CountRow,
    KeyReceipt,
    LedgerRow,
    SourceStop,
    Verification,
    column_names,
)

TYPES = {
    "accepts_until": "INT64",
    "revision": "INT64",
    "value": "INT64",
    "charge": "FLOAT64",
    "cells": "INT64",
    "backfill": "INT64",
}


def _columns(row: type) -> str:
    return ", ".join(
        f"{field.name} {TYPES.get(field.name, 'STRING')}{'' if field.name == 'value' else ' NOT NULL'}"
        for field in fields(row)
    )


SCHEMA = (
    "CREATE TABLE IF NOT EXISTS DATASET.store_meta(key STRING NOT NULL, value STRING NOT NULL)",
    f"CREATE TABLE IF NOT EXISTS DATASET.released_counts({_columns(CountRow)}) CLUSTER BY table_name, window_start",
    f"CREATE TABLE IF NOT EXISTS DATASET.release_ledger({_columns(LedgerRow)})",
    f"CREATE TABLE IF NOT EXISTS DATASET.key_receipts({_columns(KeyReceipt)})",
    f"CREATE TABLE IF NOT EXISTS DATASET.verifications(seq INT64 NOT NULL, {_columns(Verification)})",
    f"CREATE TABLE IF NOT EXISTS DATASET.source_stops(seq INT64 NOT NULL, {_columns(SourceStop)})",
)
LEDGER_KEY = "tenant = @tenant AND table_name = @table_name AND window_start = @window_start AND revision = @revision"
LEDGER = f"SELECT {column_names(LedgerRow)} FROM DATASET.release_ledger"  # noqa: S608 - names of our own columns
COUNTS = f"SELECT {column_names(CountRow)} FROM DATASET.released_counts AS c"  # noqa: S608 - names of our own columns
SEAL = (
    f"UPDATE DATASET.release_ledger SET state = 'sealed' "  # noqa: S608 - names of our own columns
    f"WHERE {LEDGER_KEY} AND state = 'sealing' AND rows_hash = @rows_hash"
)
IS_SEALED = """EXISTS(SELECT 1 FROM DATASET.release_ledger AS l WHERE l.tenant = c.tenant
  AND l.table_name = c.table_name AND l.window_start = c.window_start
  AND l.revision = c.revision AND l.state = 'sealed')"""
_FROM_JSON = ", ".join(
    f"CAST(JSON_VALUE(r, '$.{field.name}') AS {TYPES.get(field.name, 'STRING')}) AS {field.name}"
    for field in fields(CountRow)
)
_COUNT_NAMES = column_names(CountRow)
MERGE_COUNTS = f"""MERGE DATASET.released_counts AS t USING (SELECT {_FROM_JSON} FROM UNNEST(@rows) AS r) AS s
  ON t.release_id = s.release_id AND t.cell = s.cell AND t.measure = s.measure
  WHEN NOT MATCHED THEN INSERT({_COUNT_NAMES}) VALUES({", ".join(f"s.{one.name}" for one in fields(CountRow))})"""  # noqa: S608


def _merge(table: str, row: type, key: Sequence[str], otherwise: str = "") -> str:
    """Insert the row that the parameters hold, if none has its key."""
    names = [field.name for field in fields(row)]
    values = ", ".join(f"s.{name}" for name in names)
    return (
        f"MERGE DATASET.{table} AS t USING (SELECT {', '.join(f'@{name} AS {name}' for name in names)}) AS s "
        f"ON {' AND '.join(f't.{name} = s.{name}' for name in key)} "
        f"WHEN NOT MATCHED THEN INSERT({', '.join(names)}) VALUES({values}) {otherwise}"
    )


LEDGER_COLUMNS = ("tenant", "table_name", "window_start", "revision")
_GIVES_WAY = (
    f"WHEN MATCHED AND t.state = 'void' AND STARTS_WITH(t.reason, '{DEFAULT_REASON}') THEN UPDATE SET "
    f"{', '.join(f'{one.name} = s.{one.name}' for one in fields(LedgerRow) if one.name not in LEDGER_COLUMNS)}"
)
BEGIN = _merge("release_ledger", LedgerRow, LEDGER_COLUMNS, _GIVES_WAY)
VOID = _merge("release_ledger", LedgerRow, LEDGER_COLUMNS)
RECEIPT = _merge("key_receipts", KeyReceipt, [field.name for field in fields(KeyReceipt)])
META = (
    "MERGE DATASET.store_meta AS t USING (SELECT @name AS key, @text AS value) AS s ON t.key = s.key "
    "WHEN NOT MATCHED THEN INSERT(key, value) VALUES(s.key, s.value)"
)


def _append(table: str, row: type) -> str:
    """Add the row that the parameters hold to a log."""
    values = ", ".join(f"@{one.name}" for one in fields(row))
    return (
        f"INSERT INTO DATASET.{table}(seq, {column_names(row)}) "  # noqa: S608 - names of our own columns
        f"SELECT COALESCE(MAX(seq), 0) + 1, {values} FROM DATASET.{table}"
    )


VERIFICATION = _append("verifications", Verification)
STOP = _append("source_stops", SourceStop)
