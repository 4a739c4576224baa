"""Decoded events become columns: ids normalised, codes closed, times checked. Plain code, no Beam."""

from collections import Counter
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Mapping, Optional, Sequence, Tuple

import numpy as np
from msgspec.structs import astuple

from schemas.events import CODED, ERASING, PARTS
from schemas.fast import STRUCTS
from schemas.personal import ABSENT, UNKNOWN_BIRTH, PersonalBatch
from schemas.policy import OTHER, PrivacyPolicy
from schemas.rejects import DecodeError, Reason
from schemas.source import SourceRules
from transforms.privacy.times import TOLERANCE, Zone, birth_days
from transforms.privacy.tokens import IdRefused, normalize
from transforms.windows import late_for_all

NON_PATRONS = frozenset({"staff", "system", "test", "shadow", "guest"})
REFUSED = ""  # in place of a normalised id, which is never empty
_UNKNOWN = -2
_FILTERED = -3
_MOST_NAMES = 200_000


class _Positions(dict[Optional[str], int]):
    """Wire code -> position; any code that is not named has the position of `other`, or none."""

    def __init__(self, known: Mapping[Optional[str], int], otherwise: int) -> None:
        super().__init__(known)
        self._otherwise = otherwise

    def __missing__(self, code: Optional[str]) -> int:
        return self._otherwise


class PatronNames(dict[Optional[str], Optional[str]]):
    """Patron ids as written -> normalised; None for nobody, `REFUSED` for what fits no profile.

    Ids are met again and again, so they are kept for a while: whoever holds this clears it when a bundle ends.
    """

    def __init__(self, rules: SourceRules) -> None:
        super().__init__()
        self._rules = rules
        self._nobody = frozenset({None, *rules.no_patron_ids})

    def __missing__(self, ref: Optional[str]) -> Optional[str]:
        if len(self) >= _MOST_NAMES:
            self.clear()
        if ref is None or ref in self._nobody:
            name = None
        else:
            try:
                name = normalize(ref, self._rules.id_profile)
            except IdRefused:
                name = REFUSED
        self[ref] = name
        return name


@dataclass(frozen=True)
class CodeBook:
    """For each coded column that is used: the position of every wire code in the policy's list."""

    known: Mapping[str, Mapping[Optional[str], int]]

    @staticmethod
    def of(policy: PrivacyPolicy, rules: SourceRules) -> "CodeBook":
        """Combine the policy's closed lists with the source's code maps."""
        # An unknown branch is refused and a staff account filtered whatever the tables show.
        used = {"branch", "patron_type", *(one.column for table in policy.tables for one in table.dimensions)}
        known: dict[str, Mapping[Optional[str], int]] = {}
        for column, codes in policy.codes.items():
            if column not in used:
                continue
            positions: dict[Optional[str], int] = {code: at for at, code in enumerate(codes)}
            by_wire: dict[Optional[str], int] = dict(positions)
            if column == "home_zone":
                by_wire |= {postal: positions[zone] for postal, zone in policy.zones.items()}
            for wire, code in rules.codes.get(column, {}).items():
                is_filter = column == "patron_type" and code in NON_PATRONS
                by_wire[wire] = _FILTERED if is_filter else positions[code]
            # A branch that is not named makes the event inapplicable; anything else not named is `other`.
            by_wire[None] = positions.get(OTHER, ABSENT)
            known[column] = _Positions(by_wire, positions.get(OTHER, _UNKNOWN))
        return CodeBook(known)

    def positions(self, column: str, values: Sequence[Optional[str]]) -> np.ndarray:
        """The position of each code in the policy's list, int32."""
        return np.fromiter(map(self.known[column].__getitem__, values), np.int32, len(values))


