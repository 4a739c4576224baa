"""The batch loop: read a bounded batch, run the graph, commit everything in one transaction.

The order of the steps is the correctness argument: nothing is marked read before its tallies are
committed with it, and a tally is a set, so reading again changes nothing.
"""

import logging
from collections import Counter
from dataclasses import dataclass
from typing import Callable, Iterable, Mapping, Optional, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import outputs
from pipelines.crash_points import crash_point
from pipelines.exchange import Exchange, ExchangedLookups
from pipelines.graph import release_tallies, tally_events
from pipelines.keys import KeyringAt
from pipelines.work_store import WorkStore
from pipelines.work_transaction import Transaction
from pipelines.work_values import OPEN, VERIFY
from schemas.chunks import ArrivalSpan, RawChunk
from schemas.counts import ReleasedTable, Tally, WindowKey
from schemas.policy import PrivacyPolicy
from schemas.source import SourceRules
from transforms.decode import Decoding, Lookups
from transforms.erasure import without_erased
from transforms.keys import OpensKeys
from transforms.tally import SealTallies, merge, open_tally

Totals = Mapping[tuple[str, str], int]
Move = Callable[[Transaction, Sequence[ArrivalSpan], Totals], None]


@dataclass(frozen=True)
class Job:
    """What one run of the loop is given; nothing in it is secret but the lookups."""

    tenant: str
    policy: PrivacyPolicy
    sources: tuple[SourceRules, ...]
    keyring: KeyringAt
    lookups: Mapping[str, Lookups]
    recipient: bytes
    now: int
    day: str

    def decoding(self, lookups: Callable[[str], Lookups], source: Optional[str] = None) -> Decoding:
        """What `DecodeEvents` is given, of all sources or of one.

        Args:
          lookups: source name -> its lookups, found where the graph runs.
        """
        return Decoding(
            tenant=self.tenant,
            policy=self.policy,
            sources=tuple(rules for rules in self.sources if source in (None, rules.name)),
            keyring=self.keyring,
            lookups=lookups,
            recipient=self.recipient,
            now=self.now,
        )


def pipeline() -> beam.Pipeline:
    """A pipeline on the one runner that is pinned: bare DirectRunner changes engine behind one's back."""
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    return beam.Pipeline(runner="FnApiRunner", options=PipelineOptions(["--no_save_main_session"]))


def build_tally_graph(root: beam.Pipeline, given: Decoding, name: str, keyring: OpensKeys) -> None:
    """From the exchange's chunks to its tallies, rejects and spans."""
    chunks = root | "Exchange" >> beam.Create([name]) | "TakeChunks" >> outputs.TakeChunks()
    tallied = tally_events(chunks, given)
    _ = tallied.tallies | "SealTallies" >> SealTallies(keyring) | "KeepTallies" >> outputs.KeepTallies(name)
    _ = tallied.rejects | "KeepRejects" >> outputs.KeepRejects(name)
    _ = tallied.spans | "KeepSpans" >> outputs.KeepSpans(name)


def build_release_graph(
    root: beam.Pipeline, policy: PrivacyPolicy, tenant: str, name: str, keyring: Optional[OpensKeys]
) -> None:
    """From the exchange's merged tallies to released tables."""
    merged = root | "Exchange" >> beam.Create([name]) | "TakeMerged" >> outputs.TakeMerged()
    _ = release_tallies(merged, policy, tenant, keyring) | "WriteCounts" >> outputs.WriteCounts(name)


def run_batch(
    job: Job,
    store: WorkStore,
    *,
    source: str,
    chunks: tuple[RawChunk, ...],
    batch_name: str,
    published: frozenset[tuple[str, str]],
    verifying: bool,
    move: Move,
) -> None:
    """Run the graph over some chunks of one source and commit what came of it.

    Args:
      published: (table, window start) pairs that are in the ledger: no act is added to them.
      verifying: acts for published windows are kept apart, to be compared; else they are counted as closed.
      move: moves positions and clocks in the batch's transaction, given what the chunks say of arrival in their
        order, and the batch's conservation counts; or raises: then nothing of the batch is committed.
    """
    with Exchange(chunks=chunks, lookups=job.lookups) as given:
        root = pipeline()
        decoding = job.decoding(ExchangedLookups(given.name), source)
        build_tally_graph(root, decoding, given.name, job.keyring)
        result = root.run()
        result.wait_until_finish()
        counts = _counts(result)
    crash_point("graph-run")
    lanes = {one.key: VERIFY if (one.key.table, one.key.start) in published else OPEN for one in given.tallies}
    kept = [one for one in given.tallies if verifying or lanes[one.key] == OPEN]
    for one in () if verifying else given.tallies:
        if lanes[one.key] != OPEN:
            counts[source, f"closed/{one.key.table}"] += one.rows
    with store.transaction() as transaction:
        transaction.append(lanes, sorted(kept, key=lambda one: one.key))
        crash_point("tallies-appended")
        for lane in (OPEN, VERIFY) if verifying else (OPEN,):
            for span in given.spans:
                transaction.widen(lane, span)
            transaction.count(lane, counts)
        transaction.keep_rejects(batch_name, job.day, given.rejects)
        move(transaction, given.spans, counts)
        crash_point("positions-advanced")
    crash_point("batch-committed")


def release_windows(
    job: Job, store: WorkStore, lane: str, due: Sequence[WindowKey]
) -> tuple[list[ReleasedTable], dict[WindowKey, tuple[int, int]]]:
    """Merge the tallies of these windows and apply disclosure control; writes nothing.

    Returns:
      The released tables, and per window the rows that were counted and the acts that stand.
    """
    keys = job.keyring.open()
    sizes: dict[WindowKey, tuple[int, int]] = {}
    table_of = {table.name for table in job.policy.tables}

    def merged(key: WindowKey) -> Tally:
        blobs = list(store.blobs(lane, key))
        tallies = [open_tally(key, blob, keys.month(key.month)) for blob in blobs]
        union = merge(tallies) if tallies else Tally.empty(key)
        sizes[key] = (sum(one.n_acts for one in tallies), union.n_acts)
        return without_erased(union, keys.month(key.month)) if tallies else union

    with Exchange(due=tuple(key for key in due if key.table in table_of), merged=merged) as given:
        root = pipeline()
        keyring = job.keyring if job.policy.noise_scale else None
        build_release_graph(root, job.policy, job.tenant, given.name, keyring)
        root.run().wait_until_finish()
    return given.released, sizes


def _counts(result: object) -> Counter[tuple[str, str]]:
    counts: Counter[tuple[str, str]] = Counter()
    counters: Iterable[object] = result.metrics().query()["counters"]  # type: ignore[attr-defined]
    for counter in counters:
        name = counter.key.metric  # type: ignore[attr-defined]
        counts[name.namespace, name.name] += counter.committed  # type: ignore[attr-defined]
    return +counts
