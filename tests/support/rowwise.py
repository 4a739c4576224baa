"""The whole job, one event at a time, in plain Python: what every verb is held to.

    line -> decode -> Event -> placed (per table) -> acts of a window -> standing -> release

No numpy, no Beam and nothing of `transforms`: of the product it uses the compiled policy, the names of the
event kinds and the closed list of reasons. It is slow and short on purpose; where it and the product
differ, the design says who is right.
"""

import datetime as dt
import importlib.resources
import itertools
import json
import zoneinfo
from collections import Counter, defaultdict
from decimal import Decimal, localcontext
from functools import lru_cache
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Optional, Sequence, Union

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC
from rowwise_decode import Event, Filtered, Rejected, decode

from schemas.events import ERASING, PARTS
from schemas.policy import Dimension, PrivacyPolicy, Table
from schemas.source import SourceRules

OUTCOMES = {"hold_placed": "placed", "hold_filled": "filled", "hold_cancelled": "cancelled", "hold_expired": "expired"}
BANDS = ((13, "0-12"), (18, "13-17"), (25, "18-24"), (45, "25-44"), (65, "45-64"), (121, "65+"))
DAYPARTS = ((6, "night"), (9, "early"), (12, "morning"), (17, "afternoon"), (20, "evening"), (24, "late"))


class Act(NamedTuple):
    """One row of a window's set of acts. `order` is the effective arrival, ms UTC."""

    cell: tuple[str, ...]
    person: tuple[str, str]
    act: tuple[str, str]
    order: int
    retract: bool
    part: str
    n: int


class Window(NamedTuple):
    """A civil day or month of one table: its first day and the day after its last, ISO."""

    table: str
    start: str
    end: str


class Number(NamedTuple):
    """One released number."""

    cell: str
    measure: str
    value: Optional[int]
    status: str


Secrets = Callable[[str], bytes]  # month, YYYY-MM -> its 32 secret bytes
Noise = Callable[[Window, str, str, int], int]  # window, cell, measure, true value -> noise


# --- civil time ---


@lru_cache(maxsize=64)
def zone(name: str) -> zoneinfo.ZoneInfo:
    """The rules of the pinned tzdata package."""
    with importlib.resources.files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as stream:
        return zoneinfo.ZoneInfo.from_file(stream, key=name)


def civil(instant: int, time_zone: str) -> dt.datetime:
    """The library's clock at an instant (ms UTC)."""
    return dt.datetime.fromtimestamp(instant // 1000, zone(time_zone))


def begins(day: dt.date, time_zone: str) -> int:
    """The first instant (ms UTC) of a civil day: the earlier midnight of two, the clock change that skips one."""
    return int(dt.datetime.combine(day, dt.time(), zone(time_zone)).timestamp() * 1000)


def window_of(table: Table, instant: int, time_zone: str) -> Window:
    """The civil day or month of a table that an instant falls into."""
    start = civil(instant, time_zone).date()
    if table.grain == "day":
        return Window(table.name, str(start), str(start + dt.timedelta(days=1)))
    start = start.replace(day=1)
    return Window(table.name, str(start), str((start + dt.timedelta(days=31)).replace(day=1)))


def is_late(event: Event, table: Table, time_zone: str) -> bool:
    """Effective arrival at or after window end + H."""
    end = dt.date.fromisoformat(window_of(table, event.occurred_at, time_zone).end)
    return event.arrived_at >= begins(end, time_zone) + table.horizon


# --- tokens ---


def _prefixed(*parts: str) -> bytes:
    return b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)


def _subkey(secret: bytes, *labels: str) -> bytes:
    context = "carrel 2026-11-23 patron token subkey v1"
    return blake3(secret + _prefixed(*labels), derive_key_context=context).digest()


def key_month(event: Event, time_zone: str) -> str:
    """The month (YYYY-MM) whose key an event's tokens are under."""
    return civil(event.occurred_at, time_zone).strftime("%Y-%m")


def token(secret: bytes, namespace: str, patron: str) -> bytes:
    """The token of a normalised patron id under a month's secret; zeros for nobody."""
    if not patron:
        return bytes(16)
    return blake3(_prefixed(patron), key=_subkey(secret, "token", namespace)).digest(length=16)


def act_tag(secret: bytes, source: str, event_id: str) -> bytes:
    """The tag of a source's act under a month's secret: AES-CMAC."""
    mac = CMAC(algorithms.AES128(_subkey(secret, "act", source)[:16]))
    mac.update(event_id.encode())
    return mac.finalize()


def _aes(block: bytes, key: bytes) -> bytes:
    return Cipher(algorithms.AES128(key[:16]), modes.ECB()).encryptor().update(block)


