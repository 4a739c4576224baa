"""One run over a deployment: what its steps share, and what the work store remembers of it until it ends."""

import json
from dataclasses import dataclass, field
from typing import Optional

from pipelines.calendar_windows import Feed
from pipelines.configuration import Deployment, feeding
from pipelines.counts_rows import LedgerRow
from pipelines.counts_store import CountsStore
from pipelines.loop import Job
from pipelines.work_store import WorkStore
from pipelines.work_transaction import Transaction
from pipelines.work_values import Position
from schemas.counts import WindowKey
from schemas.policy import Table
from transforms.privacy.times import Zone

_BEGUN = "run"
Place = tuple[str, str]  # (table, window start)


@dataclass
class Summary:
    """What a run did; exact, for the terminal of the person who holds the files."""

    messages: dict[tuple[str, str], int] = field(default_factory=dict)
    files: int = 0
    released: list[str] = field(default_factory=list)
    void: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    matches: int = 0
    differs: list[str] = field(default_factory=list)
    unverifiable: list[str] = field(default_factory=list)
    unpinned: list[str] = field(default_factory=list)
    closed: dict[str, int] = field(default_factory=dict)
    merged: dict[str, tuple[int, int]] = field(default_factory=dict)
    destroyed: list[str] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)  # "source lookup" -> broken lines of its exports
    advice: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Planned:
    """One file of a run; `is_named`: the operator named it, so that it is read whatever was read before."""

    source: str
    part: str
    is_named: bool = field(compare=False)


@dataclass(frozen=True)
class Begun:
    """What is remembered of a run until it has ended, so that a killed one goes on.

    Attributes:
      at: when it began, ms UTC.
      plan: the files that it is to read.
      positions: where those files stood that had been read before; the others are read from their beginning.
      published: windows that were published before it began: its acts for them are verified.
      open: windows that held acts before it began: those are not in its files alone.
      afresh: it lost its keys and began again, so that it meets windows that it has published itself.
    """

    at: int
    plan: tuple[Planned, ...]
    positions: tuple[tuple[str, Position], ...]
    published: frozenset[Place]
    open: frozenset[Place]
    afresh: bool = False

    def keep(self, transaction: Transaction) -> None:
        """Remember it in the work store."""
        transaction.set_value(
            _BEGUN,
            json.dumps(
                {
                    "at": self.at,
                    "plan": [(file.source, file.part, file.is_named) for file in self.plan],
                    "positions": [
                        (source, at.part, at.next, at.head.hex(), at.done, at.clock) for source, at in self.positions
                    ],
                    "published": sorted(self.published),
                    "open": sorted(self.open),
                    "afresh": self.afresh,
                }
            ),
        )


def begun(store: WorkStore) -> Optional[Begun]:
    """The run that has begun and not ended."""
    text = store.value(_BEGUN)
    if text is None:
        return None
    found = json.loads(text)
    return Begun(
        at=found["at"],
        plan=tuple(Planned(*file) for file in found["plan"]),
        positions=tuple(
            (source, Position(part, at, bytes.fromhex(head), done, clock))
            for source, part, at, head, done, clock in found["positions"]
        ),
        published=frozenset((table, start) for table, start in found["published"]),
        open=frozenset((table, start) for table, start in found["open"]),
        afresh=found["afresh"],
    )


def end(transaction: Transaction) -> None:
    """The run has ended: nothing of it is remembered."""
    transaction.set_value(_BEGUN, None)


@dataclass(frozen=True)
class Run:
    """What every step of a run works on."""

    deployment: Deployment
    job: Job
    store: WorkStore
    counts: CountsStore
    zone: Zone
    summary: Summary = field(default_factory=Summary)

    def ledger(self) -> dict[Place, LedgerRow]:
        """The tenant's releases so far."""
        return self.counts.ledger(self.job.tenant)

    def published(self) -> frozenset[Place]:
        """Windows whose numbers are out or frozen. Void ones keep taking acts: a better day may still release them."""
        return frozenset(where for where, row in self.ledger().items() if row.state in ("sealing", "sealed"))

    def feeds(self, table: Table, lane: str) -> list[Feed]:
        """The sources of a table, and what the lane knows of their time."""
        return [
            Feed(
                source.name,
                self.store.clock(lane, source.name),
                source.ended,
                tuple(self.store.gaps(source.name)),
                bool(self.store.proofs(source.name)),
                table.kind not in source.kinds,
            )
            for source in feeding(self.deployment, table.kind)
        ]

    def tell(self, ended: "Ended") -> None:
        """Keep for the summary what ended with its keys."""
        self.summary.destroyed += ended.keys
        self.summary.void += ended.void


@dataclass
class Ended:
    """What ended: keys as `token 2026-03`, and windows that became void with them."""

    keys: list[str] = field(default_factory=list)
    void: list[str] = field(default_factory=list)


def place_of(key: WindowKey) -> Place:
    """How ledger and run name a window."""
    return key.table, key.start


def name_of(key: WindowKey) -> str:
    """How a person is told of a window."""
    return f"{key.table} {key.start}"
