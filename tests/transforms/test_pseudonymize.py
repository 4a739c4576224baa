"""Tokens: equal for equal patron, namespace and month, for nothing else; the key of a month is asked for only if needed."""

import numpy as np
import pytest
from apache_beam.typehints.decorators import TypeCheckError
from beam_free_job import Keys, KeysOfTests, decode_lines, secret
from blake3 import blake3
from eager_run import encoded, run
from generated_logs import HOUR, NOW, SOURCES, ZONES, a_line, a_policy, logs
from hypothesis import given
from hypothesis import strategies as st
from rowwise import act_tag, is_late, key_month, token
from rowwise_decode import Event, decode

from schemas.chunks import RawChunk
from schemas.personal import PersonalBatch
from schemas.pseudonymized import PseudonymizedBatch
from transforms.keys import MonthKeys
from transforms.privacy.times import Zone
from transforms.privacy.tokens import MonthKey
from transforms.pseudonymize import PseudonymizePatrons, pseudonymize

NOBODY = bytes(16)


def batches_of(log, policy):
    """Personal batches of a log, and beside each the events of the reference."""
    for rules in SOURCES:
        lines = [line for source, line in log if source is rules]
        events = [decode(line, rules, policy, NOW) for line in lines]
        for batch in decode_lines(lines, rules, policy, NOW).batches:
            yield batch, [one for one in events if isinstance(one, Event) and one.kind == batch.kind]


def rows(column):
    return [row.tobytes() for row in column]


def is_counted_somewhere(event, policy):
    return not all(is_late(event, table, policy.time_zone) for table in policy.tables_of(event.kind))


@given(st.data(), st.sampled_from(ZONES))
def test_tokens_and_act_tags_are_those_computed_one_by_one(data, time_zone):
    policy = a_policy(time_zone)
    keys, known = Keys(), {}
    expected_months = set()
    for batch, events in batches_of(data.draw(logs(policy, most=8)), policy):
        found = pseudonymize(batch, zone=Zone(time_zone), keys=keys, known=known)

        wanted = [(event.patron or event.retract) and is_counted_somewhere(event, policy) for event in events]
        months = [key_month(event, time_zone) for event in events]
        expected_months |= {month for month, want in zip(months, wanted, strict=True) if want}
        told = list(zip(events, months, wanted, strict=True))
        assert rows(found.token) == [
            token(secret(month), event.namespace, event.patron) if want else NOBODY for event, month, want in told
        ]
        assert rows(found.act) == [
            act_tag(secret(month), event.source, event.event_id) if want else NOBODY for event, month, want in told
        ]
        assert found.has_patron.tolist() == [event.patron is not None for event in events]
    assert set(keys.asked) == expected_months


@given(st.data(), st.sampled_from(ZONES))
def test_two_events_share_a_token_if_and_only_if_patron_namespace_and_month_agree(data, time_zone):
    policy = a_policy(time_zone)
    who, which = {}, {}
    for batch, events in batches_of(data.draw(logs(policy, most=8)), policy):
        found = pseudonymize(batch, zone=Zone(time_zone), keys=Keys())
        for event, person, act in zip(events, rows(found.token), rows(found.act), strict=True):
            if person != NOBODY:
                month = key_month(event, time_zone)
                who.setdefault(person, set()).add((event.namespace, event.patron, month))
                which.setdefault(act, set()).add((event.source, event.event_id, month))
    for classes in (who, which):
        assert all(len(same) == 1 for same in classes.values())
        assert len(set.union(set(), *classes.values())) == len(classes)


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=128)


@given(st.lists(TEXT, min_size=1, max_size=6))
def test_act_ids_of_any_length_and_script_are_tagged_whole(ids):
    batch = decode_lines([a_line(event_id=one) for one in ids], SOURCES[0], a_policy(), NOW).batches[0]

    found = pseudonymize(batch, zone=Zone("America/New_York"), keys=Keys())

    assert rows(found.act) == [act_tag(secret("2027-01"), "ils", one) for one in ids]


def test_a_full_memory_of_tokens_changes_none(monkeypatch):
    lines = [a_line(patron_ref=ref) for ref in "1234121"]
    batch = decode_lines(lines, SOURCES[0], a_policy(), NOW).batches[0]
    monkeypatch.setattr("transforms.pseudonymize._MOST_TOKENS", 2)

    found = pseudonymize(batch, zone=Zone("America/New_York"), keys=Keys())

    assert rows(found.token) == [token(secret("2027-01"), "cards", ref) for ref in "1234121"]


