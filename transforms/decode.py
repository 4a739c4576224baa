"""DecodeEvents: raw messages become personal batches or sealed rejects. The only place that meets bad data."""

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter
from typing import Any, Callable, Final, Iterator, Literal, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

import apache_beam as beam
import numpy as np
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import PCollection, TaggedOutput
from blake3 import blake3

from schemas.chunks import ArrivalSpan, RawChunk
from schemas.fast import STRUCTS
from schemas.personal import PersonalBatch
from schemas.policy import PrivacyPolicy
from schemas.rejects import DecodeError, Reason, SealedReject
from schemas.source import SourceRules
from schemas.wire import ADAPTERS
from schemas.wire.adapter import Context
from schemas.wire.envelopes import header
from transforms.columns import CodeBook, Columns, PatronNames, columns_of
from transforms.erasure import erasures_elsewhere, id_map_name
from transforms.keys import OpensKeys
from transforms.messages import Messages, lines_of, pieces_of, read_messages, refuse_all
from transforms.privacy.sealing import TooLarge, fingerprint, seal, size_class
from transforms.privacy.times import Zone, local_resolver

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

    @staticmethod
    def concat(pieces: Sequence["Decoded"]) -> "Decoded":
        """What became of all pieces of a chunk."""
        whole = Decoded()
        kinds: dict[tuple[str, str], list[PersonalBatch]] = {}
        for piece in pieces:
            whole.rejects += piece.rejects
            whole.counts.update(piece.counts)
            for batch in piece.batches:
                kinds.setdefault((batch.kind, batch.namespace), []).append(batch)
        whole.batches = [PersonalBatch.concat(kinds[kind]) for kind in sorted(kinds)]
        whole.span = ArrivalSpan.of([piece.span for piece in pieces if piece.span])
        return whole


class Decoder:
    """Decodes the chunks of one source; built in `DoFn.setup`.

    Args:
      lookups: lookup name -> wire id -> canonical column -> source code.
      now: the reader's clock, ms UTC, where a chunk does not say when it was read.
    """

    def __init__(self, rules: SourceRules, policy: PrivacyPolicy, zone: Zone, lookups: Lookups, now: int) -> None:
        self.rules = rules
        self._adapter = ADAPTERS[rules.adapter]
        self._context = Context(
            source=rules.name,
            lookups=lookups,
            also_drop=rules.also_drop,
            strip=rules.strip,
            zone=local_resolver(rules.time_zone),
        )
        book = CodeBook.of(policy, rules)
        self.patrons = PatronNames(rules)
        self._id_maps = {namespace: lookups[id_map_name(namespace)] for namespace in rules.erases}
        self._columns_of = partial(columns_of, rules=rules, policy=policy, book=book, patrons=self.patrons, zone=zone)
        self._now = now

    def decode(self, chunk: RawChunk) -> Decoded:
        """Decode a chunk; never raises for what is in it."""
        return Decoded.concat([self._piece(piece) for piece in pieces_of(chunk)])

    def _piece(self, chunk: RawChunk) -> Decoded:
        context = self._context
        if chunk.form == "tsv" and any(lines_of(block) for block in chunk.blocks):
            try:
                context = replace(context, columns=header(chunk.header))
            except DecodeError as error:
                return self._decoded(refuse_all(chunk, error), self._now)
        now = self._now if chunk.read_at is None else chunk.read_at
        return self._decoded(read_messages(chunk, self._adapter, context), now)

    def _decoded(self, messages: Messages, now: int) -> Decoded:
        results = []
        order = []
        refused: dict[int, DecodeError] = {}
        for kind, rows in _by_kind(messages.events):
            events, stamps = messages.events, messages.stamps
            if len(rows) < len(events):
                events, stamps = [events[row] for row in rows], [stamps[row] for row in rows]
            result = self._columns_of(kind, events, stamps, now=now)
            results.append(result)
            order.append(np.array(rows)[result.rows])
            for at, error in result.refused:
                refused.setdefault(messages.owners[rows[at]], error)
        messages.refused |= refused
        if refused and len(messages.events) != len(set(messages.owners)):
            # A message is decoded whole or not at all: the other events of refused messages go too.
            messages.leave_out(refused)
            return self._decoded(messages, now)
        return self._accounted(messages, results, order)

    def _elsewhere(self, batches: Sequence[PersonalBatch]) -> Iterator[PersonalBatch]:
        """Erasures that the officer's maps carry into other namespaces."""
        for namespace, ids in self._id_maps.items():
            for batch in batches:
                if (found := erasures_elsewhere(batch, ids, namespace)) is not None:
                    yield found

    def _accounted(self, messages: Messages, results: Sequence[Columns], order: Sequence[np.ndarray]) -> Decoded:
        batches = [result.batch for result in results if len(result.batch)]
        decoded = Decoded([*batches, *self._elsewhere(batches)])
        counts = decoded.counts
        for result in results:
            counts.update(result.counts)
        counts["events"] += sum(counts.values())
        total = len(messages) + messages.lost
        counts["messages"] += total
        counts["decoded"] += total - len(messages.refused) - messages.lost
        for owner, error in sorted(messages.refused.items(), key=itemgetter(0)):
            counts[f"rejected/{error.reason.value}"] += 1
            decoded.rejects.append((messages.payload(owner), error))
        if messages.lost:
            counts[f"rejected/{Reason.NOT_AVRO.value}"] += messages.lost
        if batches:
            arrived = np.concatenate([result.batch.arrived_at for result in results])[np.argsort(np.concatenate(order))]
            decoded.span = ArrivalSpan(
                source=self.rules.name,
                first_arrival=int(arrived.min()),
                last_arrival=int(arrived.max()),
                last_event=max(int(batch.occurred_at.max()) for batch in batches),
                in_order=bool((np.diff(arrived) >= 0).all()),
            )
        return decoded


