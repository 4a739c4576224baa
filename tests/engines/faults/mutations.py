"""Faults that the checker must see, put into a forked instance only: each breaks one promise of the product."""

import contextlib
import fcntl
import itertools
import time
from dataclasses import replace
from typing import Any, Callable, Mapping

from pipelines.dead_letters import DeadLetterDirectory
from pipelines.live import Live
from pipelines.work_transaction import Transaction
from transforms.decode import Decoded, Decoder


def _none() -> None:
    """The product as it is."""


def _position_before_commit() -> None:
    """What is read is marked read in a transaction of its own, before anything of it is kept."""
    product = Live._commit

    def commit(self: Live, source: str, batch: Any, clock: Any) -> None:
        with self.run.store.transaction() as transaction:
            for position in batch.positions:
                transaction.advance(source, position)
        product(self, source, batch, clock)

    Live._commit = commit  # type: ignore[method-assign]


def _no_fencing() -> None:
    """No lock, and an epoch that nobody asks for."""
    fcntl.flock = lambda *_: None  # type: ignore[assignment]
    Transaction._refuse_when_fenced = lambda _: None  # type: ignore[method-assign]


def _acts_named_by_position() -> None:
    """An act is named by where its message lay, so that what is redelivered is another act."""
    product, places = Decoder.decode, itertools.count(time.time_ns())

    def decode(self: Decoder, chunk: Any) -> Decoded:
        found = product(self, chunk)
        found.batches = [replace(one, act_ids=tuple(f"{next(places)}" for _ in one.act_ids)) for one in found.batches]
        return found

    Decoder.decode = decode  # type: ignore[method-assign]


def _every_letter_is_new() -> None:
    """What was refused before makes a second letter."""
    product = Transaction._change

    def change(self: Transaction, statement: str, *values: object) -> int:
        return product(self, statement, *values) or statement.startswith("INSERT INTO seen_rejects")

    Transaction._change = change  # type: ignore[method-assign]


def _full_disk_not_heard() -> None:
    """Letters that could not be written are taken for written."""
    product = DeadLetterDirectory._put

    def put(self: DeadLetterDirectory, name: str, content: bytes) -> None:
        with contextlib.suppress(OSError):
            product(self, name, content)

    DeadLetterDirectory._put = put  # type: ignore[method-assign]


ALL: Mapping[str, Callable[[], None]] = {
    "": _none,
    "position before commit": _position_before_commit,
    "no fencing": _no_fencing,
    "acts named by position": _acts_named_by_position,
    "every letter is new": _every_letter_is_new,
    "full disk not heard": _full_disk_not_heard,
}
