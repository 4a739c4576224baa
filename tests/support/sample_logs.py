"""Reads what `carrel sample` has written."""

import csv
import datetime as dt
import gzip
import json
from pathlib import Path

import fastavro

ILS = ("carrel-event", "folio", "evergreen")
FOLIO_TOPICS = ("loan", "request", "check-in", "users")


def files_of(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def bytes_of(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def rows_of(path: Path) -> list[dict]:
    return list(csv.DictReader(bytes_of(path).decode().splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))


def records_of(path: Path) -> list[dict]:
    with path.open("rb") as stream:
        return list(fastavro.reader(stream))


def instant_of(text: str) -> int:
    return round(dt.datetime.fromisoformat(text).timestamp() * 1000)


class Logs:
    """The files of one sample, read."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        carrel, folio, evergreen = (directory / name for name in ILS)
        self.circulation = lines_of(carrel / "circulation.jsonl")
        self.registrations = lines_of(carrel / "patron.jsonl")
        self.responses = records_of(carrel / "engagement.avro")
        self.folio = [one for topic in FOLIO_TOPICS for one in lines_of(folio / f"{topic}.jsonl")]
        self.payloads = [json.loads(one["payload"]) for one in self.folio]
        self.loans = [
            (one, json.loads(one["payload"])) for one in self.folio if one["topic"].endswith("circulation.loan")
        ]
        self.users = lines_of(folio / "lookups" / "users.jsonl")
        self.folio_items = lines_of(folio / "lookups" / "items.jsonl")
        self.evergreen = rows_of(evergreen / "action.circulation.tsv")
        self.accounts = rows_of(evergreen / "lookups" / "actor.usr.tsv")
        self.copies = rows_of(evergreen / "lookups" / "asset.copy.tsv")
        self.members = records_of(directory / "salesforce" / "CampaignMemberChangeEvent.avro")

    def times(self, source: str) -> list[int]:
        """When the circulation of an ILS happened, ms UTC (Evergreen: whole seconds)."""
        if source == "carrel-event":
            return [one["occurred_at"] for one in self.circulation]
        if source == "folio":
            halves = [payload["data"].get("new", payload["data"].get("old")) for _, payload in self.loans]
            return [instant_of(one["loanDate"]) for one in halves if one["action"] == "checkedout"]
        return [instant_of(one["xact_start"]) // 1000 * 1000 for one in self.evergreen]
