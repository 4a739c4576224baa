"""The first verb of the row-wise reference: a canonical JSON line is rejected, filtered or an event. Plain Python."""

import datetime as dt
import itertools
import json
import re
import unicodedata
from typing import Any, Callable, Iterator, Mapping, NamedTuple, NoReturn, Optional, Union

from schemas.events import CODED, EARLIEST, ERASING, LATEST, PARTS
from schemas.policy import PrivacyPolicy
from schemas.rejects import Reason
from schemas.source import SourceRules

TOLERANCE = 15 * 60_000  # ms that a clock may be ahead
LINE_LIMIT = 64 * 1024  # bytes
NOT_PATRONS = ("staff", "system", "test", "shadow", "guest")


class Rejected(NamedTuple):
    """A line that cannot be used: the reason, the contract's names of the offending fields, and how many are unknown."""

    reason: Reason
    fields: tuple[str, ...] = ()
    unknown: int = 0


class Filtered(NamedTuple):
    """An event that counts nowhere by rule."""

    why: str


class Event(NamedTuple):
    """An accepted event; `patron` is the normalised id, `codes` are policy codes (None: the event has none).

    A retraction has no codes, and a patron only if it takes back an erasure.
    """

    source: str
    namespace: str
    kind: str
    part: str
    event_id: str
    retract: bool
    occurred_at: int
    arrived_at: int
    patron: Optional[str]
    birth_date: Optional[dt.date]
    codes: Mapping[str, Optional[str]]


class _Refused(Exception):  # noqa: N818 - an outcome for one line
    def __init__(self, reason: Reason, fields: tuple[str, ...] = (), unknown: int = 0) -> None:
        self.rejected = Rejected(reason, fields, unknown)


def decode(line: bytes, rules: SourceRules, policy: PrivacyPolicy, now: int) -> Union[Rejected, Filtered, Event]:
    """What becomes of one canonical JSON line of a source; `now` is the reader's clock, ms UTC."""
    try:
        return judge(_checked(_parsed(line)), rules, policy, now)
    except _Refused as refused:
        return refused.rejected


def judge(
    fields: Mapping[str, Any], rules: SourceRules, policy: PrivacyPolicy, now: int, stamp: Optional[int] = None
) -> Union[Rejected, Filtered, Event]:
    """What becomes of one event that fits its contract; `stamp` is its envelope's arrival, if that has one."""
    kind, occurred = fields["kind"], fields["occurred_at"]
    arrived = next(at for at in (stamp, fields.get("arrived_at"), occurred) if at is not None)
    if arrived > now + TOLERANCE:
        return Rejected(Reason.CLOCK, ("arrived_at",))
    if occurred > arrived + TOLERANCE:
        return Rejected(Reason.FUTURE, ("occurred_at",))
    retract = fields.get("op", "add") == "retract"
    born, is_day = _day(fields.get("birth_date"))
    if not (is_day or retract):
        return Rejected(Reason.BAD_VALUE, ("birth_date",))
    part = fields.get("action") or fields.get("change") or "response"
    ref, type_code = fields.get("patron_ref"), fields.get("patron_type")
    names_nobody = ref is None or ref in rules.no_patron_ids
    if kind not in rules.kinds:
        return Filtered("kind")
    if retract:
        patron = None
        if kind == "patron" and part in ERASING:
            patron = None if names_nobody else normalise(str(ref), rules.id_profile)
            if patron is None:
                return Rejected(Reason.UNNAMED_ACT if names_nobody else Reason.BAD_PATRON_ID, ("patron_ref",))
        nothing = dict.fromkeys(CODED[kind])
        return Event(
            rules.name, rules.namespace, kind, part, fields["event_id"], True, occurred, arrived, patron, None, nothing
        )
    if fields.get("patron_kind", "patron") != "patron":
        return Filtered("not_a_patron")
    if rules.codes.get("patron_type", {}).get(type_code or "") in NOT_PATRONS:
        return Filtered("not_a_patron")
    if ref is None and kind == "patron" and part in ERASING:
        return Rejected(Reason.UNNAMED_ACT, ("patron_ref",))
    if names_nobody and part != "return":
        return Filtered("no_patron")
    codes = {column: _code(column, fields, rules, policy) for column in CODED[kind]}
    if codes.get("branch") == "":
        return Rejected(Reason.UNKNOWN_BRANCH, ("branch",))
    patron = None if names_nobody else normalise(str(ref), rules.id_profile)
    if patron is None and not names_nobody:
        return Rejected(Reason.BAD_PATRON_ID, ("patron_ref",))
    return Event(
        rules.name, rules.namespace, kind, part, fields["event_id"], False, occurred, arrived, patron, born, codes
    )


def _day(text: Optional[str]) -> tuple[Optional[dt.date], bool]:
    """A plain date of the calendar or none, and whether it is that."""
    try:
        plain = text is None or re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text)
        return (dt.date.fromisoformat(text) if text and plain else None), bool(plain)
    except ValueError:
        return None, False


def _code(column: str, fields: Mapping[str, Any], rules: SourceRules, policy: PrivacyPolicy) -> Optional[str]:
    """The policy code of a column: the source's map first. No branch is None, an unknown branch the empty string."""
    wire = fields.get("postal_code" if column == "home_zone" else column)
    zones = policy.zones if column == "home_zone" else {}
    code = rules.codes.get(column, {}).get(wire or "") or zones.get(wire or "") or wire
    if column == "branch":
        return code if code is None or code in policy.codes[column] else ""
    return code if code in policy.codes[column] else "other"


