"""A tiny streaming job for clusters: numbers that never end, each written below a folder as a file of its own."""

from dataclasses import dataclass, replace
from pathlib import Path

import apache_beam as beam
import msgspec
from apache_beam.coders import Coder, VarIntCoder
from apache_beam.io.unbounded_source import CheckpointMark, UnboundedReader, UnboundedSource  # noqa: TID251 - an input
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.timestamp import Timestamp

from pipelines.unbounded_read import ReadUnbounded


@dataclass(frozen=True)
class CountMark(CheckpointMark):
    """The number that a reader gave last."""

    number: int
    is_to_be_told = False


class CountMarkCoder(Coder):
    def encode(self, value):
        return msgspec.msgpack.encode(value.number)

    def decode(self, encoded):
        return CountMark(msgspec.msgpack.decode(encoded))

    def is_deterministic(self):
        return True


@dataclass(frozen=True)
class Counting(UnboundedSource):
    """The numbers from 1 on: each reader all those that are its own.

    Attributes:
      folder: one file in it for each reader that was opened, by where it began.
    """

    folder: str
    readers: int = 2
    reader: int = 0

    def split(self, desired_num_splits, options=None):
        for reader in range(self.readers):
            yield replace(self, reader=reader)

    def create_reader(self, options, checkpoint_mark):
        first = 0 if checkpoint_mark is None else checkpoint_mark.number
        Path(self.folder, f"reader-{self.reader}-from-{first}").touch()
        return _Counts(self, first)

    def get_checkpoint_mark_coder(self):
        return CountMarkCoder()

    def default_output_coder(self):
        return VarIntCoder()


class _Counts(UnboundedReader):
    def __init__(self, source, number):
        self._source, self._number, self._due = source, number, True

    def start(self):
        return self.advance()

    def advance(self):
        self._due = not self._due  # one number a poll: after it nothing, so that the engine's clock sets the pace
        self._number += not self._due
        return not self._due

    def get_current(self):
        return self._number * self._source.readers + self._source.reader

    def get_current_timestamp(self):
        return Timestamp(self._number)

    def get_watermark(self):
        return Timestamp(self._number)

    def get_checkpoint_mark(self):
        return CountMark(self._number)

    def close(self):
        pass


class WriteNumbers(beam.DoFn):
    def __init__(self, folder):
        self._folder = folder

    def process(self, pair):
        Path(self._folder, f"number-{pair[1]}").touch()


def counting(folder, *options):
    """The job, ready to run: numbers cross a shuffle before they are written."""
    root = beam.Pipeline(options=PipelineOptions([*options, "--streaming", "--no_save_main_session"]))
    _ = (
        root
        | "Count" >> ReadUnbounded(Counting(str(folder)), poll=0.2)
        | "Key" >> beam.WithKeys(lambda number: number % 4).with_output_types(tuple[int, int])
        | "Spread" >> beam.Reshuffle()
        | "Write" >> beam.ParDo(WriteNumbers(str(folder)))
    )
    return root


def numbers(folder):
    """What was written so far."""
    return {int(path.name[7:]) for path in Path(folder).glob("number-*")}


def begun(folder):
    """Of each reader that was opened: which it is, and after which number it began."""
    return {tuple(map(int, path.name.split("-")[1::2])) for path in Path(folder).glob("reader-*")}
