"""The end of a streaming graph: what opened is decided once against the ledger, then written; rejects too.

Each step may be run again by its engine, whole or in part: the ledger and the names of letters make that harmless.
"""

import contextlib
import json
from dataclasses import dataclass
from typing import Final, Iterable, Iterator, Literal, NamedTuple, NoReturn, Sequence, Tuple, Union

import apache_beam as beam
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import PCollection, TaggedOutput
from cryptography.exceptions import InvalidTag

from pipelines.configuration import Deployment
from pipelines.counts_opening import open_counts
from pipelines.counts_rows import DEFAULT_REASON, LedgerRow
from pipelines.counts_store import CountsStore
from pipelines.keyring import KeyringError
from pipelines.keys import KeyringAt
from pipelines.letters_output import letters_output
from schemas.counts import ReleasedTable, Tally, WindowKey
from schemas.gate import ACTS, VoidWindow, Waiting
from schemas.policy import PrivacyPolicy
from schemas.rejects import SealedReject
from transforms.erasure import without_erased
from transforms.gate import Gate, is_open, void_reason
from transforms.release import no_noise, release, window_noise
from transforms.tally import merge, open_tally

VOID: Final = "void"


@dataclass(frozen=True)
class Releasing:
    """What the end of the graph is given; no key and no number lies in it."""

    deployment: Deployment
    policy: PrivacyPolicy
    keyring: KeyringAt


class _OnCounts(beam.DoFn):
    """A step that works on the counts store."""

    def __init__(self, given: Releasing) -> None:
        self._given = given

    def setup(self) -> None:
        self._counts: CountsStore = open_counts(self._given.deployment.counts_store)

    def teardown(self) -> None:
        self._counts.close()


class _Decide(_OnCounts):
    def __init__(self, given: Releasing, gate: Gate) -> None:
        super().__init__(given)
        self._gate = gate

    def start_bundle(self) -> None:
        self._keys = self._given.keyring.open()  # anew: a key that was destroyed meanwhile must not live on here

    def process(
        self, element: Tuple[str, Iterable[Waiting]]
    ) -> Iterator[Union[ReleasedTable, TaggedOutput[Literal["void"], VoidWindow]]]:
        waiting = sorted(element[1], key=lambda one: (one.what, one.source, one.reader, one.blob))
        key, tenant, policy = waiting[0].key, self._given.deployment.tenant, self._given.policy
        table = policy.table(key.table)
        if not is_open(self._gate.feeds, waiting, policy.digest):
            Metrics.counter("windows", f"held/{key.table}").inc()
            return
        entry = self._counts.ledger(tenant).get((key.table, key.start))
        if entry is not None and (entry.state == "sealed" or not _gives_way(entry)):
            Metrics.counter("windows", f"known/{key.table}").inc()
            return
        void = void_reason(table, key, self._gate.feeds, waiting)
        merged = Tally.empty(key)
        if not void:
            merged, void = self._merged(key, [one.blob for one in waiting if one.what == ACTS])
        if void:
            yield TaggedOutput(VOID, VoidWindow(tenant, table.kind, key, policy.digest, void))  # type: ignore[misc]
        elif self._counts.pinned_policy(tenant, table.kind, key.start, key.end) - {policy.digest}:
            Metrics.counter("windows", f"pinned/{key.table}").inc()
        else:
            yield self._released(merged)

    def _merged(self, key: WindowKey, blobs: Sequence[bytes]) -> Tuple[Tally, str]:
        """The acts that stand, or why nobody can know them."""
        if self._given.policy.noise_scale and self._keys.noise_is_gone(key.month):
            return Tally.empty(key), "noise key destroyed"
        if not blobs:
            return Tally.empty(key), ""
        if not self._keys.month_is_gone(key.month):
            month = self._keys.month(key.month)
            with contextlib.suppress(InvalidTag):
                return without_erased(merge([open_tally(key, blob, month) for blob in blobs]), month), ""
        receipts = self._counts.receipts(self._given.deployment.tenant)
        if ("token", key.month) in {(one.purpose, one.month) for one in receipts}:
            return Tally.empty(key), "token key destroyed"
        message = f"keyring: the token key of {key.month} that acts wait under is missing; restore the keyring"
        raise KeyringError(message)

    def _released(self, merged: Tally) -> ReleasedTable:
        policy, tenant = self._given.policy, self._given.deployment.tenant
        month = merged.key.month
        draw = window_noise(policy, merged, tenant, self._keys.noise(month)) if policy.noise_scale else no_noise
        return release(merged, policy=policy, tenant=tenant, draw=draw)