def _parsed(line: bytes) -> Any:
    """Strict JSON of one line."""
    if len(line) > LINE_LIMIT:
        raise _Refused(Reason.OVERSIZE)
    try:
        text = line.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError:
        raise _Refused(Reason.NOT_UTF8) from None
    if "\0" in text:
        raise _Refused(Reason.NUL_BYTE)
    if not text.strip():
        raise _Refused(Reason.EMPTY)
    try:
        value = json.loads(text, parse_constant=_not_json, parse_float=_finite)
    except RecursionError:
        raise _Refused(Reason.TOO_DEEP) from None
    except ValueError:
        raise _Refused(Reason.NOT_JSON) from None
    if value is None:
        raise _Refused(Reason.EMPTY)
    strings = list(_strings(value))
    if any("\ud800" <= char <= "\udfff" for string in strings for char in string):
        raise _Refused(Reason.NOT_JSON)
    if any("\0" in string for string in strings):
        raise _Refused(Reason.NUL_BYTE)
    return value


def _not_json(word: str) -> NoReturn:
    raise ValueError(word)


def _finite(text: str) -> float:
    return number if abs(number := float(text)) < float("inf") else _not_json(text)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _text(most: int, least: int = 1) -> Callable[[Any], Optional[Reason]]:
    def check(value: Any) -> Optional[Reason]:
        if not isinstance(value, str):
            return Reason.WRONG_TYPE
        return None if least <= len(value) <= most else Reason.BAD_VALUE

    return check


def _one_of(*codes: str) -> Callable[[Any], Optional[Reason]]:
    return lambda value: None if value in codes else Reason.UNKNOWN_CODE


def _time(value: Any) -> Optional[Reason]:
    return None if type(value) is int and EARLIEST <= value < LATEST else Reason.BAD_TIME


def _version(value: Any) -> Optional[Reason]:
    return None if type(value) is int and value == 1 else Reason.UNKNOWN_VERSION


_CODE = _text(64)
_REQUIRED = {"event_id": _text(128), "occurred_at": _time}
_NULLABLE = {
    "arrived_at": _time, "patron_ref": _CODE, "patron_type": _CODE, "home_branch": _CODE,
    "birth_date": _text(10, 10), "postal_code": _text(16),
}  # fmt: skip
_DEFAULTED = {"v": _version, "op": _one_of("add", "retract"), "patron_kind": _one_of("patron", *NOT_PATRONS)}
# kind -> further required, further nullable fields
_OF_KIND: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "circulation": (
        {"action": _one_of(*PARTS["circulation"])},
        dict.fromkeys(("branch", "material", "audience"), _CODE),
    ),
    "patron": ({"change": _one_of(*PARTS["patron"])}, {}),
    "engagement": ({}, dict.fromkeys(("campaign_type", "response"), _CODE)),
}
# Of several faults the most telling is the reason.
_RANK = (
    Reason.UNKNOWN_VERSION, Reason.MISSING_FIELD, Reason.BAD_TIME, Reason.WRONG_TYPE, Reason.UNKNOWN_CODE,
    Reason.BAD_VALUE,
)  # fmt: skip


def _checked(value: Any) -> Mapping[str, Any]:
    """The fields of an event that fits its contract."""
    if not isinstance(value, dict):
        raise _Refused(Reason.WRONG_TYPE)
    if "kind" not in value:
        raise _Refused(Reason.MISSING_FIELD, ("kind",))
    kind = value["kind"]
    if not isinstance(kind, str) or kind not in _OF_KIND:
        raise _Refused(Reason.UNKNOWN_KIND, ("kind",))
    required, nullable = _OF_KIND[kind]
    required, nullable = {**_REQUIRED, **required}, {**_NULLABLE, **nullable}
    known = {**required, **nullable, **_DEFAULTED}
    if unknown := len(value.keys() - known.keys() - {"kind"}):
        raise _Refused(Reason.DISALLOWED_FIELD, (), unknown)
    faults = {name: Reason.MISSING_FIELD for name in required if name not in value}
    for name, check in known.items():
        if name in value and not (name in nullable and value[name] is None) and (fault := check(value[name])):
            faults[name] = fault
    if faults:
        raise _Refused(min(faults.values(), key=_RANK.index), tuple(sorted(faults)))
    return value


def normalise(ref: str, profile: str) -> Optional[str]:
    """The one form of a patron id that is tokenized; None when it does not fit its profile."""
    if len(ref) > 64 or "\0" in ref:
        return None
    chars = [
        c for c in unicodedata.normalize("NFKC", ref) if not c.isspace() and unicodedata.category(c) not in ("Cf", "Cc")
    ]
    form = "".join(chars)
    scripts = {unicodedata.name(char, "UNNAMED").split()[0] for char in chars if char.isalpha()}
    if not form or len(scripts) > 1 or any(unicodedata.category(char) == "Cs" for char in chars):
        return None
    if profile == "opaque":
        return form
    if profile == "email-like":
        return form.casefold()
    if profile == "int":
        return str(int(form)) if re.fullmatch("[0-9]+", form) else None
    digits = form[1:-1] if re.fullmatch("[A-Da-d].*[A-Da-d]", form) else form
    if not re.fullmatch("[0-9]{14}", digits):
        return None
    weighted = (int(digit) * weight for digit, weight in zip(digits, itertools.cycle((2, 1)), strict=False))
    return digits if sum(sum(divmod(number, 10)) for number in weighted) % 10 == 0 else None
