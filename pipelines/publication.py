"""Publishing once: what is due is frozen, inserted if absent, sealed; what was published is only verified."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Sequence

import numpy as np

from pipelines.calendar_windows import (
    DAY,
    DueWindow,
    Feed,
    day_number,
    day_of,
    due_windows,
    number_at,
    releasing_day,
    since_day,
)
from pipelines.configuration import ConfigurationError, Deployment
from pipelines.counts_store import CountsStore, rows_hash
from pipelines.crash_points import crash_point
from pipelines.keyring import NOISE_DAYS, Keyring, NoiseKeyGone, deadline
from pipelines.loop import OPEN, VERIFY, Job, release_windows
from pipelines.work_store import PendingSeal, WorkStore
from schemas.counts import WindowKey
from schemas.policy import Table
from transforms.privacy.times import Zone, publication_time

if TYPE_CHECKING:
    from pipelines.replay import Request, Summary

_GROUP = 64  # windows released in one run of the graph
PUBLISHED_BEFORE = "published-before"  # of the work store: what the ledger held when the run began
_SLACK = 3  # days: how far --complete-through may lie behind the last event


@dataclass
class Publication:
    """Releases, verifies and forgets, after a run's files are read."""

    deployment: Deployment
    job: Job
    store: WorkStore
    counts: CountsStore
    zone: Zone
    summary: "Summary"

    def finish_pending(self) -> None:
        """Finish what a killed run had frozen, before anything else is read."""
        for seal in self.store.pending_seals():
            self._publish(seal)

    def settle(self, request: "Request", read: Sequence[str]) -> None:
        """All given files are read: move the clocks, release what is due, verify, forget keys."""
        self._move_clocks(read)
        if request.complete_through:
            self._declare_through(request.complete_through, read)
        self._verify(read)
        for table in self.job.policy.tables:
            self._release_table(table, backfill=request.backfill)
        self._name_held()
        self.summary.messages = self.store.totals(VERIFY)
        with self.store.transaction() as transaction:
            # The run is over before its keys go: a resume without them would have to begin afresh.
            transaction.set_value("run", None)
            transaction.drop_lane(VERIFY)
        self._destroy_keys()

    def _feeds(self, table: Table, lane: str) -> list[Feed]:
        return [
            Feed(source.name, self.store.clock(lane, source.name), source.ended)
            for source in self.deployment.sources
            if table.kind in source.kinds
        ]

    def _move_clocks(self, read: Sequence[str]) -> None:
        with self.store.transaction() as transaction:
            for lane in (OPEN, VERIFY):
                for name in read:
                    last = self.store.clock(lane, name).last_arrival
                    if last is not None:
                        transaction.set_clock(lane, name, last)

    def _declare_through(self, day: str, read: Sequence[str]) -> None:
        ended = {source.name for source in self.deployment.sources if source.ended}
        for name in read:
            last = self.store.clock(OPEN, name).last_event
            is_far = last is None or day_number(day) - day_of(last, self.zone) > _SLACK
            if is_far and name not in ended:
                message = (
                    f"--complete-through {day}: the last event of source {name} is more than {_SLACK} days older;"
                    " read the rest first, or declare the source ended in carrel.toml"
                )
                raise ConfigurationError(message)
        with self.store.transaction() as transaction:
            for name in read:
                transaction.declare(OPEN, name, since=None, through=day)
                transaction.declare(VERIFY, name, since=None, through=day)

    def _release_table(self, table: Table, *, backfill: bool) -> None:
        ledger = self.counts.ledger(self.job.tenant)
        wanted: list[DueWindow] = []
        for due in due_windows(table, self._feeds(table, OPEN), self.zone):
            entry = ledger.get((table.name, due.key.start))
            is_regained = entry is not None and entry.state == "void" and entry.reason.startswith("default ")
            if entry is not None and not (is_regained and not due.void):
                continue
            if due.void:
                self._void(table, due.key, due.void)
                continue
            pinned = self.counts.pinned_policy(self.job.tenant, table.kind, due.key.start, due.key.end)
            if pinned - {self.job.policy.digest} and not backfill:
                self.summary.unpinned.append(f"{table.name} {due.key.start}")
                continue
            wanted.append(due)
        for at in range(0, len(wanted), _GROUP):
            self._release(wanted[at : at + _GROUP], backfill=backfill)

    def _void(self, table: Table, key: WindowKey, reason: str) -> None:
        self.counts.void(self.job.tenant, table.kind, key, self.job.policy.digest, reason)
        self.summary.void.append(f"{table.name} {key.start}")
        if not reason.startswith("default "):
            with self.store.transaction() as transaction:
                transaction.drop_window(OPEN, key)

    def _release(self, due: Sequence[DueWindow], *, backfill: bool) -> None:
        about = {one.key: one for one in due}
        released, merged = release_windows(self.job, self.store, OPEN, [one.key for one in due])
        seals = [
            PendingSeal(table, about[table.key].completeness, about[table.key].reason, backfill) for table in released
        ]
        with self.store.transaction() as transaction:
            for seal in seals:
                transaction.freeze(seal)
            for month in sorted({seal.table.key.month for seal in seals}):
                transaction.set_value(f"released/{month}", str(self.job.now))
        crash_point("rows-frozen")
        for key, (counted, standing) in merged.items():
            before = self.summary.merged.get(key.table, (0, 0))
            self.summary.merged[key.table] = (before[0] + counted, before[1] + standing)
        for seal in seals:
            self._publish(seal)
            self.summary.released.append(f"{seal.table.key.table} {seal.table.key.start}")

    def _publish(self, seal: PendingSeal) -> None:
        self.counts.begin(seal.table, seal.completeness, seal.reason, seal.backfill)
        crash_point("ledger-begun")
        if self.counts.publish(seal.table) == "differs":
            self.summary.differs.append(f"{seal.table.key.table} {seal.table.key.start}")
        crash_point("rows-published")
        with self.store.transaction() as transaction:
            transaction.unfreeze(seal.table.key)
            transaction.drop_window(OPEN, seal.table.key)
        crash_point("seal-done")

    def _verify(self, read: Sequence[str]) -> None:
        """Recompute published windows that this run's files cover whole; what only touches them is `closed`."""
        ledger = self.counts.ledger(self.job.tenant)
        rows = self.store.windows(VERIFY)
        before = {tuple(where) for where in json.loads(self.store.value(PUBLISHED_BEFORE) or "[]")}
        for table in self.job.policy.tables:
            feeds = self._feeds(table, VERIFY)
            keys = [
                WindowKey(table.name, row.window_start, row.window_end)
                for (name, _), row in ledger.items()
                if name == table.name and row.state == "sealed" and (name, row.window_start) in before
            ]
            covered = [key for key in keys if self._covers(key, table, feeds, read, ledger)]
            for key in keys:
                if key not in covered and key in rows:
                    self.summary.closed[table.name] = self.summary.closed.get(table.name, 0) + rows[key]
            for at in range(0, len(covered), _GROUP):
                self._compare(covered[at : at + _GROUP])

    def _covers(self, key: WindowKey, table: Table, feeds: Sequence[Feed], read: Sequence[str], ledger: dict) -> bool:
        if not feeds or any(feed.source not in read and not feed.ended for feed in feeds):
            return False
        since = [since_day(feed, self.zone)[0] for feed in feeds if feed.source in read]
        if not since or any(day is None or day > day_number(key.start) for day in since):
            return False
        entry = ledger[table.name, key.start]
        start = self.zone.start_of_day if table.grain == "day" else self.zone.start_of_month
        end = start(number_at(table, day_number(key.start)) + 1)
        proven = all(
            (feed.clock.clock or 0) >= publication_time(end, table.horizon) for feed in feeds if not feed.ended
        )
        return proven or entry.completeness == "partial-declared"

    def _compare(self, keys: Sequence[WindowKey]) -> None:
        ledger = self.counts.ledger(self.job.tenant)
        known = [key for key in keys if self._has_noise(key.month)]
        released, _ = release_windows(self.job, self.store, VERIFY, known)
        fresh = {table.key: rows_hash(table) for table in released}
        for key in keys:
            name = f"{key.table} {key.start}"
            entry = ledger[key.table, key.start]
            if key not in fresh or entry.policy_hash != self.job.policy.digest:
                verdict = "unverifiable"
                self.summary.unverifiable.append(name)
            elif fresh[key] == entry.rows_hash:
                verdict = "match"
                self.summary.matches += 1
            else:
                verdict = "differs"
                self.summary.differs.append(name)
            self.counts.record_verification(self.job.tenant, key.table, key.start, 0, verdict, self.job.day)

    def _has_noise(self, month: str) -> bool:
        if not self.job.policy.noise_scale:
            return True
        keyring = Keyring(self.deployment.keyring)
        try:
            key = keyring.noise_key(self.job.tenant, month, self.counts.store_id, create=False)
        except NoiseKeyGone:
            return False
        return key is not None

    def _name_held(self) -> None:
        held = list(self.store.windows(OPEN))
        entries = self.counts.ledger(self.job.tenant)
        held = [key for key in held if (key.table, key.start) not in entries]
        self.summary.held = [f"{key.table} {key.start}" for key in held]
        last = {}
        for source in self.deployment.sources:
            instant = self.store.clock(OPEN, source.name).last_event
            if instant is not None:
                last[source.name] = instant
            elif held and not source.ended:
                self.summary.advice.append(f"tables of source {source.name} wait: it was never read")
        if held and (day := releasing_day(held, last, self.zone)):
            self.summary.advice.append(f"to release them if nothing is missing: carrel replay --complete-through {day}")
        lost = sorted({row.window_start for row in entries.values() if row.reason.startswith("default ")})
        if lost:
            month = [start for start in lost if start.endswith("-01")]
            self.summary.advice.append(
                f"if the logs are complete from an earlier day: carrel replay --complete-from {(month or lost)[0]}"
            )

    def _destroy_keys(self) -> None:
        """Destroy token keys of months with nothing left open, those past their deadline, and old noise keys."""
        keyring = Keyring(self.deployment.keyring)
        open_months = {key.month for key in self.store.windows(OPEN)}
        # A key that was made ahead waits for its month: only what has been released can be over.
        begun = {start[:7] for _, start in self.counts.ledger(self.job.tenant)}
        largest = max((table.horizon for table in self.job.policy.tables), default=0)
        for key in keyring.listing():
            if key.tenant != self.job.tenant or key.gone:
                continue
            if key.purpose == "token":
                month_end = self.zone.start_of_month(int(np.datetime64(key.month, "M").astype(np.int64)) + 1)
                overdue = self.job.now > deadline(month_end, largest, key.made)
                if overdue:
                    self._void_month(key.month)
                if overdue or (key.month in begun and key.month not in open_months):
                    keyring.destroy_token_key(self.job.tenant, key.month)
                    self._receipt("token", key.month, "deadline" if overdue else "released")
            elif key.purpose == "noise":
                last = self.store.value(f"released/{key.month}")
                if last is not None and self.job.now - int(last) > NOISE_DAYS * DAY:
                    keyring.destroy_noise_key(self.job.tenant, key.month)
                    self._receipt("noise", key.month, "schedule")
        crash_point("keys-destroyed")

    def _receipt(self, purpose: str, month: str, why: str) -> None:
        self.counts.record_receipt(self.job.tenant, purpose, month, why, self.job.day)
        self.summary.destroyed.append(f"{purpose} {month}")

    def _void_month(self, month: str) -> None:
        """The key of this month dies unreleased: its windows are void."""
        for key in self.store.windows(OPEN):
            if key.month == month:
                table = self.job.policy.table(key.table)
                self.counts.void(
                    self.job.tenant, table.kind, key, self.job.policy.digest, "key destroyed at its deadline"
                )
                self.summary.void.append(f"{key.table} {key.start}")
                with self.store.transaction() as transaction:
                    transaction.drop_window(OPEN, key)
