"""What would grow for ever in the work store goes with the letters that it is of, in live and in replay."""

import sqlite3

from pipelines.configuration import load
from pipelines.work_store import WorkStore
from pipelines.work_values import OPEN
from tests.support.replaying import DAY, at, checkouts, deployment, replayed, write
from tests.support.scripted_live import SOURCE, ScriptedLive
from tests.support.scripted_live import checkouts as live_checkouts

BAD = {"kind": "circulation", "shoe": 44}


def remembered(made):
    """Rows of messages that were refused, and rows of counts."""
    path = load(made / "carrel.toml").work_store
    with WorkStore(path, read_only=True) as store:
        decoded = store.totals(OPEN)[SOURCE, "decoded"]
    with sqlite3.connect(path) as db:
        ((seen,),) = db.execute("SELECT COUNT(*) FROM seen_rejects")
        ((counts,),) = db.execute("SELECT COUNT(*) FROM batches")
    db.close()
    return seen, counts, decoded


def test_live_remembers_what_it_refused_as_long_as_the_letters_are_kept(tmp_path, monkeypatch):
    made = deployment(tmp_path / "library")
    live = ScriptedLive(made / "carrel.toml", monkeypatch, at("2026-03-10", 12))
    found = []

    def put(number):
        events = live_checkouts([number], live.now - 60_000)
        live.bus.put([*events, (events[0][0], {**BAD, "event_id": f"bad{number}"})])

    def days_later(days):
        live.now += days * DAY
        put(days)

    live.run(
        lambda: put(0), lambda: put(1), lambda: days_later(14), lambda: found.append(remembered(made)),
        lambda: days_later(15), lambda: found.append(remembered(made)),
    )  # fmt: skip

    (seen, counts, decoded), (later_seen, later_counts, later_decoded) = found
    assert (seen, decoded) == (3, 3)
    assert (later_seen, later_decoded) == (1, 4)
    assert later_counts <= counts


def test_replay_remembers_what_it_refused_as_long_as_the_letters_are_kept(tmp_path):
    made = deployment(tmp_path / "library")
    log = made / "archive" / "carrel-event"
    write(log / "a.jsonl", [*checkouts("2026-03-01", 5, of=5), BAD])
    replayed(made, now="2026-03-10")

    kept = remembered(made)[0]
    write(log / "b.jsonl", [*checkouts("2026-03-06", 5, of=5), {**BAD, "shoe": 45}])
    replayed(made, now="2026-03-25")

    assert kept == 1
    assert remembered(made)[0] == 1
    assert remembered(made)[2] == 50
