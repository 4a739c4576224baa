"""Logs that no part of Carrel wrote, and their truth, counted beside them: canonical events and Evergreen.

An event is a plain object here, and its truth is counted by plain loops; the writers below put it into the
forms that buses, archives and PostgreSQL give it. Nothing of the product is imported.
"""

import base64
import gzip
import json
import random
import re
import shutil
import sqlite3
import tomllib
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import fastavro
import pytest

ZONE = ZoneInfo("Europe/Oslo")
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
K, FAR = 11, 60  # noise beyond FAR has a chance under 1e-12
REGIONS = {"DEICH": "sentrum", "GRU": "sentrum", "FURU": "ost", "HOLM": "ost", "BYG": "oyene"}
LISTS = {
    "material": ["bok", "film", "spill"],
    "audience": ["voksen", "barn"],
    "patron_type": ["vanlig", "ung"],
    "campaign_type": ["nyhetsbrev", "kurs"],
    "response": ["sendt", "klikket"],
}
DOMAINS = {name: [*codes, "other"] for name, codes in LISTS.items()} | {
    "branch": [*REGIONS],
    "home_branch": [*REGIONS, "other"],
    "region": sorted(set(REGIONS.values())),
    "home_region": [*sorted(set(REGIONS.values())), "other"],
    "age_band": ["0-12", "13-17", "18-24", "25-44", "45-64", "65+", "other"],
    "day_type": ["weekday", "weekend"],
    "daypart": ["night", "early", "morning", "afternoon", "evening", "late"],
    "outcome": ["placed", "filled", "cancelled", "expired"],
    "change": ["new", "renewed", "expired"],
}
MONTHS = ["2026-02-01", "2026-03-01"]  # the clocks go forward on 29 March
ACTIONS = ("checkout",) * 6 + ("renewal",) * 3 + ("return", "hold_placed", "hold_filled", "hold_cancelled")
CIRCULATION = (
    "circ_branch_month", "circ_branch_material_month", "circ_system_day", "circ_branch_daypart_month",
    "circ_age_month", "circ_ptype_month", "flow_month",
)  # fmt: skip
OWN_CODES = {"branch": {"Grünerløkka": "GRU"}, "material": {"BOK/1": "bok"}}


def midnight(day):
    return int(datetime(day.year, day.month, day.day, tzinfo=ZONE).timestamp()) * 1000


FIRST, LAST = date(2026, 2, 1), date(2026, 4, 1)
START, END = midnight(FIRST), midnight(LAST)
EDGES = [
    midnight(date(2026, *day)) + at
    for day in ((2, 28), (3, 1), (3, 29), (3, 30))
    for at in (0, HOUR, 2 * HOUR, 3 * HOUR)
]


def local(at):
    return datetime.fromtimestamp(at / 1000, ZONE)


# What happened ----------------------------------------------------------------------------------------------


def people(chance, n, kinds):
    """Patrons, and staff, guests and test accounts among them."""
    for number in range(n):
        born = date(
            chance.choice([2018, 2012, 2008, 2001, 1985, 1961, 1940]), chance.randint(1, 12), chance.randint(1, 28)
        )
        yield {
            "patron_ref": chance.choice(["P%05d", "00%07d", "ø-%d"]) % number if "guest" in kinds else str(number + 2),
            "patron_kind": chance.choice(kinds) if number % 9 == 8 else "patron",
            "patron_type": chance.choice([*LISTS["patron_type"], "ukjent", None]),
            "home_branch": chance.choice(["DEICH", "DEICH", "GRU", "FURU", "BYG", None]),
            "birth_date": "2008-02-29" if number % 50 == 7 else None if number % 20 == 3 else born.isoformat(),
        }


def visits(chance, everybody):
    """(who, branch, when) of every act: heavy users, a branch of 9 patrons, one that one patron dominates, edges."""
    for number, who in enumerate(everybody):
        for _ in range(150 if number % 97 == 0 else chance.randint(0, 9)):
            yield who, chance.choice(["DEICH", "DEICH", "GRU"]), chance.randrange(START, END)
    for who in everybody[:9]:
        yield from ((who, "BYG", chance.randrange(START, END)) for _ in range(4))
    for number, who in enumerate(everybody[:60]):
        yield from ((who, "FURU", START + 20 * DAY + at) for at in range(90 if number == 1 else 6))
    for edge in EDGES:
        yield from ((chance.choice(everybody), "DEICH", edge + off) for off in (-1, 0, 1) if edge + off >= START)


