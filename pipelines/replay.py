"""`carrel replay`: archives in, released counts out; a killed run goes on where it stopped."""

import datetime as dt
import glob
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator, Mapping, Optional, Sequence

from pipelines import inputs, lookups
from pipelines.configuration import ConfigurationError, Deployment, SourceConfig
from pipelines.counts_store import CountsStore, LedgerRow
from pipelines.crash_points import crash_point
from pipelines.dead_letters import DeadLetterDirectory
from pipelines.keys import KeyringAt
from pipelines.loop import OPEN, VERIFY, Job, run_batch
from pipelines.opening import load_public
from pipelines.publication import PUBLISHED_BEFORE, Publication
from pipelines.work_store import Position, WorkStore
from schemas.policy import PrivacyPolicy
from schemas.source import SourceRules
from schemas.wire import ADAPTERS
from transforms.privacy.times import Zone

_RUN = "run"


@dataclass(frozen=True)
class Request:
    """What the operator asked for. Days are ISO civil dates."""

    source: Optional[str] = None
    paths: tuple[Path, ...] = ()
    complete_from: Optional[str] = None
    complete_through: Optional[str] = None
    backfill: bool = False


@dataclass
class Summary:
    """What a run did; exact, for the terminal of the person who holds the files."""

    messages: dict[tuple[str, str], int] = field(default_factory=dict)
    files: int = 0
    released: list[str] = field(default_factory=list)
    void: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    matches: int = 0
    differs: list[str] = field(default_factory=list)
    unverifiable: list[str] = field(default_factory=list)
    unpinned: list[str] = field(default_factory=list)
    closed: dict[str, int] = field(default_factory=dict)
    merged: dict[str, tuple[int, int]] = field(default_factory=dict)
    destroyed: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)


def rules_of(source: SourceConfig) -> SourceRules:
    """The part of a source's configuration that travels with the graph."""
    return SourceRules(
        name=source.name,
        adapter=source.adapter,
        kinds=tuple(source.kinds),
        namespace=source.namespace,
        id_profile=source.id_profile,
        time_zone=source.time_zone,
        also_drop=tuple(source.also_drop),
        strip=tuple(source.strip),
        no_patron_ids=tuple(source.no_patron_ids),
        codes=source.codes,
    )


def replay(deployment: Deployment, policy: PrivacyPolicy, request: Request, *, now: int) -> Summary:
    """Read archives, commit their tallies, release and verify what is due.

    Args:
      now: the wall clock, ms UTC: stamps ahead of it are refused; key deadlines are held against it.

    Raises:
      ConfigurationError, InputError, WorkStoreError, StoreError, KeyringError: one line each.
    """
    day = dt.datetime.fromtimestamp(now / 1000, dt.UTC).date().isoformat()
    chosen = _chosen(deployment, request)
    with WorkStore(deployment.work_store) as store, CountsStore(deployment.counts_store) as counts:
        keyring = KeyringAt(str(deployment.keyring), deployment.tenant, counts.store_id, now)
        plan = [(source, path) for source in chosen for path in _files(source, request)]
        if not plan and request.paths:
            message = "replay: no such file; name files that exist"
            raise inputs.InputError(message)
        job = Job(
            tenant=deployment.tenant,
            policy=policy,
            sources=tuple(rules_of(source) for source in deployment.sources),
            keyring=keyring,
            lookups={source.name: lookups.load(ADAPTERS[source.adapter], source) for source, _ in plan},
            recipient=load_public(deployment.recipient),
            now=now,
            day=day,
        )
        publication = Publication(deployment, job, store, counts, Zone(policy.time_zone), Summary())
        publication.finish_pending()
        letters = DeadLetterDirectory(deployment.dead_letters)
        _write_letters(store, letters, day)
        resumed = _begin(store, deployment, plan, request, counts.ledger(deployment.tenant))
        crash_point("run-planned")
        for source, path in plan:
            _read_file(job, store, counts, letters, source, path, fresh=bool(request.paths) and not resumed)
            publication.summary.files += 1
        publication.settle(request, tuple(dict.fromkeys(source.name for source, _ in plan)))
        return publication.summary


