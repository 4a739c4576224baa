"""Redriven letters: what was mended counts as if it had never been refused, once, however often it is redriven."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from pipelines.bus import BusError
from pipelines.commands import redriving
from pipelines.configuration import BusConfig, load
from pipelines.dead_letters import DeadLetterDirectory
from pipelines.invocation import Invocation
from pipelines.publisher import Outgoing
from pipelines.redrive import Accepted, publish
from tests.support.released import released
from tests.support.replaying import at, checkouts, deployment, edit, replayed, write
from tests.support.scripted_live import SOURCE, ScriptedLive, checkout

BRANCH = 'B02 = "north"\n'


def made(directory, *, without_branch):
    """A deployment; one of two has a policy that does not know a branch yet. Their keys and store are the same."""
    deployment(directory)
    if without_branch:
        edit(directory / "policy.toml", BRANCH, "")
    return directory


def log(days=50):
    return checkouts("2026-03-01", days, delay=30.0, of=4)


def list_of(directory):
    return [(one.reason, one.letters, one.redriven) for one in DeadLetterDirectory(directory / "dead-letters").list()]


def redrive(run, directory, *words, code=0):
    key = directory.parent / f"{directory.name}-secrets" / "recipient.key"
    return run("-c", directory / "carrel.toml", "deadletters", "redrive", "--key", key, *words, code=code)


def test_a_mended_archive_is_counted_as_if_nothing_had_been_refused_also_when_it_comes_twice(run, tmp_path):
    events = log()
    late = made(tmp_path / "late", without_branch=True)
    first = write(tmp_path / "log.jsonl", events[::-1])
    replayed(late, first)
    ((reason, refused, _),) = list_of(late)
    assert (reason, refused > 50) == ("unknown_branch", True)
    edit(late / "policy.toml", 'B01 = "north"\n', 'B01 = "north"\n' + BRANCH)

    said = redrive(run, late, "--to-archive", tmp_path / "mended.jsonl")
    again = redrive(run, late, "--to-archive", tmp_path / "again.jsonl")

    mended = (tmp_path / "mended.jsonl").read_bytes().splitlines()
    assert f"{refused} letters" in said.stdout
    assert "no letter is accepted" in again.stdout
    assert (tmp_path / "mended.jsonl").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "again.jsonl").exists()
    assert sorted(mended) == sorted(json.dumps(event).encode() for event in events if event["branch"] == "B02")
    arrivals = [json.loads(line)["arrived_at"] for line in mended]
    assert arrivals == sorted(arrivals)
    assert list_of(late) == [("unknown_branch", refused, refused)]
    assert [
        one["action"]
        for one in json.loads(run("-c", late / "carrel.toml", "deadletters", "log", "--json").stdout)["entries"]
    ] == ["redrive", "redrive"]

    copy = write(tmp_path / "copy.jsonl", map(json.loads, mended))
    rest = write(tmp_path / "rest.jsonl", (event for event in events if event["branch"] != "B02"))
    both = []
    for name, files in (("whole", [first]), ("parts", [rest, tmp_path / "mended.jsonl", copy])):
        one = made(tmp_path / name, without_branch=False)
        replayed(one, *files)
        both.append([row[1:] for row in released(one)])
    assert both[0]
    assert both[0] == both[1]


def test_what_is_still_refused_stays_a_letter_and_is_counted_by_its_new_reason(run, tmp_path):
    directory = made(tmp_path / "library", without_branch=True)
    bad = [{**event, "branch": "B02", "material": "papyrus", "action": "burn"} for event in log(2)[:3]]
    replayed(directory, write(tmp_path / "log.jsonl", [*log(20)[:40], *bad, {"branch": "CANARY"}]))

    said = redrive(run, directory, "--to-archive", tmp_path / "mended.jsonl").stdout
    assert "CANARY" not in said
    assert "no letter is accepted" in said
    assert not (tmp_path / "mended.jsonl").exists()
    assert all(redriven == 0 for _, _, redriven in list_of(directory))


def test_source_and_reason_choose_and_one_place_must_be_named(run, tmp_path):
    directory = made(tmp_path / "library", without_branch=True)
    replayed(directory, write(tmp_path / "log.jsonl", log(20)))
    edit(directory / "policy.toml", 'B01 = "north"\n', 'B01 = "north"\n' + BRANCH)

    redrive(run, directory, code=2)
    redrive(run, directory, "--to-bus", "--to-archive", "x", code=2)
    redrive(run, directory, "--to-bus", "--source", "nobody", code=2)
    redrive(run, directory, "--to-bus", "--reason", "nothing", code=2)
    assert "has no bus" in redrive(run, directory, "--to-bus", code=2).stderr
    none = redrive(run, directory, "--reason", "gap", "--to-archive", tmp_path / "mended.jsonl")
    assert "no letter is accepted" in none.stdout
    assert all(redriven == 0 for _, _, redriven in list_of(directory))
    (tmp_path / "there.jsonl").write_text("mine")
    redrive(run, directory, "--to-archive", tmp_path / "there.jsonl", code=2)
    assert (tmp_path / "there.jsonl").read_text() == "mine"
    assert all(redriven == 0 for _, _, redriven in list_of(directory))


def test_a_letter_from_a_bus_keeps_its_arrival_so_that_it_is_as_late_as_it_was(run, tmp_path, monkeypatch):
    start = at("2026-03-10", 7)
    directory = made(tmp_path / "library", without_branch=True)
    live = ScriptedLive(directory / "carrel.toml", monkeypatch, start)
    arrivals = [start - 60_000, start - 30_000]
    live.bus.put([(arrived, checkout(number, start - 90_000, branch="B02")) for number, arrived in enumerate(arrivals)])
    live.run(*[lambda: None] * 3)
    edit(directory / "policy.toml", 'B01 = "north"\n', 'B01 = "north"\n' + BRANCH)

    redrive(run, directory, "--source", SOURCE, "--to-archive", tmp_path / "mended.jsonl")
    redriven = [json.loads(line) for line in (tmp_path / "mended.jsonl").read_text().splitlines()]
    assert [line["message"]["publishTime"] for line in redriven] == [
        "2026-03-10T11:59:00.000+00:00", "2026-03-10T11:59:30.000+00:00",
    ]  # fmt: skip
    summary = replayed(directory, tmp_path / "mended.jsonl", source=SOURCE)
    assert summary.messages[SOURCE, "decoded"] == 2


def test_a_letter_that_does_not_say_its_topic_goes_to_no_guessed_one(tmp_path):
    source = load(made(tmp_path / "library", without_branch=False) / "carrel.toml").sources[0]
    bus = BusConfig("kafka", ("a", "b"), None, {}, None)
    with pytest.raises(BusError, match="which of its topics"):
        publish(replace(source, bus=bus), "lines", [Accepted(None, b"{}", 0)])  # type: ignore[arg-type]


def test_a_message_of_pubsub_goes_on_the_same_whether_it_stands_alone_or_is_received(monkeypatch, tmp_path):
    source = load(made(tmp_path / "library", without_branch=False) / "carrel.toml").sources[0]
    sent = []
    publisher = SimpleNamespace(send=sent.extend)
    monkeypatch.setattr("pipelines.redrive._publisher", lambda source, topic: publisher)
    message = {"data": "e30=", "attributes": {"a": "b"}, "orderingKey": "k", "messageId": "1"}

    for letter in (message, {"message": message, "ackId": "x"}):
        bus = BusConfig("pubsub", (), None, {}, "projects/p/subscriptions/s")
        payload = json.dumps(letter).encode()
        publish(replace(source, bus=bus), "pubsub", [Accepted(None, payload, 0)])  # type: ignore[arg-type]

    assert sent == [Outgoing(b"{}", "k", (("a", "b"),))] * 2


def test_a_source_whose_erasures_reach_another_one_is_redriven_like_any(run, tmp_path):
    directory = made(tmp_path / "library", without_branch=True)
    adapter = 'adapter = "carrel-event"\n'
    edit(directory / "carrel.toml", adapter, adapter + 'erases = { crm = "ids.csv" }\n')
    with (directory / "carrel.toml").open("a") as file:
        file.write(f"[sources.crm]\n{adapter}")
    (directory / "ids.csv").write_text("carrel-event,crm\np1,c1\n")
    replayed(directory, write(tmp_path / "log.jsonl", log(20)), source="carrel-event")
    edit(directory / "policy.toml", 'B01 = "north"\n', 'B01 = "north"\n' + BRANCH)

    redrive(run, directory, "--to-archive", tmp_path / "mended.jsonl")

    ((_, refused, redriven),) = list_of(directory)
    assert refused == redriven > 0


def test_a_line_of_a_table_stays_a_letter_and_it_is_said_why(tmp_path, capsys):
    directory = deployment(tmp_path / "library", sources=["evergreen"])
    (directory / "archive" / "evergreen" / "lookups").mkdir(parents=True)
    for name, columns in {
        "actor.usr": "id\tprofile",
        "actor.usr_address": "usr\tpost_code",
        "asset.copy": "id",
    }.items():
        row = "\t".join("1" for _ in columns.split("\t"))
        (directory / "archive" / "evergreen" / "lookups" / f"{name}.tsv").write_text(f"{columns}\n{row}\n")
    log = tmp_path / "circulation.tsv"
    log.write_text("id\tusr\txact_start\n1\tCANARYSMITH\n")
    replayed(directory, log)
    capsys.readouterr()
    key = tmp_path / "library-secrets" / "recipient.key"

    redriving.redrive(
        Invocation(directory / "carrel.toml", at("2026-06-02")), key,
        source=None, reason=None, archive=tmp_path / "mended.tsv", to_bus=False,
    )  # fmt: skip

    said = capsys.readouterr().out
    assert "evergreen: lines of a table do not say their columns and are not redriven" in said
    assert "CANARY" not in said
    assert not (tmp_path / "mended.tsv").exists()
    assert [(letters, redriven) for _, letters, redriven in list_of(directory)] == [(1, 0)]
