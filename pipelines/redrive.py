"""Dead letters read again, by what the deployment says now: which are accepted, and as which message they go on.

A letter holds its message as a line of an archive, with what a bus had wrapped around it. The same decoder as ever
judges it. An act counts once however often it comes: its tag is made of its own id, or of its content.
"""

import base64
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterable, Optional

from google.api_core.exceptions import GoogleAPICallError

from pipelines.archive_forms import form_of
from pipelines.bus import BusError
from pipelines.configuration import Deployment, SourceConfig
from pipelines.id_maps import lookups_of
from pipelines.kafka_bus_settings import broker_settings
from pipelines.letter import Letter
from pipelines.publisher import KafkaPublisher, Outgoing, Publisher, PubsubPublisher
from pipelines.pubsub_bus_client import PATIENCE, connect
from pipelines.replay import rules_of
from schemas.chunks import RawChunk
from schemas.policy import PrivacyPolicy
from schemas.wire import ADAPTERS
from transforms.decode import Decoder
from transforms.privacy.times import Zone

Kind = tuple[str, str]  # source, form


@dataclass(frozen=True, repr=False)
class Accepted:
    """A letter whose message can be used now; `arrived_at`: its effective arrival, ms UTC."""

    letter: Letter
    payload: bytes
    arrived_at: int

    def __repr__(self) -> str:
        return "Accepted(<redacted>)"


@dataclass
class Judged:
    """What became of letters.

    Attributes:
      accepted: by source and form.
      refused: still refused, counted by source and reason.
      without_columns: sources of tab-separated lines among these, which alone do not say their columns.
    """

    accepted: dict[Kind, list[Accepted]] = field(default_factory=dict)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    without_columns: set[str] = field(default_factory=set)


def judge_letters(
    deployment: Deployment, policy: PrivacyPolicy, letters: Iterable[tuple[Letter, bytes]], *, now: int
) -> Judged:
    """Decode each message again.

    Raises:
      LookupsError: a source's lookups cannot be read.
    """
    judged, sources = Judged(), {source.name: source for source in deployment.sources}
    decoders: dict[str, Decoder] = {}
    for letter, payload in letters:
        source = sources.get(letter.what[0])
        if source is None or not _is_line(payload):
            judged.refused[letter.what] += 1
            continue
        form = _form(payload)
        if form == "lines" and ADAPTERS[source.adapter].envelope == "tsv":
            judged.refused[letter.what] += 1
            judged.without_columns.add(source.name)
            continue
        if source.name not in decoders:
            known = lookups_of(source).tables
            decoders[source.name] = Decoder(rules_of(source), policy, Zone(policy.time_zone), known, now)
        decoded = decoders[source.name].decode(RawChunk(source.name, b"", (payload,), form))
        if decoded.rejects:
            judged.refused[source.name, decoded.rejects[0][1].reason.value] += 1
        else:
            arrived = decoded.span.first_arrival if decoded.span else 0
            judged.accepted.setdefault((source.name, form), []).append(Accepted(letter, payload, arrived))
    return judged


def _is_line(payload: bytes) -> bool:
    return bool(payload.strip()) and b"\n" not in payload


def _form(payload: bytes) -> str:
    try:
        record = json.loads(payload)
    except (ValueError, RecursionError):
        return "lines"
    return form_of(record) if isinstance(record, dict) else "lines"


def write_archive(path: Path, accepted: Iterable[Accepted]) -> None:
    """A new file (mode 0600) of the messages in the order of arrival, on disk when this returns, or none.

    Raises:
      OSError: it is there already, or cannot be written.
    """
    lines = [one.payload for one in sorted(accepted, key=lambda one: one.arrived_at)]
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(line + b"\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink()
        raise


def publish(source: SourceConfig, form: str, accepted: Iterable[Accepted]) -> None:
    """To the topic that the source is read from, durable there when this returns.

    Raises:
      BusError: the source has no bus, several topics and a letter that does not say of which, or not all was taken.
    """
    topics: dict[str, list[Outgoing]] = {}
    for one in accepted:
        topic, message = _outgoing(form, one.payload)
        topics.setdefault(_topic(source, topic), []).append(message)
    for topic, messages in sorted(topics.items()):
        _publisher(source, topic).send(messages)


def _topic(source: SourceConfig, named: Optional[str]) -> str:
    bus = source.bus
    if bus is None:
        message = f"sources.{source.name}: has no bus; redrive its letters to an archive: --to-archive FILE"
        raise BusError(message)
    if bus.subscription is not None:
        return bus.subscription
    if named in bus.topics or len(bus.topics) == 1:
        return named if named in bus.topics and named else bus.topics[0]
    message = f"sources.{source.name}: a letter does not say which of its topics it was in; take --to-archive FILE"
    raise BusError(message)


def _publisher(source: SourceConfig, topic: str) -> Publisher:
    bus = source.bus
    if bus is not None and bus.subscription is None:
        return KafkaPublisher(broker_settings(bus.settings, bus.environment, os.environ), topic)
    client = connect()
    try:
        return PubsubPublisher(client.get_subscription(subscription=topic, timeout=PATIENCE).topic)
    except GoogleAPICallError as error:
        message = f"sources.{source.name}: pubsub: the topic of its subscription is not told ({type(error).__name__})"
        raise BusError(message) from None
    finally:
        client.transport.close()


def _outgoing(form: str, payload: bytes) -> tuple[Optional[str], Outgoing]:
    """The topic, where it is known, and the message as it was before anything was wrapped around it."""
    unwrap = _UNWRAP.get(form)
    return (None, Outgoing(payload)) if unwrap is None else unwrap(json.loads(payload))


def _from_pull(record: dict[str, Any]) -> tuple[Optional[str], Outgoing]:
    message = record.get("message", record)
    headers = tuple((name, value or "") for name, value in (message.get("attributes") or {}).items())
    data = base64.b64decode(message["data"], validate=True)
    return record.get("topic"), Outgoing(data, message.get("orderingKey") or "", headers)


def _from_kcat(record: dict[str, Any]) -> tuple[Optional[str], Outgoing]:
    payload, flat = record["payload"], record.get("headers") or []
    data = payload if isinstance(payload, str) else json.dumps(payload)
    headers = tuple((name, value or "") for name, value in zip(flat[::2], flat[1::2], strict=True))
    return record["topic"], Outgoing(data.encode(), record.get("key") or "", headers)


_UNWRAP: dict[str, Callable[[dict[str, Any]], tuple[Optional[str], Outgoing]]] = {
    "pubsub": _from_pull,
    "kcat": _from_kcat,
}
