"""What must come out of the messages of an oracle file."""

import itertools
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, Mapping, Optional

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
        """(cell, measure) -> number, of every cell that there is; None where it must be withheld."""
        about, found = self.head["tables"][table], {}
        of_each = itertools.product(*([(name, one) for one in of] for name, of in about["cells"].items()))
        cells: dict[str, Counter[str]] = {_cell(dict(one)): Counter() for one in of_each}
        for message in self.standing(table, start):
            if message["patron"] not in self._erased[table, start]:
                cells[_cell(message["cell"])][message["patron"]] += 1
        for cell, people in cells.items():
            clipped = sum(min(acts, about["clip"]) for acts in people.values())
            of = {"acts": clipped, "patrons": len(people)}
            for measure in about["measures"]:
                found[cell, measure] = of[measure] if len(people) >= self.head["k"] else None
        return found


def _cell(values: Mapping[str, str]) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"))
