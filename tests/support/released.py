"""What a deployment has released, as plain values."""

import sqlite3
from pathlib import Path


def released(deployment: Path) -> list[tuple[object, ...]]:
    """Every row of `released_counts`, in order."""
    database = sqlite3.connect(deployment / "counts.db")
    rows = database.execute("SELECT * FROM released_counts ORDER BY release_id, cell, measure").fetchall()
    database.close()
    return rows


def ledger(deployment: Path) -> list[tuple[object, ...]]:
    """Table, window, state, completeness and hash of every release."""
    database = sqlite3.connect(deployment / "counts.db")
    rows = database.execute(
        "SELECT table_name, window_start, state, completeness, rows_hash FROM release_ledger ORDER BY 1, 2"
    ).fetchall()
    database.close()
    return rows
