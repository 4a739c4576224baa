"""DecodeEvents: raw messages become personal batches or sealed rejects. The only place that meets bad data."""

import base64
import io
import json
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable, Final, Iterator, Literal, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import apache_beam as beam
import fastavro
import msgspec
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import PCollection, TaggedOutput
from blake3 import blake3

from schemas.chunks import ArrivalSpan, RawChunk
from schemas.fast import READER, STRUCTS
from schemas.personal import PersonalBatch
from schemas.policy import PrivacyPolicy
from schemas.rejects import DecodeError, Reason, SealedReject
from schemas.source import SourceRules
from schemas.wire import ADAPTERS, carrel_event
from schemas.wire.adapter import Adapter, Context
from schemas.wire.envelopes import OPENERS, header, open_avro, open_json
from transforms.columns import CodeBook, columns_of
from transforms.keys import OpensKeys
from transforms.privacy.sealing import TooLarge, fingerprint, seal, size_class
from transforms.privacy.times import Zone, local_resolver

LIMIT = 64 * 1024  # bytes of one message; more is a reject whose payload is not kept
LETTERS: Final = "rejects"
SPANS: Final = "spans"
Lookups = Mapping[str, Mapping[str, Mapping[str, str]]]


@dataclass
class Decoded:
    """What became of one chunk: every message is decoded or rejected."""

    batches: list[PersonalBatch] = field(default_factory=list)
    rejects: list[Tuple[bytes, DecodeError]] = field(default_factory=list)
    counts: "Counter[str]" = field(default_factory=Counter)
    span: Optional[ArrivalSpan] = None


class _Messages:
    """Collects the events of a chunk and remembers which message each came from."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.events: list[Any] = []
        self.owners: list[int] = []
        self.stamps: list[Optional[int]] = []
        self.refused: dict[int, DecodeError] = {}
        self.lost = 0

    def refuse(self, payload: bytes, error: DecodeError) -> None:
        """One message that cannot be used."""
        self.refused[len(self.payloads)] = error
        self.payloads.append(payload)

    def add(self, payload: bytes, read: Callable[[], Tuple[list[Any], Optional[int]]]) -> None:
        """Read one message; what cannot be read costs that message only."""
        if len(payload) > LIMIT:
            self.refuse(payload, DecodeError(Reason.OVERSIZE))
            return
        try:
            events, stamp = read()
        except DecodeError as error:
            self.refuse(payload, error)
            return
        owner = len(self.payloads)
        self.payloads.append(payload)
        self.events += events
        self.owners += [owner] * len(events)
        self.stamps += [stamp] * len(events)


def _read_lines(chunk: RawChunk, messages: _Messages) -> None:
    """Canonical events as JSON lines: the whole chunk in one call, line by line when a line is bad."""
    try:
        if max(map(len, chunk.messages), default=0) > LIMIT:
            raise msgspec.DecodeError  # noqa: TRY301 - same way out as for any bad line
        events = READER.decode_lines(b"\n".join(chunk.messages))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        events = None
    if events is not None and len(events) == len(chunk.messages):
        messages.payloads += chunk.messages
        messages.events += events
        messages.owners += range(len(events))
        messages.stamps += [None] * len(events)
        return
    for message in chunk.messages:
        messages.add(message, partial(_canonical, message))


def _canonical(message: bytes) -> Tuple[list[Any], Optional[int]]:
    try:
        return [READER.decode(message)], None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [carrel_event.exactly(open_json(message).value)], None


def _record(record: Any, adapter: Adapter, context: Context) -> Tuple[list[Any], Optional[int]]:
    return adapter.events(open_avro(record), context), None


def _read_enveloped(chunk: RawChunk, adapter: Adapter, context: Context, messages: _Messages) -> None:
    opened = OPENERS["json" if chunk.form == "lines" else chunk.form]

    def read(message: bytes) -> Tuple[list[Any], Optional[int]]:
        delivered = opened(message)
        return adapter.events(delivered, context), delivered.arrived_at

    for message in chunk.messages:
        messages.add(message, partial(read, message))


def _read_blocks(chunk: RawChunk, adapter: Adapter, context: Context, messages: _Messages) -> None:
    """Avro blocks. A record that cannot be read makes the rest of its block unreadable: it is counted lost."""
    for block in chunk.messages:
        expected, _ = _varint(block)
        read = 0
        try:
            for record in fastavro.reader(io.BytesIO(chunk.header + block)):
                read += 1
                payload = json.dumps(record, sort_keys=True, default=_plain).encode()
                messages.add(payload, partial(_record, record, adapter, context))
        except Exception:  # noqa: BLE001 - any failure inside the decoder means the bytes are no Avro
            messages.refuse(block, DecodeError(Reason.NOT_AVRO))
            messages.lost += max(0, expected - read - 1)


def _varint(data: bytes) -> Tuple[int, int]:
    """Avro's zigzag long at the start of a block: how many records it says it holds."""
    value = shift = at = 0
    while at < len(data):
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if byte < 0x80:
            break
    return (value >> 1) ^ -(value & 1), at


