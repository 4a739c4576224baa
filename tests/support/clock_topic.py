"""Moves a source's clock by hand: a topic beside the others whose end is never proven while it is held.

Messages of a test are older than the wall clock. An end that is proven between two of its steps would make all that
comes after it late. So one transaction on this topic is open at any time: it is closed only behind the next one.
"""

import json

from confluent_kafka import Producer


class ClockTopic:
    """One partition; `go_on` moves its clock to a stamp, `let_go` lets its end be proven."""

    def __init__(self, brokers: str, topic: str, first: int) -> None:
        self._brokers = brokers
        self._topic = topic
        self._steps = 0
        self._open = self._begin(first)

    def go_on(self, stamp: int) -> None:
        """What is read from now on has come at this stamp or later."""
        self._tell(self._open, stamp)
        after = self._begin(stamp)
        self._open.commit_transaction(60)
        self._open = after

    def let_go(self) -> None:
        self._open.commit_transaction(60)

    def _begin(self, stamp: int) -> Producer:
        self._steps += 1
        producer = Producer(
            {
                "bootstrap.servers": self._brokers,
                "transactional.id": f"{self._topic}-{self._steps}",
                "transaction.timeout.ms": 600_000,
                "log_level": 0,
            }
        )
        producer.init_transactions(60)
        producer.begin_transaction()
        self._tell(producer, stamp)
        return producer

    def _tell(self, producer: Producer, stamp: int) -> None:
        """Something that counts nowhere: an act of staff."""
        event = {
            "kind": "circulation", "event_id": f"clock{self._steps}", "occurred_at": stamp, "action": "checkout",
            "branch": "B01", "material": "book", "patron_ref": "clock", "patron_kind": "staff",
        }  # fmt: skip
        producer.produce(self._topic, json.dumps(event).encode(), partition=0, timestamp=stamp)
        assert producer.flush(60) == 0
