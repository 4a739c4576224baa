"""Runs one transform on FnApiRunner and hands back what it made."""

import itertools
from collections import Counter
from typing import Any, Iterator, Sequence

import apache_beam as beam

from pipelines.loop import pipeline
from transforms.coders import ColumnsCoder

MOMENT = 1_700_000_000  # seconds: the timestamp of every input
HOUR = 3600  # seconds: the width of every input's window
_MADE: dict[str, list[Any]] = {}
_NUMBERS = itertools.count()


class _Stamp(beam.DoFn):
    def process(self, element: Any) -> Iterator[Any]:
        yield beam.window.TimestampedValue(element, MOMENT)


class _Collect(beam.DoFn):
    def __init__(self, where: str, *, windowed: bool) -> None:
        self._where = where
        self._windowed = windowed

    def process(
        self, element: Any, moment: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        if self._windowed:
            assert moment == MOMENT, "a verb keeps the timestamp"
            assert window.start <= MOMENT < window.end == window.start + HOUR, "a verb keeps the window"
        _MADE[self._where].append(element)
        yield from ()


def run(
    transform: beam.PTransform[Any, Any], inputs: Sequence[Any], of: type, *, windowed: bool = True
) -> tuple[dict[str, list[Any]], "Counter[str]"]:
    """What a transform makes of elements of one type: its named outputs (else `main`), and its counters.

    Counters are summed over sources. With `windowed`, inputs have a time and a window, and it fails when an
    output has others; else they are in the global window.
    """
    root = pipeline()
    given = root | beam.Create(inputs).with_output_types(of)
    if windowed:
        stamped = given | beam.ParDo(_Stamp()).with_output_types(of)
        given = stamped | beam.WindowInto(beam.window.FixedWindows(HOUR))
    made = given | transform
    outputs = made._asdict() if hasattr(made, "_asdict") else {"main": made}
    names = {tag: f"{tag}-{next(_NUMBERS)}" for tag in outputs}
    for tag, output in outputs.items():
        _MADE[names[tag]] = []
        _ = output | f"Collect-{tag}" >> beam.ParDo(_Collect(names[tag], windowed=windowed))
    result = root.run()
    result.wait_until_finish()
    counters: Counter[str] = Counter()
    for counter in result.metrics().query()["counters"]:
        counters[counter.key.metric.name] += counter.committed
    return {tag: _MADE.pop(names[tag]) for tag in outputs}, counters


def encoded(element: Any) -> bytes:
    """An element as bytes: equal elements, equal bytes."""
    return ColumnsCoder(type(element).__name__).encode(element)
