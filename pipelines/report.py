"""What a replay did, for the person at the terminal and for scripts. Exact: these are the operator's own files."""

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Mapping, Sequence

from pipelines.terminal import say, say_command, show_table
from schemas.policy import PrivacyPolicy

if TYPE_CHECKING:
    from pipelines.replay import Summary

_SHOWN = 6  # names of windows on one line before the rest is only counted
_BY_TABLE = ("inapplicable", "counted", "late")
_ALARM, _FINDING, _GOOD = "bold red", "red", "green"


def named(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _by_table(totals: Mapping[tuple[str, str], int]) -> dict[str, Counter[str]]:
    tables: dict[str, Counter[str]] = {}
    for (_, name), amount in totals.items():
        group, _, table = name.partition("/")
        if group in _BY_TABLE:
            tables.setdefault(table, Counter())[group] += amount
    return tables


def conservation(totals: Mapping[tuple[str, str], int], policy: PrivacyPolicy) -> tuple[dict[str, int], bool]:
    """Sum the counts over sources and check that nothing is unaccounted for.

    messages = decoded + rejected; events = filtered + accepted; for each table: the accepted events of
    its kind = inapplicable + counted + late.

    Args:
      totals: (source, name) -> amount, as the work store gives them.
    """
    counts: Counter[str] = Counter()
    accepted: Counter[str] = Counter()
    for (_, name), amount in totals.items():
        group, _, kind = name.partition("/")
        counts[group] += amount
        if group == "accepted":
            accepted[kind] += amount
    tables = _by_table(totals)
    holds = (
        counts["messages"] == counts["decoded"] + counts["rejected"]
        and counts["events"] == counts["filtered"] + counts["accepted"]
        and all(tables.get(table.name, Counter()).total() == accepted[table.kind] for table in policy.tables)
    )
    return dict(counts), holds


def summary_json(summary: "Summary", policy: PrivacyPolicy) -> dict[str, Any]:
    """The summary for scripts."""
    counts, holds = conservation(summary.messages, policy)
    found = asdict(summary)
    found["messages"] = {f"{source}/{name}": amount for (source, name), amount in summary.messages.items()}
    return {**found, "counts": counts, "conservation": "holds" if holds else "broken"}


def print_summary(summary: "Summary", policy: PrivacyPolicy) -> None:
    """The summary for people."""
    counts, holds = conservation(summary.messages, policy)
    get = counts.get
    say(f"{summary.files} files")
    say(f"messages {get('messages', 0)} = decoded {get('decoded', 0)} + rejected {get('rejected', 0)}")
    say(f"events {get('events', 0)} = filtered {get('filtered', 0)} + accepted {get('accepted', 0)}")
    _print_reasons(summary)
    for name, amount in sorted(summary.skipped.items()):
        say(f"broken lines skipped in the exports of lookup {name}: {amount}")
    _print_tables(summary)
    say(f"conservation {'holds' if holds else 'BROKEN'}", style=_GOOD if holds else _ALARM)
    _print_windows(summary)
    if sum(summary.closed.values()):
        text = "ALARM: acts for published windows came late by the files, not by the clock; they were not added"
        say(text, style=_ALARM)
    if summary.destroyed:
        say(f"keys destroyed: {named(summary.destroyed)}")
    _print_advice(summary.advice)
    if not summary.files:
        say("no files: `archive` of each source in carrel.toml says where they are looked for", style="bold")
    elif summary.held and not summary.advice:
        say("held windows wait for their sources; `carrel status` says until when", style="bold")


def _print_advice(lines: Sequence[str]) -> None:
    """Commands on lines of their own, to be copied; what is said of several is said once."""
    said = ""
    for advice in lines:
        text, _, command = advice.partition(": carrel ")
        if text != said:
            say(f"{text}:" if command else text, style="bold")
        if command:
            say_command(f"carrel {command}")
        said = text


def _print_reasons(summary: "Summary") -> None:
    reasons: Counter[str] = Counter()
    for (_, name), amount in summary.messages.items():
        if name.startswith(("rejected/", "filtered/")):
            reasons[name.replace("/", " ")] += amount
    for reason, amount in sorted(reasons.items()):
        say(f"{reason}: {amount}", indent=2)


def _print_tables(summary: "Summary") -> None:
    tables = sorted(_by_table(summary.messages).items())
    if not tables:
        return
    say("for each table: accepted = inapplicable + counted + late + closed")
    lines = []
    for table, of in tables:
        closed = summary.closed.get(table, 0)
        lines.append((table, of.total(), of["inapplicable"], of["counted"] - closed, of["late"], closed))
    head: tuple[str, ...] = ("table", "accepted", "inapplicable", "counted", "late", "closed")
    show_table(head, lines, numbers=head[1:], indent=2)
    if summary.merged:
        say("at release: counted = acts + duplicates and retracted acts")
        merged = [(table, rows, acts, rows - acts) for table, (rows, acts) in sorted(summary.merged.items())]
        head = ("table", "counted", "acts", "duplicates and retracted")
        show_table(head, merged, numbers=head[1:], indent=2)


def _print_windows(summary: "Summary") -> None:
    say(f"released {len(summary.released)} windows, void {len(summary.void)}, held {len(summary.held)}")
    for name, windows in (("void", summary.void), ("held", summary.held)):
        if windows:
            say(f"{name}: {named(windows)}")
    if summary.unpinned:
        say(f"kept back, released before under another policy (--backfill): {named(summary.unpinned)}")
    for name, windows in (("differs", summary.differs), ("unverifiable", summary.unverifiable)):
        if windows:
            say(f"{name}: {named(windows)}", style=_FINDING)
    if summary.matches:
        say(f"match: {summary.matches} windows", style=_GOOD)
