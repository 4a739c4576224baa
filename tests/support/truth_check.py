"""Holds released counts to a sample's truth.csv."""

import csv
import sqlite3
from pathlib import Path

Where = tuple[str, str, str, str]  # table, window start, cell, measure


def compare(
    truth: Path, counts: Path, *, margin: int = 0, k: int = 11, dominated: frozenset[Where] | None = None
) -> tuple[int, list[str]]:
    """How many published numbers were compared, and every disagreement.

    A number is withheld if and only if the truth has too few people: k, for totals five times k. A
    total is withheld too where one patron has more than a tenth of it: truth.csv does not say where
    that is, so `dominated` does; without it any total may be withheld. A published number differs from
    the truth by at most `margin`, and never lies under k. Every cell of the truth is among the rows of
    its table and window, where these were released.
    """
    told = {}
    with truth.open() as stream:
        for row in csv.DictReader(stream):
            where = (row["table_name"], row["window_start"], row["cell"], row["measure"])
            told[where] = (int(row["true_value"]), int(row["distinct_patrons"]))
    database = sqlite3.connect(counts)
    rows = database.execute("SELECT table_name, window_start, cell, measure, value, status FROM released_counts")
    compared, wrong, seen = 0, [], set()
    for table, start, cell, measure, value, status in rows:
        seen.add((table, start, cell, measure))
        true_value, people = told.get((table, start, cell, measure), (0, 0))
        is_total = measure.startswith("total")
        needed = 5 * k if is_total else k
        name = f"{table} {start} {measure}"
        hidden = is_total and (dominated is None or (table, start, cell, measure) in dominated)
        if status == "published":
            compared += 1
            if people < needed:
                wrong.append(f"{name}: published with too few people")
            if hidden and dominated is not None:
                wrong.append(f"{name}: published though one patron dominates it")
            if abs(value - max(k, true_value)) > (0 if is_total else margin):
                wrong.append(f"{name}: {value} is not {true_value}")
        elif people >= needed and not hidden:
            wrong.append(f"{name}: withheld with {people} people")
    database.close()
    windows = {where[:2] for where in seen}
    wrong += [
        f"{' '.join(where[:2])}: a cell is missing" for where in told if where[:2] in windows and where not in seen
    ]
    return compared, wrong
