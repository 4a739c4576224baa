"""Lookups are read from exports, reduced to codes, and broken lines are skipped and counted."""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines import lookups
from pipelines.lookups import LookupsError
from schemas.wire import ADAPTERS


@dataclass(frozen=True)
class Config:
    lookups: Mapping[str, Path | tuple[Path, ...]]
    name: str = "main"


def test_json_lines_are_read_plain_or_gzipped(tmp_path: Path) -> None:
    lines = (
        b'\xef\xbb\xbf{"id":"i1","materialTypeId":"m1","effectiveLocationId":"a1"}\n'
        b'not json\n\n[1]\n{"id":5}\n{"id":"i2","materialTypeId":"m2"}\n\xff\n{"barcode":"x"}\n'
        b'{"id":"i2","effectiveLocationId":"a2"}'
    )
    (tmp_path / "items.jsonl").write_bytes(lines)
    (tmp_path / "items.jsonl.gz").write_bytes(gzip.compress(lines))
    for name in ("items.jsonl", "items.jsonl.gz"):
        found = lookups.read(ADAPTERS["folio"], Config({"items": tmp_path / name}))
        assert found.tables == {
            "items": {"i1": {"material": "m1", "audience": "a1"}, "i2": {"material": "m2", "audience": "a2"}}
        }
        assert found.skipped == {"items": 4}


def test_one_lookup_may_have_several_tsv_exports(tmp_path: Path) -> None:
    (tmp_path / "actor.usr.tsv").write_bytes(
        b"id\tprofile\thome_ou\tdob\tfamily_name\n"
        b"4\t2\t101\t2000-01-31\tS\n5\t2\t101\tbad\tS\n\n6\t1\n7\t\\N\t101\t\\N\tS\n8\xff\n"
    )
    (tmp_path / "actor.usr_address.tsv").write_bytes(b"usr\tpost_code\n4\t10001\n9\t10002\n")
    config = Config({"patrons": (tmp_path / "actor.usr.tsv", tmp_path / "actor.usr_address.tsv")})
    found = lookups.read(ADAPTERS["evergreen"], config)
    assert found.tables["patrons"] == {
        "4": {"patron_type": "2", "home_branch": "101", "birth_date": "2000-01-31", "postal_code": "10001"},
        "5": {"patron_type": "2", "home_branch": "101"},
        "7": {"home_branch": "101"},
        "9": {"postal_code": "10002"},
    }
    assert found.skipped == {"patrons": 2}
    assert lookups.read(ADAPTERS["evergreen"], config).tables == found.tables


def test_csv_exports_are_read_with_quotes_marks_and_broken_lines(tmp_path: Path) -> None:
    (tmp_path / "campaigns.csv").write_bytes(
        b'\xef\xbb\xbfId,Type,Name\r\n701A,Email,"a, ""b""\nc"\r\n\r\n701B,Event\r\n'
        b"701C,Post,\xff\r\n701D,Post,\xc3\xa9\r\n"
        b'701E,"x"y,z\r\n701F,Post,n\r\n'
    )
    found = lookups.read(ADAPTERS["salesforce"], Config({"campaigns": tmp_path / "campaigns.csv"}))
    assert found.tables["campaigns"] == {
        "701A": {"campaign_type": "Email"},
        "701D": {"campaign_type": "Post"},
        "701F": {"campaign_type": "Post"},
    }
    assert found.skipped == {"campaigns": 3}


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "items.jsonl"
    path.write_bytes(b'{"id":"' + b"x" * (2 * lookups.LONGEST_LINE) + b'"}\n{"id":"i"}\n')
    found = lookups.read(ADAPTERS["folio"], Config({"items": path}))
    assert (found.tables, found.skipped) == ({"items": {"i": {}}}, {"items": 1})


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("items.jsonl", None, "is missing"),
        ("items.xlsx", b"x", "cannot be read"),
        ("items.tsv", b"", "cannot be read"),
        ("items.tsv", b"id\tid\n", "cannot be read"),
        ("items.csv", b"", "cannot be read"),
        ("items.csv", b"id,id\n", "cannot be read"),
        ("items.jsonl.gz", b"no gzip", "cannot be read"),
        ("items.jsonl.gz", gzip.compress(b"{}\n" * 9999)[:-20], "cannot be read"),
    ],
)
def test_an_export_that_cannot_be_used_is_one_clear_error(
    tmp_path: Path, name: str, content: bytes | None, says: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(LookupsError) as caught:
        lookups.read(ADAPTERS["folio"], Config({"items": tmp_path / name}))
    text = str(caught.value)
    assert "source main" in text
    assert f"lookup items: {tmp_path / name} {says}" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("source", "lookup", "name", "content"),
    [
        ("folio", "items", "items.json", b'{"items":[{"id":"i1","materialTypeId":"m1"}],"totalRecords":1}'),
        ("folio", "patrons", "users.jsonl", b"broken\n" * 3),
        ("salesforce", "members", "members.csv", b"Member,Contact\r\n00v,003\r\n"),
        ("evergreen", "items", "copies.tsv", b"copy\tmod\n1\tbook\n"),
    ],
)
def test_an_export_of_another_form_is_refused_and_does_not_make_everything_other(
    tmp_path: Path, source: str, lookup: str, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LookupsError, match="has no line with an id that this adapter knows; export it again"):
        lookups.read(ADAPTERS[source], Config({lookup: tmp_path / name}))


def test_an_export_without_lines_is_a_system_that_has_none(tmp_path: Path) -> None:
    (tmp_path / "members.csv").write_bytes(b"Id,ContactId,CampaignId\r\n")
    assert lookups.read(ADAPTERS["salesforce"], Config({"members": tmp_path / "members.csv"})).tables == {"members": {}}


def test_a_lookup_that_the_adapter_has_not_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(LookupsError, match="has no lookup branches; known: items, patrons"):
        lookups.read(ADAPTERS["folio"], Config({"branches": tmp_path / "x.csv"}))


def test_a_source_without_lookups_has_none() -> None:
    assert lookups.read(ADAPTERS["folio"], Config({})).tables == {}
