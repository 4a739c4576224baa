"""Opening the counts store that a deployment names: the one place that knows all of them."""

from pathlib import Path

from pipelines.counts_address import BIGQUERY, PARQUET, CountsAddress
from pipelines.counts_sql import SqlCounts
from pipelines.counts_sqlite import SqliteDatabase
from pipelines.counts_store import CountsStore

# A store's own library is imported only where a deployment uses that store: some take a second.


def open_counts(address: CountsAddress, *, create: bool = False) -> CountsStore:
    """Open a counts store.

    Args:
      address: as `Deployment.counts_store`.
      create: make it when it is absent; what lies around it (folder, database, dataset) must exist.

    Raises:
      StoreError: missing, corrupt, cannot be reached, of another kind or version.
    """
    if isinstance(address, Path):
        return SqlCounts(SqliteDatabase(address, create=create))
    if address.startswith(PARQUET):
        from pipelines.counts_parquet import ParquetCounts  # noqa: PLC0415 - see above

        return ParquetCounts(Path(address.removeprefix(PARQUET)), create=create)
    if address.startswith(BIGQUERY):
        from pipelines.counts_bigquery import BigQueryCounts  # noqa: PLC0415 - see above

        return BigQueryCounts(address, create=create)
    from pipelines.counts_postgres import PostgresDatabase  # noqa: PLC0415 - see above

    return SqlCounts(PostgresDatabase(address, create=create))