def canonical(chance):
    """Canonical messages with redelivery, retries, retractions, corrections and late arrivals among them."""
    everybody = list(people(chance, 300, ["staff", "system", "test", "shadow", "guest"]))
    acts = [
        {**who, "kind": "circulation", "occurred_at": at, "action": chance.choice(ACTIONS), "branch": branch,
         "material": chance.choice([*LISTS["material"], "bok", "vinyl", None]), "audience": chance.choice([*LISTS["audience"], None])}
        for who, branch, at in visits(chance, everybody)
    ]  # fmt: skip
    for who in everybody:
        at, kinds = chance.randrange(START, END), [*DOMAINS["change"], "updated", "deleted"]
        acts += [{**who, "kind": "patron", "occurred_at": at, "change": chance.choice(kinds)}]
        acts += [{**who, "kind": "engagement", "occurred_at": at + 1, "campaign_type": chance.choice(DOMAINS["campaign_type"]),
                  "response": chance.choice(DOMAINS["response"])}]  # fmt: skip
    for number, act in enumerate(acts):
        act |= {"v": 1, "event_id": f"e{number}", "op": "add"}
        act["arrived_at"] = act["occurred_at"] + chance.choice(
            [0, 300, 7 * MINUTE, HOUR, 30 * HOUR, 5 * DAY, 40 * DAY][: number % 8 + 1]
        )
        if number % 100 == 99:
            act["patron_ref"] = None
    for at, (day, horizon) in enumerate([(date(2026, 3, 1), 2 * DAY), (date(2026, 3, 20), 2 * DAY)] * 30):
        acts[at] |= {"occurred_at": midnight(day) - HOUR, "arrived_at": midnight(day) + horizon + at % 3 - 1}
    messages = list(acts)
    for number, act in enumerate(chance.sample(acts, len(acts) // 5)):
        arrived = act["arrived_at"]
        retraction = {
            **act,
            "op": "retract",
            "arrived_at": max(act["occurred_at"], arrived + chance.choice([-1, 0, 1, HOUR, 50 * DAY])),
        }
        correction = {**act, "arrived_at": arrived + 7}
        if act["kind"] == "circulation":
            correction |= {"material": "film", "branch": "HOLM"}
        again = {**act, "arrived_at": arrived + 2 * HOUR}
        messages += [
            [act],
            [again],
            [retraction],
            [correction],
            [retraction, again],
            [{**retraction, "event_id": f"g{number}"}],
        ][number % 6]
    return messages


def evergreen(chance):
    """Checkouts and renewals with the microsecond they began at, patrons and copies that the exports lack among them."""
    everybody = list(people(chance, 220, ["staff", "test"]))
    copies = [
        (str(at), chance.choice([*LISTS["material"], "utstyr", None]), chance.choice([*LISTS["audience"], None]))
        for at in range(1, 200)
    ]
    for number, who in enumerate(everybody):
        if number % 30 == 29:  # not in the export
            who |= {
                "patron_kind": "patron",
                "patron_type": None,
                "home_branch": None,
                "birth_date": None,
                "is_missing": True,
            }
    acts = []
    for who, branch, at in visits(chance, everybody):
        copy, material, audience = chance.choice(copies)
        known = (None, None) if copy.endswith("3") else (material, audience)
        acts.append({
            **who, "kind": "circulation", "event_id": str(len(acts) + 1), "op": "add", "occurred_at": at, "arrived_at": at,
            "action": "renewal" if acts and chance.random() < 0.3 else "checkout", "branch": branch, "material": known[0],
            "audience": known[1], "copy": copy, "micros": at * 1000 + chance.choice([0, 1, 600, 999]),
        })  # fmt: skip
    for act in acts[::70]:  # aged: the patron is gone from the row
        act["patron_ref"] = None
    return acts, everybody, copies


# What is true -----------------------------------------------------------------------------------------------


def cell_of(event, dimensions):
    here = local(event["occurred_at"])
    at = dict(event)
    at["region"], at["home_region"] = (REGIONS.get(event.get(name)) for name in ("branch", "home_branch"))
    at["day_type"] = "weekend" if here.weekday() > 4 else "weekday"
    at["daypart"] = DOMAINS["daypart"][sum(here.hour >= hour for hour in (6, 9, 12, 17, 20))]
    at["outcome"] = event.get("action", "").removeprefix("hold_")
    if event["birth_date"]:
        born = date.fromisoformat(event["birth_date"])
        age = here.year - born.year - ((here.month, here.day) < (born.month, born.day))
        at["age_band"] = DOMAINS["age_band"][sum(age >= least for least in (13, 18, 25, 45, 65))]
    cell = {name: at.get(name) if at.get(name) in DOMAINS[name] else "other" for name in sorted(dimensions)}
    return json.dumps(cell, separators=(",", ":"))


def window_of(event, grain):
    first = local(event["occurred_at"]).date()
    if grain == "day":
        return first.isoformat(), midnight(first + timedelta(days=1))
    return first.strftime("%Y-%m-01"), midnight((first.replace(day=1) + timedelta(days=32)).replace(day=1))


def erased(messages, start, closes):
    """Who was deleted by a message that came while a window was open; of one deletion the latest such message stands."""
    standing = {}
    for event in messages:
        if (
            event.get("change") == "deleted"
            and event["patron_kind"] == "patron"
            and start <= event["arrived_at"] < closes
        ):
            order = event["arrived_at"], event["op"] == "retract"
            if order >= standing.get(event["event_id"], [(0, False)])[0]:
                standing[event["event_id"]] = order, event["patron_ref"]
    return {patron for (_, is_retracted), patron in standing.values() if not is_retracted}


def truth(messages, table):
    """(window, cell) -> how many acts each (patron, part) has: of one act the latest message stands."""
    standing, ends = {}, {}
    for event in messages:
        part = event.get("action") or event.get("change") or ""
        if event["kind"] != table["kind"] or event["patron_kind"] != "patron" or event["patron_ref"] is None:
            continue
        window, end = window_of(event, table["grain"])
        if (table["parts"] and part not in table["parts"]) or event["arrived_at"] >= end + table["horizon_days"] * DAY:
            continue
        ends[window] = end
        order = event["arrived_at"], event["op"] == "retract"
        if order >= standing.get((window, event["event_id"]), [(0, False)])[0]:
            standing[window, event["event_id"]] = order, cell_of(event, table["dimensions"]), event["patron_ref"], part
    horizon = table["horizon_days"] * DAY
    gone = {at: erased(messages, midnight(date.fromisoformat(at)), end + horizon) for at, end in ends.items()}
    cells = defaultdict(Counter)
    for (window, _), ((_, is_retracted), cell, patron, part) in standing.items():
        if not is_retracted and patron not in gone[window]:
            cells[window, cell][patron, part] += 1
    return cells


def check(deployment, messages, noise):
    """Every released number against the truth, in every declared cell of every window; how many were published."""
    tables = tomllib.loads((deployment / "policy.toml").read_text())["tables"]
    database = sqlite3.connect(deployment / "counts.db")
    published = 0
    for table in tables:
        rows = database.execute(
            "SELECT window_start, cell, measure, value, status FROM released_counts WHERE table_name = ?",
            (table["name"],),
        ).fetchall()
        true, size = truth(messages, table), 1
        for name in table["dimensions"]:
            size *= len(DOMAINS[name])
        days = [(FIRST + timedelta(days=at)).isoformat() for at in range((LAST - FIRST).days)]
        assert all(row[4] == "withheld" for row in rows if row[0] >= LAST.isoformat())
        rows = [row for row in rows if row[0] < LAST.isoformat()]
        assert {row[0] for row in rows} == set(days if table["grain"] == "day" else MONTHS)
        assert {row[1] for row in rows} >= {cell for _, cell in true}
        assert len(rows) == size * len(table["measures"]) * len({row[0] for row in rows})
        for window, cell, measure, value, status in rows:
            part = {"total_checkouts": "checkout", "total_renewals": "renewal"}.get(measure)
            acts = Counter()
            for (patron, of), amount in true.get((window, cell), {}).items():
                acts[patron] += amount if part in {None, of} else 0
            acts, where = +acts, (table["name"], window, cell, measure, value)
            is_shown, near = len(acts) >= K, noise
            exact = len(acts) if measure == "patrons" else sum(min(table["clip"], amount) for amount in acts.values())
            if part:
                exact, near = acts.total(), 5
                is_shown = len(acts) >= 5 * K and max(acts.values()) * 10 <= exact
            assert status == ("published" if is_shown else "withheld"), where
            assert value is None if not is_shown else abs(value - exact) <= near, where
            published += is_shown
    database.close()
    return published


# How it is written ------------------------------------------------------------------------------------------


def line(chance, event):
    """One JSON line: defaults and nulls left out or written, in any order, in the library's own codes or ours."""
    own = {name: {code: wire for wire, code in codes.items()} for name, codes in OWN_CODES.items()}
    defaults = {"v": 1, "op": "add", "patron_kind": "patron"}
    said = {
        name: own.get(name, {}).get(value, value) if chance.random() < 0.5 else value
        for name, value in chance.sample(sorted(event.items()), len(event))
        if defaults.get(name) != value or chance.random() < 0.5
    }
    return json.dumps(said, ensure_ascii=chance.random() < 0.5).encode()


def refused(event):
    """Lines that have to cost nothing but themselves."""
    yield from (b"{", b"[]", b"null", b"\xff", b'{"kind":"loan"}', json.dumps({**event, "shoe_size": 44}).encode())
    for change in (
        {"v": 2},
        {"occurred_at": "noon"},
        {"event_id": None},
        {"branch": "NOWHERE"},
        {"occurred_at": END + 90 * DAY},
    ):
        yield json.dumps({**event, **change}).encode()


def in_lines(directory, chance, messages):
    shuffled = [line(chance, event) for event in chance.sample(messages, len(messages))]
    known = next(
        event
        for event in messages
        if event["kind"] == "circulation" and event["patron_kind"] == "patron" and event["patron_ref"]
    )
    shuffled += refused(known)
    chance.shuffle(shuffled)
    (directory / "one.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\n".join(shuffled))
    return [directory / "one.jsonl"]


def in_parts(directory, chance, messages):
    """Split over files that overlap: gzipped or not, either line end, empty lines, no last one."""
    lines = [line(chance, event) for event in chance.sample(messages, len(messages))]
    for number in range(3):
        text = (b"\n\n", b"\r\n", b"\n")[number].join(lines[number::3] + lines[:200])
        (directory / f"{number}.jsonl").write_bytes(gzip.compress(text) if number else text)
    return sorted(directory.glob("*.jsonl"))


def bare(event):
    """An event as a bus carries it: without arrival, which is the bus's to say."""
    return json.dumps({name: value for name, value in event.items() if name != "arrived_at"})


def from_buses(directory, _, messages):
    """What was pulled from two buses: records of Kafka and messages of Pub/Sub."""
    with (directory / "kcat.jsonl").open("w") as out:
        for at, event in enumerate(messages[::2]):
            record = {"topic": "t", "partition": at % 3, "offset": at, "tstype": "create", "ts": event["arrived_at"]}
            out.write(json.dumps(record | {"broker": 1, "key": event["event_id"], "payload": bare(event)}) + "\n")
    with gzip.open(directory / "pubsub.jsonl.gz", "wt") as out:
        for at, event in enumerate(messages[1::2]):
            data, seconds = base64.b64encode(bare(event).encode()).decode(), event["arrived_at"] // 1000
            when = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{event['arrived_at'] % 1000:03}Z"
            message = {"data": data, "messageId": str(at), "publishTime": when}
            out.write(json.dumps({"ackId": "a", "message": message}) + "\n")
    return [directory / "kcat.jsonl", directory / "pubsub.jsonl.gz"]


def in_avro(directory, _, messages):
    for kind in ("circulation", "patron", "engagement"):
        schema = json.loads((Path(__file__).parents[2] / "schemas" / "contracts" / f"{kind}.avsc").read_text())
        with (directory / f"{kind}.avro").open("wb") as out:
            fastavro.writer(out, schema, [event for event in messages if event["kind"] == kind], codec="deflate")
    return sorted(directory.glob("*.avro"))


def row_of(chance, act):
    zone = chance.choice([ZONE, UTC, timezone(-timedelta(hours=3, minutes=30)), ZoneInfo("America/New_York")])
    when = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=act["micros"])).astimezone(zone)
    began = re.sub(r":00$", "", when.isoformat(" ")) if zone is not UTC else f"{when:%Y-%m-%d %H:%M:%S.%f}+00"
    return {
        "id": act["event_id"], "usr": act["patron_ref"], "xact_start": began, "target_copy": act["copy"],
        "circ_lib": UNITS.get(act["branch"]), "parent_circ": "1" if act["action"] == "renewal" else None, "circ_staff": "7",
        "due_date": "2026-04-30 23:59:59+02", "duration": "14 days", "workstation": "desk\\\\1", "create_time": began,
    }  # fmt: skip


