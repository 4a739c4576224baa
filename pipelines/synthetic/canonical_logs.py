"""Canonical events: circulation and patron as JSON lines, engagement as an Avro container.

The registrations come a second time, as a packed Pub/Sub pull would show them: a subscription that was made
anew delivers again what it had delivered already.
"""

import base64
import gzip
from pathlib import Path
from typing import Any, Iterator

import fastavro
import msgspec

from pipelines.contract_files import avro_schema
from pipelines.synthetic.world import CANARY_WORDS, Delivery, World, local_time
from schemas.events import MODELS
from schemas.policy import OTHER

SOURCE = "carrel-event"
_SURNAME, _UNLISTED = CANARY_WORDS[0], CANARY_WORDS[2]
_encode = msgspec.json.Encoder().encode
_EXTRA = 500  # one message in so many comes a second time with a field that nobody declared


def _code(code: str, number: int) -> Any:
    """A code as the source sends it: `other` is no code at all, or one that no policy lists."""
    return code if code != OTHER else (None, _UNLISTED)[number % 2]


def event(delivery: Delivery, world: World) -> dict[str, Any]:
    """One delivery as a canonical event."""
    act, person = delivery.act, delivery.act.person
    found: dict[str, Any] = {
        "kind": act.kind,
        "v": 1,
        "event_id": f"carrel-{act.key}",
        "op": delivery.op,
        "occurred_at": act.occurred,
        "arrived_at": delivery.arrived,
        "patron_ref": person.ref if person else None,
        "patron_kind": person.kind if person else "patron",
    }
    if person and person.is_listed:
        found |= {
            "patron_type": _code(person.patron_type, person.number),
            "home_branch": _code(person.home, person.number),
            "birth_date": person.born.isoformat() if person.born else None,
            "postal_code": person.postal,
        }
    if act.kind == "circulation":
        item = world.items[act.item]
        material, audience = _code(item.material, act.item), _code(item.audience, act.item)
        found |= {"action": act.part, "branch": act.branch, "material": material, "audience": audience}
    elif act.kind == "patron":
        found["change"] = act.part
    else:
        number = int(act.key)
        found |= {"campaign_type": _code(act.campaign, number), "response": _code(act.part, number)}
    return found


def _line(record: Any) -> bytes:
    return _encode(record) + b"\n"


def _lines(deliveries: list[Delivery], world: World) -> Iterator[bytes]:
    for at, delivery in enumerate(deliveries):
        found = event(delivery, world)
        yield _line(found)
        if at % _EXTRA == 9:
            yield _line(found | {"event_id": f"extra-{at}", "patron_name": f"{_SURNAME} {at}"})


def _pull(at: int, delivery: Delivery, world: World) -> bytes:
    """One received message of a Pub/Sub pull."""
    data = base64.b64encode(_line(event(delivery, world))).decode()
    published = local_time(delivery.arrived).isoformat(timespec="milliseconds")
    message = {"data": data, "messageId": str(10**15 + at), "publishTime": published}
    return _line({"ackId": f"again-{at}", "message": message})


def write(world: World, directory: Path) -> None:
    """Write the files of this source."""
    told = {kind: [one for one in world.told_by(SOURCE) if one.act.kind == kind] for kind in MODELS}
    for kind in ("circulation", "patron"):
        with (directory / f"{kind}.jsonl").open("wb") as stream:
            stream.writelines(_lines(told[kind], world))
    with (directory / "patron.pull.json.gz").open("wb") as packed, gzip.GzipFile("", "wb", 9, packed, mtime=0) as pull:
        pull.writelines(_pull(at, one, world) for at, one in enumerate(told["patron"]))
    schema = fastavro.parse_schema(avro_schema("engagement", MODELS["engagement"]))
    records = (event(one, world) for one in told["engagement"])
    with (directory / "engagement.avro").open("wb") as avro:
        fastavro.writer(avro, schema, records, codec="deflate", sync_marker=b"carrel-sample-01")
