"""Logs that no part of Carrel wrote, and their truth, counted beside them: FOLIO and Salesforce.

The messages are written from the descriptions of the two systems and counted by plain loops; nothing of the
product is imported. What is released has to be what is true.
"""

import csv
import gzip
import json
import random
import re
import sqlite3
import subprocess
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import fastavro
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
ZONE = ZoneInfo("America/Chicago")
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
K, CLIP, FAR = 11, 10, 60  # noise beyond FAR has a chance under 1e-12
REGIONS = {"central": "core", "harbour": "core", "mill": "west", "tiny": "moor", "whale": "moor"}
BRANCHES = ("central", "harbour", "mill")
LISTS = {
    "material": ("book", "dvd", "game"),
    "audience": ("adult", "children"),
    "patron_type": ("grown", "young"),
    "campaign_type": ("newsletter", "challenge"),
    "response": ("sent", "responded"),
}
HORIZON = {"circulation": 2, "hold": 2, "patron": 7, "engagement": 7}
DIMENSIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "circ_branch_month": ("circulation", ("branch",)),
    "circ_branch_material_month": ("circulation", ("branch", "material")),
    "circ_system_day": ("circulation", ()),
    "circ_branch_daypart_month": ("circulation", ("branch", "day_type", "daypart")),
    "circ_age_month": ("circulation", ("age_band", "audience")),
    "circ_ptype_month": ("circulation", ("patron_type",)),
    "flow_month": ("circulation", ("home_region", "region")),
    "holds_month": ("hold", ("branch", "outcome")),
    "registrations_month": ("patron", ("home_branch", "change")),
    "engagement_month": ("engagement", ("campaign_type", "response")),
}
CAMPAIGNS = {f"701{number:012d}AAB": code for number, code in enumerate(("newsletter", "challenge", "other"))}
CAMPAIGN_TYPES = {"newsletter": "Newsletter", "challenge": 'Reading, "big"', "other": "Barbecue"}
RESPONSES = {"Sent": "sent", "Responded": "responded"}
SALESFORCE: dict[str, dict[str, str]] = {
    "CampaignMember": {
        "CampaignId": "string", "ContactId": "string", "LeadId": "string", "HasResponded": "boolean",
        "Status": "string", "LastModifiedDate": "long", "FirstRespondedDate": "long",
    },
    "Contact": {"LastName": "string", "Email": "string", "EmailBouncedReason": "string"},
    "Contact2": {"LastName": "string", "Email": "string", "EmailBouncedReason": "string", "Shoe_Size__c": "double"},
}  # fmt: skip
DAYPARTS = ((20, "late"), (17, "evening"), (12, "afternoon"), (9, "morning"), (6, "early"), (0, "night"))
BANDS = ((65, "65+"), (45, "45-64"), (25, "25-44"), (18, "18-24"), (13, "13-17"), (0, "0-12"))


def midnight(year: int, month: int, day: int = 1) -> int:
    return int(datetime(year, month, day, tzinfo=ZONE).timestamp()) * 1000


START, MIDDLE, END = midnight(2025, 10), midnight(2025, 11), midnight(2025, 12)
LAST = END + 9 * DAY
CLOCKS_BACK = midnight(2025, 11, 2) + 2 * HOUR


def local(at: int) -> datetime:
    return datetime.fromtimestamp(at / 1000, ZONE)


class Act(NamedTuple):
    kind: str
    part: str
    patron: str
    at: int
    arrived: int
    codes: dict[str, str]


class Person(NamedTuple):
    id: str
    type: str
    group: str
    home: str
    born: date | None


class Member(NamedTuple):
    id: str
    contact: str
    lead: str
    campaign: str


