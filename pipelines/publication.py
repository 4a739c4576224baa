"""Publishing once: what is due is frozen, inserted if absent, sealed. The only way for numbers to leave a run.

A window is released when the clocks of all its sources have passed its publication time, or when the
operator declared them complete; archives and buses move those clocks differently, and end up here.
"""

from typing import Sequence

from pipelines.calendar_windows import DueWindow, due_windows
from pipelines.counts_rows import DEFAULT_REASON, LedgerRow
from pipelines.crash_points import crash_point
from pipelines.key_life import GIVEN_UP
from pipelines.keyring import Keyring
from pipelines.loop import release_windows
from pipelines.run import Run, name_of, place_of
from pipelines.table_history import tallied_since
from pipelines.verification import covers
from pipelines.work_values import OPEN, PendingSeal
from schemas.counts import WindowKey
from schemas.policy import Table
from transforms.windows import day_number

_GROUP = 64  # windows released in one run of the graph


def finish_pending(run: Run) -> None:
    """Finish what a killed run had frozen, before anything else is read."""
    for seal in run.store.pending_seals():
        _publish(run, seal)
        run.summary.released.append(name_of(seal.table.key))


def release_due(run: Run, read: Sequence[str], *, backfill: bool) -> None:
    """Release every window whose time has come, or say in the ledger why it never will be.

    Args:
      read: sources whose files were read in this run.
      backfill: release also what another policy has released something for.
    """
    _forget_lost(run)
    for table in run.job.policy.tables:
        ledger = run.ledger()
        wanted: list[tuple[DueWindow, bool]] = []
        for due in _due(run, table):
            entry = ledger.get(place_of(due.key))
            if entry is not None and (due.void or not is_regained(run, entry)):
                continue
            if due.void or not _can_be_drawn(run, due.key):
                _void(run, table, due.key, due.void or "noise key destroyed")
                continue
            is_pinned = _is_pinned(run, table, due.key)
            if (is_pinned and not backfill) or not _is_tallied(run, table, due.key, read):
                run.summary.unpinned.append(name_of(due.key))
                continue
            wanted.append((due, is_pinned))
        for at in range(0, len(wanted), _GROUP):
            _release(run, wanted[at : at + _GROUP])


def _due(run: Run, table: Table) -> Sequence[DueWindow]:
    ledger = run.ledger()
    waiting = [key.start for key in run.store.windows(OPEN) if key.table == table.name and place_of(key) not in ledger]
    oldest = min(map(day_number, waiting), default=None)
    return list(due_windows(table, run.feeds(table, OPEN), run.zone, oldest=oldest))


def _forget_lost(run: Run) -> None:
    """Acts of windows that are void for good are not kept, and keep no key."""
    ledger = run.ledger()
    for key in run.store.stored(OPEN):
        entry = ledger.get(place_of(key))
        if entry is not None and entry.state == "void" and not is_regained(run, entry):
            with run.store.transaction() as transaction:
                transaction.drop_window(OPEN, key)


def is_regained(run: Run, entry: LedgerRow) -> bool:
    """Whether a better `complete_from` may still release a window that is void: its acts are kept for that."""
    if entry.state != "void" or not entry.reason.startswith(DEFAULT_REASON):
        return False
    receipts = run.counts.receipts(run.job.tenant)
    return entry.window_start[:7] not in {one.month for one in receipts if one.why in GIVEN_UP}


def _can_be_drawn(run: Run, key: WindowKey) -> bool:
    """Whether the month's noise can still be drawn: of a destroyed noise key no second one is made."""
    keyring = Keyring(run.deployment.keyring)
    return not run.job.policy.noise_scale or not keyring.has_noise_tombstone(run.job.tenant, key.month)


def _is_pinned(run: Run, table: Table, key: WindowKey) -> bool:
    """Whether another policy has released something for this event kind and window: the first one wins."""
    pinned = run.counts.pinned_policy(run.job.tenant, table.kind, key.start, key.end)
    return bool(pinned - {run.job.policy.digest})


def _is_tallied(run: Run, table: Table, key: WindowKey, read: Sequence[str]) -> bool:
    """Whether the table has all acts of the window: it was there when they were read, or is filled by this run."""
    since = tallied_since(run, table)
    return since is None or key.start >= since or covers(run, table, key, read)


def _void(run: Run, table: Table, key: WindowKey, reason: str) -> None:
    run.counts.void(run.job.tenant, table.kind, key, run.job.policy.digest, reason)
    run.summary.void.append(name_of(key))
    if not reason.startswith(DEFAULT_REASON):
        with run.store.transaction() as transaction:
            transaction.drop_window(OPEN, key)


def _release(run: Run, due: Sequence[tuple[DueWindow, bool]]) -> None:
    about = {one.key: (one, backfill) for one, backfill in due}
    released, merged = release_windows(run.job, run.store, OPEN, list(about))
    seals = []
    for table in released:
        one, backfill = about[table.key]
        seals.append(PendingSeal(table, one.completeness, one.reason, backfill))
    with run.store.transaction() as transaction:
        for seal in seals:
            transaction.freeze(seal)
        for month in sorted({seal.table.key.month for seal in seals}):
            transaction.set_value(f"released/{month}", str(run.job.now))
    crash_point("rows-frozen")
    for key, (counted, standing) in merged.items():
        before = run.summary.merged.get(key.table, (0, 0))
        run.summary.merged[key.table] = (before[0] + counted, before[1] + standing)
    for seal in seals:
        _publish(run, seal)
        run.summary.released.append(name_of(seal.table.key))


def _publish(run: Run, seal: PendingSeal) -> None:
    run.counts.begin(seal.table, seal.completeness, seal.reason, seal.backfill)
    crash_point("ledger-begun")
    if run.counts.publish(seal.table) == "differs":
        run.summary.differs.append(name_of(seal.table.key))
    crash_point("rows-published")
    with run.store.transaction() as transaction:
        transaction.unfreeze(seal.table.key)
        transaction.drop_window(OPEN, seal.table.key)
    crash_point("seal-done")
