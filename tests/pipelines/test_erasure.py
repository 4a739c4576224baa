"""A patron who is deleted or opts out counts in no window that is still open; what is published stays."""

import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from released import ledger, released
from replaying import at, checkouts, deployment, edit, killed, replayed, windows, write

from pipelines.configuration import ConfigurationError, load
from pipelines.lookups import LookupsError

TABLE = "circ_branch_material_month"


@pytest.fixture
def library(tmp_path):
    return deployment(tmp_path / "library")


def gone(*patrons: str, day: str, change: str = "deleted") -> list[dict[str, object]]:
    return [
        {
            "kind": "patron", "event_id": f"gone {patron}", "change": change, "patron_ref": patron,
            "occurred_at": at(day), "arrived_at": at(day, 1),
        }
        for patron in patrons
    ]  # fmt: skip


def months(made: Path) -> dict[str, list[tuple[object, ...]]]:
    """Numbers by month."""
    found: dict[str, list[tuple[object, ...]]] = {}
    for _, _, table, start, _, _, cell, measure, value, status, *_ in released(made):
        if table == TABLE:
            found.setdefault(str(start), []).append((cell, measure, value, status))
    return found


def test_whoever_is_erased_might_never_have_been_there(library, tmp_path):
    march = checkouts("2026-03-01", 30, delay=1)
    erased = {f"p{number}" for number in range(10)}
    log = march + gone(*erased, day="2026-03-10")
    random.Random(5).shuffle(log)
    twin = deployment(tmp_path / "twin")

    replayed(library, write(tmp_path / "log.jsonl", log), complete_from="2026-03-01", complete_through="2026-03-31")
    others = [event for event in march if event["patron_ref"] not in erased]
    replayed(twin, write(tmp_path / "others.jsonl", others), complete_from="2026-03-01", complete_through="2026-03-31")

    assert months(library) == months(twin)
    assert [value for _, measure, value, status in months(library)["2026-03-01"] if status == "published"]


def test_what_is_published_does_not_change_and_is_still_verified(library, tmp_path):
    march = write(tmp_path / "march.jsonl", checkouts("2026-03-01", 30, delay=1))
    later = checkouts("2026-04-01", 29, seed=2, delay=1) + gone("p1", "p2", day="2026-04-20", change="opted_out")
    april = write(tmp_path / "april.jsonl", later)
    replayed(library, march, complete_from="2026-03-01", complete_through="2026-03-31")
    before = months(library)

    replayed(library, april, complete_through="2026-04-30")
    again = replayed(library, march, april)

    assert months(library)["2026-03-01"] == before["2026-03-01"]
    assert (again.matches, again.differs) == (6, [])  # three tables, two months
    assert set(months(library)) == {"2026-03-01", "2026-04-01"}


def test_killed_and_resumed_it_erases_all_the_same(library, tmp_path):
    log = write(tmp_path / "log.jsonl", gone("p1", "p2", "p3", day="2026-03-01") + checkouts("2026-03-01", 30, delay=1))
    asked = {"complete_from": "2026-03-01", "complete_through": "2026-03-31"}
    for label in ("tallies-appended", "batch-committed", "rows-frozen", "rows-published"):
        killed(library, label, log, **asked)
    replayed(library, log, **asked)
    twin = deployment(tmp_path / "twin")

    replayed(twin, log, **asked)

    assert months(library) == months(twin)
    assert not {name for name in windows(library) if "2026-03" in name}


def test_an_erasure_in_the_first_days_makes_no_window_of_the_month_before(library, tmp_path):
    log = gone("p1", day="2026-04-02") + checkouts("2026-04-03", 26, delay=1)

    told = replayed(library, write(tmp_path / "log.jsonl", log), complete_through="2026-04-28")

    assert "2026-03-01" not in {row[1] for row in ledger(library)}
    assert not [name for name in (*told.held, *told.void) if "2026-03" in name]


def test_what_erases_goes_with_the_key_of_its_month(library, tmp_path):
    log = gone("p1", day="2026-04-02") + checkouts("2026-04-03", 10, delay=1)
    replayed(library, write(tmp_path / "log.jsonl", log), now="2026-04-14")
    assert {name for name in windows(library) if "2026-03" in name} == {
        f"{table} 2026-03-01" for table in (TABLE, "registrations_month", "engagement_month")
    }

    more = write(tmp_path / "more.jsonl", checkouts("2026-04-14", 1, delay=1))
    told = replayed(library, more, now="2026-05-01")

    assert "token 2026-03" in told.destroyed
    assert not {name for name in windows(library) if "2026-03" in name}
    assert "2026-03-01" not in {row[1] for row in ledger(library)}


@pytest.fixture
def two_systems(library, tmp_path):
    """A library whose CRM system tells who opts out, under ids of its own."""
    toml = library / "carrel.toml"
    ids = tmp_path / "ids.csv"
    crm = f'\n[sources.crm]\nadapter = "carrel-event"\nkinds = ["patron"]\nid_profile = "int"\nerases = {{ "carrel-event" = "{ids}" }}\n'
    toml.write_text(toml.read_text() + crm)
    return library, ids


def test_an_officers_map_carries_an_erasure_into_another_system(two_systems, tmp_path):
    made, ids = two_systems
    ids.write_text("crm,carrel-event\n" + "".join(f"00{1 + number // 2},p{number}\n" for number in range(2, 12)))
    march = checkouts("2026-03-01", 30, delay=1)
    erased = {f"p{number}" for number in range(2, 12)}  # two cards each
    told = gone(*map(str, range(2, 7)), "99", day="2026-03-10", change="opted_out")
    asked = {"complete_from": "2026-03-01", "complete_through": "2026-03-31"}
    twin = deployment(tmp_path / "twin")
    others = [event for event in march if event["patron_ref"] not in erased]
    replayed(twin, write(tmp_path / "others.jsonl", others), **asked)

    log = write(tmp_path / "log.jsonl", march)
    first = replayed(made, log, source="carrel-event", complete_through="2026-03-31", complete_from="2026-03-01")
    assert (first.released, first.void) == ([], [])  # who may still be erased is not known yet
    replayed(made, write(tmp_path / "crm.jsonl", told), source="crm", complete_through="2026-03-13")
    edit(made / "carrel.toml", "[sources.crm]\n", "[sources.crm]\nended = true\n")
    replayed(made, source="carrel-event")

    assert months(made) == months(twin)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "is missing"),
        ("crm,ils\n1,p1\n", "each line needs an id of crm and of carrel-event"),
        ("crm,carrel-event\n1,p1\nSECRET,p2\n", "1 of its lines have no two ids"),
        ("crm,carrel-event\n1,p1\n2\n", "1 of its lines have no two ids"),
    ],
)
def test_a_map_in_which_an_erasure_could_get_lost_is_refused(two_systems, tmp_path, text, said):
    made, ids = two_systems
    if text is not None:
        ids.write_text(text)

    with pytest.raises(LookupsError, match=said) as refused:
        replayed(made, write(tmp_path / "crm.jsonl", gone("1", day="2026-03-10")), source="crm")

    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize("other", ["crm", "nowhere"])
def test_erasures_reach_another_source_or_none(two_systems, other):
    made, _ = two_systems
    edit(made / "carrel.toml", 'erases = { "carrel-event"', f'erases = {{ "{other}"')

    with pytest.raises(ConfigurationError, match=r"sources\.crm\.erases: need the name of another source"):
        load(made / "carrel.toml")
