"""Which files a run reads, and whether it begins, goes on, or begins afresh.

A run that was cut short is finished by whatever replay comes next: what it has read of its files is in
the open windows already, so that without the rest of them those would be published incomplete.
"""

import glob
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Iterator, Optional, Sequence

from cryptography.exceptions import InvalidTag

from pipelines import inputs
from pipelines.configuration import ConfigurationError, Deployment, SourceConfig
from pipelines.keyring import Keyring, KeyringError
from pipelines.run import Begun, Planned, Run, begun, place_of
from pipelines.work_store import WorkStore
from pipelines.work_values import OPEN, VERIFY
from schemas.counts import WindowKey
from schemas.wire import ADAPTERS
from transforms.tally import open_tally


@dataclass(frozen=True)
class Request:
    """What the operator asked for. Days are ISO civil dates."""

    source: Optional[str] = None
    paths: tuple[Path, ...] = ()
    complete_from: Optional[str] = None
    complete_through: Optional[str] = None
    backfill: bool = False


def chosen_sources(deployment: Deployment, request: Request) -> list[SourceConfig]:
    """The sources that the operator speaks of.

    Raises:
      ConfigurationError: no such source, or files that might be of several.
    """
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


def plan(deployment: Deployment, store: WorkStore, chosen: Sequence[SourceConfig], request: Request) -> list[Planned]:
    """The files to read, those first that a run that was cut short still owes. Each is readable, a new one is a log.

    Raises:
      InputError: one of them cannot be read, or is no log.
    """
    wanted = [
        Planned(source.name, str(path), is_named=bool(request.paths))
        for source in chosen
        for path in _files(source, request)
    ]
    configured = {source.name for source in deployment.sources}
    unfinished = begun(store)
    owed = []
    for file in unfinished.plan if unfinished else ():
        position = store.positions(file.source).get(file.part)
        if file.source not in configured or (position is not None and position.done) or file in wanted:
            continue
        if not Path(file.part).exists():
            if request.complete_from:
                continue
            message = (
                f"{file.part}: a run that was cut short was to read it, and it is gone; put it back, or give up"
                " what it may hold, with all before a day of your choice: carrel replay --complete-from DAY"
            )
            raise inputs.InputError(message)
        owed.append(file)
    found = [*owed, *(file for file in wanted if file not in owed)]
    adapters = {source.name: ADAPTERS[source.adapter] for source in deployment.sources}
    for file in found:
        inputs.refuse_unreadable(Path(file.part))
        if file.part not in store.positions(file.source):
            adapter = adapters[file.source]
            inputs.refuse_unfit(Path(file.part), adapter.envelope, adapter.columns)
    return found


def _files(source: SourceConfig, request: Request) -> Iterator[Path]:
    if request.paths:
        named: Sequence[str] = [str(path) for path in request.paths]
    else:
        named = sorted(glob.glob(source.archive, recursive=True)) if source.archive else []  # noqa: PTH207
    # Not Path.resolve: it fails on a link that leads to itself, which is to be said like any unreadable file.
    yield from dict.fromkeys(Path(os.path.realpath(path)) for path in named)


def begin(run: Run, files: Sequence[Planned], chosen: Sequence[SourceConfig], request: Request) -> Begun:
    """Note the run and its files in the work store, or go on with the one that was cut short."""
    there = begun(run.store)
    fresh = [file for file in files if there is None or file not in there.plan]
    known = {source.name: run.store.positions(source.name) for source in run.deployment.sources}
    going_on = [file for file in fresh if not file.is_named and file.part in known[file.source]]
    stood = tuple((file.source, known[file.source][file.part]) for file in going_on)
    if there is None:
        opened = frozenset(map(place_of, run.store.stored(OPEN)))
        record = Begun(run.job.now, tuple(files), stood, run.published(), opened)
    else:
        record = replace(there, plan=(*there.plan, *fresh), positions=(*there.positions, *stood))
    with run.store.transaction() as transaction:
        if there is None:
            transaction.drop_lane(VERIFY)
        record.keep(transaction)
        for file in fresh:
            if file.is_named:
                transaction.forget_positions(file.source, [file.part])
        for source in run.deployment.sources:
            transaction.declare(OPEN, source.name, since=source.complete_from, through=None)
        for source in chosen:
            transaction.declare(OPEN, source.name, since=request.complete_from, through=None)
    return record


def begin_afresh_without_keys(run: Run) -> None:
    """A run that was cut short and has lost its keys begins again from where its files stood.

    Raises:
      KeyringError: acts of other runs are lost too: those files are not at hand.
    """
    lost = [
        (lane, key) for lane in (OPEN, VERIFY) for key in run.store.stored(lane) if not _can_be_opened(run, lane, key)
    ]
    if not lost:
        return
    there = begun(run.store)
    for lane, key in lost:
        if there is None or (lane == OPEN and place_of(key) in there.open):
            message = (
                f"keyring: the token key of {key.month} is missing, or another one, and windows wait for it; restore"
                f" the keyring, or give them up: carrel keys shred --purpose token --month {key.month} --yes"
            )
            raise KeyringError(message)
    assert there is not None  # noqa: S101 - else the first lost window was refused
    with run.store.transaction() as transaction:
        transaction.drop_lane(VERIFY)
        for lane, key in lost:
            transaction.drop_window(lane, key)
        for file in there.plan:
            transaction.forget_positions(file.source, [file.part])
        for source, position in there.positions:
            transaction.advance(source, position)
        replace(there, at=run.job.now, afresh=True).keep(transaction)


def _can_be_opened(run: Run, lane: str, key: WindowKey) -> bool:
    """Whether the oldest acts of a window open with the month's key: it may be another one than theirs."""
    keyring = Keyring(run.deployment.keyring)
    if not keyring.has_token_key(run.job.tenant, key.month):
        return False
    month = keyring.token_key(run.job.tenant, key.month, now_ms=run.job.now)
    try:
        open_tally(key, next(run.store.blobs(lane, key)), month)
    except InvalidTag:
        return False
    return True