def _by_kind(events: Sequence[Any]) -> list[Tuple[str, Sequence[int]]]:
    """The positions of the events of each kind that is there."""
    types = set(map(type, events))
    if len(types) == 1:
        return [(_KINDS[types.pop()], range(len(events)))]
    return sorted((_KINDS[one], [at for at, event in enumerate(events) if type(event) is one]) for one in types)


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
        read_at = given.now if element.read_at is None else element.read_at
        given.judge(element.source, decoded.counts, decoded.span, read_at)
        for name, amount in decoded.counts.items():
            Metrics.counter(element.source, name).inc(amount)
        yield from decoded.batches
        day = str(np.datetime64(read_at, "ms").astype("datetime64[D]"))
        for payload, error in decoded.rejects:
            letter = seal_reject(
                payload,
                error,
                source=element.source,
                tenant=given.tenant,
                day=day,
                digest=given.policy.digest,
                recipient=given.recipient,
                seen=self._seen,
            )
            yield TaggedOutput(LETTERS, letter)  # type: ignore[misc]
        if decoded.span:
            yield TaggedOutput(SPANS, decoded.span)  # type: ignore[misc]

    def finish_bundle(self) -> None:
        for decoder in self._decoders.values():
            decoder.patrons.clear()


def take_all(source: str, counts: Mapping[str, int], span: Optional[ArrivalSpan], read_at: int) -> None:
    """The judge of a job that judges elsewhere how much a source refuses."""
    del source, counts, span, read_at


@dataclass(frozen=True)
class Decoding:
    """What `DecodeEvents` is given.

    Attributes:
      lookups: source name -> its lookups; called in `DoFn.setup`, so that none lies in the graph.
      now: the reader's clock, ms UTC, where a chunk does not say when it was read.
      recipient: the library's public key, 32 bytes: the job cannot open what it seals.
      judge: called with each chunk's source, conservation counts, span and reader's clock (ms UTC) before anything of
        it goes on; what it raises fails the bundle.
    """

    tenant: str
    policy: PrivacyPolicy
    sources: Tuple[SourceRules, ...]
    keyring: OpensKeys
    lookups: Callable[[str], Lookups]
    recipient: bytes
    now: int
    judge: Callable[[str, Mapping[str, int], Optional[ArrivalSpan], int], None] = take_all


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
