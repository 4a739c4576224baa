"""Verifying: published windows that a run's files cover whole are computed again, compared, and never changed."""

from typing import Optional, Sequence

from pipelines.calendar_windows import Feed, since_day
from pipelines.counts_rows import LedgerRow, rows_hash
from pipelines.keyring import Keyring, NoiseKeyGone
from pipelines.loop import release_windows
from pipelines.run import Begun, Run, name_of, place_of
from pipelines.work_values import OPEN, VERIFY
from schemas.counts import WindowKey
from schemas.policy import Table
from transforms.privacy.times import publication_time, window_name
from transforms.windows import day_number, day_of, number_at

_GROUP = 64  # windows computed in one run of the graph


def verify(run: Run, begun: Begun, read: Sequence[str]) -> None:
    """Compare what was published before the run began; acts that only touch such windows are `closed`.

    Args:
      read: sources whose files were read in this run.
    """
    ledger = run.ledger()
    rows = run.store.windows(VERIFY)
    kinds = {table.name: table for table in run.job.policy.tables}
    sealed = [
        WindowKey(row.table_name, row.window_start, row.window_end)
        for row in ledger.values()
        if row.state == "sealed" and row.table_name in kinds
    ]
    covered = []
    for key in sealed:
        is_own = place_of(key) not in begun.published
        if not is_own and _is_covered(run, kinds[key.table], key, read, ledger[place_of(key)]):
            covered.append(key)
        elif key in rows and not (is_own and begun.afresh):
            run.summary.closed[key.table] = run.summary.closed.get(key.table, 0) + rows[key]
    for at in range(0, len(covered), _GROUP):
        _compare(run, covered[at : at + _GROUP])


def covers(run: Run, table: Table, key: WindowKey, read: Sequence[str]) -> bool:
    """Whether this run's files hold all of a window: from before its beginning until its publication time."""
    if not _begins_before(run, table, key, read):
        return False
    start = run.zone.start_of_day if table.grain == "day" else run.zone.start_of_month
    end = start(number_at(table, day_number(key.start)) + 1)
    feeds = [feed for feed in run.feeds(table, VERIFY) if not feed.ended]
    proven = all((feed.clock.clock or 0) >= publication_time(end, table.horizon) for feed in feeds)
    last_day = window_name("day", day_number(key.end) - 1)
    return proven or all((feed.clock.complete_through or "") >= last_day for feed in feeds)


def read_again_from(run: Run, before: Feed, again: Feed) -> Optional[int]:
    """The first civil day from which this run's files hold all of a source; None when they hold nothing.

    Args:
      before, again: what is known of the source's time in all, and from this run alone. What the operator
        says of the time before the first arrival helps only files that begin with it.
    """
    if again.clock.first_arrival is None:
        return None
    if again.clock.first_arrival == before.clock.first_arrival:
        return since_day(before, run.zone)[0]
    return day_of(again.clock.first_arrival, run.zone)


def _begins_before(run: Run, table: Table, key: WindowKey, read: Sequence[str]) -> bool:
    start = day_number(key.start)
    is_any = False
    for before, again in zip(run.feeds(table, OPEN), run.feeds(table, VERIFY), strict=True):
        last = before.clock.last_event
        if before.source not in read and before.ended and (last is None or day_of(last, run.zone) < start):
            continue
        day = read_again_from(run, before, again)
        if day is None or day > start:
            return False
        is_any = True
    return is_any


def _is_covered(run: Run, table: Table, key: WindowKey, read: Sequence[str], entry: LedgerRow) -> bool:
    """What was released on the operator's word need not be proven to be compared."""
    word = entry.completeness == "partial-declared" and _begins_before(run, table, key, read)
    return word or covers(run, table, key, read)


def _compare(run: Run, keys: Sequence[WindowKey]) -> None:
    ledger = run.ledger()
    known = [key for key in keys if _has_noise(run, key.month)]
    released, _ = release_windows(run.job, run.store, VERIFY, known)
    fresh = {table.key: rows_hash(table) for table in released}
    for key in keys:
        entry = ledger[place_of(key)]
        if key not in fresh or entry.policy_hash != run.job.policy.digest:
            verdict = "unverifiable"
            run.summary.unverifiable.append(name_of(key))
        elif fresh[key] == entry.rows_hash:
            verdict = "match"
            run.summary.matches += 1
        else:
            verdict = "differs"
            run.summary.differs.append(name_of(key))
        run.counts.record_verification(run.job.tenant, key.table, key.start, 0, verdict, run.job.day)


def _has_noise(run: Run, month: str) -> bool:
    if not run.job.policy.noise_scale:
        return True
    keyring = Keyring(run.deployment.keyring)
    try:
        key = keyring.noise_key(run.job.tenant, month, run.counts.store_id, create=False)
    except NoiseKeyGone:
        return False
    return key is not None
