"""Says what is wrong with what a run left behind, by the oracle file and SQL alone; it knows no code of the product.

I1  every message is in exactly one class, exactly once; of each window as many acts stand as the oracle says.
I2  every number of every window that is due equals the oracle's.
I3  at no instant that was looked at was there any number that is not the final one, or a window before its time.
I4  positions never go back, and end where the broker's log ends.
I7  no patron, act or title stands in anything that the run has written, but sealed.
I5  what is read again changes no number, no letter and no entry of the ledger, and falls into as many classes.
I6  a replay of the messages publishes the same bytes.
I8  a process does not grow: its memory, descriptors and threads over the last half of a long run.
I9  each start after a kill took hold in time.
I10 nothing is published for fewer than k patrons, at no instant.
"""

import hashlib
import json
import sqlite3
import statistics
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Iterable, Iterator, Optional

from tests.engines.faults.truth import Numbers, Truth

CANARY = b"canary"
RECOVERY = 60.0  # seconds; a machine under load is slow, not wrong
GROWTH = {"rss": 24 << 20, "descriptors": 8, "threads": 8}  # an hour, of a line through the last half of a run


def faults(
    folder: Path, oracle: Path, observed: Path, *, elsewhere: Optional[Path] = None, replayed: Optional[Path] = None
) -> list[str]:
    """What is wrong, one line each; nothing when all holds.

    Args:
      folder: the deployment, with all that the run has written: `counts.db`, `dead-letters`, stores, log.
      observed: JSON lines of what was seen while it ran: `{"see": ..., ...}`.
      elsewhere: another folder that it has written to: a server's.
      replayed: a deployment in which the same messages were replayed.
    """
    truth = Truth(oracle)
    with observed.open() as lines:
        seen = [json.loads(line) for line in lines]
    return [
        *_numbers(truth, rows_of(folder), "at the end"),
        *_ledger(truth, folder),
        *_instants(truth, seen),
        *_conservation(truth, seen),
        *_standing(truth, seen),
        *_positions(truth, seen),
        *_letters(truth, folder),
        *_again(seen),
        *(() if replayed is None else _replay(folder, replayed)),
        *_canaries(folder),
        *(() if elsewhere is None else _canaries(elsewhere)),
        *_growth(seen),
        *_recovery(seen),
    ]


def rows_of(folder: Path) -> list[list[Any]]:
    """All released numbers: table, window start, cell, measure, value, status."""
    query = "SELECT table_name, window_start, cell, measure, value, status FROM released_counts ORDER BY 1, 2, 3, 4"
    return [list(row) for row in asked(folder, query)]


def state_of(folder: Path) -> dict[str, list[str]]:
    """What a run has let out: numbers, entries of the ledger, letters. One hash each, sorted."""
    things: dict[str, Iterable[object]] = {
        "numbers": asked(folder, "SELECT * FROM released_counts"),
        "entries": asked(folder, "SELECT * FROM release_ledger"),
        "letters": [line for file in (folder / "dead-letters").glob("*.jsonl") for line in file.open()],
    }
    return {
        name: sorted(hashlib.sha256(repr(one).encode()).hexdigest()[:16] for one in of) for name, of in things.items()
    }


def asked(folder: Path, query: str) -> list[tuple[Any, ...]]:
    """All rows of a query to the counts of a deployment."""
    database = sqlite3.connect(f"file:{folder / 'counts.db'}?mode=ro", uri=True, timeout=30)
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


