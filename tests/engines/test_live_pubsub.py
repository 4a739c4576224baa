"""`carrel live` on a Pub/Sub subscription: what a replay of its messages publishes, whatever order they come in."""

import base64
import contextlib
import datetime as dt
import io
import json
import random
import shutil
import sqlite3

import pytest

from pipelines import pubsub_bus_client
from pipelines.bus import Limits
from pipelines.configuration import capabilities, load
from pipelines.journal import Journal
from pipelines.live import live
from schemas.policy_compiler import compile_policy
from tests.support.kafka_messages import wall
from tests.support.released import ledger, released
from tests.support.replaying import deployment, edit, replayed

pytestmark = pytest.mark.engine
HOUR = 3_600_000
DAY = 24 * HOUR
STEP = 3 * DAY  # less than a subscription keeps: a longer leap would be a gap


def some_events(now: int) -> list[dict[str, object]]:
    """Two hours of one branch: enough patrons for numbers, redelivered and retracted acts, somebody who opts out."""
    rng = random.Random(3)
    events: list[dict[str, object]] = []
    for number in range(400):
        event: dict[str, object] = {
            "kind": "circulation", "event_id": f"e{number}", "occurred_at": now - rng.randrange(2 * HOUR),
            "action": "checkout", "branch": rng.choice(["B01", "B02"]), "material": rng.choice(["book", "dvd"]),
            "patron_ref": f"p{rng.randrange(60)}",
        }  # fmt: skip
        events.append(event)
        if number % 10 == 0:
            events.append(event)
        if number % 15 == 0:
            events.append(event | {"op": "retract"})
    events.append({
        "kind": "patron", "change": "opted_out", "event_id": "x", "occurred_at": now - HOUR, "patron_ref": "p7",
    })  # fmt: skip
    rng.shuffle(events)
    return events


def pulled(pubsub, subscription: str, wanted: int) -> str:
    """The archive of a subscription: a line for each message, as a pull answers it."""
    lines: list[str] = []
    while len(lines) < wanted:
        answer = pubsub.subscriber.pull(subscription=subscription, max_messages=1_000, timeout=60)
        for one in answer.received_messages:
            message = {
                "data": base64.b64encode(one.message.data).decode(),
                "messageId": one.message.message_id,
                "publishTime": one.message.publish_time.isoformat().replace("+00:00", "Z"),
            }
            lines.append(json.dumps({"ackId": one.ack_id, "message": message}) + "\n")
    return "".join(lines)


def test_live_publishes_what_a_replay_of_its_messages_publishes(pubsub, tmp_path, monkeypatch):
    made = pubsub.make()
    archive = made.subscription + "-archive"
    pubsub.subscriber.create_subscription(name=archive, topic=made.topic)
    first = deployment(tmp_path / "live")
    begins = dt.datetime.fromtimestamp(wall() / 1000 - 2 * 86_400, dt.UTC).date().replace(day=1)
    said = f'adapter = "carrel-event"\ncomplete_from = "{begins}"\n'
    edit(first / "carrel.toml", 'adapter = "carrel-event"\n', said)
    second = tmp_path / "replayed"
    shutil.copytree(first, second)
    edit(second / "carrel.toml", said, said + "ended = true\n")
    bus = f'bus = {{ kind = "pubsub", subscription = "{made.subscription}" }}\nstate_is_only_copy = true\n'
    edit(first / "carrel.toml", said, said + bus)
    payloads = [json.dumps(event).encode() for event in some_events(wall())] + [b'{"kind": "poison"']
    pubsub.publish(made, payloads)
    monkeypatch.setattr(pubsub_bus_client, "_WAIT", 1.0)  # an empty subscription is asked again sooner
    ahead = 0

    def stopping() -> bool:
        """Leap when all is read, and again with each proof of silence, until the months that hold events are out."""
        nonlocal ahead
        with contextlib.closing(sqlite3.connect(f"file:{first / 'work.db'}?mode=ro", uri=True)) as work:
            taken = work.execute("SELECT COALESCE(MAX(next), 0) FROM positions").fetchone()[0]
            proven = work.execute("SELECT COALESCE(MAX(clock), 0) FROM proofs").fetchone()[0]
        if proven >= wall() + ahead - 2 * HOUR:
            ahead += STEP
        elif taken == len(payloads) and not proven:
            ahead += HOUR // 2  # longer than any lease
        return ahead > 45 * DAY

    found = load(first / "carrel.toml")
    live(
        found, compile_policy(found.policy_text, capabilities(found)), now=lambda: wall() + ahead, stopping=stopping,
        journal=Journal(io.StringIO()), limits=Limits(seconds=0.5),
    )  # fmt: skip
    lines = tmp_path / "pulled.jsonl"
    lines.write_text(pulled(pubsub, archive, len(payloads)))
    replayed(second, lines, now=dt.datetime.fromtimestamp(wall() / 1000 + 86_400, dt.UTC).date().isoformat())

    ours = {row[:2] for row in ledger(second)}
    mine = [row for row in released(first) if (row[2], row[3]) in ours]
    assert [row for row in mine if row[9] == "published"]
    assert mine == released(second)