def test_other_columns_pass_unchanged():
    batch = decode_lines([a_line(birth_date="2000-02-29"), a_line(op="retract")], SOURCES[0], a_policy(), NOW).batches[
        0
    ]

    found = pseudonymize(batch, zone=Zone("UTC"), keys=Keys())

    assert (found.source, found.namespace, found.kind) == (batch.source, batch.namespace, batch.kind)
    for name in ("occurred_at", "arrived_at", "retract", "part", "birth_day"):
        assert getattr(found, name).tolist() == getattr(batch, name).tolist()
    assert {name: column.tolist() for name, column in found.codes.items()} == {
        name: column.tolist() for name, column in batch.codes.items()
    }


def test_no_identifier_is_left_in_what_comes_out():
    batch = decode_lines(
        [a_line(patron_ref="21234000000018", event_id="loan-4711")], SOURCES[0], a_policy(), NOW
    ).batches[0]

    found = encoded(pseudonymize(batch, zone=Zone("UTC"), keys=Keys()))

    assert b"21234000000018" in encoded(batch)
    assert b"loan-4711" in encoded(batch)
    for identifier in (b"21234000000018", b"loan-4711"):
        assert identifier not in found
        assert blake3(identifier).digest(length=8) not in found


@pytest.mark.parametrize(("occurred_at", "month"), [(1_772_323_199_999, "2026-02"), (1_772_323_200_000, "2026-03")])
def test_the_month_is_the_librarys_own_to_the_millisecond(occurred_at, month):
    policy, keys = a_policy("UTC"), Keys()
    batch = decode_lines([a_line(occurred_at=occurred_at)], SOURCES[0], policy, NOW).batches[0]

    pseudonymize(batch, zone=Zone("UTC"), keys=keys)

    assert keys.asked == [month]


def test_an_event_that_is_late_everywhere_asks_for_no_key():
    keys = Keys()
    lines = [a_line(occurred_at=NOW - 100 * 24 * HOUR, arrived_at=NOW), a_line(action="return", patron_ref=None)]
    batch = decode_lines(lines, SOURCES[0], a_policy(), NOW).batches[0]

    found = pseudonymize(batch, zone=Zone("America/New_York"), keys=keys)

    assert keys.asked == []
    assert not found.token.any()
    assert not found.act.any()


def test_an_empty_batch_stays_one():
    batch = decode_lines([a_line()], SOURCES[0], a_policy(), NOW).batches[0].take(np.empty(0, np.int64))

    found = pseudonymize(batch, zone=Zone("UTC"), keys=Keys())

    assert len(found) == 0
    assert found.token.shape == found.act.shape == (0, 16)


class LosesItsKeys:
    """A keyring whose month is gone."""

    def open(self) -> MonthKeys:
        """Open it."""
        return NoKeys()


class NoKeys(Keys):
    """Has none."""

    def month(self, month: str) -> MonthKey:
        """Refuse."""
        raise ValueError(f"token-library-{month}.key: cannot be read")


def test_the_transform_gives_one_batch_for_each_with_the_same_tokens():
    batches = [
        decode_lines([a_line(kind=kind, patron_ref=ref) for ref in ("1", "2")], SOURCES[0], a_policy(), NOW).batches[0]
        for kind in ("circulation", "patron", "engagement")
    ]

    made, _ = run(PseudonymizePatrons("America/New_York", 7 * 24 * HOUR, KeysOfTests()), batches, PersonalBatch)

    expected = [pseudonymize(batch, zone=Zone("America/New_York"), keys=Keys()) for batch in batches]
    assert sorted(map(encoded, made["main"])) == sorted(map(encoded, expected))


def test_nothing_in_nothing_out():
    assert run(PseudonymizePatrons("UTC", 7 * 24 * HOUR, KeysOfTests()), [], PersonalBatch)[0] == {"main": []}


def test_a_missing_key_fails_the_bundle():
    batch = decode_lines([a_line()], SOURCES[0], a_policy(), NOW).batches[0]

    with pytest.raises(Exception, match="cannot be read"):
        run(PseudonymizePatrons("UTC", 7 * 24 * HOUR, LosesItsKeys()), [batch], PersonalBatch)


@pytest.mark.parametrize("element", [RawChunk, PseudonymizedBatch])
def test_a_graph_that_pseudonymizes_anything_but_decoded_events_fails_while_it_is_built(element):
    with pytest.raises(TypeCheckError):
        run(PseudonymizePatrons("UTC", 7 * 24 * HOUR, KeysOfTests()), [], element)
