"""What a replay says of itself: sums that can break, and commands that can be copied."""

import dataclasses

import pytest

from pipelines.progress import Step, progress
from pipelines.report import conservation, print_summary, summary_json
from pipelines.run import Summary
from schemas.policy import PrivacyPolicy, Table

TABLE = Table("loans", "circulation", "month", (), (), (), 11, 10, 0, (), "why")
POLICY = PrivacyPolicy("UTC", "plain", (TABLE,), {}, {}, None, "x", "digest")
TOTALS = {
    ("ils", "messages"): 10,
    ("ils", "decoded"): 8,
    ("ils", "rejected/not_json"): 2,
    ("ils", "events"): 9,
    ("ils", "filtered/kind"): 1,
    ("ils", "accepted/circulation"): 5,
    ("ils", "accepted/patron"): 3,
    ("ils", "inapplicable/loans"): 1,
    ("ils", "counted/loans"): 3,
    ("ils", "late/loans"): 1,
}


def test_conservation_holds_when_all_is_accounted_for():
    counts, holds = conservation(TOTALS, POLICY)

    assert holds
    assert counts == {
        "messages": 10, "decoded": 8, "rejected": 2, "events": 9, "filtered": 1, "accepted": 8,
        "inapplicable": 1, "counted": 3, "late": 1,
    }  # fmt: skip


@pytest.mark.parametrize("lost", TOTALS, ids=lambda key: key[1])
def test_conservation_is_broken_by_any_amount_that_is_lost(lost):
    less = {**TOTALS, lost: TOTALS[lost] - 1}

    assert not conservation(less, POLICY)[1]


def test_lines_that_lookups_skipped_are_said_of_each_lookup(capsys):
    print_summary(Summary(files=1, skipped={"ils patrons": 3, "ils items": 1}), POLICY)

    said = [line for line in capsys.readouterr().out.splitlines() if "broken" in line]
    assert said == [
        "broken lines skipped in the exports of lookup ils items: 1",
        "broken lines skipped in the exports of lookup ils patrons: 3",
    ]


def test_a_table_that_got_nothing_of_what_was_accepted_breaks_it():
    none = {key: amount for key, amount in TOTALS.items() if "loans" not in key[1]}

    assert not conservation(none, POLICY)[1]


def test_the_summary_is_printed_as_sums_and_told_to_scripts_as_values(capsys):
    summary = Summary(messages=TOTALS, files=2, merged={"loans": (4, 3)}, closed={"loans": 1}, matches=2)

    print_summary(summary, POLICY)

    said = capsys.readouterr().out.splitlines()
    assert "messages 10 = decoded 8 + rejected 2" in said
    assert "events 9 = filtered 1 + accepted 8" in said
    assert [line.split() for line in said if line.startswith("  loans")] == [
        ["loans", "5", "1", "2", "1", "1"],
        ["loans", "4", "3", "1"],
    ]
    assert "conservation holds" in said
    assert "match: 2 windows" in said
    assert any(line.startswith("ALARM") for line in said)
    assert summary_json(summary, POLICY)["conservation"] == "holds"
    assert summary_json(summary, POLICY)["messages"]["ils/counted/loans"] == 3


def test_what_is_lost_is_said_loudly(capsys):
    summary = Summary(messages={**TOTALS, ("ils", "decoded"): 7}, files=1)

    print_summary(summary, POLICY)

    assert "conservation BROKEN" in capsys.readouterr().out
    assert summary_json(summary, POLICY)["conservation"] == "broken"


def test_advice_of_several_commands_is_said_once_and_each_command_is_a_line_of_its_own(capsys):
    advice = ["to release them: carrel replay --source a", "to release them: carrel replay --source b", "wait"]

    print_summary(Summary(files=1, advice=advice), POLICY)

    assert capsys.readouterr().out.splitlines()[-4:] == [
        "to release them:",
        "  carrel replay --source a",
        "  carrel replay --source b",
        "wait",
    ]


def test_no_files_and_held_windows_without_advice_are_explained(capsys):
    print_summary(Summary(), POLICY)
    print_summary(Summary(files=1, held=["loans 2026-03-01"]), POLICY)

    said = capsys.readouterr().out
    assert "no files: `archive` of each source in carrel.toml" in said
    assert "`carrel status` says until when" in said


def test_elsewhere_than_on_a_terminal_each_file_is_one_plain_line_and_scripts_are_told_nothing(capsys):
    step = Step("ils", 1, 2, 500_000, 2_000_000)
    for quiet in (False, True):
        with progress(quiet=quiet) as told:
            for one in (step, dataclasses.replace(step, done=900_000), dataclasses.replace(step, file=2)):
                told(one)
            told(Step("", 2, 2, 2_000_000, 2_000_000))

    assert capsys.readouterr().out.splitlines() == [
        "read ils, file 1 of 2 (0.5 of 2.0 MB)",
        "read ils, file 2 of 2 (0.5 of 2.0 MB)",
        "releasing what is due",
    ]
