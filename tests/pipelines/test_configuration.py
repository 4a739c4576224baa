"""`carrel.toml` is read whole or refused in one line: what, where, what to do."""

import glob
import json
from pathlib import Path

import pytest

from pipelines.configuration import ConfigurationError, capabilities, labels, load

TOP = 'tenant = "example"\nkeyring = "../secrets/keyring"\n'
SOURCE = '[sources.ils]\nadapter = "carrel-event"\n'
FOLIO = '[sources.ils]\nadapter = "folio"\n'


@pytest.fixture
def write(tmp_path):
    def written(text, policy="") -> Path:
        (tmp_path / "policy.toml").write_text(policy)
        (tmp_path / "carrel.toml").write_text(text)
        return tmp_path / "carrel.toml"

    return written


REFUSED = {
    "not toml": ("tenant = [", "carrel.toml: is not TOML"),
    "unknown key": (TOP + "colour = 1\n" + SOURCE, "carrel.toml: colour: unknown key; remove it"),
    "key of two lines": (TOP + '"a\\nb" = 1\n' + SOURCE, "carrel.toml: a b: unknown key; remove it"),
    "unknown key of a source": (TOP + SOURCE + "colour = 1\n", "carrel.toml: sources.ils.colour: unknown key"),
    "missing key": (SOURCE, "carrel.toml: tenant: is missing; add it"),
    "no sources": (TOP + "[sources]\n", "carrel.toml: sources: Dictionary should have at least 1 item"),
    "wrong type": (TOP.replace('"example"', "7") + SOURCE, "carrel.toml: tenant: Input should be a valid string"),
    "text for a switch": (
        TOP + SOURCE + 'ended = "yes"\n',
        "carrel.toml: sources.ils.ended: Input should be a valid b",
    ),
    "bad tenant": (TOP.replace("example", "a b") + SOURCE, "carrel.toml: tenant: String should match pattern"),
    "bad source name": (TOP + SOURCE.replace("ils", '"i s"'), "sources: a source's name is letters, digits"),
    "bad namespace": (TOP + SOURCE + 'namespace = "a/b"\n', "carrel.toml: sources.ils.namespace: String should match"),
    "unknown adapter": (TOP + SOURCE.replace("carrel-event", "koha"), "sources.ils.adapter: is not known; there are c"),
    "kind it has not": (TOP + FOLIO + 'kinds = ["engagement"]\n', "sources.ils.kinds: folio gives circulation, patron"),
    "unknown lookup": (TOP + SOURCE + '[sources.ils.lookups]\nx = "f"\n', "sources.ils.lookups: carrel-event knows no"),
    "unknown profile": (
        TOP + SOURCE + 'id_profile = "x"\n',
        "carrel.toml: sources.ils.id_profile: String should match",
    ),
    "unknown class": (
        TOP + SOURCE + 'also_drop = [{field = "x", class = "Z"}]\n',
        "carrel.toml: sources.ils.also_drop.0.class: String should match",
    ),
    "class that is missing": (
        TOP + SOURCE + 'also_drop = [{field = "x"}]\n',
        "carrel.toml: sources.ils.also_drop.0.class: is missing; add it",
    ),
    "field without class": (
        TOP + SOURCE + 'also_drop = ["x"]\n',
        "carrel.toml: sources.ils.also_drop.0: need a table of keys and values",
    ),
    "source that is no table": (
        TOP + "[sources]\nils = 5\n",
        "carrel.toml: sources.ils: need a table of keys and values",
    ),
    "lookup that is no path": (
        TOP + FOLIO + "lookups = {items = 5}\n",
        "carrel.toml: sources.ils.lookups.items: Input should be a valid string",
    ),
    "one of a lookup's paths": (
        TOP + FOLIO + 'lookups = {items = ["a", 5]}\n',
        "carrel.toml: sources.ils.lookups.items.1: Input should be a valid string",
    ),
    "letters to nowhere": (
        TOP + 'dead_letters = {kind = "x"}\n' + SOURCE,
        "carrel.toml: dead_letters.kind: String should match pattern",
    ),
    "letters without kind": (
        TOP + "dead_letters = {}\n" + SOURCE,
        "carrel.toml: dead_letters.kind: is missing; add it",
    ),
    "letters that are none": (TOP + "dead_letters = 5\n" + SOURCE, "carrel.toml: dead_letters: Input should be"),
    "unknown order": (
        TOP + SOURCE + 'ordered_by = "event"\n',
        "carrel.toml: sources.ils.ordered_by: String should match pattern '^arrival$'",
    ),
    "unknown zone": (TOP + SOURCE + 'time_zone = "Mars"\n', "sources.ils.time_zone: not an IANA zone; give one"),
    "no such day": (TOP + SOURCE + 'complete_from = "2026-02-30"\n', "sources.ils.complete_from: no such day; write"),
    "no such home": (TOP.replace("..", "~nobody-at-all") + SOURCE, "carrel.toml: a path begins with ~ but there is no"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_said_in_one_line(write, case):
    text, expected = REFUSED[case]
    with pytest.raises(ConfigurationError) as caught:
        load(write(text))

    assert str(caught.value).startswith(expected)
    assert "\n" not in str(caught.value)


def test_a_missing_file_a_folder_and_bytes_that_are_no_text_are_said_in_one_line(write, tmp_path):
    with pytest.raises(ConfigurationError, match=r"cannot be read \(No such file or directory\); name it with -c"):
        load(tmp_path / "nowhere.toml")
    with pytest.raises(ConfigurationError, match=r"cannot be read \(Is a directory\)"):
        load(tmp_path)
    path = write('policy = "gone.toml"\n' + TOP + SOURCE)
    with pytest.raises(ConfigurationError, match=r"gone\.toml: cannot be read .*; correct `policy` in carrel\.toml$"):
        load(path)
    path = write(TOP + SOURCE)
    (tmp_path / "policy.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"policy\.toml: is not UTF-8 text"):
        load(path)


def test_paths_are_relative_to_the_file_and_defaults_lie_beside_it(write, tmp_path):
    deployment = load(write(TOP + SOURCE))

    assert (deployment.file, deployment.directory) == (tmp_path / "carrel.toml", tmp_path)
    assert deployment.keyring.resolve() == (tmp_path.parent / "secrets" / "keyring").resolve()
    assert deployment.work_store == tmp_path / "work.db"
    assert deployment.counts_store == tmp_path / "counts.db"
    assert deployment.dead_letters == tmp_path / "dead-letters"
    assert deployment.recipient == tmp_path / "recipient.pub"


def test_a_source_that_says_little_gets_safe_defaults(write):
    (source,) = load(write(TOP + SOURCE)).sources

    assert (source.name, source.namespace, source.id_profile) == ("ils", "ils", "opaque")
    assert source.kinds == ("circulation", "patron", "engagement")
    assert (source.archive, source.time_zone, source.complete_from, source.ended) == (None, None, None, False)
    assert source.no_patron_ids == ("0", "guest")
    assert not source.ordered_by_arrival


def test_all_that_a_source_says_is_kept(write, tmp_path):
    (source,) = load(
        write(
            TOP
            + FOLIO
            + 'kinds = ["circulation"]\nnamespace = "joint"\ntime_zone = "Europe/Oslo"\nended = true\nordered_by = "arrival"\n'
            + 'complete_from = "2026-03-01"\nalso_drop = [{field = "data.x", class = "D"}]\nstrip = ["y"]\n'
            + 'no_patron_ids = []\n[sources.ils.lookups]\npatrons = "users.jsonl"\nitems = ["a", "b"]\n'
            + '[sources.ils.codes.branch]\nx = "B01"\n'
        )
    ).sources

    assert (source.kinds, source.namespace, source.ended) == (("circulation",), "joint", True)
    assert source.ordered_by_arrival
    assert (source.time_zone, source.complete_from) == ("Europe/Oslo", "2026-03-01")
    assert (source.also_drop, source.strip, source.no_patron_ids) == ((("data.x", "D"),), ("y",), ())
    assert source.lookups == {"patrons": (tmp_path / "users.jsonl",), "items": (tmp_path / "a", tmp_path / "b")}
    assert source.codes == {"branch": {"x": "B01"}}


def test_an_archive_pattern_finds_files_below_a_folder_with_odd_characters(tmp_path):
    folder = tmp_path / "a [1]*"
    folder.mkdir()
    (folder / "log.jsonl").touch()
    (folder / "policy.toml").touch()
    (folder / "carrel.toml").write_text(TOP + SOURCE + 'archive = "*.jsonl"\n')

    (source,) = load(folder / "carrel.toml").sources

    assert glob.glob(source.archive) == [str(folder / "log.jsonl")]  # noqa: PTH207 - as replay does


def test_an_absolute_archive_pattern_stays(write, tmp_path):
    (source,) = load(write(TOP + SOURCE + f"archive = {json.dumps(str(tmp_path / '*.x'))}\n")).sources

    assert source.archive == str(tmp_path / "*.x")


def test_capabilities_say_what_sources_fill_and_which_policy_codes_their_maps_name(write):
    (found,) = capabilities(load(write(TOP + FOLIO + '[sources.ils.codes.branch]\nx = "B01"\ny = "B01"\n')))

    assert (found.source, found.kinds) == ("ils", frozenset({"circulation", "patron"}))
    assert "birth_date" in found.fills["circulation"]
    assert found.names == {"branch": frozenset({"B01"})}


def test_labels_come_from_the_policy(write):
    assert labels(load(write(TOP + SOURCE, policy='[labels.branch]\nB01 = "Main"\n'))) == {"branch": {"B01": "Main"}}
    assert labels(load(write(TOP + SOURCE))) == {}


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://reader@db.example/library?sslmode=verify-full",
        "postgresql:///?service=library",
        "bigquery:city-library.counts",
    ],
)
def test_a_counts_store_elsewhere_is_named_by_its_address(write, address):
    assert load(write(f"counts_store = {json.dumps(address)}\n" + TOP + SOURCE)).counts_store == address


def test_a_folder_of_counts_is_relative_to_the_file(write, tmp_path):
    assert load(write('counts_store = "parquet:counts"\n' + TOP + SOURCE)).counts_store == f"parquet:{tmp_path}/counts"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql://reader:tulip@db.example/library", "holds a password"),
        ("postgresql://reader:@db.example/library", "holds a password"),
        ("postgresql://reader@db.example/library?password=tulip", "holds a password"),
        ("postgresql://db.example/library?sslmode=require&PASSWORD=tulip", "holds a password"),
        ("postgresql://[tulip/library", "well-formed"),
        ("postgresql:tulip", "need postgresql://"),
        ("bigquery:tulip", "PROJECT.DATASET"),
        ("mysql://tulip@db.example/library", "begins with postgresql:"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_in_one_line_that_quotes_nothing_of_it(write, address, said):
    with pytest.raises(ConfigurationError, match=said) as raised:
        load(write(f"counts_store = {json.dumps(address)}\n" + TOP + SOURCE))

    assert "\n" not in str(raised.value)
    assert "tulip" not in str(raised.value)
    assert str(raised.value).startswith("counts_store: ")