def _chosen(deployment: Deployment, request: Request) -> list[SourceConfig]:
    names = [source.name for source in deployment.sources]
    if request.source is not None:
        if request.source not in names:
            message = f"--source: not in carrel.toml; there are {', '.join(names)}"
            raise ConfigurationError(message)
        return [source for source in deployment.sources if source.name == request.source]
    if request.paths and len(names) > 1:
        message = f"replay: say whose files these are with --source; there are {', '.join(names)}"
        raise ConfigurationError(message)
    return list(deployment.sources)


def _files(source: SourceConfig, request: Request) -> Iterator[Path]:
    if request.paths:
        yield from dict.fromkeys(path.resolve() for path in request.paths)
    elif source.archive:
        yield from (Path(path).resolve() for path in sorted(glob.glob(source.archive, recursive=True)))  # noqa: PTH207


def _begin(
    store: WorkStore,
    deployment: Deployment,
    plan: Sequence[tuple[SourceConfig, Path]],
    request: Request,
    ledger: Mapping[tuple[str, str], LedgerRow],
) -> bool:
    """Note the run's plan; whether it is a killed run that goes on."""
    listed = json.dumps([[source.name, str(path)] for source, path in plan])
    tag = hashlib.sha256(listed.encode()).hexdigest()
    resumed = store.value(_RUN) == tag
    # A resumed run must not verify what it published itself: its acts went there, not to the verify lane.
    before = json.dumps(sorted(where for where, row in ledger.items() if _is_published(row.state)))
    with store.transaction() as transaction:
        if not resumed:
            transaction.drop_lane(VERIFY)
            transaction.set_value(_RUN, tag)
            transaction.set_value(PUBLISHED_BEFORE, before)
            if request.paths:
                for source, path in plan:
                    transaction.forget_positions(source.name, [str(path)])
        for source in deployment.sources:
            transaction.declare(OPEN, source.name, since=source.complete_from, through=None)
            transaction.declare(VERIFY, source.name, since=source.complete_from, through=None)
        for name in dict.fromkeys(source.name for source, _ in plan):
            transaction.declare(OPEN, name, since=request.complete_from, through=None)
            transaction.declare(VERIFY, name, since=request.complete_from, through=None)
    return resumed


def _read_file(
    job: Job,
    store: WorkStore,
    counts: CountsStore,
    letters: DeadLetterDirectory,
    source: SourceConfig,
    path: Path,
    *,
    fresh: bool,
) -> None:
    part = str(path)
    key = job.keyring.open().seen()
    known = store.positions(source.name).get(part)
    start = 0
    if known is not None and known.head == inputs.fingerprint(path, known.next, key):
        start = known.next
        if known.done and not fresh and path.stat().st_size <= start:
            return
    published = frozenset(where for where, row in counts.ledger(job.tenant).items() if _is_published(row.state))
    for batch in inputs.batches(path, source.name, ADAPTERS[source.adapter].envelope, start):
        crash_point("batch-read")
        head = inputs.fingerprint(path, batch.next, key)
        name = hashlib.sha256(f"{source.name}\0{part}\0{batch.next}\0{store.epoch}".encode()).hexdigest()[:16]
        run_batch(
            job,
            store,
            source=source.name,
            chunks=batch.chunks,
            position=Position(part, batch.next, head, batch.done),
            batch_name=name,
            published=published,
        )
        _write_letters(store, letters, job.day)


def _is_published(state: str) -> bool:
    """Void windows keep taking acts: a better `complete_from` may still release them."""
    return state in ("sealing", "sealed")


def _write_letters(store: WorkStore, letters: DeadLetterDirectory, day: str) -> None:
    """Write committed rejects out; the same batch writes the same file, so a kill in between does no harm."""
    for batch, rejects in store.pending_rejects().items():
        letters.write(batch, day, rejects)
        crash_point("rejects-written")
        with store.transaction() as transaction:
            transaction.rejects_written(batch)
