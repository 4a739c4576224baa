"""The synthetic library keeps what it promises, counted in the files that it writes."""

import base64
import collections
import datetime as dt
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from sample_logs import ILS, Logs, bytes_of, files_of, instant_of, lines_of, records_of, rows_of

from pipelines.initialise import BRANCHES, example_codes
from pipelines.synthetic import SOURCES, write_sample
from pipelines.synthetic.world import AFTER_LAST_DAY, ZONE, first_day

DAY = 86_400_000
SPRING = 1_772_953_200_000  # 2026-03-08T07:00Z: the clocks go from 2 to 3
MONTH_ENDS = [1_772_341_200_000, 1_775_016_000_000, 1_777_608_000_000]  # local midnight of March, April, May 1st


@pytest.fixture(scope="module")
def logs(tmp_path_factory) -> Logs:
    directory = tmp_path_factory.mktemp("sample")
    write_sample(directory, patrons=1_500, days=90, seed=7)
    return Logs(directory)


def test_the_same_arguments_give_the_same_bytes_and_another_seed_does_not(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_sample(tmp_path / name, patrons=200, days=30, seed=seed)

    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert files_of(tmp_path / "a") != files_of(tmp_path / "c")


def test_only_the_chosen_sources_are_written(tmp_path):
    write_sample(tmp_path, patrons=100, days=10, sources=("evergreen",))

    assert {path.name for path in tmp_path.iterdir()} == {"evergreen", "truth.csv"}


def test_an_unknown_source_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--sources"):
        write_sample(tmp_path, patrons=10, days=10, sources=("koha",))


def test_the_smallest_library_is_written_too(tmp_path):
    write_sample(tmp_path, patrons=1, days=1)

    assert (tmp_path / "truth.csv").read_text().startswith("table_name,window_start,cell,measure,true_value,distinct")


def test_twelve_branches_circulate(logs):
    service_points, units = example_codes("folio")["branch"], example_codes("evergreen")["branch"]
    seen = collections.Counter(one["branch"] for one in logs.circulation)
    seen.update(
        service_points.get(one["data"]["new"]["checkoutServicePointId"])
        for _, one in logs.loans
        if one["type"] == "CREATED"
    )
    seen.update(units.get(one["circ_lib"]) for one in logs.evergreen)

    assert len(BRANCHES) == 12
    assert all(seen[branch] > 0 for branch in BRANCHES)


def test_minors_have_accounts_in_every_ils(logs):
    adult = "2008-02-01"
    born = {
        "carrel-event": [one.get("birth_date") for one in logs.circulation],
        "folio": [one["personal"].get("dateOfBirth") for one in logs.users],
        "evergreen": [one["dob"] for one in logs.accounts if one["dob"] != "\\N"],
    }

    assert all(sum(day is not None and day > adult for day in days) > 10 for days in born.values())


def test_staff_test_and_guest_accounts_borrow_in_every_ils(logs):
    kinds = collections.Counter(one["patron_kind"] for one in logs.circulation)
    types = {one["id"]: one["type"] for one in logs.users}
    borrowing = collections.Counter(
        types.get(one["data"]["new"].get("userId")) for _, one in logs.loans if "new" in one["data"]
    )
    profiles = {one["id"]: one["profile"] for one in logs.accounts}
    filtered = collections.Counter(profiles.get(one["usr"]) for one in logs.evergreen)

    assert all(kinds[kind] for kind in ("staff", "system", "test", "shadow", "guest"))
    assert all(borrowing[kind] for kind in ("staff", "system", "shadow", "dcb"))
    assert all(filtered[profile] for profile in ("90", "91"))


def test_some_acts_name_nobody(logs):
    assert any(one["patron_ref"] is None for one in logs.circulation if one["action"] == "checkout")
    assert any("userId" not in one["data"]["new"] for _, one in logs.loans if one["type"] == "CREATED")


@pytest.mark.parametrize("source", ILS)
def test_acts_lie_on_both_sides_of_the_change_of_the_clocks_and_none_in_the_lost_hour(logs, source):
    times = logs.times(source)
    precision = 1000 if source == "evergreen" else 1
    locals_ = [dt.datetime.fromtimestamp(at / 1000, ZONE) for at in times]

    assert {SPRING - precision, SPRING} <= set(times)
    assert not [at for at in locals_ if (at.month, at.day, at.hour) == (3, 8, 2)]


@pytest.mark.parametrize("source", ILS)
def test_acts_lie_on_both_sides_of_midnight_between_months(logs, source):
    precision = 1000 if source == "evergreen" else 1

    assert all({end - precision, end} <= set(logs.times(source)) for end in MONTH_ENDS)


@pytest.mark.parametrize("source", ILS)
def test_every_source_begins_on_the_first_and_ends_on_the_last_day(logs, source):
    days = {dt.datetime.fromtimestamp(at / 1000, ZONE).date().isoformat() for at in logs.times(source)}

    assert (min(days), max(days)) == ("2026-02-01", "2026-05-01")


def test_the_crm_begins_on_the_first_day_however_few_its_contacts_are(tmp_path):
    write_sample(tmp_path, patrons=5, sources=("salesforce",))
    members = records_of(tmp_path / "salesforce" / "CampaignMemberChangeEvent.avro")

    first = min(one["ChangeEventHeader"]["commitTimestamp"] for one in members)

    assert dt.datetime.fromtimestamp(first / 1000, ZONE).date().isoformat() == "2026-02-01"


def past_horizon(occurred: int, arrived: int, days: int) -> bool:
    return arrived >= min(end for end in MONTH_ENDS if end > occurred) + days * DAY


def test_some_events_of_every_kind_come_after_their_horizon(logs):
    february = MONTH_ENDS[0]
    responses = [
        (round(one["occurred_at"].timestamp() * 1000), round(one["arrived_at"].timestamp() * 1000))
        for one in logs.responses
    ]
    told = {
        2: [(one["occurred_at"], one["arrived_at"]) for one in logs.circulation],
        7: [(one["occurred_at"], one["arrived_at"]) for one in logs.registrations] + responses,
    }
    loans = [
        (instant_of(one["data"]["new"]["loanDate"]), record["ts"])
        for record, one in logs.loans
        if one["type"] == "CREATED"
    ]

    for days, pairs in ((2, told[2]), (7, told[7]), (2, loans)):
        late = [pair for pair in pairs if pair[0] < MONTH_ENDS[-1] and past_horizon(*pair, days)]
        assert 0 < len(late) < len(pairs) / 20
    for arrivals in ({one[1] for one in told[2]}, {one[1] for one in loans}):
        assert {february + 2 * DAY - 1, february + 2 * DAY} <= arrivals


def test_every_source_repeats_itself_now_and_then(logs):
    repeated = {
        "carrel-event": collections.Counter(one["event_id"] for one in logs.circulation if one["op"] == "add"),
        "folio": collections.Counter(one["id"] for one in logs.payloads if one["type"] == "CREATED"),
        "evergreen": collections.Counter(one["id"] for one in logs.evergreen),
        "salesforce": collections.Counter(
            (member, one["ChangeEventHeader"]["transactionKey"])
            for one in logs.members
            for member in one["ChangeEventHeader"]["recordIds"]
        ),
    }

    assert all(sum(times > 1 for times in ids.values()) >= 2 for ids in repeated.values())


def test_acts_are_taken_back_in_time_too_late_and_in_vain(logs):
    story = collections.defaultdict(list)
    for one in logs.circulation:
        story[one["event_id"]].append((one["arrived_at"], one["op"], one["occurred_at"]))
    withdrawn = [events for events in story.values() if any(op == "retract" for _, op, _ in events)]
    deleted = [one for one in logs.payloads if one["type"] == "DELETED"]

    assert all(any(op == "add" for _, op, _ in events) for events in withdrawn)
    assert len([events for events in withdrawn if max(events)[1] == "retract"]) > 10
    assert any(max(events)[1] == "add" for events in withdrawn)
    assert any(
        op == "retract" and past_horizon(at, arrived, 2)
        for events in withdrawn
        for arrived, op, at in events
        if at < MONTH_ENDS[-1]
    )
    assert len(deleted) > 3
    assert all(set(one["data"]) == {"old"} for one in deleted)


def test_every_source_sends_fields_that_nobody_declared(logs):
    noted = rows_of(logs.directory / "evergreen" / "action.circulation-with-notes.tsv.gz")
    contacts = records_of(logs.directory / "salesforce" / "ContactChangeEvent-2.avro")

    assert any("patron_name" in one for one in logs.circulation)
    assert any("patron_name" in one for one in logs.registrations)
    assert any("shoeSize" in one["data"].get("old", {}) for _, one in logs.loans if one["type"] == "UPDATED")
    assert any("X-Patron" in one["headers"] for one in logs.folio)
    assert noted
    assert all(one["patron_note"] for one in noted)
    assert contacts
    assert all("Shoe_Size__c" in one for one in contacts)


def test_what_is_refused_stays_under_the_breakers_hundredth(logs):
    odd = sum("patron_name" in one or one["branch"] == "B99" for one in logs.circulation)

    assert 0 < odd < len(logs.circulation) / 100


def test_some_acts_are_at_a_branch_that_nobody_declared(logs):
    service_points, units = example_codes("folio")["branch"], example_codes("evergreen")["branch"]
    points = [one["data"]["new"]["checkoutServicePointId"] for _, one in logs.loans if one["type"] == "CREATED"]

    assert any(one["branch"] not in BRANCHES for one in logs.circulation)
    assert any(one not in service_points for one in points)
    assert any(one["circ_lib"] not in units for one in logs.evergreen)


def test_canary_patrons_act_in_every_source(logs):
    contacts = [one["ContactId"] or "" for one in logs.members]

    assert any((one["patron_ref"] or "").startswith("CANARY777") for one in logs.circulation)
    assert any(
        one["data"]["new"].get("userId", "").startswith("CANARY777") for _, one in logs.loans if "new" in one["data"]
    )
    assert any(one["usr"].startswith("7777") for one in logs.evergreen)
    assert any(one.startswith("003CANARY777") for one in contacts)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("word", ["CANARYSMITH", "CANARYNOTE"])
def test_canary_words_are_planted_in_every_source(logs, source, word):
    files = [path for path in (logs.directory / source).rglob("*") if path.is_file()]
    texts = [bytes_of(path) for path in files]
    records = [str(records_of(path)) for path in files if path.suffix == ".avro"]

    assert word.encode() in b"".join(texts) or word in "".join(records)


def test_exports_leave_out_some_patrons_and_items_that_act(logs):
    loans = [one["data"]["new"] for _, one in logs.loans if "new" in one["data"]]
    listed, items = {one["id"] for one in logs.users}, {one["id"] for one in logs.folio_items}
    accounts, copies = {one["id"] for one in logs.accounts}, {one["id"] for one in logs.copies}

    assert {one["userId"] for one in loans if "userId" in one} - listed
    assert {one["itemId"] for one in loans} - items
    assert {one["usr"] for one in logs.evergreen} - accounts
    assert {one["target_copy"] for one in logs.evergreen} - copies
    assert (logs.directory / "salesforce" / "lookups" / "campaigns.csv").read_text().startswith("Id,Type\n")
    assert (
        (logs.directory / "salesforce" / "lookups" / "members.csv").read_text().startswith("Id,ContactId,CampaignId\n")
    )


def test_messages_come_in_the_envelopes_that_people_have(logs):
    pulled = [
        json.loads(line) for line in bytes_of(logs.directory / "carrel-event" / "patron.pull.json.gz").splitlines()
    ]
    again = [json.loads(base64.b64decode(one["message"]["data"])) for one in pulled]

    assert again == [one for one in logs.registrations if "patron_name" not in one]
    assert [instant_of(one["message"]["publishTime"]) for one in pulled] == [one["arrived_at"] for one in again]
    assert all(
        {"topic", "partition", "offset", "ts", "tstype", "headers", "key", "payload"} <= set(one) for one in logs.folio
    )
    assert (logs.directory / "carrel-event" / "engagement.avro").read_bytes().startswith(b"Obj\x01")


def test_logs_with_arrivals_are_in_order_of_arrival(logs):
    for path, name in (("carrel-event/circulation.jsonl", "arrived_at"), ("folio/loan.jsonl", "ts")):
        arrivals = [line[name] for line in lines_of(logs.directory / path)]
        assert arrivals == sorted(arrivals)


def test_evergreen_tables_have_the_columns_of_the_real_ones(logs):
    for path, columns in (
        ("action.circulation.tsv", 34),
        ("lookups/actor.usr.tsv", 50),
        ("lookups/asset.copy.tsv", 33),
    ):
        rows = (logs.directory / "evergreen" / path).read_text().splitlines()
        assert {row.count("\t") + 1 for row in rows} == {columns}


def test_renewals_point_back_at_a_circulation_of_the_same_patron_and_copy(logs):
    rows = {one["id"]: one for one in logs.evergreen}
    within = [one for one in logs.evergreen if one["parent_circ"] in rows]
    elsewhere = [one for one in logs.evergreen if one["parent_circ"] not in {*rows, "\\N"}]
    counts = [one["data"]["new"]["renewalCount"] for _, one in logs.loans if one["type"] == "UPDATED"]

    assert within
    assert elsewhere
    for one in within:
        before = rows[one["parent_circ"]]
        assert (one["usr"], one["target_copy"]) == (before["usr"], before["target_copy"])
        assert one["xact_start"][:10] >= before["xact_start"][:10]
    assert max(counts) > 1


def test_salesforce_holds_gaps_merged_records_bitmaps_leads_and_deletions(logs):
    headers = [one["ChangeEventHeader"] for one in logs.members]

    assert {"CREATE", "UPDATE", "DELETE", "GAP_UPDATE"} == {one["changeType"] for one in headers}
    assert any(len(one["recordIds"]) > 1 for one in headers)
    assert any(one["changedFields"] == ["0x10"] for one in headers)
    assert any(one["nulledFields"] == ["0x10"] for one in headers)
    assert any(one["LeadId"] for one in logs.members)


@pytest.mark.parametrize("days", [30, 90, 91, 365, 1000])
def test_a_sample_of_any_length_begins_with_a_month_and_has_happened(days):
    first = first_day(days)

    assert first.day == 1
    assert first + dt.timedelta(days=days) <= AFTER_LAST_DAY


def test_a_year_has_a_day_of_25_hours_whose_repeated_hour_is_told_apart(tmp_path):
    autumn = 1_762_063_200_000  # 2025-11-02T06:00Z: the clocks go from 2 back to 1
    write_sample(tmp_path, patrons=20, days=365, sources=("evergreen",))
    rows = rows_of(tmp_path / "evergreen" / "action.circulation.tsv")
    starts = [one["xact_start"] for one in rows if one["xact_start"].startswith("2025-11-02 01:")]

    assert {one[-3:] for one in starts} == {"-04", "-05"}
    assert {autumn - 1000, autumn} <= {instant_of(one) // 1000 * 1000 for one in starts}
