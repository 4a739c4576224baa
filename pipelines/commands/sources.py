"""`carrel sources list`: which systems can be read, and every field that their contracts name."""

from pipelines.invocation import DONE
from pipelines.terminal import say, say_json, show_table
from schemas.wire import ADAPTERS
from schemas.wire.adapter import Adapter

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
