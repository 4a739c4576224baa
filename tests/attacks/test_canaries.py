"""Canaries: recognisable patrons and words are planted in every source, then hunted in every byte that came out."""

import base64
import hashlib
import json
import sqlite3
import sys
import urllib.parse
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.coders import Coder
from apache_beam.internal import pickler
from blake3 import blake3

from tests.support.packed_graphs import with_unpacked

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))

WORDS = ("CANARY777", "CANARYSMITH", "CANARYTITLE", "CANARYNOTE", "canary.mail", "Shoe_Size__c", "shoeSize", "X-Patron")


def forms(word: str) -> set[bytes]:
    """The forms in which a value might slip out."""
    raw = word.encode()
    found = {raw, raw.lower(), raw[::-1], raw.hex().encode(), raw.hex().upper().encode()}
    for lead in (b"", b"x", b"xx"):
        text = base64.b64encode(lead + raw)
        found |= {text[4:-4], text[4:-4].replace(b"+", b"-").replace(b"/", b"_")}
    found |= {word.encode("utf-16-le"), word.encode("utf-16-be")}
    found.add(urllib.parse.quote(word).encode())
    for digest in (hashlib.sha256, hashlib.sha1, hashlib.md5, blake3):
        found |= {digest(raw).digest(), digest(raw).hexdigest().encode()}
    return {form for form in found if len(form) >= 6}


def hits(data: bytes, words=WORDS) -> list[str]:
    data = with_unpacked(data)
    return [word for word in words for form in forms(word) if form in data]


def canary_ids(sample: Path) -> tuple[str, ...]:
    users = (sample / "folio" / "lookups" / "users.jsonl").read_text().splitlines()
    return tuple(one["id"] for one in map(json.loads, users) if one["id"].startswith("CANARY"))


def test_no_canary_is_in_anything_that_came_out(run, deploy, sample):
    deployment = deploy()
    config = deployment / "carrel.toml"
    said = [run("-c", config, "replay", "--complete-through", "2026-05-01", "--json")]
    said += [run("-c", config, "replay", "--complete-through", "2026-05-01")]
    said += [run("-c", config, *words) for words in (("check",), ("status",), ("counts",), ("deadletters", "list"))]
    words = WORDS + canary_ids(sample)

    for done in said:
        assert hits((done.stdout + done.stderr).encode(), words) == []
    files = [path for path in deployment.rglob("*") if path.is_file()]
    assert any(path.parent.name == "dead-letters" for path in files)
    for path in files:
        assert hits(path.read_bytes() + path.name.encode(), words) == [], path.name
    store = sqlite3.connect(deployment / "counts.db")
    assert store.execute("SELECT COUNT(*) FROM released_counts WHERE status = 'published'").fetchone()[0] > 100


@pytest.mark.parametrize("source", ["carrel-event", "folio", "evergreen"])
def test_the_hunt_finds_what_was_planted(sample, source):
    planted = b"".join(path.read_bytes() for path in sorted((sample / source).rglob("*")) if path.is_file())

    assert hits(planted)
    assert hits(base64.b64encode(planted[:3000] + b"..CANARYSMITH.."))


def test_the_hunt_looks_into_functions_of_a_graph():
    assert hits(b"\x00\x07" + pickler.dumps(("CANARYSMITH", list(range(99)))) + b"\x12") == ["CANARYSMITH"]


def test_the_graph_ends_in_four_types_and_holds_no_message_and_no_key(tmp_path):
    from pipelines import loop, outputs
    from pipelines.exchange import ExchangedLookups
    from pipelines.keys import KeyringAt
    from schemas.policy import PrivacyPolicy
    from schemas.source import SourceRules
    from transforms.coders import ColumnsCoder
    from transforms.decode import Decoding

    rules = SourceRules("ils", "carrel-event", ("circulation",), "ils", "opaque", None, (), (), (), {})
    policy = PrivacyPolicy("UTC", "plain", (), {"branch": ("B01",)}, {}, None, "x", "digest")
    keyring = KeyringAt(str(tmp_path), "t", "store", 0)
    root = loop.pipeline()
    given = Decoding("t", policy, (rules,), keyring, ExchangedLookups("e"), b"r" * 32, 0)
    loop.build_tally_graph(root, given, "e", keyring)
    release = loop.pipeline()
    loop.build_release_graph(release, policy, "t", "e", None)
    leaves = set()
    for graph in (root, release):
        proto, context = graph.to_runner_api(return_context=True)
        parts = proto.components
        consumed = {name for one in parts.transforms.values() for name in one.inputs.values()}
        for one in parts.transforms.values():
            ends = not one.subtransforms and not any(name in consumed for name in one.outputs.values())
            if ends:
                for name in one.inputs.values():
                    coder = Coder.from_runner_api(parts.coders[parts.pcollections[name].coder_id], context)
                    assert isinstance(coder, ColumnsCoder), one.unique_name
                    leaves.add(coder.name)
        graph_bytes = proto.SerializeToString()
        assert b"cloudpickle" in with_unpacked(graph_bytes), "the functions are looked into"
        assert hits(graph_bytes) == []
    assert leaves == {"ReleasedTable", "SealedReject", "SealedTally", "ArrivalSpan"}
    assert issubclass(outputs.WriteCounts, beam.PTransform)