class Logs:
    """The messages of a library of a few hundred patrons, and its acts."""

    def __init__(self) -> None:
        self.chance = random.Random(25)
        self.desks = {branch: [self.name(), self.name()] for branch in REGIONS}
        self.departments = {branch: self.name() for branch in BRANCHES}
        self.codes = {d: {code: self.name() for code in LISTS[d]} for d in ("material", "audience", "patron_type")}
        self.items = [(self.name(), *map(self.pick, (LISTS["material"], LISTS["audience"]))) for _ in range(400)]
        self.people = [self.person("patron") for _ in range(420)]
        self.others = [self.person(kind) for kind in ("staff", "system", "shadow", "dcb") * 6]
        self.records: list[dict[str, Any]] = []
        self.acts: list[Act] = []
        self.rejects: Counter[str] = Counter()
        self.changes: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.members: list[Member] = []

    def name(self) -> str:
        return str(uuid.UUID(int=self.chance.getrandbits(128), version=4))

    def pick(self, choices: Any) -> Any:
        return self.chance.choice(list(choices))

    def person(self, kind: str) -> Person:
        born = date(self.chance.randint(1930, 2018), self.chance.randint(1, 12), self.chance.randint(1, 28))
        group, home = self.pick(LISTS["patron_type"]), self.pick(BRANCHES)
        return Person(self.name(), kind, group, home, born if self.chance.random() < 0.9 else None)

    def some_time(self, until: int = LAST) -> int:
        return self.chance.randrange(START, until)

    def written(self, at: int) -> str:
        """An instant in one of the forms that FOLIO's records have."""
        form = self.pick(("Z", "+0000", "+00:00", "local", "far"))
        zone = {"local": ZONE, "far": timezone(timedelta(hours=-7))}.get(form, UTC)
        moment = datetime.fromtimestamp(at // 1000, zone).replace(microsecond=at % 1000 * 1000)
        text = moment.isoformat(timespec="milliseconds")
        return text if form in {"local", "far", "+00:00"} else text[: -len("+00:00")] + form

    # FOLIO -----------------------------------------------------------------------------------------------

    def user(self, who: Person, **more: Any) -> dict[str, Any]:
        born = "" if who.born is None else who.born.isoformat() + self.pick(("", "T00:00:00.000+00:00"))
        return {
            "id": who.id, "username": "q.zed", "barcode": "20002", "active": True, "type": who.type,
            "patronGroup": self.codes["patron_type"][who.group], "departments": [self.departments[who.home]],
            "personal": {"lastName": "Zed", "email": "q@private.example", "dateOfBirth": born or None,
                         "addresses": [{"addressLine1": "1 Quiet Street", "postalCode": "60601"}]},
            "expirationDate": "2026-06-30", "customFields": {"shoe size": "44"}, **more,
        }  # fmt: skip

    def send(self, topic: str, kind: str, at: int, *halves: Any, **how: Any) -> int:
        """Write one message about an old and a new record and, now and then, its redelivery.

        `how` may set when the bus took it (`arrived`: then once only), the reason why it has to be refused,
        and more headers; returns when the bus took it.
        """
        arrived: int = how.get("arrived", at + self.pick((0, 300, 5 * MINUTE, 3 * HOUR)))
        data = {half: record for half, record in zip(("old", "new"), halves, strict=True) if record is not None}
        payload = {"id": self.name(), "type": kind, "tenant": "city", "timestamp": arrived, "data": data}
        record = {
            "topic": f"live.city.{topic}", "partition": self.chance.randrange(10), "tstype": "create", "ts": arrived,
            "broker": 1, "headers": ["X-Okapi-Tenant", "city", *how.get("headers", ())],
            "key": next(iter(data.values()))["id"], "payload": json.dumps(payload),
        }  # fmt: skip
        self.records.append(record)
        if "reason" in how:
            self.rejects[f"folio {how['reason']}"] += 1
        elif "arrived" not in how and self.chance.random() < 0.05:
            self.records.append({**record, "ts": arrived + self.pick((7, DAY, 40 * DAY))})
        return arrived

    def changed(self, created: int, at: int) -> dict[str, str]:
        return {"createdDate": self.written(created), "updatedDate": self.written(at), "updatedByUserId": self.name()}

    def loan(self, who: Person, branch: str, at: int) -> tuple[dict[str, Any], dict[str, str]]:
        """A loan's record, and the codes that its acts have whenever they happen."""
        item, material, audience = self.pick(self.items)
        record = {
            "id": self.name(), "userId": who.id, "itemId": item, "loanDate": self.written(at), "action": "checkedout",
            "status": {"name": "Open"}, "dueDate": self.written(at + 21 * DAY), "renewalCount": 0,
            "checkoutServicePointId": self.pick(self.desks[branch]), "metadata": self.changed(at, at),
            "patronGroupIdAtCheckout": self.codes["patron_type"][who.group],
        }  # fmt: skip
        return record, {
            "branch": branch, "region": REGIONS[branch], "material": material, "audience": audience,
            "patron_type": who.group, "home_region": REGIONS[who.home],
        }  # fmt: skip

    def lend(self, part: str, who: Person, at: int, arrived: int, codes: dict[str, str]) -> None:
        if who.type == "patron":
            age = None
            if who.born is not None:
                today = local(at).date()
                age = today.year - who.born.year - ((today.month, today.day) < (who.born.month, who.born.day))
            timed = {
                "age_band": "other" if age is None else next(name for least, name in BANDS if age >= least),
                "day_type": "weekend" if local(at).weekday() > 4 else "weekday",
                "daypart": next(name for least, name in DAYPARTS if local(at).hour >= least),
            }
            self.acts.append(Act("circulation", part, who.id, at, arrived, codes | timed))

    def check_out(self, who: Person, branch: str, at: int, **how: int) -> tuple[dict[str, Any], dict[str, str]]:
        record, codes = self.loan(who, branch, at)
        self.lend("checkout", who, at, self.send("circulation.loan", "CREATED", at, None, record, **how), codes)
        return record, codes

    def lives_of_loans(self) -> None:
        for who in self.people + self.others:
            for _ in range(self.chance.randint(0, 4)):
                at = self.some_time()
                record, codes = self.check_out(who, self.pick((who.home, *BRANCHES)), at)
                for _ in range(self.chance.randint(0, 3)):
                    at += self.chance.randrange(HOUR, 9 * DAY)
                    action = self.pick(("renewed", "renewedThroughOverride", "dueDateChanged", "recallrequested",
                                        "checkedin", "feeBilledInSomeNewWay"))  # fmt: skip
                    rise = self.pick((1, 1, 1, 2)) if action.startswith("renewed") else 0
                    new = {**record, "renewalCount": record["renewalCount"] + rise}
                    new |= {"action": action, "metadata": self.changed(at, at)}
                    arrived = self.send("circulation.loan", "UPDATED", at, record, new)
                    for _ in range(rise):
                        self.lend("renewal", who, at, arrived, codes)
                    record = new
                # Anonymised, then touched once more.
                nobody = {name: value for name, value in record.items() if name != "userId"}
                self.send("circulation.loan", "UPDATED", at, nobody, {**nobody, "actionComment": "seen"})

    def edges_of_loans(self) -> None:
        for who in self.people[:9]:
            self.check_out(who, "tiny", self.some_time())
        for who in self.people[40:100]:
            self.check_out(who, "whale", MIDDLE - DAY)
        for _ in range(40):
            self.check_out(self.people[0], "whale", MIDDLE - DAY)
        for edge in (START, MIDDLE, END, CLOCKS_BACK - HOUR, CLOCKS_BACK, CLOCKS_BACK + HOUR):
            for shift in (-HOUR, -1, 0, 1, HOUR):
                if edge + shift >= START:
                    self.check_out(self.pick(self.people), "central", edge + shift)
        for end in (MIDDLE, END):
            for shift in (-1, 0):
                self.check_out(self.pick(self.people), "mill", end - HOUR, arrived=end + 2 * DAY + shift)
        for _ in range(20):
            at = self.some_time(MIDDLE - DAY)
            record, _ = self.loan(self.pick(self.people), "central", at)  # deleted in time: it never happened
            self.send("circulation.loan", "CREATED", at, None, record, arrived=at + 5)
            self.send("circulation.loan", "DELETED", at, record, None, arrived=at + 9)
            record, _ = self.loan(self.pick(self.people), "mill", at)
            self.send("circulation.loan", "CREATED", at, None, {**record, "isDcb": True})
            self.check_out(self.pick(self.people)._replace(group=self.pick(LISTS["patron_type"])), "mill", at)

    def holds(self) -> None:
        outcomes = {"Closed - Filled": "filled", "Closed - Cancelled": "cancelled",
                    "Closed - Unfilled": "expired", "Closed - Pickup expired": "expired"}  # fmt: skip
        for who in self.people + self.others:
            at, branch = self.some_time(), self.pick(BRANCHES)
            record = {
                "id": self.name(), "requesterId": who.id, "requestDate": self.written(at), "itemId": self.items[0][0],
                "requester": {"lastName": "Zed", "barcode": "20002"}, "status": "Open - Not yet filled",
                "pickupServicePointId": self.pick(self.desks[branch]), "instance": {"title": "A Secret"},
            }  # fmt: skip
            steps = ["Open - Not yet filled", "Open - Awaiting pickup", self.pick(outcomes)]
            arrived, part = self.send("circulation.request", "CREATED", at, None, record), "placed"
            for status in [*steps, ""]:
                if part and who.type == "patron":
                    self.acts.append(Act("hold", part, who.id, at, arrived, {"branch": branch, "outcome": part}))
                at += self.chance.randrange(HOUR, 3 * DAY)
                new = {**record, "status": status or record["status"], "metadata": self.changed(at, at)}
                arrived = self.send("circulation.request", "UPDATED", at, record, new)
                record, part = new, outcomes.get(status, "")

    def registrations(self) -> None:
        steps: dict[str, dict[str, Any]] = {
            "renewed": {"expirationDate": "2028-06-30T00:00:00.000+00:00"},
            "expired": {"active": False},
            "": {"tags": {"tagList": ["moved"]}},
        }
        for index in range(300):
            who, at = self.person(self.pick(("patron",) * 6 + ("staff", "dcb"))), self.some_time()
            new = self.user(who, metadata=self.changed(at, at))
            arrived, change = self.send("users.users", "CREATED", at, None, new), "new"
            for step in (*steps, "end"):
                if change and who.type == "patron":
                    codes = {"home_branch": who.home, "change": change}
                    self.acts.append(Act("patron", change, who.id, at, arrived, codes))
                old, at, change = new, at + self.chance.randrange(HOUR, 5 * DAY), step
                new = {**old, "metadata": self.changed(at, at), **steps.get(step, {})}
                if step in steps:
                    arrived = self.send("users.users", "UPDATED", at, old, new)
            if index % 9 == 0:
                self.send("users.users", "DELETED", at, new, None)

    def refused(self) -> None:
        broken: tuple[tuple[str, dict[str, Any]], ...] = (
            ("disallowed_field", {"borrowerShoeSize": 44}), ("bad_time", {"loanDate": "last Tuesday"}),
            ("wrong_type", {"itemId": 5}), ("wrong_type", {"renewalCount": "1"}),
            ("missing_field", {"action": ""}), ("unknown_branch", {"checkoutServicePointId": self.name()}),
            ("future", {"loanDate": self.written(LAST + DAY)}),
        )  # fmt: skip
        for reason, what in broken * 2:
            record, _ = self.loan(self.pick(self.people), "central", MIDDLE)
            self.send("circulation.loan", "CREATED", MIDDLE, None, {**record, **what}, reason=reason)
        record, _ = self.loan(self.pick(self.people), "central", MIDDLE)
        self.send("circulation.loan", "UPDATED", MIDDLE, {**record, "x": 1}, record, reason="disallowed_field")
        told = {"reason": "disallowed_field", "headers": ("traceparent", "00")}
        self.send("circulation.loan", "CREATED", MIDDLE, None, record, **told)
        self.send("circulation.loan", "MERGED", MIDDLE, None, record, reason="unknown_code")
        self.send("circulation.loan", "ALL_DELETED", MIDDLE, {"id": "0"}, None, reason="unnamed_act")

    # Salesforce ------------------------------------------------------------------------------------------

    def change(self, schema: str, kind: str, at: int, ids: list[str], changed: tuple[str, ...], **fields: Any) -> None:
        names = [*SALESFORCE[schema]]
        bits = sum(1 << 1 + names.index(name) for name in changed)  # position 0 is the header's
        header = {
            "entityName": schema.rstrip("2"), "recordIds": ids, "changeType": kind, "changeOrigin": "client=console",
            "transactionKey": self.name(), "sequenceNumber": 1, "commitTimestamp": at, "commitNumber": at,
            "commitUser": "005000000000001AAA", "nulledFields": [], "diffFields": [],
            "changedFields": [f"0x{bits:06X}"] if changed else [],
        }  # fmt: skip
        record = {"ChangeEventHeader": header, **dict.fromkeys(names), **fields}
        self.changes[schema] += [record] * self.pick((1, 1, 1, 2))  # change data capture delivers twice, too

    def respond(self, members: list[Member], at: int, status: str) -> None:
        for member in members:
            if member.contact:
                codes = {"campaign_type": CAMPAIGNS[member.campaign], "response": RESPONSES.get(status, "other")}
                self.acts.append(Act("engagement", "", member.contact, at, at, codes))

    def campaigns(self) -> None:
        for number in range(600):
            contact, lead = (f"003{self.chance.randrange(250):012d}AAB", "") if number % 20 else ("", f"00Q{number}")
            member = Member(f"00v{number:012d}AAB", contact, lead, self.pick(CAMPAIGNS))
            at, who = self.some_time(), {"ContactId": contact or None, "LeadId": lead or None}
            self.change(
                "CampaignMember", "CREATE", at, [member.id], (), Status="Sent", CampaignId=member.campaign, **who
            )
            self.respond([member], at, "Sent")
            self.members.append(member)
        for _ in range(150):
            at, several = self.some_time(), self.chance.sample(self.members, self.chance.randint(1, 6))
            ids, status = [member.id for member in several], self.pick(("Responded", "Responded", "Wandered off"))
            self.change("CampaignMember", "UPDATE", at, ids, ("Status", "LastModifiedDate"), Status=status)
            self.respond(several, at, status)
            # Neither a status that is null nor one that the bitmap does not name has changed.
            self.change("CampaignMember", "UPDATE", at + 1, ids, ("LastModifiedDate",), LastModifiedDate=at + 1)
            self.change("CampaignMember", "UPDATE", at + 2, ids, ("LastModifiedDate",), Status="Responded")
        for kind in ("DELETE", "UNDELETE"):
            self.change("CampaignMember", kind, MIDDLE, [self.members[0].id], ())
        for kind in ("CREATE", "UPDATE", "DELETE", "UNDELETE"):
            self.change("Contact", kind, MIDDLE, ["003A", "003B"], (), EmailBouncedReason="550 q@private.example")
        for schema, kind, ids, reason in (
            ("CampaignMember", "GAP_UPDATE", [self.members[0].id], "gap"),
            ("Contact", "GAP_OVERFLOW", ["000000000000000AAA"], "gap"),
            ("CampaignMember", "UPDATE", ["00v*"], "unnamed_act"),
            ("CampaignMember", "UPDATE", ["00v000000000999AAB"], "missing_field"),
            ("Contact2", "UPDATE", ["003A"], "disallowed_field"),
        ):
            self.change(schema, kind, MIDDLE, ids, (), **({"Status": "Sent"} if schema == "CampaignMember" else {}))
            self.rejects[f"salesforce {reason}"] += 1


def avro_schema(schema: str) -> dict[str, Any]:
    strings = {"type": "array", "items": "string"}
    kinds = {"type": "enum", "name": "ChangeType",
             "symbols": ["CREATE", "UPDATE", "DELETE", "UNDELETE", "GAP_UPDATE", "GAP_OVERFLOW"]}  # fmt: skip
    header = {
        "entityName": "string", "recordIds": strings, "changeType": kinds, "changeOrigin": "string",
        "transactionKey": "string", "sequenceNumber": "int", "commitTimestamp": "long", "commitNumber": "long",
        "commitUser": "string", "nulledFields": strings, "diffFields": strings, "changedFields": strings,
    }  # fmt: skip
    inner = [{"name": name, "type": form} for name, form in header.items()]
    outer: list[dict[str, Any]] = [
        {"name": "ChangeEventHeader", "type": {"type": "record", "name": "ChangeEventHeader", "fields": inner}}
    ]
    outer += [{"name": name, "type": ["null", form], "default": None} for name, form in SALESFORCE[schema].items()]
    return {
        "type": "record",
        "name": f"{schema.rstrip('2')}ChangeEvent",
        "namespace": "com.sforce.eventbus",
        "fields": outer,
    }


# What is true -----------------------------------------------------------------------------------------------


def window_of(at: int, table: str) -> tuple[str, int]:
    """The window that an instant is in, by name and end."""
    here = local(at)
    if table == "circ_system_day":
        after = here.date() + timedelta(days=1)
        return here.date().isoformat(), midnight(after.year, after.month, after.day)
    return here.strftime("%Y-%m-01"), midnight(here.year + here.month // 12, here.month % 12 + 1)


def deletions(records: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """Every message that says a user was deleted, redelivered ones too: who, and when the bus took it."""
    told = [(json.loads(record["payload"]), record) for record in records if record["topic"].endswith("users.users")]
    return [(payload["data"]["old"]["id"], record["ts"]) for payload, record in told if payload["type"] == "DELETED"]


def truth(acts: list[Act], gone: list[tuple[str, int]], table: str) -> dict[tuple[str, str], dict[str, Counter[str]]]:
    """(window, cell) -> part, or "" for all of them -> how many acts of each patron."""
    kind, dimensions = DIMENSIONS[table]
    cells: dict[tuple[str, str], dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for act in acts:
        window, end = window_of(act.at, table)
        closes = end + HORIZON[kind] * DAY
        start = midnight(*map(int, window.split("-")))
        if any(who == act.patron and start <= arrived < closes for who, arrived in gone):
            continue
        if act.kind == kind and act.arrived < closes:
            cell = json.dumps({name: act.codes[name] for name in sorted(dimensions)}, separators=(",", ":"))
            for part in ("", act.part) if act.part else ("",):
                cells[window, cell][part][act.patron] += 1
    return cells


def check(row: tuple[Any, ...], people: Counter[str], noise: int) -> None:
    """One released number against how many acts each patron of its cell has."""
    *_, measure, value, status = row
    if measure.startswith("total"):
        total = people.total()
        shown = len(people) >= 5 * K and max(people.values()) * 10 <= total
        near, true = 5, total
    else:
        shown, near = len(people) >= K, noise
        true = len(people) if measure == "patrons" else sum(min(CLIP, n) for n in people.values())
    assert status == ("published" if shown else "withheld"), (row, len(people))
    assert (value is not None and abs(value - true) <= near) if shown else value is None, (row, true)


# A deployment -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Logs, Path]:
    made, directory = Logs(), tmp_path_factory.mktemp("outside") / "logs"
    for part in (
        made.lives_of_loans,
        made.edges_of_loans,
        made.holds,
        made.registrations,
        made.refused,
        made.campaigns,
    ):
        part()
    for folder in ("folio/lookups", "salesforce/lookups"):
        (directory / folder).mkdir(parents=True)
    made.chance.shuffle(made.records)
    half = len(made.records) // 2
    (directory / "folio/a.jsonl").write_text(numbered(made.records[:half]))
    (directory / "folio/b.jsonl.gz").write_bytes(gzip.compress(numbered(made.records[half:]).encode()))
    users = [made.user(who) for who in made.people + made.others]
    (directory / "folio/lookups/users.jsonl").write_text(numbered(users))
    codes = made.codes
    items = [{"id": item, "barcode": "3000", "materialTypeId": codes["material"][material],
              "effectiveLocationId": codes["audience"][audience]} for item, material, audience in made.items]  # fmt: skip
    (directory / "folio/lookups/items.jsonl").write_text(numbered(items))
    for schema, records in made.changes.items():
        with (directory / f"salesforce/{schema}ChangeEvent.avro").open("wb") as stream:
            fastavro.writer(stream, avro_schema(schema), records, codec="deflate")
    lookups = directory / "salesforce/lookups"
    with (lookups / "campaigns.csv").open("w", newline="") as text:
        csv.writer(text).writerows(
            [("Id", "Name", "Type"), *((c, "N", CAMPAIGN_TYPES[t]) for c, t in CAMPAIGNS.items())]
        )
    with (lookups / "members.csv").open("w", newline="") as text:
        csv.writer(text).writerows([("Id", "ContactId", "LeadId", "CampaignId"), *made.members])
    return made, directory


def numbered(records: list[dict[str, Any]]) -> str:
    """JSON lines; kcat's records with offsets."""
    return "".join(
        json.dumps({**record, "offset": at} if "topic" in record else record) + "\n"
        for at, record in enumerate(records)
    )


def configure(deployment: Path, made: Logs, preset: str, tables: tuple[str, ...]) -> None:
    """What a librarian writes over the files of `carrel init`: the codes of this library, and which tables."""
    codes = {
        "folio.codes.branch": {desk: branch for branch, desks in made.desks.items() for desk in desks},
        "folio.codes.home_branch": {code: branch for branch, code in made.departments.items()},
        **{f"folio.codes.{name}": {own: code for code, own in one.items()} for name, one in made.codes.items()},
        "salesforce.codes.campaign_type": {form: code for code, form in CAMPAIGN_TYPES.items() if code != "other"},
        "salesforce.codes.response": RESPONSES,
    }
    written = (deployment / "carrel.toml").read_text()
    kept = re.sub(r'(?m)^\[sources\.\w+\.codes\..*\n(".*\n)*', "", written)
    (deployment / "carrel.toml").write_text(kept + "".join(section(f"sources.{n}", one) for n, one in codes.items()))
    blocks = re.split(r"(?m)^(?=\[\[tables\]\])", (deployment / "policy.toml").read_text())[1:]
    policy = f'preset = "{preset}"\ntime_zone = "{ZONE.key}"\nk = {K}\n' + section("branches", REGIONS)
    policy += section("dimensions", LISTS) + section("zones", {})
    policy += "".join(block for block in blocks if not tables or block.split('"')[1] in tables)
    (deployment / "policy.toml").write_text(policy)


def section(name: str, entries: dict[str, Any]) -> str:
    return f"[{name}]\n" + "".join(f"{json.dumps(key)} = {json.dumps(value)}\n" for key, value in entries.items())


def in_months(deployment: Path) -> list[tuple[Any, ...]]:
    """The released rows of the two whole months: table, window, cell, measure, value, status."""
    database = sqlite3.connect(deployment / "counts.db")
    rows = database.execute(
        "SELECT table_name, substr(window_start, 1, 10), cell, measure, value, status FROM released_counts"
    ).fetchall()
    database.close()
    return [row for row in rows if row[1] < "2025-12-01"]


@pytest.mark.parametrize(
    ("preset", "tables", "noise"),
    [
        ("standard", (), FAR),
        ("plain", ("circ_age_month", "registrations_month", "engagement_month"), 0),
        ("plain", ("holds_month",), 0),
    ],
)
def test_what_is_released_of_logs_from_outside_is_what_is_true(
    run: Run, logs: tuple[Logs, Path], tmp_path: Path, preset: str, tables: tuple[str, ...], noise: int
) -> None:
    made, directory = logs
    deployment = tmp_path / "deployment"
    run("init", deployment, "--sources", "folio,salesforce", "--secrets", tmp_path / "secrets", "--logs", directory)
    configure(deployment, made, preset, tables)

    run("-c", deployment / "carrel.toml", "replay", "--complete-from", "2025-10-01", "--complete-through", "2025-12-09")

    rows = in_months(deployment)
    for table in tables or DIMENSIONS:
        true = truth(made.acts, deletions(made.records), table)
        mine = [row for row in rows if row[0] == table]
        assert {key for key in true if key[0] < "2025-12-01"} <= {(row[1], row[2]) for row in mine}
        assert "published" in {row[5] for row in mine}
        for row in mine:
            part = {"total_checkouts": "checkout", "total_renewals": "renewal"}.get(row[3], "")
            check(row, true.get((row[1], row[2]), {}).get(part, Counter()), noise)
    if not tables:
        refused = run("-c", deployment / "carrel.toml", "deadletters", "list").stdout
        found = re.findall(r"(?m)^\S+ +(\w+) +(\w+) +(\d+) +\d+$", refused)
        assert {f"{source} {reason}": int(n) for source, reason, n in found} == made.rejects
