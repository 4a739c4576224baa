"""`carrel replay`: archives in, released counts out; a killed run goes on where it stopped."""

from dataclasses import replace
from typing import Sequence

from pipelines import table_history
from pipelines.calendar_windows import SLACK
from pipelines.configuration import ConfigurationError, Deployment, SourceConfig
from pipelines.counts_opening import open_counts
from pipelines.counts_store import CountsStore
from pipelines.crash_points import crash_point
from pipelines.held import name_held
from pipelines.id_maps import lookups_of
from pipelines.iso_days import utc_day
from pipelines.key_life import KeyLife
from pipelines.keys import KeyringAt
from pipelines.letters_output import kept_since, letters_output
from pipelines.loop import Job
from pipelines.opening import load_public
from pipelines.planning import Request, begin, begin_afresh_without_keys, chosen_sources, plan
from pipelines.progress import Step, Told, tell_nobody
from pipelines.publication import finish_pending, release_due
from pipelines.reading import archive, read_all, write_letters
from pipelines.run import Run, Summary, end
from pipelines.verification import verify
from pipelines.work_store import WorkStore
from pipelines.work_values import OPEN, VERIFY
from schemas.policy import PrivacyPolicy
from schemas.source import SourceRules
from transforms.privacy.times import Zone
from transforms.windows import day_number, day_of

__all__ = ("Request", "Summary", "replay")


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
        erases=tuple(there.namespace for there in source.erases.values()),
    )


def replay(
    deployment: Deployment, policy: PrivacyPolicy, request: Request, *, now: int, told: Told = tell_nobody
) -> Summary:
    """Read archives, commit their tallies, release and verify what is due.

    Args:
      now: the wall clock, ms UTC: stamps ahead of it are refused; key deadlines are held against it.
      told: is told how far it is.

    Raises:
      BreakerOpenError, ConfigurationError, InputError, WorkStoreError, StoreError, KeyringError: one line each.
    """
    chosen = chosen_sources(deployment, request)
    with WorkStore(deployment.work_store) as store, open_counts(deployment.counts_store) as counts:
        run = Run(deployment, job_of(deployment, policy, counts, now), store, counts, Zone(policy.time_zone))
        keys = KeyLife(deployment, policy, store, counts, now)
        letters = letters_output(deployment)
        finish_pending(run)
        write_letters(store, letters, run.job.day)
        with store.transaction() as transaction:
            transaction.tidy(kept_since(utc_day(now)))
        run.tell(keys.keep_deadlines())
        begin_afresh_without_keys(run)
        files = plan(deployment, store, chosen, request)
        table_history.begin(run, again=request.backfill and bool(request.paths))
        begun = begin(run, files, chosen, request)
        crash_point("run-planned")
        read = tuple(dict.fromkeys(file.source for file in files))
        run = with_lookups(run, read)
        archives = [one for file in files if (one := archive(run, begun, file)) is not None]

        def release() -> None:
            release_due(run, read, backfill=request.backfill)
            run.tell(keys.end_released())

        read_all(run, letters, archives, release, told)
        size = sum(one.standing.size for one in archives)
        told(Step("", len(archives), len(archives), size, size))
        run.summary.files = len(files)
        _move_clocks(run, read)
        if request.complete_through:
            _declare_through(run, request.complete_through, chosen)
        verify(run, begun, read)
        table_history.extend(run)
        release_due(run, read, backfill=request.backfill)
        _end(run)
        run.tell(keys.end_released())
        name_held(run, keys)
        return run.summary


def job_of(deployment: Deployment, policy: PrivacyPolicy, counts: CountsStore, now: int) -> Job:
    """What the loop is given, its lookups aside: those are read once it is known of which sources."""
    return Job(
        tenant=deployment.tenant,
        policy=policy,
        sources=tuple(rules_of(source) for source in deployment.sources),
        keyring=KeyringAt(str(deployment.keyring), deployment.tenant, counts.store_id, now),
        lookups={},
        recipient=load_public(deployment.recipient),
        now=now,
        day=utc_day(now).isoformat(),
    )


def with_lookups(run: Run, read: Sequence[str]) -> Run:
    """The run with the lookups of these sources; its summary has how many lines of their exports were broken."""
    loaded = {}
    for source in run.deployment.sources:
        if source.name in read:
            found = lookups_of(source)
            loaded[source.name] = found.tables
            run.summary.skipped |= {f"{source.name} {name}": n for name, n in found.skipped.items() if n}
    return replace(run, job=replace(run.job, lookups=loaded))


def _move_clocks(run: Run, read: Sequence[str]) -> None:
    """All given files are read: a source is known up to its last arrival."""
    with run.store.transaction() as transaction:
        for lane in (OPEN, VERIFY):
            for name in read:
                last = run.store.clock(lane, name).last_arrival
                if last is not None:
                    transaction.set_clock(lane, name, last)


def _declare_through(run: Run, day: str, chosen: Sequence[SourceConfig]) -> None:
    """Take the operator's word for every source that feeds a table and was ever read."""
    kinds = {table.kind for table in run.job.policy.tables}
    feeding = [source for source in chosen if kinds & set(source.kinds)]
    last_event = {source.name: run.store.clock(OPEN, source.name).last_event for source in feeding}
    read = [source for source in feeding if last_event[source.name] is not None]
    for source in read or feeding:
        last = last_event[source.name]
        is_far = last is None or day_number(day) - day_of(last, run.zone) > SLACK
        if is_far and not source.ended:
            message = (
                f"--complete-through {day}: the last event of source {source.name} is more than {SLACK} days older;"
                " read the rest first, name the others with --source, or declare this one ended in carrel.toml"
            )
            raise ConfigurationError(message)
    with run.store.transaction() as transaction:
        for source in read:
            for lane in (OPEN, VERIFY):
                transaction.declare(lane, source.name, since=None, through=day)


def _end(run: Run) -> None:
    """The run is over before its keys go: a resume without them would have to begin afresh."""
    run.summary.messages = run.store.totals(VERIFY)
    with run.store.transaction() as transaction:
        end(transaction)
        transaction.drop_lane(VERIFY)