def window_token(act: Act, table: Table, window: Window, secrets: Secrets) -> bytes:
    """A person's token in one cell of one window."""
    secret = secrets(window.start[:7])
    pad = cell_number(act.cell, table).to_bytes(16, "big")
    block = bytes(one ^ other for one, other in zip(token(secret, *act.person), pad, strict=True))
    return _aes(block, _subkey(secret, "window-token", *window))


def window_act(act: Act, window: Window, secrets: Secrets) -> bytes:
    """An act's tag in one window."""
    secret = secrets(window.start[:7])
    return _aes(act_tag(secret, *act.act), _subkey(secret, "window-act", *window))


# --- generalize: an event is inapplicable to a table, late for it, or an act in one of its cells ---


def generalize(event: Event, table: Table, policy: PrivacyPolicy) -> Union[str, tuple[Window, Act]]:
    """`inapplicable`, `late`, or the window and the act that the event is in a table of its kind."""
    codes = tuple(_published(dimension, event, policy) for dimension in table.dimensions)
    cell = tuple(code for code in codes if code is not None)
    if event.retract:
        cell = domain(table)[0]
    elif event.patron is None or (table.parts and event.part not in table.parts) or len(cell) < len(codes):
        return "inapplicable"
    if is_late(event, table, policy.time_zone):
        return "late"
    person, act = (event.namespace, event.patron or ""), (event.source, event.event_id)
    window = window_of(table, event.occurred_at, policy.time_zone)
    return window, Act(cell, person, act, event.arrived_at, event.retract, event.part, 1)


def _published(dimension: Dimension, event: Event, policy: PrivacyPolicy) -> Optional[str]:
    """The code of one dimension, None where the event has none."""
    now = civil(event.occurred_at, policy.time_zone)
    match dimension.column:
        case "age_band":
            code: Optional[str] = _age_band(event.birth_date, now.date())
        case "day_type":
            code = "weekend" if now.weekday() >= 5 else "weekday"
        case "daypart":
            code = next(name for until, name in DAYPARTS if now.hour < until)
        case "zip3":
            code = "000"
        case "action" | "change":
            code = event.part
        case "outcome":
            code = OUTCOMES.get(event.part)
        case column:
            code = event.codes[column]
            if dimension.grouping and code is not None:
                code = dimension.codes[dimension.grouping[policy.codes[column].index(code)]]
    return code if code in dimension.codes else None


def _age_band(born: Optional[dt.date], today: dt.date) -> str:
    if born is None:
        return "other"
    age = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
    return next((name for until, name in BANDS if age < until), "other") if age >= 0 else "other"


def cell_number(cell: tuple[str, ...], table: Table) -> int:
    """Where a cell stands in the declared domain, the last dimension varying fastest."""
    number = 0
    for dimension, code in zip(table.dimensions, cell, strict=True):
        number = number * len(dimension.codes) + dimension.codes.index(code)
    return number


def domain(table: Table) -> list[tuple[str, ...]]:
    """Every declared cell, in order."""
    return list(itertools.product(*(dimension.codes for dimension in table.dimensions)))


# --- tally: a set of acts; of one act the latest row stands ---


def standing(acts: Iterable[Act], table: Table, window: Window, secrets: Secrets) -> list[Act]:
    """The acts that stand: of one act the latest; ties fall to the retraction, the larger value, cell, token, part."""

    def latest(row: Act) -> tuple[Any, ...]:
        cell, who = cell_number(row.cell, table), window_token(row, table, window, secrets)
        return row.order, row.retract, row.n, cell, who, PARTS[table.kind].index(row.part)

    rows: dict[tuple[str, str], Act] = {}
    for act in acts:
        if act.act not in rows or latest(act) > latest(rows[act.act]):
            rows[act.act] = act
    return [act for act in rows.values() if not act.retract and act.n > 0]


# --- erasure: who is deleted or opts out leaves every window that is open at the arrival of that event ---


def open_windows(event: Event, table: Table, time_zone: str) -> list[Window]:
    """The windows of a table that have begun, and whose end + H has not come, when an event arrives."""
    found = []
    at = event.arrived_at
    while True:
        window = window_of(table, at, time_zone)
        if event.arrived_at >= begins(dt.date.fromisoformat(window.end), time_zone) + table.horizon:
            return found
        found.append(window)
        at = begins(dt.date.fromisoformat(window.start), time_zone) - 1


def erased(events: Iterable[Event]) -> set[tuple[str, str]]:
    """The people whose erasure stands: of one erasing event the latest, unless it is retracted."""
    rows: dict[tuple[str, str], Event] = {}
    for event in events:
        name = (event.source, event.event_id)
        if name not in rows or (event.arrived_at, event.retract) > (rows[name].arrived_at, rows[name].retract):
            rows[name] = event
    return {(event.namespace, event.patron or "") for event in rows.values() if not event.retract}


# --- release: threshold, clip, noise, rounding, the whole domain ---


