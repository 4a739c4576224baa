"""PseudonymizePatrons: patron ids become keyed tokens, act ids keyed MACs. Here identifiers end their life."""

from dataclasses import dataclass
from typing import Dict, Iterator, Optional, Tuple

import apache_beam as beam
import numpy as np
from apache_beam.pvalue import PCollection

from schemas.personal import PersonalBatch
from schemas.pseudonymized import ERASURE, PseudonymizedBatch
from transforms.erasure import erasures
from transforms.keys import MonthKeys, OpensKeys
from transforms.privacy.times import Zone, window_name
from transforms.privacy.tokens import MonthKey, act_tags, subkey, tokenize

_MOST_TOKENS = 200_000


class PatronTokens(dict[Optional[str], bytes]):
    """Normalised patron id -> token under one month's key; nobody is zeros.

    Ids are met again and again, so tokens are kept for a while: whoever holds this clears it when a bundle ends.
    """

    def __init__(self, key: MonthKey, namespace: str) -> None:
        super().__init__()
        self._key = subkey(key, "token", namespace)

    def __missing__(self, patron_id: Optional[str]) -> bytes:
        if len(self) >= _MOST_TOKENS:
            self.clear()
        token = bytes(16) if patron_id is None else tokenize(patron_id, self._key)
        self[patron_id] = token
        return token


Known = Dict[Tuple[str, str], PatronTokens]  # by month (YYYY-MM) and namespace


def pseudonymize(
    batch: PersonalBatch, *, zone: Zone, keys: MonthKeys, known: Optional[Known] = None
) -> PseudonymizedBatch:
    """Replace ids by 16-byte tokens under the key of the month in which each event happened.

    No key is asked for on behalf of events that are late for every table, or that name neither a patron nor an
    act to retract.

    Args:
      known: tokens made so far, extended here.
    """
    n = len(batch)
    known = {} if known is None else known
    token, act = np.zeros((n, 16), np.uint8), np.zeros((n, 16), np.uint8)
    has_patron = np.fromiter([patron_id is not None for patron_id in batch.patron_ids], bool, n)
    months = zone.month_of(batch.occurred_at)
    wanted = (has_patron | batch.retract) & ~batch.late_everywhere
    for number in np.unique(months[wanted]).tolist():
        rows = np.flatnonzero(wanted & (months == number))
        patron_ids, act_ids = batch.patron_ids, batch.act_ids
        if len(rows) < n:
            patron_ids = tuple([patron_ids[row] for row in rows.tolist()])
            act_ids = tuple([act_ids[row] for row in rows.tolist()])
        month = window_name("month", number)[:7]
        key = keys.month(month)
        if (month, batch.namespace) not in known:
            known[month, batch.namespace] = PatronTokens(key, batch.namespace)
        tokens = b"".join(map(known[month, batch.namespace].__getitem__, patron_ids))
        token[rows] = np.frombuffer(tokens, np.uint8).reshape(-1, 16)
        # A source may give an erasure the id of an act, and one erasure may reach two namespaces: none are the same.
        purpose = ("erase", batch.source, batch.namespace) if batch.kind == ERASURE else ("act", batch.source)
        act[rows] = act_tags(act_ids, subkey(key, *purpose)[:16])
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
    def __init__(self, time_zone: str, horizon: int, keyring: OpensKeys) -> None:
        self._time_zone = time_zone
        self._horizon = horizon
        self._keyring = keyring

    def setup(self) -> None:
        self._zone = Zone(self._time_zone)
        self._keys = self._keyring.open()
        self._known: Known = {}

    def process(self, element: PersonalBatch) -> Iterator[PseudonymizedBatch]:
        if element.kind != ERASURE:
            yield pseudonymize(element, zone=self._zone, keys=self._keys, known=self._known)
        erased = erasures(element, zone=self._zone, horizon=self._horizon)
        if erased is not None:
            yield pseudonymize(erased, zone=self._zone, keys=self._keys, known=self._known)

    def finish_bundle(self) -> None:
        self._known.clear()


@dataclass(eq=False)
class PseudonymizePatrons(beam.PTransform[PCollection[PersonalBatch], PCollection[PseudonymizedBatch]]):
    """Replace every identifier by a keyed token.

    Input: batches of decoded events, bounded or unbounded.
    Output: one batch per input, and one of its erasures where it has any; timestamp and window unchanged.

    Args:
      time_zone: the library's IANA zone; decides which month's key an event gets.
      horizon: the longest H of the policy's tables, ms: how far back windows are open.
      keyring: names the keyring; opened in `DoFn.setup`.

    Raises (at run time):
      KeyringError: a needed key is missing or unusable; the bundle fails, nothing is committed.
    """

    time_zone: str
    horizon: int
    keyring: OpensKeys

    def expand(self, pcoll: PCollection[PersonalBatch]) -> PCollection[PseudonymizedBatch]:
        return pcoll | "Pseudonymize" >> beam.ParDo(_Pseudonymize(self.time_zone, self.horizon, self.keyring))
