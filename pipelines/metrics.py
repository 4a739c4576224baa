"""What may be scraped of a run: counts floored to 100, times to the hour, a closed set of names and labels.

A counter is a release too: one that moved with a single event would tell when somebody was there. So no label is
made from data (only configured sources and tables, reasons, states, purposes), windows are counted by the calendar
instead of by the acts they hold, and conservation only holds or is broken.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Iterable, Mapping, Optional

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from pipelines.breaker import open_reason
from pipelines.calendar_windows import DAY, since_day
from pipelines.keyring import Keyring
from pipelines.report import conservation
from pipelines.run import Run, place_of
from pipelines.work_values import OPEN
from schemas.rejects import Reason
from transforms.privacy.times import HOUR
from transforms.windows import day_of, number_at, window_key

FLOOR = 100
Totals = Mapping[tuple[str, str], int]
_WAITING = "held"
_STATES = {"sealed": "released", "void": "void"}
_STATUSES = ("published", "withheld", "structural_zero")


@dataclass
class Work:
    """What a process did since it began; shown floored.

    Attributes:
      batches: how many were committed.
      seconds: how long reading, the graph and the commit of all of them took.
      committed: when the last one was committed, ms UTC; None before the first.
      before: the store's totals when the process began: what conservation is measured from, since an earlier
        policy may have had other tables.
    """

    before: Totals
    batches: int = 0
    seconds: float = 0.0
    committed: Optional[int] = None


def page(run: Run, work: Work) -> bytes:
    """All metrics in Prometheus's text form, of the state that the stores have now."""
    registry = CollectorRegistry()
    registry.register(_Families(list(_families(run, work))))
    return generate_latest(registry)


class _Families:
    """A collector of metrics that are made already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _families(run: Run, work: Work) -> Iterable[Metric]:
    totals = run.store.totals(OPEN)
    names = [source.name for source in run.deployment.sources]
    messages = CounterMetricFamily("carrel_messages", "Messages read, floored to 100.", labels=["source"])
    rejects = CounterMetricFamily("carrel_rejects", "Messages refused, floored to 100.", labels=["source", "reason"])
    for name in names:
        messages.add_metric([name], _floored(totals.get((name, "messages"), 0)))
        for reason in Reason:
            rejects.add_metric([name, reason], _floored(totals.get((name, f"rejected/{reason}"), 0)))
    yield messages
    yield rejects
    since = Counter(totals)
    since.subtract(work.before)
    _, holds = conservation(since, run.job.policy)
    yield _gauge("carrel_conservation_holds", "1: every message of this process is accounted for.", int(holds))
    yield from _of_work(work)
    yield from _of_sources(run)
    yield _windows(run)
    yield _gauge("carrel_frozen_windows", "Windows frozen and not yet published.", len(run.store.pending_seals()))
    yield _numbers(run)
    yield _keys(run)


def _of_work(work: Work) -> Iterable[Metric]:
    yield CounterMetricFamily("carrel_batches", "Batches committed, floored to 100.", value=_floored(work.batches))
    yield CounterMetricFamily(
        "carrel_batch_seconds", "Seconds spent on batches, floored to 100.", value=_floored(int(work.seconds))
    )
    if work.committed is not None:
        seconds = _hour(work.committed) // 1000
        yield _gauge("carrel_last_commit_timestamp_seconds", "Hour of the last committed batch or proof.", seconds)


def _of_sources(run: Run) -> Iterable[Metric]:
    clocks = GaugeMetricFamily("carrel_clock_timestamp_seconds", "Hour a source is read to.", labels=["source"])
    lags = GaugeMetricFamily("carrel_clock_lag_seconds", "Whole hours a source is behind.", labels=["source"])
    for source in run.deployment.sources:
        clock = run.store.clock(OPEN, source.name).clock
        if clock is not None:
            clocks.add_metric([source.name], _hour(clock) // 1000)
            lags.add_metric([source.name], max(0, _hour(run.job.now) - _hour(clock)) // 1000)
    yield clocks
    yield lags
    breakers = GaugeMetricFamily("carrel_breaker_open", "1: refuses too much and is not read on.", labels=["source"])
    for source in run.deployment.sources:
        breakers.add_metric([source.name], int(bool(open_reason(run.store, source.name))))
    yield breakers


def _windows(run: Run) -> Metric:
    found = Counter(_STATES.get(row.state, _WAITING) for row in run.ledger().values())
    found[_WAITING] += sum(_waiting(run))
    family = GaugeMetricFamily("carrel_windows", "Windows of all tables by state.", labels=["state"])
    for state in ("released", _WAITING, "void"):
        family.add_metric([state], found[state])
    return family


def _waiting(run: Run) -> Iterable[int]:
    """For each table, the windows that its sources have reached and that are neither released nor void."""
    ledger = run.ledger()
    for table in run.job.policy.tables:
        feeds = [feed for feed in run.feeds(table, OPEN) if not feed.ended]
        days = [day for day, _ in (since_day(feed, run.zone) for feed in feeds) if day is not None]
        reached = [feed.clock.clock for feed in feeds if feed.clock.clock is not None]
        if days and len(days) == len(feeds) == len(reached):
            numbers = range(number_at(table, max(days)), number_at(table, day_of(min(reached), run.zone)) + 1)
            yield sum(place_of(window_key(table, number)) not in ledger for number in numbers)


def _numbers(run: Run) -> Metric:
    """What the last release of each table holds: it is published, so that nothing is told that analysts do not see."""
    family = GaugeMetricFamily(
        "carrel_released_numbers", "Numbers of each table's last release, by status.", labels=["table", "status"]
    )
    last = {table: start for (table, start), row in sorted(run.ledger().items()) if row.state == "sealed"}
    for table in run.job.policy.tables:
        start = last.get(table.name, "")
        rows = run.counts.rows(table.name, start[:7]) if start else ()
        found = Counter(row.status for row in rows if row.window_start == start)
        for status in _STATUSES:
            family.add_metric([table.name, status], found[status])
    return family


def _keys(run: Run) -> Metric:
    family = GaugeMetricFamily("carrel_key_age_days", "Age of the oldest key by purpose.", labels=["purpose"])
    oldest: dict[str, int] = {}
    for key in Keyring(run.deployment.keyring).listing():
        if key.made and not key.gone and key.tenant in {"", run.job.tenant}:
            oldest[key.purpose] = max(oldest.get(key.purpose, 0), (run.job.now - key.made) // DAY)
    for purpose, days in sorted(oldest.items()):
        family.add_metric([purpose], days)
    return family


def _gauge(name: str, text: str, value: int) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _floored(number: int) -> int:
    return number // FLOOR * FLOOR


def _hour(instant: int) -> int:
    return instant // HOUR * HOUR