def release(acts: Sequence[Act], table: Table, window: Window, noise: Noise) -> list[Number]:
    """Every number of one window's declared cells."""
    names = [dimension.name for dimension in table.dimensions]
    released = []
    for codes in domain(table):
        cell = dict(zip(names, codes, strict=True))
        text = json.dumps(cell, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        impossible = any(dict(zero).items() <= cell.items() for zero in table.structural_zeros)
        for measure in table.measures:
            if impossible:
                released.append(Number(text, measure.name, 0, "structural_zero"))
                continue
            of_person: Counter[tuple[str, str]] = Counter()
            for act in acts:
                if act.cell == codes and (not measure.parts or act.part in measure.parts):
                    of_person[act.person] += act.n
            value = _before_noise(measure.kind, of_person, table)
            if value is not None and measure.kind != "total":
                value = max(table.k, value + noise(window, text, measure.name, value))
            released.append(Number(text, measure.name, value, "withheld" if value is None else "published"))
    return released


def _before_noise(kind: str, of_person: Mapping[tuple[str, str], int], table: Table) -> Optional[int]:
    """A number after clip or rounding, None to withhold it; people are counted within one namespace."""
    people = max(Counter(namespace for namespace, _ in of_person).values(), default=0)
    if kind == "total":
        total = sum(of_person.values())
        safe = people >= 5 * table.k and max(of_person.values()) * 10 <= total
        return (total + 5) // 10 * 10 if safe else None
    if people < table.k:
        return None
    return len(of_person) if kind == "patrons" else sum(min(n, table.clip) for n in of_person.values())


def geometric(scale: int, key: bytes, coordinates: Sequence[Union[str, int]], true_value: int) -> int:
    """Two-sided geometric noise of one number: a keyed point of 2^128, walked through the distribution."""
    message = _prefixed(*map(str, (*coordinates, true_value)))
    subkey = blake3(key, derive_key_context="carrel 2026-11-23 count noise v1").digest()
    point = int.from_bytes(blake3(message, key=subkey).digest(length=16), "big")
    z = 0
    while point < _up_to(z - 1, scale):
        z -= 1
    while point >= _up_to(z, scale):
        z += 1
    return z


@lru_cache(maxsize=512)
def _up_to(z: int, scale: int) -> int:
    """P(noise <= z), of 2^128."""
    with localcontext() as context:
        context.prec = 100
        ratio = (Decimal(-1) / scale).exp()
        tail = int((ratio ** abs(z if z < 0 else z + 1) / (1 + ratio) * (1 << 128)).to_integral_value())
    return tail if z < 0 else (1 << 128) - tail


# --- the whole job ---


def no_noise(window: Window, cell: str, measure: str, true_value: int) -> int:
    """The `plain` preset."""
    del window, cell, measure, true_value
    return 0


def acts_of_log(
    log: Iterable[tuple[SourceRules, bytes]], *, policy: PrivacyPolicy, now: int, secrets: Secrets
) -> tuple[dict[Window, list[Act]], Counter[str]]:
    """The acts that stand in every window that anything counted in, and the conservation counts."""
    counts: Counter[str] = Counter()
    windows: defaultdict[Window, list[Act]] = defaultdict(list)
    erasing: defaultdict[Window, list[Event]] = defaultdict(list)
    for rules, line in log:
        decoded = decode(line, rules, policy, now)
        match decoded:
            case Rejected(reason=reason):
                counts[f"rejected/{reason.value}"] += 1
            case Filtered(why=why):
                counts[f"filtered/{why}"] += 1
            case Event(kind=kind):
                counts[f"accepted/{kind}"] += 1
                if kind == "patron" and decoded.part in ERASING and decoded.patron is not None:
                    for table in policy.tables:
                        for window in open_windows(decoded, table, policy.time_zone):
                            erasing[window].append(decoded)
                for table in policy.tables_of(kind):
                    placed = generalize(decoded, table, policy)
                    if isinstance(placed, str):
                        counts[f"{placed}/{table.name}"] += 1
                    else:
                        counts[f"counted/{table.name}"] += 1
                        windows[placed[0]].append(placed[1])
    stands = {}
    for window, acts in sorted(windows.items()):
        gone = erased(erasing[window])
        rows = standing(acts, policy.table(window.table), window, secrets)
        stands[window] = [act for act in rows if act.person not in gone]
    return stands, counts


def whole_job(
    log: Iterable[tuple[SourceRules, bytes]],
    *,
    policy: PrivacyPolicy,
    now: int,
    secrets: Secrets,
    noise: Noise = no_noise,
) -> tuple[dict[Window, list[Number]], Counter[str]]:
    """Lines in, released numbers of every window that anything counted in, and the conservation counts, out."""
    windows, counts = acts_of_log(log, policy=policy, now=now, secrets=secrets)
    return {
        window: release(acts, policy.table(window.table), window, noise) for window, acts in windows.items()
    }, counts