UNITS = {branch: str(at) for at, branch in enumerate(REGIONS, 101)}
PROFILES = {"vanlig": "2", "ung": "3", "ukjent": "77", "staff": "15", "test": "16"}
LOCATIONS = {"voksen": "103", "barn": "118"}
CODES = {
    "branch": {unit: branch for branch, unit in UNITS.items()},
    "home_branch": {unit: branch for branch, unit in UNITS.items()},
    "audience": {place: code for code, place in LOCATIONS.items()},
    "patron_type": {wire: code for code, wire in PROFILES.items() if code != "ukjent"},
}


def write_tsv(path, columns, rows, ending="\n", start=""):
    text = [columns, *([("\\N" if row.get(name) is None else row[name]) for name in columns] for row in rows)]
    data = (start + ending.join("\t".join(cells) for cells in text) + ending).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def in_tables(directory, chance, acts, everybody, copies):
    rows = [row_of(chance, act) for act in chance.sample(acts, len(acts))]
    names = list(rows[0])
    good = dict(rows[0], id="x", usr="2", circ_lib="101", xact_start="2026-03-03 10:00:00+01")
    changes = (
        {"xact_start": "infinity"},
        {"circ_lib": "999"},
        {"circ_lib": None},
        {"id": None},
        {"xact_start": "2026-03-03"},
    )
    write_tsv(
        directory / "action.circulation.1.tsv", names, rows[::3] + [good | change for change in changes], start="\ufeff"
    )
    write_tsv(directory / "action.circulation.2.tsv.gz", names[::-1], rows[1::3] + rows[:90], ending="\r\n")
    write_tsv(directory / "action.circulation.3.tsv", [*names[:6], "stop_fines"], rows[2::3])
    write_tsv(
        directory / "action.circulation.4.tsv",
        [*names, "title"],
        [{**row, "id": f"9{row['id']}", "title": "A Secret"} for row in rows[:50]],
    )
    users = [
        {"id": who["patron_ref"], "home_ou": UNITS.get(who["home_branch"]), "dob": who["birth_date"], "usrname": "q",
         "profile": PROFILES.get(who["patron_type"] if who["patron_kind"] == "patron" else who["patron_kind"])}
        for who in everybody if "is_missing" not in who
    ]  # fmt: skip
    write_tsv(directory / "actor.usr.tsv", ["profile", "usrname", "id", "dob", "home_ou"], users)
    write_tsv(
        directory / "actor.usr_address.tsv", ["id", "usr", "post_code"], [{"id": "1", "usr": "2", "post_code": "0150"}]
    )
    items = [
        {"id": copy, "circ_modifier": material, "location": LOCATIONS.get(audience)}
        for copy, material, audience in copies
    ]
    write_tsv(
        directory / "asset.copy.tsv",
        ["circ_modifier", "id", "location"],
        [one for one in items if not one["id"].endswith("3")],
    )


