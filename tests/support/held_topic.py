"""A topic whose end is never proven while it is held, so that messages older than the wall clock can come in steps.

A proof says that nothing arrives any more until an hour ago: what a test publishes after it would be late. So on
each partition a transaction is open at any time: it is closed only behind the next one, and only when every reader has
asked again how far the topic goes. A reader that asked before the next one was opened would read on past what it was
told then, and rightly take that for a proof.
"""

import json
import random
import time
from collections.abc import Sequence

from confluent_kafka import Producer

ASKED_AGAIN = 8.0  # seconds; an idle reader asks every five


class HeldTopic:
    """`come` publishes a part of a log, `let_go` lets the topic's end be proven.

    Args:
      first: the stamp of what opens the first transaction, ms UTC.
    """

    def __init__(self, brokers: str, topic: str, partitions: int, first: int) -> None:
        self._brokers = brokers
        self._topic = topic
        self._partitions = partitions
        self._steps = 0
        self._open = self._begin(first)

    def come(self, log: Sequence[tuple[int, bytes]]) -> None:
        """Messages in the order of arrival, each to some partition, with its arrival as its stamp."""
        rng = random.Random(self._steps)
        for arrived, line in log:
            self._open.produce(self._topic, line, partition=rng.randrange(self._partitions), timestamp=arrived)
            self._open.poll(0)
        assert self._open.flush(60) == 0
        after = self._begin(log[-1][0])
        time.sleep(ASKED_AGAIN)
        self.let_go()
        self._open = after

    def let_go(self) -> None:
        self._open.commit_transaction(60)

    def _begin(self, stamp: int) -> Producer:
        """Open a transaction with something that counts nowhere: an act of staff."""
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
        event = {
            "kind": "circulation", "event_id": f"held{self._steps}", "occurred_at": stamp, "action": "checkout",
            "branch": "B01", "material": "book", "patron_ref": "held", "patron_kind": "staff",
        }  # fmt: skip
        for partition in range(self._partitions):
            producer.produce(self._topic, json.dumps(event).encode(), partition=partition, timestamp=stamp)
        assert producer.flush(60) == 0
        return producer
