"""What a run and a deployment look like to the person at the terminal."""

import datetime as dt
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from pipelines.calendar_windows import DAY
from pipelines.counts_store import CountsStore
from pipelines.keyring import Keyring
from pipelines.loop import OPEN
from pipelines.work_store import WorkStore
from schemas.policy import PrivacyPolicy

if TYPE_CHECKING:
    from pipelines.configuration import Deployment
    from pipelines.replay import Summary

_SHOWN = 6  # names of windows on one line before the rest is only counted


def conservation(totals: dict[tuple[str, str], int]) -> tuple[dict[str, int], bool]:
    """Sum the counts over sources and check that nothing is unaccounted for.

    messages = decoded + rejected; events = filtered + accepted; per table:
    accepted = inapplicable + counted + late.
    """
    counts: Counter[str] = Counter()
    accepted: Counter[str] = Counter()
    tables: dict[str, Counter[str]] = {}
    for (_, name), amount in totals.items():
        group, _, what = name.partition("/")
        counts[group] += amount
        if group == "accepted":
            accepted[what] += amount
        elif group in ("inapplicable", "counted", "late"):
            tables.setdefault(what, Counter())[group] += amount
    sums = {sum(table.values()) for table in tables.values()}
    holds = (
        counts["messages"] == counts["decoded"] + counts["rejected"]
        and counts["events"] == counts["filtered"] + counts["accepted"]
        and sums <= set(accepted.values())
    )
    return dict(counts), holds


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def summary_json(summary: "Summary") -> dict[str, Any]:
    """The summary for scripts."""
    counts, holds = conservation(summary.messages)
    found = asdict(summary)
    found["messages"] = {f"{source}/{name}": amount for (source, name), amount in summary.messages.items()}
    return {**found, "counts": counts, "conservation": "holds" if holds else "broken"}


def print_summary(summary: "Summary") -> None:
    """Exact figures: these are the operator's own files."""
    counts, holds = conservation(summary.messages)
    get = counts.get
    typer.echo(f"read {summary.files} files")
    typer.echo(f"messages {get('messages', 0)} = decoded {get('decoded', 0)} + rejected {get('rejected', 0)}")
    typer.echo(f"events {get('events', 0)} = filtered {get('filtered', 0)} + accepted {get('accepted', 0)}")
    reasons: Counter[str] = Counter()
    for (_, name), amount in summary.messages.items():
        if name.startswith(("rejected/", "filtered/")):
            reasons[name.replace("/", " ")] += amount
    for reason, amount in sorted(reasons.items()):
        typer.echo(f"  {reason}: {amount}")
    tables: dict[str, Counter[str]] = {}
    for (_, name), amount in summary.messages.items():
        group, _, table = name.partition("/")
        if group in ("inapplicable", "counted", "late"):
            tables.setdefault(table, Counter())[group] += amount
    for table, of in sorted(tables.items()):
        closed = summary.closed.get(table, 0)
        line = f"  {table}: accepted {sum(of.values())} = inapplicable {of['inapplicable']} + counted"
        line += f" {of['counted'] - closed} + late {of['late']} + closed {closed}"
        if table in summary.merged:
            counted, standing = summary.merged[table]
            line += f"; released: {counted} = {standing} acts + {counted - standing} duplicate or retracted"
        typer.echo(line)
    typer.echo(f"conservation {'holds' if holds else 'BROKEN'}")
    typer.echo(f"released {len(summary.released)} windows, void {len(summary.void)}, held {len(summary.held)}")
    if summary.void:
        typer.echo(f"void: {_named(summary.void)}")
    if summary.held:
        typer.echo(f"held: {_named(summary.held)}")
    if summary.unpinned:
        typer.echo(f"kept back, released before under another policy (--backfill): {_named(summary.unpinned)}")
    for verdict, names in (("differs", summary.differs), ("unverifiable", summary.unverifiable)):
        if names:
            typer.echo(f"{verdict}: {_named(names)}")
    if summary.matches:
        typer.echo(f"match: {summary.matches} windows")
    if sum(summary.closed.values()):
        typer.echo("ALARM: acts for published windows came late by the files, not by the clock; they were not added")
    if summary.destroyed:
        typer.echo(f"keys destroyed: {_named(summary.destroyed)}")
    for advice in summary.advice:
        typer.echo(advice)


def key_lines(deployment: "Deployment", *, now: int) -> list[dict[str, Any]]:
    """Purpose, month and age of every key."""
    return [
        {
            "purpose": key.purpose,
            "month": key.month or "-",
            "state": "destroyed" if key.gone else "kept",
            "days": 0 if key.gone or not key.made else (now - key.made) // DAY,
        }
        for key in Keyring(deployment.keyring).listing()
    ]


def _hour(instant: object) -> str:
    if not isinstance(instant, int):
        return "never read"
    return dt.datetime.fromtimestamp(instant / 1000, dt.UTC).strftime("%Y-%m-%dT%HZ")


def status_of(deployment: "Deployment", policy: PrivacyPolicy, *, now: int) -> dict[str, Any]:
    """What may be shared of a deployment's state: clocks to the hour, counts floored to 100."""
    with WorkStore(deployment.work_store) as store, CountsStore(deployment.counts_store) as counts:
        ledger = counts.ledger(deployment.tenant)
        held = {
            f"{key.table} {key.start}": rows // 100 * 100
            for key, rows in store.windows(OPEN).items()
            if (key.table, key.start) not in ledger
        }
        clocks = {
            source.name: {
                "clock": _hour(store.clock(OPEN, source.name).clock),
                "complete_from": store.clock(OPEN, source.name).complete_from or "first event",
                "complete_through": store.clock(OPEN, source.name).complete_through or "-",
            }
            for source in deployment.sources
        }
        pending = len(store.pending_seals())
    states: Counter[str] = Counter(row.state for row in ledger.values())
    return {
        "tenant": deployment.tenant,
        "preset": policy.preset,
        "policy_hash": policy.digest,
        "sources": clocks,
        "windows": dict(sorted(states.items())),
        "held": held,
        "void": sorted(f"{row.table_name} {row.window_start}" for row in ledger.values() if row.state == "void"),
        "pending_seals": pending,
        "keys": key_lines(deployment, now=now),
    }


def print_status(found: dict[str, Any]) -> None:
    """The same for people."""
    typer.echo(f"{found['tenant']}: preset {found['preset']}, policy {found['policy_hash'][:16]}")
    for name, clock in found["sources"].items():
        typer.echo(f"  source {name}: read to {clock['clock']}, complete from {clock['complete_from']}")
    typer.echo("windows: " + (", ".join(f"{state} {n}" for state, n in found["windows"].items()) or "none yet"))
    typer.echo(f"held: {_named(sorted(found['held'])) or 'none'}")
    typer.echo(f"void: {_named(found['void']) or 'none'}")
    for key in found["keys"]:
        typer.echo(f"  key {key['purpose']} {key['month']}: {key['state']}, {key['days']} days")