def _numbers(truth: Truth, rows: Iterable[list[Any]], when: str) -> Iterator[str]:
    """I2, I3, I10: each window that is there at all is what the oracle says, whole."""
    windows: dict[tuple[str, str], Numbers] = defaultdict(dict)
    for table, start, cell, measure, value, status in rows:
        if (cell, measure) in windows[table, start]:
            yield f"I2 {when}: {table} {start} has a number twice"
        if (status == "published") != (value is not None):
            yield f"I2 {when}: {table} {start} has a {status} number with or without a value"
        windows[table, start][cell, measure] = value
    for (table, start), numbers in sorted(windows.items()):
        wanted = truth.numbers(table, start)
        if missing := wanted.keys() - numbers.keys():
            yield f"I2 {when}: {table} {start} lacks {len(missing)} numbers"
        if strange := numbers.keys() - wanted.keys():
            yield f"I2 {when}: {table} {start} has {len(strange)} numbers of no cell that there is"
        if wrong := [place for place in wanted.keys() & numbers.keys() if wanted[place] != numbers[place]]:
            yield f"I2 {when}: {table} {start} has {len(wrong)} wrong numbers of {len(numbers)}"
        if any(value is not None and value < truth.head["k"] for value in numbers.values()):
            yield f"I10 {when}: {table} {start} publishes fewer than k"


def _ledger(truth: Truth, folder: Path) -> Iterator[str]:
    query = "SELECT table_name, window_start, state, completeness FROM release_ledger"
    entries = {(table, start): (state, done) for table, start, state, done in asked(folder, query)}
    for table in truth.head["tables"]:
        for start, *_ in truth.head["windows"]:
            if entries.get((table, start)) != ("sealed", "complete"):
                yield f"I2: {table} {start} is not sealed and complete in the ledger"
    for (table, start), entry in sorted(entries.items()):
        if entry != ("sealed", "complete"):
            yield f"I2: the ledger says {entry[0]} of {table} {start}"


def _instants(truth: Truth, seen: list[dict[str, Any]]) -> Iterator[str]:
    """I3: rows that were seen are right as they were, and no window was seen before its time."""
    for at, one in enumerate(one for one in seen if one["see"] == "counts"):
        yield from _numbers(truth, one["rows"], f"at look {at}")
        for table, start in sorted({(row[0], row[1]) for row in one["rows"]}):
            ends = next((ends for begin, _, _, ends in truth.head["windows"] if begin == start), 0)
            if one["now"] < ends + truth.head["tables"][table]["horizon"]:
                yield f"I3 at look {at}: {table} {start} was there before its time"


def _conservation(truth: Truth, seen: list[dict[str, Any]]) -> Iterator[str]:
    """I1: each message once, in one class."""
    totals = Counter(next(one["totals"] for one in reversed(seen) if one["see"] == "totals"))
    for one in seen:
        if one["see"] == "again":
            totals.subtract(_difference(one))
    wanted: dict[str, int] = {"messages": len(truth.messages)}
    wanted["decoded"] = len(truth.messages) - truth.rejected.total()
    wanted |= {f"rejected/{reason}": amount for reason, amount in truth.rejected.items()}
    wanted |= {f"late/{table}": amount for table, amount in truth.late.items()}
    wanted["filtered/not_a_patron"] = truth.filtered
    found = {
        name: amount for name, amount in totals.items()
        if name in wanted or name.partition("/")[0] in ("rejected", "late", "closed", "filtered")
    }  # fmt: skip
    for name in sorted(wanted | found):
        if wanted.get(name, 0) != found.get(name, 0):
            yield f"I1: {name} is {found.get(name, 0)}, not {wanted.get(name, 0)}"


def _difference(again: dict[str, Any]) -> Counter[str]:
    """How many messages of each class were read again."""
    found = Counter(again["second"]["totals"])
    found.subtract(again["first"]["totals"])
    return found


def _again(seen: list[dict[str, Any]]) -> Iterator[str]:
    """I5: what came of the first reading stands; meanwhile only windows may have been released."""
    for one in seen:
        if one["see"] == "again":
            first, second = one["first"]["state"], one["second"]["state"]
            for name in first:
                if Counter(first[name]) - Counter(second[name]):
                    yield f"I5: {name} have changed by reading again"
            if first["letters"] != second["letters"]:
                yield f"I5: {len(first['letters'])} letters have become {len(second['letters'])} by reading again"
            found = _difference(one)
            refused = sum(amount for name, amount in found.items() if name.startswith("rejected/"))
            if found["messages"] != found["decoded"] + refused:
                yield f"I5: of {found['messages']} messages read again {found['decoded']} were decoded, {refused} not"


