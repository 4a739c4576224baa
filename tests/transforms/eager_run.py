"""Runs one transform on FnApiRunner and hands back what it made."""

import itertools
from collections import Counter
from typing import Any, Iterator, Sequence

import apache_beam as beam

from pipelines.loop import pipeline
from transforms.coders import ColumnsCoder

MOMENT = 1_700_000_000  # every input's timestamp, seconds
_MADE: dict[str, list[Any]] = {}
_NUMBERS = itertools.count()


class _Stamp(beam.DoFn):
    def process(self, element: Any) -> Iterator[Any]:
        yield beam.window.TimestampedValue(element, MOMENT)


class _Collect(beam.DoFn):
    def __init__(self, where: str, moments: bool) -> None:
        self._where = where
        self._moments = moments

    def process(self, element: Any, moment: Any = beam.DoFn.TimestampParam) -> Iterator[Any]:
        assert moment == MOMENT or not self._moments, "a verb keeps its input's timestamp"
        _MADE[self._where].append(element)
        yield from ()


def run(
    transform: beam.PTransform[Any, Any], inputs: Sequence[Any], of: type, *, keeps_moments: bool = True
) -> tuple[dict[str, list[Any]], "Counter[str]"]:
    """What a transform makes of elements of one type: its named outputs (else `main`), and its counters.

    Counters are summed over sources. Fails when an output has another timestamp than its input, unless told so.
    """
    root = pipeline()
    stamped = root | beam.Create(inputs).with_output_types(of) | beam.ParDo(_Stamp()).with_output_types(of)
    made = stamped | transform
    outputs = made._asdict() if hasattr(made, "_asdict") else {"main": made}
    names = {tag: f"{tag}-{next(_NUMBERS)}" for tag in outputs}
    for tag, output in outputs.items():
        _MADE[names[tag]] = []
        _ = output | f"Collect-{tag}" >> beam.ParDo(_Collect(names[tag], keeps_moments))
    result = root.run()
    result.wait_until_finish()
    counters: Counter[str] = Counter()
    for counter in result.metrics().query()["counters"]:
        counters[counter.key.metric.name] += counter.committed
    return {tag: _MADE.pop(names[tag]) for tag in outputs}, counters


def encoded(element: Any) -> bytes:
    """An element as bytes: equal elements, equal bytes."""
    return ColumnsCoder(type(element).__name__).encode(element)
