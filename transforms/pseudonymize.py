"""PseudonymizePatrons: patron ids become keyed tokens, act ids keyed MACs. Here identifiers end their life."""

from dataclasses import dataclass
from typing import Iterator

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import PCollection

from schemas.personal import PersonalBatch
from schemas.pseudonymized import PseudonymizedBatch
from transforms.keys import MonthKeys, OpensKeys
from transforms.privacy.times import Zone, window_name
from transforms.privacy.tokens import subkey, tokenize


def pseudonymize(batch: PersonalBatch, *, zone: Zone, keys: MonthKeys) -> PseudonymizedBatch:
    """Replace ids by 16-byte tokens under the key of the month in which each event happened.

    No key is asked for on behalf of events that are late for every table, or that name no patron.
    """
    n = len(batch)
    token, act = np.zeros((n, 16), np.uint8), np.zeros((n, 16), np.uint8)
    has_patron = batch.patron >= 0
    months = zone.month_of(batch.occurred_at)
    wanted = has_patron & ~batch.late_everywhere
    for month in np.unique(months[wanted]).tolist():
        rows = np.flatnonzero(wanted & (months == month))
        key = keys.month(window_name("month", month)[:7])
        patrons, where = np.unique(batch.patron[rows], return_inverse=True)
        ids = [batch.patron_ids[patron] for patron in patrons.tolist()]
        token[rows] = tokenize(ids, subkey(key, "token", batch.namespace))[where]
        acts = batch.act_ids if len(rows) == n else [batch.act_ids[row] for row in rows.tolist()]
        act[rows] = tokenize(acts, subkey(key, "act", batch.source))
    return PseudonymizedBatch(
        source=batch.source,
        namespace=batch.namespace,
        kind=batch.kind,
        token=token,
        act=act,
        has_patron=has_patron,
        occurred_at=batch.occurred_at,
        arrived_at=batch.arrived_at,
        retract=batch.retract,
        part=batch.part,
        birth_day=batch.birth_day,
        codes=batch.codes,
    )


class _Pseudonymize(beam.DoFn):
    def __init__(self, time_zone: str, keyring: OpensKeys) -> None:
        self._time_zone = time_zone
        self._keyring = keyring

    def setup(self) -> None:
        self._zone = Zone(self._time_zone)
        self._keys = self._keyring.open()

    def process(self, element: PersonalBatch) -> Iterator[PseudonymizedBatch]:
        yield pseudonymize(element, zone=self._zone, keys=self._keys)


@dataclass(eq=False)
class PseudonymizePatrons(beam.PTransform[PCollection[PersonalBatch], PCollection[PseudonymizedBatch]]):
    """Replace every identifier by a keyed token.

    Input: batches of decoded events, bounded or unbounded.
    Output: one batch per input; timestamp and window unchanged.

    Args:
      time_zone: the library's IANA zone; decides which month's key an event gets.
      keyring: names the keyring; opened in `DoFn.setup`.

    Raises (at run time):
      KeyringError: a needed key is missing or unusable; the bundle fails, nothing is committed.
    """

    time_zone: str
    keyring: OpensKeys

    def expand(self, pcoll: PCollection[PersonalBatch]) -> PCollection[PseudonymizedBatch]:
        return pcoll | "Pseudonymize" >> beam.ParDo(_Pseudonymize(self.time_zone, self.keyring))
