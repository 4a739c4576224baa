"""Holds released counts to a sample's truth.csv."""

import csv
import sqlite3
from pathlib import Path


def compare(truth: Path, counts: Path, *, margin: int = 0, k: int = 11) -> tuple[int, list[str]]:
    """How many published numbers were compared, and every disagreement.

    A number is withheld if and only if the truth has too few people (for totals five times k, and
    nobody with more than a tenth: those may be withheld beyond that); a published one differs from
    the truth by at most `margin`, and never lies under k.
    """
    told = {}
    with truth.open() as stream:
        for row in csv.DictReader(stream):
            where = (row["table_name"], row["window_start"], row["cell"], row["measure"])
            told[where] = (int(row["true_value"]), int(row["distinct_patrons"]))
    database = sqlite3.connect(counts)
    rows = database.execute("SELECT table_name, window_start, cell, measure, value, status FROM released_counts")
    compared, wrong = 0, []
    for table, start, cell, measure, value, status in rows:
        true_value, people = told.get((table, start, cell, measure), (0, 0))
        needed = 5 * k if measure.startswith("total") else k
        where = f"{table} {start} {measure}"
        if status == "published":
            compared += 1
            if people < needed:
                wrong.append(f"{where}: published with too few people")
            if abs(value - max(k, true_value)) > (0 if measure.startswith("total") else margin):
                wrong.append(f"{where}: {value} is not {true_value}")
        elif people >= needed and not measure.startswith("total"):
            wrong.append(f"{where}: withheld with {people} people")
    database.close()
    return compared, wrong
