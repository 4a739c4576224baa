"""What a producer is going to publish, written down before it does: the only thing that the checker believes.

An oracle file is JSON lines: first what holds for all, then each message in the order in which it is published.
Nothing of the product is imported here; what a table counts is said again in words of this file's own.
"""

import datetime as dt
import json
import random
import zoneinfo
from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping, Sequence

HOUR, DAY = 3_600_000, 86_400_000
NEW_YORK = zoneinfo.ZoneInfo("America/New_York")
K = 11
BRANCHES = [f"B{number:02}" for number in range(1, 13)]
MATERIALS = "book large-print audiobook dvd music magazine ebook eaudio game equipment kit map other"
CAMPAIGNS = "newsletter reading-challenge event-invitation fundraising welcome survey other"
RESPONSES = "sent opened clicked responded declined unsubscribed other"
# A window has a number for each of its cells, whether somebody is in it or not: that nobody is must not be seen.
TABLES: Mapping[str, Any] = {
    "circ_branch_material_month": {
        "clip": 10, "horizon": 2 * DAY, "measures": ["acts", "patrons"],
        "cells": {"branch": BRANCHES, "material": MATERIALS.split()},
    },
    "registrations_month": {
        "clip": 1, "horizon": 7 * DAY, "measures": ["patrons"],
        "cells": {"change": ["expired", "new", "renewed"], "home_branch": [*BRANCHES, "other"]},
    },
    "engagement_month": {
        "clip": 5, "horizon": 7 * DAY, "measures": ["patrons"],
        "cells": {"campaign_type": CAMPAIGNS.split(), "response": RESPONSES.split()},
    },
}  # fmt: skip
MONTHS = ("2026-02-01", "2026-03-01", "2026-04-01")
FAR_AHEAD = 1_893_456_000_000  # 2030: a stamp that no reader's clock can have reached


def midnight(day: str) -> int:
    """The first instant (ms UTC) of a day in New York."""
    return int(dt.datetime.combine(dt.date.fromisoformat(day), dt.time(), NEW_YORK).timestamp() * 1000)


WINDOWS = [(start, end, midnight(start), midnight(end)) for start, end in zip(MONTHS, MONTHS[1:], strict=False)]
BEGIN, END = midnight(MONTHS[0]), midnight(MONTHS[-1])
OVER = midnight("2026-04-20")  # by then each of these windows is due, and none of April
# February is due in all tables by the first day, and its key is destroyed on the last: an outage must end before.
DUE, GONE = midnight("2026-03-10"), midnight("2026-03-22")

Message = dict[str, Any]


def some_messages(seed: int, parts: Sequence[str], amount: int = 700) -> list[Message]:
    """Two months of one library in the order of publishing, with the fields `payload`, `stamp`, `part`.

    Redelivered 1 to 50 times, reordered, retracted, late, erased, of staff, and unreadable ones among them.
    """
    rng = random.Random(f"messages {seed}")
    found: list[Message] = []
    for number in range(amount):
        occurred = rng.randrange(BEGIN, END)
        delay = rng.choice([0, 0, 0, 0, 0, HOUR, DAY, 3 * DAY, 9 * DAY if number % 5 == 0 else 0])
        one = an_act(rng, f"{seed}-{number}", occurred)
        found.append(_sent(one, occurred + delay))
        if number % 40 == 0:
            copies = rng.randrange(1, 51) if number % 200 == 0 else rng.randrange(1, 4)
            within = rng.choice([HOUR, DAY, 5 * DAY])
            found += [_sent(one, occurred + delay + rng.randrange(within)) for _ in range(copies)]
        if number % 25 == 0:
            # A retraction is looked at whoever did the act: it takes out what has that id.
            taken_back = one | {"what": "act", "retract": True, "event": one["event"] | {"op": "retract"}}
            found.append(_sent(taken_back, occurred + delay + rng.randrange(DAY)))
        if number % 150 == 149:
            erasure = _an_erasure(rng, f"{seed}-{number}", occurred)
            found += [_sent(erasure, occurred + delay) for _ in range(rng.randrange(1, 3))]
        if number % 45 == 0:
            found.append(_poison(rng, f"{seed}-{number}", occurred))
    found.sort(key=lambda message: message["sorted"])
    for message in found:
        message["part"] = rng.choice(parts)
    return found