@dataclass(frozen=True)
class Columns:
    """The outcome for the events of one kind.

    Attributes:
      batch: accepted events.
      rows: their positions among the events given.
      refused: (position of the event, why) pairs.
      counts: conservation counts: `accepted/KIND`, `filtered/WHY`.
    """

    batch: PersonalBatch
    rows: np.ndarray
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
    patrons: PatronNames,
    zone: Zone,
    now: int,
) -> Columns:
    """Turn events of one kind into a batch.

    A retraction names its act by id, and its window by the time of the act: whom, where and what else it names
    is not looked at, and none of it is kept. An erasure has to name its patron, and so has one that takes it back:
    other systems' ids of that person are found by it (`transforms.erasure`).

    Args:
      events: structs of `schemas.fast`.
      stamps: arrival by the bus or archive envelope, ms UTC; None where the event itself may say it.
      now: the reader's clock, ms UTC; a stamp further ahead than the tolerance is refused.
    """
    n = len(events)
    fields = STRUCTS[kind].__struct_fields__
    column = dict(zip(fields, list(zip(*map(astuple, events), strict=True)) or [()] * len(fields), strict=True))
    occurred = np.fromiter(column["occurred_at"], np.int64, n)
    arrived = _arrivals(stamps, column["arrived_at"], column["occurred_at"])
    retract = _is(column["op"], "retract")
    refused: dict[int, DecodeError] = {}
    _refuse(refused, arrived > now + TOLERANCE, Reason.CLOCK, "arrived_at")
    _refuse(refused, occurred > arrived + TOLERANCE, Reason.FUTURE, "occurred_at")
    birth_day, bad_birth = birth_days(column["birth_date"])
    _refuse(refused, bad_birth & ~retract, Reason.BAD_VALUE, "birth_date")

    names = PARTS[kind]
    part = np.zeros(n, np.int8)
    if kind != "engagement":
        where = {name: at for at, name in enumerate(names)}
        part = np.fromiter(map(where.__getitem__, column["action" if kind == "circulation" else "change"]), np.int8, n)

    codes = {
        name: book.positions(name, column["postal_code" if name == "home_zone" else name])
        for name in CODED[kind]
        if name in book.known
    }
    counts: Counter[str] = Counter()
    kept = np.ones(n, bool)
    kept[list(refused)] = False
    ids = tuple(map(patrons.__getitem__, column["patron_ref"]))
    erases = np.array([kind == "patron" and name in ERASING for name in names])[part]
    unerases = retract & erases
    if retract.any():
        birth_day[retract] = UNKNOWN_BIRTH
        for positions in codes.values():
            positions[retract] = ABSENT
        ids = tuple([None if gone else name for name, gone in zip(ids, (retract & ~unerases).tolist(), strict=True)])
    nobody = np.fromiter([name is None for name in ids], bool, n)
    refused_ids = _is(ids, REFUSED)
    erases_whom = erases & ~retract
    if erases_whom.any():  # ids that are declared to be no people are said to be so; nothing is said here
        erases_whom &= np.fromiter([ref is None for ref in column["patron_ref"]], bool, n)
    # Who is no patron counts nowhere and is not looked at further. A return names nobody and is kept.
    returns = part == (names.index("return") if "return" in names else ABSENT)
    for why, gone in (
        ("kind", np.full(n, kind not in rules.kinds)),
        ("not_a_patron", ~_is(column["patron_kind"], "patron") & ~retract),
        ("not_a_patron", codes["patron_type"] == _FILTERED if "patron_type" in codes else np.zeros(n, bool)),
        ("no_patron", nobody & ~returns & ~retract & ~erases_whom),
    ):
        counts[f"filtered/{why}"] += int(np.count_nonzero(kept & gone))
        kept &= ~gone

    refuse_kept = dict[int, DecodeError]()
    if "branch" in codes:
        _refuse(refuse_kept, kept & (codes["branch"] == _UNKNOWN), Reason.UNKNOWN_BRANCH, "branch")
    _refuse(refuse_kept, kept & (unerases & nobody | erases_whom), Reason.UNNAMED_ACT, "patron_ref")
    _refuse(refuse_kept, kept & refused_ids, Reason.BAD_PATRON_ID, "patron_ref")
    kept[list(refuse_kept)] = False
    refused |= refuse_kept

    batch = PersonalBatch(
        source=rules.name,
        namespace=rules.namespace,
        kind=kind,
        patron_ids=ids,
        act_ids=column["event_id"],
        occurred_at=occurred,
        arrived_at=arrived,
        retract=retract,
        part=part,
        birth_day=birth_day,
        late_everywhere=late_for_all(policy.tables_of(kind), occurred, arrived, zone),
        codes=codes,
    )
    rows = np.flatnonzero(kept)
    if len(rows) < n:
        batch = batch.take(rows)
    counts[f"accepted/{kind}"] += len(batch)
    return Columns(batch, rows, tuple(sorted(refused.items(), key=itemgetter(0))), counts)


def _refuse(refused: dict[int, DecodeError], rows: np.ndarray, reason: Reason, field: str) -> None:
    for row in np.flatnonzero(rows).tolist():
        refused.setdefault(row, DecodeError(reason, (field,)))


def _arrivals(stamps: Sequence[Optional[int]], own: Sequence[Optional[int]], occurred: Sequence[int]) -> np.ndarray:
    """Effective arrival: the envelope's stamp, else the event's own, else the time of the event."""
    if not any(stamps):
        stamps = own
    for further in (own, occurred):
        if None in stamps:
            stamps = [more if stamp is None else stamp for stamp, more in zip(stamps, further, strict=True)]
    return np.fromiter(stamps, np.int64, len(stamps))  # type: ignore[arg-type]


def _is(values: Sequence[Optional[str]], wanted: str) -> np.ndarray:
    """Which values are this one, bool; nearly always all of them or none."""
    n, found = len(values), values.count(wanted)
    return np.full(n, found > 0) if found in (0, n) else np.fromiter([one == wanted for one in values], bool, n)