# What comes of it -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(run, tmp_path_factory):
    """What `carrel init` writes."""
    directory = tmp_path_factory.mktemp("init") / "deployment"
    run("init", directory, "--sources", "carrel-event,evergreen", "--secrets", directory / "secrets")
    return directory


def deployed(written, directory, source, preset, tables=()):
    """What a librarian makes of the files of `carrel init`: one source, this library's codes, archives and tables."""
    shutil.copytree(written, directory)
    head, *parts = re.split(r"(?m)^(?=\[sources\.)", (written / "carrel.toml").read_text())
    kept = [one for one in parts if one.startswith(f"[sources.{source}") and ".codes." not in one.split("]")[0]]
    text = "".join(kept).replace("archive/evergreen/lookups/", "../").replace("archive/evergreen/", "../")
    codes = OWN_CODES if source == "carrel-event" else CODES
    text += "".join(section(f"sources.{source}.codes.{name}", one) for name, one in codes.items())
    (directory / "carrel.toml").write_text(head + text)
    blocks = re.split(r"(?m)^(?=\[\[tables\]\])", (written / "policy.toml").read_text())[1:]
    policy = f'preset = "{preset}"\ntime_zone = "{ZONE.key}"\nk = {K}\n' + section("branches", REGIONS)
    policy += section("dimensions", LISTS) + section("zones", {})
    policy += "".join(one for one in blocks if not tables or one.split('"')[1] in tables)
    (directory / "policy.toml").write_text(policy)
    return directory


