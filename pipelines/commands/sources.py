"""`carrel sources list`: which systems can be read, and every field that their contracts name; `resume`: read on."""

from pipelines.invocation import DONE, Invocation, UsageError
from pipelines.terminal import say, say_json, show_table
from schemas.wire import ADAPTERS
from schemas.wire.adapter import Adapter
from transforms.privacy.times import HOUR

_FIELD = ("message", "path", "use", "class", "note")
_CLASSES = "classes: D direct, Q quasi-identifier, S sensitive, L linkage, T exact time, ok harmless once mapped"


def list_sources(*, fields: bool, as_json: bool) -> int:
    """Show what each source reads and feeds; with `fields`, what becomes of each field."""
    if as_json:
        say_json([_described(adapter, fields=fields) for adapter in ADAPTERS.values()])
        return DONE
    lines = [
        (adapter.name, adapter.envelope, ", ".join(sorted(adapter.fills)), ", ".join(sorted(adapter.lookups)))
        for adapter in ADAPTERS.values()
    ]
    show_table(("source", "reads", "feeds", "lookups"), lines)
    if fields:
        for adapter in ADAPTERS.values():
            say("")
            say(adapter.name, style="bold")
            show_table(_FIELD, _fields(adapter), indent=2)
        say("")
        say(_CLASSES)
    return DONE


def resume_source(run: Invocation, name: str, *, accept: bool) -> int:
    """Close a source's breaker; with `accept`, it refuses as much as it will for an hour."""
    from pipelines.breaker import close_breaker  # noqa: PLC0415 - the engine takes seconds to import
    from pipelines.counts_opening import open_counts  # noqa: PLC0415
    from pipelines.stream_breaker import resume  # noqa: PLC0415
    from pipelines.work_store import WorkStore  # noqa: PLC0415

    deployment = run.deployment()
    if name not in (source.name for source in deployment.sources):
        known = ", ".join(source.name for source in deployment.sources)
        message = f"sources resume: no such source in {deployment.file.name}; there are {known}"
        raise UsageError(message)
    accepts_until = run.now + HOUR if accept else 0
    with WorkStore(deployment.work_store) as store, open_counts(deployment.counts_store) as counts:
        reason = close_breaker(store, name, accepts_until=accepts_until)
        reason = resume(counts, deployment.tenant, name, now=run.now, accepts_until=accepts_until) or reason
    was = f"was stopped, mostly for {reason}" if reason else "was not stopped"
    say(f"{name} {was}; " + ("for one hour its letters are taken, however many" if accept else "it is read on"))
    return DONE


def _fields(adapter: Adapter) -> list[tuple[str, ...]]:
    return [
        (message, one.path, one.use, one.cls, one.note)
        for message, table in adapter.fields.items()
        for one in table.fields
    ]


def _described(adapter: Adapter, *, fields: bool) -> dict[str, object]:
    about: dict[str, object] = {
        "source": adapter.name,
        "reads": adapter.envelope,
        "feeds": sorted(adapter.fills),
        "lookups": sorted(adapter.lookups),
    }
    return about | ({"fields": [dict(zip(_FIELD, line, strict=True)) for line in _fields(adapter)]} if fields else {})