def _gives_way(entry: LedgerRow) -> bool:
    """Whether a release may still replace what the ledger has: one that was begun, or void by a default only."""
    return entry.state == "sealing" or (entry.state == "void" and entry.reason.startswith(DEFAULT_REASON))


class Decided(NamedTuple):
    """The outputs of `ReleaseWindows`; a window is in one of them at most."""

    released: PCollection[ReleasedTable]
    void: PCollection[VoidWindow]


@dataclass(eq=False)
class ReleaseWindows(beam.PTransform[PCollection[Tuple[str, Iterable[Waiting]]], Decided]):
    """Release each window whose sources have all passed its publication time.

    Input: all that waits for one window. Output: its released table, or why it is void; nothing where the window is
    held, is in the ledger already, or belongs to another policy.
    """

    given: Releasing
    gate: Gate

    def expand(self, pcoll: PCollection[Tuple[str, Iterable[Waiting]]]) -> Decided:
        outputs = pcoll | "Decide" >> beam.ParDo(_Decide(self.given, self.gate)).with_outputs(VOID, main="released")
        return Decided(outputs.released, outputs[VOID])


class _Insert(_OnCounts):
    def process(self, element: ReleasedTable) -> Iterator[NoReturn]:
        self._counts.begin(element, "complete", "", False)
        Metrics.counter("windows", self._counts.publish(element)).inc()
        yield from ()


@dataclass(eq=False)
class InsertIfAbsent(beam.PTransform[PCollection[ReleasedTable], PCollection[NoReturn]]):
    """Write released tables to the counts store; the first value of a number stays."""

    given: Releasing

    def expand(self, pcoll: PCollection[ReleasedTable]) -> PCollection[NoReturn]:
        return pcoll | "Insert" >> beam.ParDo(_Insert(self.given))


class _NoteVoid(_OnCounts):
    def process(self, element: VoidWindow) -> Iterator[NoReturn]:
        self._counts.void(element.tenant, element.kind, element.key, element.policy_digest, element.reason)
        yield from ()


@dataclass(eq=False)
class NoteVoid(beam.PTransform[PCollection[VoidWindow], PCollection[NoReturn]]):
    """Say in the ledger that windows are never published; what is there already stays."""

    given: Releasing

    def expand(self, pcoll: PCollection[VoidWindow]) -> PCollection[NoReturn]:
        return pcoll | "Note" >> beam.ParDo(_NoteVoid(self.given))


class _WriteLetters(beam.DoFn):
    def __init__(self, given: Releasing) -> None:
        self._given = given

    def setup(self) -> None:
        self._output = letters_output(self._given.deployment)

    def process(self, element: SealedReject) -> Iterator[NoReturn]:
        # A message that an engine has decoded twice is sealed to other bytes: the keyed tag tells that it is one.
        name = element.seen.hex()
        if not self._output.holds(name):
            self._output.write(name, json.loads(element.clear)["received_day"], [element])
        yield from ()


@dataclass(eq=False)
class WriteLetters(beam.PTransform[PCollection[SealedReject], PCollection[NoReturn]]):
    """Write sealed rejects where the deployment's dead letters go, each message once."""

    given: Releasing

    def expand(self, pcoll: PCollection[SealedReject]) -> PCollection[NoReturn]:
        return pcoll | "Write" >> beam.ParDo(_WriteLetters(self.given))
