"""Says what is wrong with what a run left behind, by the oracle file and SQL alone; it knows no code of the product.

I1  every message is in exactly one class, exactly once; of each window as many acts stand as the oracle says.
I2  every number of every window that is due equals the oracle's.
I3  at no instant that was looked at was there any number that is not the final one, or a window before its time.
I4  positions never go back, and end where the broker's log ends.
I7  no patron, act or title stands in anything that the run has written, but sealed.
I9  each start after a kill took hold in time.
I10 nothing is published for fewer than k patrons, at no instant.
"""

import json
import sqlite3
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping, Optional

CANARY = b"canary"
RECOVERY = 60.0  # seconds; a machine under load is slow, not wrong
Numbers = dict[tuple[str, str], Optional[int]]


class Truth:
    """What must come out of the messages of an oracle file."""

    def __init__(self, path: Path) -> None:
        with path.open() as lines:
            self.head = json.loads(next(lines))
            self.messages = [json.loads(line) for line in lines]
        self.rejected: Counter[str] = Counter()
        self.letters: set[tuple[str, int, str]] = set()
        self.late: Counter[str] = Counter()
        self.filtered = 0
        self.stored: Counter[str] = Counter()
        self._acts: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
        self._erased: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._read()

    def _read(self) -> None:
        clocks: dict[str, int] = {}
        for message in self.messages:
            part, stamp = message["part"], message["stamp"]
            self.stored[part] += 1
            if message.get("reason") != "clock":
                stamp = clocks[part] = max(stamp, clocks.get(part, 0))
            match message["what"]:
                case "poison":
                    self.rejected[message["reason"]] += 1
                    self.letters.add((message["payload"], stamp, part.rpartition("/")[0]))
                case "filtered":
                    self.filtered += 1
                case "erase":
                    self._erase(message["patron"], stamp)
                case _:
                    self._act(message, stamp)

    def _act(self, message: Mapping[str, Any], arrived: int) -> None:
        table = message["table"]
        for start, _, begins, ends in self.head["windows"]:
            if begins <= message["occurred"] < ends:
                if arrived >= ends + self.head["tables"][table]["horizon"]:
                    self.late[table] += 1
                    return
                rows = self._acts[table, start]
                order = (arrived, message["retract"])
                if message["id"] not in rows or order >= rows[message["id"]][0]:
                    rows[message["id"]] = (order, message)

    def _erase(self, patron: str, arrived: int) -> None:
        for table, about in self.head["tables"].items():
            for start, _, begins, ends in self.head["windows"]:
                if begins <= arrived < ends + about["horizon"]:
                    self._erased[table, start].add(patron)

    def standing(self, table: str, start: str) -> list[Mapping[str, Any]]:
        """The acts of a window that stand, those of erased patrons too."""
        return [message for _, message in self._acts[table, start].values() if not message["retract"]]

    def numbers(self, table: str, start: str) -> Numbers:
        """(cell, measure) -> number, of every cell that anybody is in; None where it must be withheld."""
        cells: dict[str, Counter[str]] = defaultdict(Counter)
        for message in self.standing(table, start):
            if message["patron"] not in self._erased[table, start]:
                cell = json.dumps(message["cell"], sort_keys=True, separators=(",", ":"))
                cells[cell][message["patron"]] += 1
        about, found = self.head["tables"][table], {}
        for cell, people in cells.items():
            clipped = sum(min(acts, about["clip"]) for acts in people.values())
            of = {"acts": clipped, "patrons": len(people)}
            for measure in about["measures"]:
                found[cell, measure] = of[measure] if len(people) >= self.head["k"] else None
        return found


def faults(folder: Path, oracle: Path, observed: Path) -> list[str]:
    """What is wrong, one line each; nothing when all holds.

    Args:
      folder: the deployment, with all that the run has written: `counts.db`, `dead-letters`, stores, log.
      observed: JSON lines of what was seen while it ran: `{"see": ..., ...}`.
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
        *_canaries(folder),
        *_recovery(seen),
    ]


def rows_of(folder: Path) -> list[list[Any]]:
    """All released numbers: table, window start, cell, measure, value, status."""
    query = "SELECT table_name, window_start, cell, measure, value, status FROM released_counts ORDER BY 1, 2, 3, 4"
    return [list(row) for row in _asked(folder, query)]


def _asked(folder: Path, query: str) -> list[tuple[Any, ...]]:
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
        wrong = [place for place in wanted | numbers if wanted.get(place) != numbers.get(place)]
        if missing := [place for place in wanted if place not in numbers]:
            yield f"I2 {when}: {table} {start} lacks {len(missing)} numbers"
        if wrong:
            yield f"I2 {when}: {table} {start} has {len(wrong)} wrong numbers of {len(numbers)}"
        if any(value is not None and value < truth.head["k"] for value in numbers.values()):
            yield f"I10 {when}: {table} {start} publishes fewer than k"


def _ledger(truth: Truth, folder: Path) -> Iterator[str]:
    query = "SELECT table_name, window_start, state, completeness FROM release_ledger"
    entries = {(table, start): (state, done) for table, start, state, done in _asked(folder, query)}
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
    totals = next(one["totals"] for one in reversed(seen) if one["see"] == "totals")
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
        if file.is_file() and CANARY in file.read_bytes():
            yield f"I7: {file.relative_to(folder)} holds data of a patron in clear"


def _recovery(seen: list[dict[str, Any]]) -> Iterator[str]:
    """I9."""
    for one in seen:
        if one["see"] == "start" and one["seconds"] > RECOVERY:
            yield f"I9: a start took {one['seconds']:.0f} s"
