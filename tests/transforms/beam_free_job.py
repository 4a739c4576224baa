"""The product's verbs one after the other, without Beam, over a log cut into chunks."""

import datetime as dt
from collections import Counter, defaultdict
from typing import Iterable, Sequence

import numpy as np
from blake3 import blake3
from rowwise import Act, Number, Window, cell_number, window_act, window_token
from rowwise_decode import Event

from schemas.chunks import RawChunk
from schemas.counts import ReleasedTable, Tally, WindowKey
from schemas.events import PARTS
from schemas.personal import ABSENT, UNKNOWN_BIRTH, PersonalBatch
from schemas.policy import PrivacyPolicy, Table
from schemas.source import SourceRules
from transforms.decode import Decoded, Decoder
from transforms.erasure import erasures, longest_horizon, without_erased
from transforms.generalize import generalize, space_number
from transforms.privacy.times import Zone
from transforms.privacy.tokens import MonthKey
from transforms.pseudonymize import pseudonymize
from transforms.release import Draw, no_noise, release, window_noise
from transforms.tally import merge, tally, window_rekey

TENANT = "library"


def secret(month: str) -> bytes:
    """The 32 bytes of a month in these tests."""
    return blake3(b"token" + month.encode()).digest()


class Keys:
    """The open keys of these tests; notes the months that it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def month(self, month: str) -> MonthKey:
        """The token key of a month."""
        self.asked.append(month)
        return MonthKey(month, secret(month))

    def noise(self, month: str) -> bytes:
        """The noise key of a month."""
        return blake3(b"noise" + month.encode()).digest()

    def seen(self) -> bytes:
        """The key of reject tags."""
        return blake3(b"seen").digest()


class KeysOfTests:
    """Names `Keys`, as `OpensKeys` wants it."""

    def open(self) -> Keys:
        """Open them."""
        return Keys()


def decode_lines(lines: Sequence[bytes], rules: SourceRules, policy: PrivacyPolicy, now: int) -> Decoded:
    """Decode some canonical lines of one source as one chunk."""
    chunk = RawChunk(rules.name, b"", (b"\n".join(lines),))
    return Decoder(rules, policy, Zone(policy.time_zone), {}, now).decode(chunk)


def tallied(
    log: Sequence[tuple[SourceRules, bytes]], cuts: Iterable[int], *, policy: PrivacyPolicy, now: int
) -> tuple[list[Tally], "Counter[str]"]:
    """Tallies of a log that is cut before these positions, a chunk a source and piece; and the conservation counts."""
    zone, keys = Zone(policy.time_zone), Keys()
    grains = {table.name: table.grain for table in policy.tables}
    tallies: list[Tally] = []
    counts: Counter[str] = Counter()
    edges = [0, *sorted(cuts), len(log)]
    for begin, end in zip(edges, edges[1:], strict=False):
        by_source: defaultdict[str, list[tuple[SourceRules, bytes]]] = defaultdict(list)
        for rules, line in log[begin:end]:
            by_source[rules.name].append((rules, line))
        for lines in by_source.values():
            decoded = decode_lines([line for _, line in lines], lines[0][0], policy, now)
            counts.update(decoded.counts)
            for batch in decoded.batches:
                for one in (batch, erasures(batch, zone=zone, horizon=longest_horizon(policy))):
                    if one is not None:
                        hidden = pseudonymize(one, zone=zone, keys=keys)
                        cells, of_tables = generalize(hidden, policy=policy, zone=zone)
                        counts.update(of_tables)
                        for some in cells:
                            tallies += tally(some, grains[some.table], window_rekey(keys))
    return tallies, counts


def merged(tallies: Iterable[Tally]) -> list[Tally]:
    """The merged tally of each window that any act counts in, without erased patrons, windows in order."""
    windows: dict[WindowKey, list[Tally]] = defaultdict(list)
    for one in tallies:
        windows[one.key].append(one)
    return [
        without_erased(merge(windows[key]), Keys().month(key.month))
        for key in sorted(windows)
        if any(one.n_acts for one in windows[key])
    ]


def noise_of(policy: PrivacyPolicy, one: Tally) -> Draw:
    """The noise of a window under the tests' keys."""
    return window_noise(policy, one, TENANT, Keys().noise(one.key.month)) if policy.noise_scale else no_noise


def released(tallies: Iterable[Tally], policy: PrivacyPolicy) -> dict[Window, list[Number]]:
    """Every window of these tallies after disclosure control."""
    return dict(
        numbers_of(release(one, policy=policy, tenant=TENANT, draw=noise_of(policy, one))) for one in merged(tallies)
    )


def numbers_of(table: ReleasedTable) -> tuple[Window, list[Number]]:
    """A released table in the form of the reference."""
    key = Window(table.key.table, table.key.start, table.key.end)
    return key, [Number(row.cell, row.measure, row.value, row.status) for row in table.rows]


def used_codes(event: Event, policy: PrivacyPolicy) -> Event:
    """The event with the codes that some table publishes."""
    columns = {dimension.column for table in policy.tables for dimension in table.dimensions}
    return event._replace(codes={column: code for column, code in event.codes.items() if column in columns})


def events_of(batch: PersonalBatch, policy: PrivacyPolicy) -> list[Event]:
    """The events of a personal batch in the form of the reference, with the codes that some table publishes."""
    epoch = dt.date(1970, 1, 1).toordinal()
    born = [None if day == UNKNOWN_BIRTH else dt.date.fromordinal(epoch + day) for day in batch.birth_day.tolist()]
    codes = {
        column: [policy.codes[column][at] if at != ABSENT else None for at in positions.tolist()]
        for column, positions in batch.codes.items()
    }
    return [
        used_codes(
            Event(
                source=batch.source,
                namespace=batch.namespace,
                kind=batch.kind,
                part=PARTS[batch.kind][batch.part[row]],
                event_id=batch.act_ids[row],
                retract=bool(batch.retract[row]),
                occurred_at=int(batch.occurred_at[row]),
                arrived_at=int(batch.arrived_at[row]),
                patron=batch.patron_ids[row],
                birth_date=born[row],
                codes={column: values[row] for column, values in codes.items()},
            ),
            policy,
        )
        for row in range(len(batch))
    ]


def tally_of(acts: Sequence[Act], table: Table, window: Window) -> Tally:
    """A tally of acts of the reference, in their order, under the tests' keys."""
    tokens = b"".join(window_token(act, table, window, secret) for act in acts)
    tags = b"".join(window_act(act, window, secret) for act in acts)
    return Tally(
        WindowKey(*window),
        cell=np.array([cell_number(act.cell, table) for act in acts], np.int64),
        token=np.frombuffer(tokens, np.uint8).reshape(-1, 16),
        act=np.frombuffer(tags, np.uint8).reshape(-1, 16),
        order=np.array([act.order for act in acts], np.int64),
        retract=np.array([act.retract for act in acts], bool),
        part=np.array([PARTS[table.kind].index(act.part) for act in acts], np.uint8),
        space=np.array([space_number(act.person[0]) for act in acts], np.uint32),
        n=np.array([act.n for act in acts], np.int64),
    )