def _replay(folder: Path, replayed: Path) -> Iterator[str]:
    """I6: of the windows that live has released. A replay has released later ones too, by its operator's word."""
    query = "SELECT * FROM released_counts ORDER BY table_name, window_start, cell, measure"
    live, twin = asked(folder, query), asked(replayed, query)
    if live != twin:
        yield f"I6: a replay publishes other bytes: {len(set(live) ^ set(twin))} rows differ of {len(live)}"


def _growth(seen: list[dict[str, Any]]) -> Iterator[str]:
    """I8."""
    for name, slope in growth(seen).items():
        if slope > GROWTH[name]:
            yield f"I8: {name} grows by {slope:.0f} an hour"


def growth(seen: Iterable[dict[str, Any]]) -> dict[str, float]:
    """How much a process grows in an hour, by a line through the last half of what was seen of it."""
    sizes = [one for one in seen if one["see"] == "size"]
    last = sizes[len(sizes) // 2 :]
    if len(last) < 2:
        return {}
    hours = [one["at"] / 3_600 for one in last]
    return {name: statistics.linear_regression(hours, [one[name] for one in last]).slope for name in GROWTH}


def _standing(truth: Truth, seen: list[dict[str, Any]]) -> Iterator[str]:
    """I1 before release: in every merge of a window as many acts stood as in the oracle."""
    for one in seen:
        if one["see"] == "merged":
            wanted = len(truth.standing(one["table"], one["start"]))
            if one["stand"] != wanted:
                yield f"I1: {one['stand']} acts stood in {one['table']} {one['start']}, not {wanted}"


def _positions(truth: Truth, seen: list[dict[str, Any]]) -> Iterator[str]:
    """I4."""
    before: dict[str, int] = {}
    for one in seen:
        if one["see"] == "positions":
            for part, at in sorted(one["at"].items()):
                if at < before.get(part, 0):
                    yield f"I4: {part} went back"
                before[part] = at
        if one["see"] == "put back":
            before = dict(one["at"])
        if one["see"] == "ends":
            for part, end in sorted(one["at"].items()):
                if before.get(part, 0) not in (end - 1, end):  # the last one is the marker of a transaction
                    yield f"I4: {part} was read to {before.get(part, 0)} of {end}"
                if end < truth.stored[part]:
                    yield f"I4: {part} holds {end} messages of {truth.stored[part]}"


def _letters(truth: Truth, folder: Path) -> Iterator[str]:
    """I1: who was refused has one letter, sealed, under the reason that it was refused for."""
    found: Counter[str] = Counter()
    for file in sorted((folder / "dead-letters").glob("*.jsonl")):
        found.update(json.loads(line)["reason"] for line in file.read_text().splitlines())
    reason = {message["payload"]: message["reason"] for message in truth.messages if message["what"] == "poison"}
    wanted = Counter(reason[payload] for payload, _, _ in truth.letters)
    for name in sorted(wanted | found):
        if wanted[name] != found[name]:
            yield f"I1: {found[name]} dead letters say {name}, not {wanted[name]}"


def _canaries(folder: Path) -> Iterator[str]:
    """I7."""
    for file in sorted(folder.rglob("*")):
        if file.is_file() and CANARY in _bytes(file):
            yield f"I7: {file.relative_to(folder)} holds data of a patron in clear"


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:  # a server removes what it no longer needs
        return b""


def _recovery(seen: list[dict[str, Any]]) -> Iterator[str]:
    """I9."""
    for one in seen:
        if one["see"] == "start" and one["seconds"] > RECOVERY:
            yield f"I9: a start took {one['seconds']:.0f} s"
