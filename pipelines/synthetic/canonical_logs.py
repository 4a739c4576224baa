"""Canonical events: circulation and patron as JSON lines, engagement as an Avro container."""

import json
from pathlib import Path
from typing import Any

import fastavro

from pipelines.contract_files import avro_schema
from pipelines.synthetic.world import Delivery, World, item_codes
from schemas.events import MODELS

_NOBODY = {"patron_ref": None, "patron_kind": "patron"}


def event(delivery: Delivery) -> dict[str, Any]:
    """One delivery as a canonical event."""
    act, person = delivery.act, delivery.act.person
    found: dict[str, Any] = {
        "kind": act.kind,
        "v": 1,
        "event_id": f"carrel-{act.key}",
        "op": delivery.op,
        "occurred_at": act.occurred,
        "arrived_at": delivery.arrived,
        **_NOBODY,
    }
    if person:
        found |= {
            "patron_ref": person.ref,
            "patron_kind": person.kind,
            "patron_type": person.patron_type,
            "home_branch": person.home,
            "birth_date": person.born.isoformat(),
            "postal_code": person.postal,
        }
    if act.kind == "circulation":
        material, audience = item_codes(act.item)
        found |= {"action": act.part, "branch": act.branch, "material": material, "audience": audience}
    elif act.kind == "patron":
        found["change"] = act.part
    else:
        found |= {"campaign_type": act.campaign, "response": act.part}
    return found


def write(world: World, directory: Path) -> None:
    """Write the files of this source."""
    deliveries = [one for one in world.deliveries if one.act.source == "carrel-event"]
    for kind in ("circulation", "patron"):
        with (directory / f"{kind}.jsonl").open("w") as stream:
            for at, delivery in enumerate(one for one in deliveries if one.act.kind == kind):
                stream.write(json.dumps(event(delivery), separators=(",", ":")) + "\n")
                if at % 500 == 250:
                    extra = event(delivery) | {"event_id": f"extra-{at}", "patron_name": f"CANARYSMITH {at}"}
                    stream.write(json.dumps(extra, separators=(",", ":")) + "\n")
    schema = fastavro.parse_schema(avro_schema("engagement", MODELS["engagement"]))
    records = [event(one) for one in deliveries if one.act.kind == "engagement"]
    with (directory / "engagement.avro").open("wb") as avro:
        fastavro.writer(avro, schema, records, codec="deflate", sync_marker=b"carrel-sample-01")