def _plain(value: object) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


@dataclass(frozen=True)
class Decoder:
    """Everything needed to decode one source; built in `DoFn.setup`."""

    rules: SourceRules
    policy: PrivacyPolicy
    zone: Zone
    lookups: Lookups
    now: int

    def decode(self, chunk: RawChunk) -> Decoded:
        """Decode a chunk; never raises for what is in it."""
        adapter = ADAPTERS[self.rules.adapter]
        messages = _Messages()
        try:
            columns = header(chunk.header) if chunk.form == "tsv" and chunk.messages else ()
        except DecodeError as error:
            for message in chunk.messages:
                messages.refuse(message, error)
            return self._columns(messages)
        context = Context(
            source=self.rules.name,
            lookups=self.lookups,
            also_drop=self.rules.also_drop,
            strip=self.rules.strip,
            zone=local_resolver(self.rules.time_zone),
            columns=columns,
        )
        if chunk.form == "avro":
            _read_blocks(chunk, adapter, context, messages)
        elif chunk.form == "lines" and self.rules.adapter == "carrel-event":
            _read_lines(chunk, messages)
        else:
            _read_enveloped(chunk, adapter, context, messages)
        if chunk.truncated:
            messages.refuse(b"", DecodeError(Reason.TRUNCATED))
        return self._columns(messages)

    def _columns(self, messages: _Messages) -> Decoded:
        decoded = Decoded()
        book = CodeBook.of(self.policy, self.rules)
        found: dict[str, Sequence[int]] = {}
        types = set(map(type, messages.events))
        for one in types:
            every = range(len(messages.events))
            found[_KINDS[one]] = every if len(types) == 1 else [at for at in every if type(messages.events[at]) is one]
        results = []
        for kind in sorted(found):
            rows = found[kind]
            result = columns_of(
                kind,
                messages.events if len(rows) == len(messages.events) else [messages.events[at] for at in rows],
                messages.stamps if len(rows) == len(messages.events) else [messages.stamps[at] for at in rows],
                rules=self.rules,
                policy=self.policy,
                book=book,
                zone=self.zone,
                now=self.now,
            )
            results.append(result)
            for row, error in result.refused:
                messages.refused.setdefault(messages.owners[rows[row]], error)
        if any(result.refused for result in results) and len(messages.events) != len(set(messages.owners)):
            # A message is decoded whole or not at all: leave out the other events of refused messages.
            return self._again_without_refused(messages)
        for result in results:
            decoded.counts.update(result.counts)
            if len(result.batch):
                decoded.batches.append(result.batch)
        self._account(messages, decoded)
        return decoded

    def _again_without_refused(self, messages: _Messages) -> Decoded:
        left = [at for at, owner in enumerate(messages.owners) if owner not in messages.refused]
        messages.events = [messages.events[at] for at in left]
        messages.stamps = [messages.stamps[at] for at in left]
        messages.owners = [messages.owners[at] for at in left]
        return self._columns(messages)

    def _account(self, messages: _Messages, decoded: Decoded) -> None:
        counts = decoded.counts
        total = len(messages.payloads) + messages.lost
        counts["messages"] += total
        counts["decoded"] += total - len(messages.refused) - messages.lost
        for owner, error in sorted(messages.refused.items(), key=lambda item: item[0]):
            counts[f"rejected/{error.reason.value}"] += 1
            decoded.rejects.append((messages.payloads[owner], error))
        if messages.lost:
            counts[f"rejected/{Reason.NOT_AVRO.value}"] += messages.lost
        counts["events"] += sum(
            amount for name, amount in counts.items() if name.startswith(("accepted/", "filtered/"))
        )
        if decoded.batches:
            decoded.span = ArrivalSpan(
                source=self.rules.name,
                first_arrival=min(int(batch.arrived_at.min()) for batch in decoded.batches),
                last_arrival=max(int(batch.arrived_at.max()) for batch in decoded.batches),
                last_event=max(int(batch.occurred_at.max()) for batch in decoded.batches),
            )


