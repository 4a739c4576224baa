"""The deployment of a seed: a copy of a template that reads topics of its own."""

import json
import shutil
from pathlib import Path
from typing import Iterable, Optional, Sequence

from tests.engines.faults.oracle import Message, effective
from tests.support.kafka_server import KafkaServer
from tests.support.replaying import edit

SOURCE = "carrel-event"


def made(template: Path, home: Path, name: str) -> Path:
    """A library as on its first day, with keys of its own that lie beside it."""
    folder = home / name
    shutil.copytree(template, folder)
    shutil.copytree(template.with_name(f"{template.name}-secrets"), home / f"{name}-secrets")
    edit(folder / "carrel.toml", "../template-secrets/", f"../{name}-secrets/")
    edit(folder / "carrel.toml", f'adapter = "{SOURCE}"\n', f'adapter = "{SOURCE}"\ncomplete_from = "2026-02-01"\n')
    return folder


def let_read(folder: Path, topics: Sequence[str], broker: str, work_store: Optional[str]) -> None:
    """Give it a bus, and its work store a server where it is to have one."""
    (folder / "kafka.properties").write_text(f"bootstrap.servers={broker}\n")
    bus = f'bus = {{ kind = "kafka", topics = {json.dumps(topics)}, settings = "kafka.properties" }}\n'
    edit(folder / "carrel.toml", f'adapter = "{SOURCE}"\n', f'adapter = "{SOURCE}"\n{bus}')
    if work_store is not None:
        edit(folder / "carrel.toml", 'work_store = "work.db"', f'work_store = "{work_store}"')


def make_topics(broker: KafkaServer, names: Iterable[str], partitions: int) -> None:
    """Topics that keep every stamp and every message."""
    for name in names:
        broker.make_topic(
            name, partitions, **{
                "message.timestamp.type": "CreateTime", "retention.ms": -1,
                "message.timestamp.after.max.ms": 1 << 62, "message.timestamp.before.max.ms": 1 << 62,
            },
        )  # fmt: skip


def write_archive(path: Path, messages: Iterable[Message]) -> None:
    """What the bus delivered, as `kcat -J` writes it, each with its effective arrival."""
    with path.open("w") as lines:
        for at, (message, arrived) in enumerate(effective(messages)):
            topic, _, number = message["part"].rpartition("/")
            place = {"topic": topic, "partition": int(number), "offset": at}
            record = {**place, "ts": arrived, "payload": message["payload"]}
            lines.write(json.dumps(record) + "\n")
