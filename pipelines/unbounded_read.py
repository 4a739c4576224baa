"""Reads an `UnboundedSource` with readers that live on from bundle to bundle.

Beam's own transform asks to be told of each checkpoint. Until then a worker keeps the bundle's whole chain of
transforms and makes another one for the next bundle, with all its `setup` and a new reader: on Flink that would be
a new connection and new keys about every second. So only a mark that wants to be told asks, and readers wait for
their next bundle in the process, not in one chain of it.
"""

from typing import Any, Callable, Iterator, Protocol

import apache_beam as beam
from apache_beam.coders import Coder
from apache_beam.io import unbounded_source  # noqa: TID251 - an input
from apache_beam.io.unbounded_source import UnboundedSource  # noqa: TID251 - an input
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator  # noqa: TID251 - an input

# Beam reads these from the defaults of `process`.
_TRACKER = beam.DoFn.RestrictionParam(unbounded_source._PROVIDER)  # noqa: SLF001 - there is no public one
_FINALIZER = beam.DoFn.BundleFinalizerParam
_WATERMARK = beam.DoFn.WatermarkEstimatorParam(ManualWatermarkEstimator.default_provider())
_WAITING = unbounded_source._ReaderCache()  # noqa: SLF001 - by source and mark; idle ones are closed after a minute


class _Asking(Protocol):
    def register(self, callback: Callable[[], None]) -> None: ...


class _OnlyWhoAsks:
    """A bundle's finalizer, for marks that want to be told."""

    def __init__(self, finalizer: _Asking) -> None:
        self._finalizer = finalizer

    def register(self, callback: Any) -> None:
        if callback._checkpoint_mark.is_to_be_told:  # noqa: SLF001 - Beam's; there is no other way to the mark
            self._finalizer.register(callback)


class _ReadOn(unbounded_source._ReadFromUnboundedSourceDoFn):  # noqa: SLF001 - its loop is what is wanted
    """A checkpoint names this class: its name and module must never change."""

    given: object = None

    def setup(self) -> None:
        self._reader_cache = _WAITING

    def teardown(self) -> None:
        """Readers wait for the next chain."""

    @beam.DoFn.unbounded_per_element()  # type: ignore[untyped-decorator] # Beam is not typed
    def process(
        self, element: Any, finalizer: Any = _FINALIZER, tracker: Any = _TRACKER, watermark_estimator: Any = _WATERMARK
    ) -> Iterator[Any]:
        own: Any = unbounded_source._unwrap_tracker(tracker)  # noqa: SLF001
        own._options = self.given  # noqa: SLF001 - what readers are opened with: Beam would give None
        return super().process(element, _OnlyWhoAsks(finalizer), tracker, watermark_estimator)


class ReadUnbounded(beam.PTransform):
    """Read a source that never ends.

    Input: the pipeline's beginning.
    Output: unbounded; each element with the time that its reader gives it; the global window.

    Args:
      source: two sources that are equal are the same readers. Its marks say with `is_to_be_told` whether
        `finalize_checkpoint` is called once they are durable.
      given: what its readers are opened with, in place of options. Unlike the source it is no part of a checkpoint.
      poll: seconds that a reader with nothing to read is left alone.
      records: elements after which a bundle ends.
      seconds: after which a bundle ends, looked at between elements.
    """

    def __init__(
        self,
        source: UnboundedSource,
        *,
        given: object = None,
        poll: float = 1.0,
        records: int = 10_000,
        seconds: float = 10.0,
    ) -> None:
        super().__init__()
        self._source = source
        self._read = _ReadOn(poll, records, seconds)
        self._read.given = given

    def expand(self, pbegin: Any) -> Any:
        return pbegin | "Create" >> beam.Create([self._source]) | "ReadOn" >> beam.ParDo(self._read)

    def _infer_output_coder(self, input_type: Any = None, input_coder: Any = None) -> Coder:
        del input_type, input_coder
        return self._source.default_output_coder()