_KINDS = {struct: kind for kind, struct in STRUCTS.items()}


def seal_reject(
    payload: bytes,
    error: DecodeError,
    *,
    source: str,
    tenant: str,
    day: str,
    digest: str,
    recipient: bytes,
    seen: bytes,
) -> SealedReject:
    """Seal one refused message to the library's public key; the clear part quotes nothing of it."""
    clear = json.dumps(
        {
            "v": 1,
            "tenant": tenant,
            "source": source,
            "reason": error.reason.value,
            "received_day": day,
            "size_class": size_class(len(payload)),
            "policy_hash": digest,
            "recipient": fingerprint(recipient),
            "fields": sorted(error.fields),
            "unknown_fields": error.unknown,
        },
        sort_keys=True,
        separators=(",", ":"),
    ).encode()
    try:
        sealed = seal(recipient, clear, payload)
    except TooLarge:
        sealed = b""
    tag = blake3(source.encode() + b"\0" + payload, key=seen).digest(length=16)
    return SealedReject(source, error.reason.value, clear, sealed, tag)


class DecodedEvents(NamedTuple):
    """The outputs of `DecodeEvents`; every message is in exactly one of the first two."""

    events: PCollection[PersonalBatch]
    rejects: PCollection[SealedReject]
    spans: PCollection[ArrivalSpan]


class _Decode(beam.DoFn):
    def __init__(self, transform: "DecodeEvents") -> None:
        self._given = transform.given

    def setup(self) -> None:
        given = self._given
        zone = Zone(given.policy.time_zone)
        self._seen = given.keyring.open().seen()
        self._decoders = {
            rules.name: Decoder(rules, given.policy, zone, given.lookups(rules.name), given.now)
            for rules in given.sources
        }

    def process(
        self, element: RawChunk
    ) -> Iterator[
        Union[
            PersonalBatch,
            TaggedOutput[Literal["rejects"], SealedReject],
            TaggedOutput[Literal["spans"], ArrivalSpan],
        ]
    ]:
        given = self._given
        decoded = self._decoders[element.source].decode(element)
        for name, amount in decoded.counts.items():
            Metrics.counter(element.source, name).inc(amount)
        yield from decoded.batches
        for payload, error in decoded.rejects:
            letter = seal_reject(
                payload,
                error,
                source=element.source,
                tenant=given.tenant,
                day=given.day,
                digest=given.policy.digest,
                recipient=given.recipient,
                seen=self._seen,
            )
            yield TaggedOutput(LETTERS, letter)  # type: ignore[misc]
        if decoded.span:
            yield TaggedOutput(SPANS, decoded.span)  # type: ignore[misc]


@dataclass(frozen=True)
class Decoding:
    """What `DecodeEvents` is given.

    Attributes:
      lookups: source name -> its lookups; called in `DoFn.setup`, so that none lies in the graph.
      now: the reader's clock, ms UTC; day: the same as ISO date, for dead letters.
      recipient: the library's public key, 32 bytes: the job cannot open what it seals.
    """

    tenant: str
    policy: PrivacyPolicy
    sources: Tuple[SourceRules, ...]
    keyring: OpensKeys
    lookups: Callable[[str], Lookups]
    recipient: bytes
    now: int
    day: str


@dataclass(eq=False)
class DecodeEvents(beam.PTransform[PCollection[RawChunk], DecodedEvents]):
    """Read raw messages by their source's contract.

    Input: chunks of raw messages, bounded or unbounded.
    Output: `events` (one batch per kind met in a chunk), `rejects` (sealed inside the DoFn that
      refuses, so that no edge carries a clear reject), `spans` (how far the chunk moves its clock).

    Args:
      given: see `Decoding`.
    """

    given: Decoding

    def expand(self, pcoll: PCollection[RawChunk]) -> DecodedEvents:
        outputs = pcoll | "Decode" >> beam.ParDo(_Decode(self)).with_outputs(LETTERS, SPANS, main="events")
        return DecodedEvents(outputs.events, outputs[LETTERS], outputs[SPANS])
