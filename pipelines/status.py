"""What may be shared of a deployment's state: clocks to the hour, counts floored to 100, no value of an event."""

import datetime as dt
from collections import Counter
from typing import Any, Mapping, Optional

from pipelines.breaker import open_reason
from pipelines.configuration import Deployment, feeding
from pipelines.counts_opening import open_counts
from pipelines.key_ages import key_ages, print_keys
from pipelines.key_life import KeyLife
from pipelines.report import named
from pipelines.stream_breaker import stands
from pipelines.terminal import say, show_table
from pipelines.work_store import WorkStore
from pipelines.work_values import OPEN, Clock
from schemas.counts import WindowKey
from schemas.policy import PrivacyPolicy
from transforms.privacy.times import HOUR, Zone, publication_time
from transforms.windows import day_number

_FLOOR = 100


def _hour(instant: Optional[int]) -> str:
    if instant is None:
        return "never read"
    return dt.datetime.fromtimestamp(instant / 1000, dt.UTC).strftime("%Y-%m-%dT%HZ")


def _due(key: WindowKey, policy: PrivacyPolicy, zone: Zone) -> str:
    """The hour that every source of a window's table must have passed before it is published."""
    try:
        horizon = policy.table(key.table).horizon
    except KeyError:
        return "never: its table is not in the policy"
    return _hour(publication_time(zone.start_of_day(day_number(key.end)), horizon))


def _behind(clock: Optional[int], now: int) -> Optional[int]:
    """Whole hours from the hour of a clock to that of now."""
    return None if clock is None else max(0, now // HOUR - clock // HOUR)


def _watermarks(deployment: Deployment, policy: PrivacyPolicy, clocks: Mapping[str, Clock]) -> dict[str, str]:
    """The hour that all sources of a table have reached."""
    found = {}
    for table in policy.tables:
        waited_for = [one.name for one in feeding(deployment, table.kind) if not one.ended]
        reached = [clocks[name].clock for name in waited_for]
        known = [clock for clock in reached if clock is not None]
        found[table.name] = _hour(min(known) if known and len(known) == len(reached) else None)
    return found


def status_of(deployment: Deployment, policy: PrivacyPolicy, *, now: int) -> dict[str, Any]:
    """The state of sources, windows and keys."""
    zone = Zone(policy.time_zone)
    with WorkStore(deployment.work_store, read_only=True) as store, open_counts(deployment.counts_store) as counts:
        ledger = counts.ledger(deployment.tenant)
        held = {key: acts for key, acts in store.windows(OPEN).items() if (key.table, key.start) not in ledger}
        clocks = {source.name: store.clock(OPEN, source.name) for source in deployment.sources}
        pending = len(store.pending_seals())
        streamed = {source: stop.reason for source, stop in stands(counts, deployment.tenant).items()}
        breakers = {name: reason for name in clocks if (reason := open_reason(store, name) or streamed.get(name, ""))}
        keys = key_ages(deployment, now=now, end_of=KeyLife(deployment, policy, store, counts, now).end_of)
    states: Counter[str] = Counter(row.state for row in ledger.values())
    void = [row for row in ledger.values() if row.state == "void"]
    return {
        "tenant": deployment.tenant,
        "preset": policy.preset,
        "policy_hash": policy.digest,
        "sources": {
            name: {
                "clock": _hour(clock.clock),
                "lag_hours": _behind(clock.clock, now),
                "complete_from": clock.complete_from or "first event",
                "complete_through": clock.complete_through or "-",
            }
            for name, clock in clocks.items()
        },
        "breakers": breakers,
        "watermarks": _watermarks(deployment, policy, clocks),
        "windows": dict(sorted(states.items())),
        "held": {f"{key.table} {key.start}": rows // _FLOOR * _FLOOR for key, rows in held.items()},
        "next": {f"{key.table} {key.start}": _due(key, policy, zone) for key in held},
        "void": sorted(f"{row.table_name} {row.window_start}" for row in void),
        "void_reasons": {f"{row.table_name} {row.window_start}": row.reason for row in void},
        "pending_seals": pending,
        "keys": keys,
    }


def print_status(found: dict[str, Any]) -> None:
    """The same for people."""
    say(f"{found['tenant']}: preset {found['preset']}, policy {found['policy_hash'][:16]}")
    columns = ("clock", "lag_hours", "complete_from", "complete_through")
    clocks = [(name, *(of[column] for column in columns)) for name, of in found["sources"].items()]
    head = ("source", "read to", "hours behind", "complete from", "complete through")
    show_table(head, clocks, numbers=("hours behind",))
    for name, reason in found["breakers"].items():
        say(
            f"STOPPED: {name} refuses too much to be read on, mostly {reason}; see the dead-letter runbook",
            style="bold",
        )
    say("windows: " + (", ".join(f"{state} {n}" for state, n in found["windows"].items()) or "none yet"))
    if found["pending_seals"]:
        say(f"frozen, not yet published: {found['pending_seals']}; the next replay finishes them", style="bold")
    _print_held(found)
    say(f"void: {'never published' if found['void'] else 'none'}")
    reasons: dict[str, list[str]] = {}
    for name in found["void"]:
        reasons.setdefault(found["void_reasons"][name], []).append(name)
    for reason, names in reasons.items():
        say(f"{reason}: {named(names)}", indent=2)
    print_keys(found["keys"])


def _print_held(found: dict[str, Any]) -> None:
    text = "the first of each table is published once all its sources are read to the hour given, not before"
    say(f"held: {text if found['held'] else 'none'}")
    tables: dict[str, list[str]] = {}
    for name in sorted(found["held"]):
        tables.setdefault(name.partition(" ")[0], []).append(name)
    marks = found["watermarks"]
    lines = [
        (table, len(names), names[0].partition(" ")[2], found["next"][names[0]], marks.get(table))
        for table, names in tables.items()
    ]
    if lines:
        show_table(("table", "windows", "first", "not before", "read to"), lines, numbers=("windows",), indent=2)
