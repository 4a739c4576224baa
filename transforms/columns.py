"""Decoded events become columns: ids normalised, codes closed, times checked. Plain code, no Beam."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Mapping, Optional, Sequence, Tuple

import numpy as np

from schemas.events import CODED, PARTS
from schemas.personal import ABSENT, PersonalBatch
from schemas.policy import OTHER, PrivacyPolicy
from schemas.rejects import DecodeError, Reason
from schemas.source import SourceRules
from transforms.privacy.times import Zone, birth_days
from transforms.privacy.tokens import IdRefused, normalize
from transforms.windows import late_for, windows_of

TOLERANCE = 15 * 60_000  # a clock may be this far ahead (design 2)
NON_PATRONS = frozenset({"staff", "system", "test", "shadow", "guest"})
_UNKNOWN = -2
_FILTERED = -3


@dataclass(frozen=True)
class CodeBook:
    """For each coded column: wire code -> position in the policy's list, and what any other code means."""

    known: Mapping[str, Mapping[Optional[str], int]]
    otherwise: Mapping[str, int]

    @staticmethod
    def of(policy: PrivacyPolicy, rules: SourceRules) -> "CodeBook":
        """Combine the policy's closed lists with the source's code maps."""
        known: dict[str, Mapping[Optional[str], int]] = {}
        otherwise: dict[str, int] = {}
        for column, codes in policy.codes.items():
            positions: dict[Optional[str], int] = {code: at for at, code in enumerate(codes)}
            by_wire: dict[Optional[str], int] = dict(positions)
            if column == "home_zone":
                by_wire |= {postal: positions[zone] for postal, zone in policy.zones.items()}
            for wire, code in rules.codes.get(column, {}).items():
                is_filter = column == "patron_type" and code in NON_PATRONS
                by_wire[wire] = _FILTERED if is_filter else positions[code]
            otherwise[column] = positions.get(OTHER, _UNKNOWN)
            # A branch that is not named makes the event inapplicable; anything else not named is `other`.
            by_wire[None] = positions.get(OTHER, ABSENT)
            known[column] = by_wire
        return CodeBook(known, otherwise)

    def positions(self, column: str, values: Sequence[Optional[str]]) -> np.ndarray:
        """The position of each code in the policy's list, int32."""
        known, otherwise = self.known[column], self.otherwise[column]
        return np.fromiter((known.get(value, otherwise) for value in values), np.int32, len(values))


@dataclass(frozen=True)
class Columns:
    """The outcome for the events of one kind.

    Attributes:
      batch: accepted events.
      refused: (position of the event, why) pairs.
      counts: conservation counts: `accepted/KIND`, `filtered/WHY`.
    """

    batch: PersonalBatch
    refused: Tuple[Tuple[int, DecodeError], ...]
    counts: Mapping[str, int]


