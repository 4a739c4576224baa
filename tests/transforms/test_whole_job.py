"""The verbs together against the row-wise reference, on any log, in any order, cut anywhere."""

import pytest
from beam_free_job import TENANT, Keys, merged, released, secret, tallied
from generated_logs import NOW, SOURCES, ZONES, a_line, a_policy, logs
from hypothesis import given
from hypothesis import strategies as st
from rowwise import Window, geometric, whole_job


def reference_noise(window: Window, cell: str, measure: str, true_value: int) -> int:
    key = Keys().noise(window.start[:7])
    return geometric(2, key, (TENANT, window.table, window.start, cell, measure, 0), true_value)


def some_counts(counts):
    """Without zeros and without the sums over others."""
    return {name: n for name, n in counts.items() if n and name not in ("messages", "decoded", "events")}


@given(st.data(), st.sampled_from(ZONES), st.sampled_from(["standard", "plain"]))
def test_the_verbs_together_do_what_the_row_wise_reference_does(data, time_zone, preset):
    policy = a_policy(time_zone, preset)
    log = data.draw(logs(policy))
    noise = {"noise": reference_noise} if policy.noise_scale else {}
    expected, expected_counts = whole_job(log, policy=policy, now=NOW, secrets=secret, **noise)

    tallies, counts = tallied(log, data.draw(st.lists(st.integers(0, len(log)), max_size=3)), policy=policy, now=NOW)

    assert some_counts(counts) == some_counts(expected_counts)
    assert released(tallies, policy) == expected


@given(st.data(), st.randoms(use_true_random=False))
def test_any_order_any_cuts_and_duplicates_of_a_log_give_the_same_numbers(data, chance):
    policy = a_policy()
    log = data.draw(logs(policy))
    once, _ = tallied(log, [], policy=policy, now=NOW)
    again = log + log[: len(log) // 3]
    chance.shuffle(again)

    tallies, _ = tallied(again, data.draw(st.lists(st.integers(0, len(again)), max_size=3)), policy=policy, now=NOW)
    chance.shuffle(tallies)

    assert released(tallies, policy) == released(once, policy)


@given(st.data(), st.sampled_from(ZONES))
def test_every_message_and_every_event_is_accounted_for_once(data, time_zone):
    policy = a_policy(time_zone)
    log = data.draw(logs(policy))

    _, counts = tallied(log, [], policy=policy, now=NOW)

    rejected, filtered = (
        sum(n for name, n in counts.items() if name.startswith(way)) for way in ("rejected/", "filtered/")
    )
    assert counts["messages"] == len(log) == counts["decoded"] + rejected
    assert counts["events"] == filtered + sum(n for name, n in counts.items() if name.startswith("accepted/"))
    for table in policy.tables:
        ways = (counts[f"{way}/{table.name}"] for way in ("inapplicable", "late", "counted"))
        assert sum(ways) == counts[f"accepted/{table.kind}"]


@pytest.mark.parametrize(
    "lost",
    [
        {"patron_ref": None}, {"patron_ref": "guest"}, {"patron_ref": "x\u0430"}, {"branch": None}, {"branch": "gone"},
        {"patron_kind": "staff"}, {"patron_type": "STF"}, {"action": "renewal"}, {"material": None, "home_branch": "odd"},
        {"birth_date": "2026-02-30"},
    ],
    ids=str,
)  # fmt: skip
def test_a_retraction_takes_its_act_out_of_every_table_whatever_else_it_says_or_lacks(lost):
    log = [(SOURCES[0], a_line(arrived_at=NOW - 9)), (SOURCES[0], a_line(arrived_at=NOW - 8, op="retract", **lost))]
    once, _ = tallied(log[:1], [], policy=a_policy(), now=NOW)
    assert [len(one) for one in merged(once)] == [1] * 10

    tallies, counts = tallied(log, [], policy=a_policy(), now=NOW)

    assert counts["accepted/circulation"] == 2
    assert sum(map(len, merged(tallies))) == 0