def in_portions(messages: Sequence[Message], portions: int, seed: int) -> list[list[Message]]:
    """Cut in the order of stamps, once between `DUE` and `GONE`; within a portion stamps go back by up to a day."""
    rng = random.Random(f"portions {seed}")
    between = rng.randrange(DUE + DAY, GONE - 2 * DAY)
    middle = next(at for at, message in enumerate(messages) if message["sorted"] > between)
    cuts = sorted({middle, *rng.sample([at for at in range(1, len(messages)) if at != middle], portions - 2)})
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(messages)], strict=True):
        mixed = [(message["sorted"] + rng.randrange(DAY), at) for at, message in enumerate(messages[start:end], start)]
        found.append([messages[at] for _, at in sorted(mixed)])
    return found


def effective(messages: Iterable[Message]) -> Iterator[tuple[Message, int]]:
    """Each message with its arrival, ms UTC: the latest stamp of its partition so far, of those that are believed."""
    clocks: dict[str, int] = {}
    for message in messages:
        if message.get("reason") == "clock":
            yield message, message["stamp"]
        else:
            clocks[message["part"]] = max(message["stamp"], clocks.get(message["part"], 0))
            yield message, clocks[message["part"]]


def write(path: Path, seed: int, portions: Sequence[Sequence[Message]]) -> None:
    """Write the oracle file; on disk before anything is published."""
    head = {"seed": seed, "k": K, "tables": TABLES, "windows": WINDOWS}
    lines = [
        head,
        *({name: message[name] for name in message if name != "event"} for one in portions for message in one),
    ]
    path.write_text("".join(json.dumps(line, sort_keys=True) + "\n" for line in lines))


def _sent(message: Message, stamp: int) -> Message:
    return message | {"stamp": stamp, "sorted": stamp, "payload": json.dumps(message["event"])}


def an_act(rng: random.Random, name: str, occurred: int) -> Message:
    """An act, of staff at times, at a moment (ms UTC)."""
    patron = f"canary-patron-{rng.randrange(45)}"
    staff = rng.random() < 0.03
    event: dict[str, Any] = {"event_id": f"canary-act-{name}", "occurred_at": occurred, "patron_ref": patron}
    if staff:
        event["patron_kind"] = "staff"
    match rng.choice(["circulation", "circulation", "circulation", "patron", "engagement"]):
        case "circulation":
            rare = rng.random() < 0.02
            cell = {
                "branch": "B05" if rare else rng.choice(["B01", "B02"]),
                "material": "kit" if rare else rng.choice(["book", "dvd", "other"]),
            }
            wire = {"material": "papyrus"} if cell["material"] == "other" else {}
            event |= {"kind": "circulation", "action": rng.choice(["checkout", "renewal"]), **cell, **wire}
            table = "circ_branch_material_month"
        case "patron":
            cell = {"change": rng.choice(["new", "renewed"]), "home_branch": "B01"}
            event |= {"kind": "patron", **cell}
            table = "registrations_month"
        case _:
            cell = {"campaign_type": "newsletter", "response": rng.choice(["opened", "clicked"])}
            event |= {"kind": "engagement", **cell}
            table = "engagement_month"
    what = "filtered" if staff else "act"
    return {
        "what": what, "event": event, "table": table, "cell": cell, "patron": patron, "id": event["event_id"],
        "occurred": occurred, "retract": False,
    }  # fmt: skip


def _an_erasure(rng: random.Random, name: str, occurred: int) -> Message:
    patron = f"canary-patron-{rng.randrange(45)}"
    event = {
        "kind": "patron", "change": rng.choice(["deleted", "opted_out"]), "patron_ref": patron,
        "event_id": f"canary-end-{name}", "occurred_at": occurred,
    }  # fmt: skip
    return {"what": "erase", "event": event, "patron": patron, "id": event["event_id"]}


def _poison(rng: random.Random, name: str, occurred: int) -> Message:
    sound = an_act(rng, f"poison-{name}", occurred)["event"] | {"patron_kind": "patron"}
    stamp = occurred + HOUR
    reason = rng.choice(["not_json", "disallowed_field", "unknown_branch", "future", "clock", "bad_time"])
    payload = json.dumps(sound)
    match reason:
        case "not_json":
            payload = payload[: len(payload) // 2]
        case "disallowed_field":
            payload = json.dumps(sound | {"title": "canary-title"})
        case "unknown_branch":
            event = {"kind": "circulation", "action": "checkout", "branch": "canary-branch", "event_id": f"x{name}"}
            payload = json.dumps(event | {"occurred_at": occurred, "patron_ref": "canary-patron-1"})
        case "future":
            payload = json.dumps(sound | {"occurred_at": stamp + 60 * DAY})
        case "bad_time":
            payload = json.dumps(sound | {"occurred_at": "soon"})
    sent = FAR_AHEAD if reason == "clock" else stamp
    return {"what": "poison", "reason": reason, "payload": payload, "stamp": sent, "sorted": stamp, "event": {}}