def columns_of(
    kind: str,
    events: Sequence[Any],
    stamps: Sequence[Optional[int]],
    *,
    rules: SourceRules,
    policy: PrivacyPolicy,
    book: CodeBook,
    zone: Zone,
    now: int,
) -> Columns:
    """Turn events of one kind into a batch.

    Args:
      events: structs of `schemas.fast`.
      stamps: arrival by the bus or archive envelope, ms UTC; None where the event itself may say it.
      now: the reader's clock, ms UTC; a stamp further ahead than the tolerance is refused.
    """
    n = len(events)
    occurred = np.fromiter((event.occurred_at for event in events), np.int64, n)
    if not any(stamps):
        stamps = [event.arrived_at for event in events]
    arrived = np.fromiter(
        (own if stamp is None else stamp for stamp, own in zip(stamps, occurred.tolist(), strict=True)), np.int64, n
    )
    refused: dict[int, DecodeError] = {}
    _refuse(refused, arrived > now + TOLERANCE, Reason.CLOCK, "arrived_at")
    _refuse(refused, occurred > arrived + TOLERANCE, Reason.FUTURE, "occurred_at")

    names = PARTS[kind]
    part = np.zeros(n, np.int8)
    if kind != "engagement":
        where = {name: at for at, name in enumerate(names)}
        attribute = "action" if kind == "circulation" else "change"
        part = np.fromiter((where[getattr(event, attribute)] for event in events), np.int8, n)

    codes = {
        column: book.positions(
            column, [getattr(event, "postal_code" if column == "home_zone" else column) for event in events]
        )
        for column in CODED[kind]
        if column in book.known
    }
    counts: Counter[str] = Counter()
    kept = np.ones(n, bool)
    kept[list(refused)] = False
    patrons = [event.patron_ref for event in events]
    nameless = {None, *rules.no_patron_ids}
    nobody = np.fromiter((ref in nameless for ref in patrons), bool, n)
    # Who is no patron counts nowhere and is not looked at further. A return names nobody and is kept.
    returns = part == (names.index("return") if "return" in names else ABSENT)
    for why, gone in (
        ("kind", np.full(n, kind not in rules.kinds)),
        ("not_a_patron", np.fromiter((event.patron_kind != "patron" for event in events), bool, n)),
        ("not_a_patron", codes["patron_type"] == _FILTERED if "patron_type" in codes else np.zeros(n, bool)),
        ("no_patron", nobody & ~returns),
    ):
        counts[f"filtered/{why}"] += int(np.count_nonzero(kept & gone))
        kept &= ~gone

    refuse_kept = dict[int, DecodeError]()
    if "branch" in codes:
        _refuse(refuse_kept, kept & (codes["branch"] == _UNKNOWN), Reason.UNKNOWN_BRANCH, "branch")
    birth_day, bad_birth = birth_days([event.birth_date for event in events])
    _refuse(refuse_kept, kept & bad_birth, Reason.BAD_VALUE, "birth_date")
    patron, ids, bad_id = _normalised(patrons, nobody, rules.id_profile)
    _refuse(refuse_kept, kept & bad_id, Reason.BAD_PATRON_ID, "patron_ref")
    kept[list(refuse_kept)] = False
    refused |= refuse_kept

    late = np.ones(n, bool)
    for table in policy.tables_of(kind):
        late &= late_for(table, windows_of(table, occurred, zone), arrived, zone)
    batch = PersonalBatch(
        source=rules.name,
        namespace=rules.namespace,
        kind=kind,
        patron_ids=ids,
        patron=patron,
        act_ids=tuple(event.event_id for event in events),
        occurred_at=occurred,
        arrived_at=arrived,
        retract=np.fromiter((event.op == "retract" for event in events), bool, n),
        part=part,
        birth_day=birth_day,
        late_everywhere=late,
        codes=codes,
    )
    if not kept.all():
        batch = batch.take(np.flatnonzero(kept))
    counts[f"accepted/{kind}"] += len(batch)
    return Columns(batch, tuple(sorted(refused.items(), key=lambda item: item[0])), counts)


def _refuse(refused: dict[int, DecodeError], rows: np.ndarray, reason: Reason, field: str) -> None:
    for row in np.flatnonzero(rows).tolist():
        refused.setdefault(row, DecodeError(reason, (field,)))


def _normalised(
    refs: Sequence[Optional[str]], nobody: np.ndarray, profile: str
) -> Tuple[np.ndarray, Tuple[str, ...], np.ndarray]:
    """Each event's position in the unique normalised ids, those ids, and which ids were refused."""
    ids: dict[str, int] = {}
    meaning: dict[Optional[str], int] = {None: ABSENT}
    for ref in dict.fromkeys(refs):
        if ref is not None:
            try:
                meaning[ref] = ids.setdefault(normalize(ref, profile), len(ids))
            except IdRefused:
                meaning[ref] = _UNKNOWN
    patron = np.fromiter(map(meaning.__getitem__, refs), np.int32, len(refs))
    refused = (patron == _UNKNOWN) & ~nobody
    patron[nobody | refused] = ABSENT
    return patron, tuple(ids), refused
