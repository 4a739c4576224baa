"""Reads an `UnboundedSource` with readers that live on from bundle to bundle.

Beam's own transform asks to be told of each checkpoint. Until then a worker keeps the bundle's whole chain of
transforms and makes another one for the next bundle, with all its `setup` and a new reader: on Flink that would be
a new connection and new keys about every second. A source whose positions are in the engine's checkpoint does not
wait for that message, so it is not asked for; and readers wait for their next bundle in the process, not in one chain
of it. A source that must tell its bus what is safe asks for it, and pays with new chains.
"""

from typing import Any, Callable, Iterator

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


class _Unheard:
    """Takes the place of a bundle's finalizer."""

    def register(self, callback: Callable[[], None]) -> None:
        del callback


class _ReadAndTell(unbounded_source._ReadFromUnboundedSourceDoFn):  # noqa: SLF001 - its loop is what is wanted
    """A checkpoint names this class and the next: their names and module must never change."""

    def setup(self) -> None:
        self._reader_cache = _WAITING

    def teardown(self) -> None:
        """Readers wait for the next chain."""

    @beam.DoFn.unbounded_per_element()  # type: ignore[untyped-decorator] # Beam is not typed
    def process(
        self, element: Any, finalizer: Any = _FINALIZER, tracker: Any = _TRACKER, watermark_estimator: Any = _WATERMARK
    ) -> Iterator[Any]:
        return super().process(element, finalizer, tracker, watermark_estimator)


class _ReadOn(_ReadAndTell):
    @beam.DoFn.unbounded_per_element()  # type: ignore[untyped-decorator] # as above
    def process(self, element: Any, tracker: Any = _TRACKER, watermark_estimator: Any = _WATERMARK) -> Iterator[Any]:  # type: ignore[override] # Beam reads which parameters there are
        return super().process(element, _Unheard(), tracker, watermark_estimator)


class ReadUnbounded(beam.PTransform):
    """Read a source that never ends.

    Input: the pipeline's beginning.
    Output: unbounded; each element with the time that its reader gives it; the global window.

    Args:
      source: two sources that are equal are the same readers.
      tells: whether `finalize_checkpoint` of its marks is called.
      poll: seconds that a reader with nothing to read is left alone.
      records: elements after which a bundle ends.
      seconds: after which a bundle ends, looked at between elements.
    """

    def __init__(
        self,
        source: UnboundedSource,
        *,
        poll: float = 1.0,
        records: int = 10_000,
        seconds: float = 10.0,
        tells: bool = False,
    ) -> None:
        super().__init__()
        self._source = source
        self._read = (_ReadAndTell if tells else _ReadOn)(poll, records, seconds)

    def expand(self, pbegin: Any) -> Any:
        return pbegin | "Create" >> beam.Create([self._source]) | "ReadOn" >> beam.ParDo(self._read)

    def _infer_output_coder(self, input_type: Any = None, input_coder: Any = None) -> Coder:
        del input_type, input_coder
        return self._source.default_output_coder()
