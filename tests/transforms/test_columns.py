"""Columns of events, against the row-wise judge of one event at a time; stamps, code maps, ids."""

import msgspec
from beam_free_job import events_of, used_codes
from generated_logs import HOUR, NOW, SOURCES, ZONES, a_policy, an_event, events, some_rules
from hypothesis import given
from hypothesis import strategies as st
from rowwise_decode import Event, Filtered, Rejected, judge, normalise

from schemas.fast import STRUCTS
from schemas.personal import ABSENT
from transforms.columns import CodeBook, PatronNames, columns_of
from transforms.privacy.times import Zone

KINDS = st.sampled_from(sorted(STRUCTS))


def structs(rows):
    return [
        msgspec.convert({name: value for name, value in row.items() if value is not None}, STRUCTS[row["kind"]])
        for row in rows
    ]


def columns(rows, stamps, rules=SOURCES[0], policy=None):
    policy = policy or a_policy()
    return columns_of(
        rows[0]["kind"], structs(rows), stamps, rules=rules, policy=policy, patrons=PatronNames(rules), book=CodeBook.of(policy, rules), zone=Zone(policy.time_zone), now=NOW
    )  # fmt: skip


@st.composite
def rows_of_one_kind(draw, policy):
    kind = draw(KINDS)
    crowds = draw(st.lists(events(policy, kind), min_size=1, max_size=8))
    rows = [row for crowd in crowds for row in crowd[:3]]
    stamps = [
        draw(st.sampled_from([None, row["occurred_at"], row["occurred_at"] + HOUR, NOW, NOW + 900_000, NOW + 900_001]))
        for row in rows
    ]
    return rows, stamps


@given(st.data(), st.sampled_from(ZONES), st.sampled_from(SOURCES))
def test_each_event_of_a_column_is_judged_as_it_is_alone(data, time_zone, rules):
    policy = a_policy(time_zone)
    rows, stamps = data.draw(rows_of_one_kind(policy))
    expected = [judge(row, rules, policy, NOW, stamp) for row, stamp in zip(rows, stamps, strict=True)]

    found = columns(rows, stamps, rules, policy)

    assert events_of(found.batch, policy) == [used_codes(one, policy) for one in expected if isinstance(one, Event)]
    assert [(at, error.reason, error.fields) for at, error in found.refused] == [
        (at, one.reason, one.fields) for at, one in enumerate(expected) if isinstance(one, Rejected)
    ]
    for why in ("kind", "not_a_patron", "no_patron"):
        assert found.counts[f"filtered/{why}"] == expected.count(Filtered(why))


def test_a_return_by_nobody_is_kept_beside_an_id_that_is_refused():
    nobody, refused = an_event(action="return", patron_ref=None), an_event(patron_ref="x\u0430")

    found = columns([nobody, refused], [None, None])

    assert (found.rows.tolist(), [at for at, _ in found.refused]) == ([0], [1])


def test_an_event_without_stamp_among_stamped_ones_keeps_its_own_arrival():
    rows = [an_event(arrived_at=NOW - 5), an_event(arrived_at=NOW - 7), an_event(arrived_at=None)]

    found = columns(rows, [NOW - 1, None, None])

    assert found.batch.arrived_at.tolist() == [NOW - 1, NOW - 7, NOW - HOUR]


def test_every_way_of_writing_an_id_is_one_patron():
    found = columns([an_event(patron_ref=ref) for ref in ("17", " 17", "\uff11\uff17", "18", "17")], [None] * 5)

    assert found.batch.patron_ids == ("17", "17", "17", "18", "17")


REFS = st.one_of(
    st.text(min_size=1, max_size=20),
    st.text("ab1\u0430\u00ad\u200b \t\u00a0\uff11\u0660", min_size=1, max_size=5),
    st.from_regex("[ABab]?2[0-9]{12,13}[ABab]?", fullmatch=True),
    st.sampled_from(
        ["21234000000018", "A21234000000018B", "007", "000", "Mary@X.org", "x" * 64, "x" * 65, "\u00df", "\ufb01"]
    ),
)


@given(REFS, st.sampled_from(["opaque", "codabar14", "int", "email-like"]))
def test_an_id_is_brought_into_the_one_form_of_its_profile_or_refused(ref, profile):
    rules = some_rules(id_profile=profile, no_patron_ids=())

    assert (PatronNames(rules)[ref] or None) == normalise(ref, profile)


def test_a_full_memory_of_ids_changes_none(monkeypatch):
    monkeypatch.setattr("transforms.columns._MOST_NAMES", 2)

    found = columns([an_event(patron_ref=ref) for ref in ("1", "2", "3", " 1", "x\u0430", "2")], [None] * 6)

    assert found.batch.patron_ids == ("1", "2", "3", "1", "2")
    assert [at for at, _ in found.refused] == [4]


def test_a_return_without_patron_is_kept_and_any_other_act_is_not():
    rows = [an_event(action=action, patron_ref=ref) for ref in (None, "0") for action in ("return", "checkout")]

    found = columns(rows, [None] * 4)

    assert found.batch.patron_ids == (None, None)
    assert found.counts["filtered/no_patron"] == 2


def test_a_code_map_wins_over_a_code_of_the_same_name_and_closes_every_list():
    policy, rules = a_policy(), some_rules()
    book = CodeBook.of(policy, rules)

    def codes(column, *wire):
        listed = policy.codes[column]
        return [listed[at] if at >= 0 else at for at in book.positions(column, wire).tolist()]

    assert codes("branch", "B1", "B2", "MAIN", None) == ["B1", "B3", "B1", ABSENT]
    assert codes("material", "book", "bk", "zz", "dvd", "Book", "", None) == [
        "book",
        "book",
        "other",
        "dvd",
        *["other"] * 3,
    ]
    assert codes("home_branch", "B2", "odd", None) == ["B2", "other", "other"]
    assert codes("home_zone", "10001", "20001", "10003", None) == ["zone-1", "zone-2", "other", "other"]
    assert book.positions("branch", ["odd"]).tolist() != [ABSENT]


def test_who_is_late_for_one_table_only_is_not_late_everywhere():
    day = 86_400_000
    march = 1_772_500_000_000  # 2026-03-03: `day_types` has no horizon, `holds` 9 days, both feed on circulation
    rows = [an_event(occurred_at=march, arrived_at=march + away * day) for away in (0, 1, 4, 36, 50)]

    assert columns(rows, [None] * 5).batch.late_everywhere.tolist() == [False, False, False, False, True]