def section(name, entries):
    return f"[{name}]\n" + "".join(
        f"{json.dumps(key, ensure_ascii=False)} = {json.dumps(value)}\n" for key, value in entries.items()
    )


def replay(run, deployment, *arguments, **more):
    return run("-c", deployment / "carrel.toml", "replay", "--complete-from", FIRST, *arguments, **more)


def released(deployment):
    database = sqlite3.connect(deployment / "counts.db")
    rows = database.execute("SELECT * FROM released_counts ORDER BY table_name, window_start, cell, measure").fetchall()
    database.close()
    return rows


def test_what_is_released_of_canonical_events_from_outside_is_what_is_true(run, written, tmp_path):
    chance = random.Random(31)
    messages = canonical(chance)
    deployment = deployed(written, tmp_path / "deployment", "carrel-event", "standard")

    done = replay(run, deployment, *in_lines(tmp_path, chance, messages))

    assert check(deployment, messages, FAR) > 300
    assert "rejected 11" in done.stdout
    assert "conservation holds" in done.stdout


def test_the_same_events_in_any_form_order_and_number_and_after_a_kill_are_the_same_bytes(run, written, tmp_path):
    chance = random.Random(32)
    messages = canonical(chance)
    tables = ("circ_branch_material_month", "registrations_month", "engagement_month")
    rows = []
    for write in (in_parts, from_buses, in_avro):
        deployment = deployed(written, tmp_path / write.__name__, "carrel-event", "plain", tables)
        (directory := tmp_path / f"{write.__name__}-logs").mkdir()
        paths = write(directory, chance, messages)
        if not rows:
            replay(run, deployment, *paths, code=None, CARREL_CRASH_AT="rows-frozen")
            assert released(deployment) == []
        replay(run, deployment, *paths)
        rows.append(released(deployment))
        assert check(deployment, messages, 0) > 30

    assert rows[0] == rows[1] == rows[2]


@pytest.mark.parametrize(
    ("preset", "tables", "noise"), [("standard", CIRCULATION, FAR), ("plain", ("circ_age_month",), 0)]
)
def test_what_is_released_of_evergreen_tables_from_outside_is_what_is_true(
    run, written, tmp_path, preset, tables, noise
):
    chance = random.Random(33)
    acts, *lookups = evergreen(chance)
    in_tables(tmp_path, chance, acts, *lookups)
    deployment = deployed(written, tmp_path / "deployment", "evergreen", preset, tables)

    done = replay(run, deployment, "--complete-through", LAST + timedelta(days=1))

    assert check(deployment, acts, noise) > 20
    assert "rejected disallowed_field: 50" in done.stdout
    assert "rejected bad_time: 2" in done.stdout
    assert "rejected missing_field: 2" in done.stdout
    assert "rejected unknown_branch: 1" in done.stdout
