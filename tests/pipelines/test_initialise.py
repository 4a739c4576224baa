"""`carrel init` writes a deployment that loads and compiles, and never writes over anything."""

import itertools
import tomllib

import pytest

from pipelines.configuration import ConfigurationError, capabilities, load
from pipelines.initialise import BRANCHES, init
from pipelines.opening import load_private, load_public
from schemas.default_tables import PLAIN, default_tables
from schemas.policy_compiler import compile_policy
from schemas.wire import ADAPTERS

COMBINATIONS = [names for size in range(1, 5) for names in itertools.combinations(ADAPTERS, size)]
FEEDS = {
    "carrel-event": {"circulation", "patron", "engagement"},
    "folio": {"circulation", "patron"},
    "evergreen": {"circulation"},
    "salesforce": {"engagement"},
}


@pytest.fixture
def made(tmp_path):
    def make(**choices):
        init(tmp_path / "lib", secrets=tmp_path / "secrets", **choices)
        return load(tmp_path / "lib" / "carrel.toml")

    return make


def mode(path):
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("sources", COMBINATIONS, ids="+".join)
def test_for_any_sources_the_result_compiles_with_every_table_they_can_fill(made, sources):
    deployment = made(sources=sources)

    policy = compile_policy(deployment.policy_text, capabilities(deployment))

    kinds = set().union(*(FEEDS[name] for name in sources))
    expected = [table.name for table in default_tables("medium", "standard") if table.kind in kinds]
    assert [table.name for table in policy.tables] == expected
    assert [source.name for source in deployment.sources] == list(dict.fromkeys(n for n in ADAPTERS if n in sources))
    left_out = [line for line in deployment.policy_text.splitlines() if line.startswith("# left out: ")]
    assert len(left_out) == len(default_tables("medium", "standard")) - len(expected)


@pytest.mark.parametrize("size", ["small", "medium", "large"])
@pytest.mark.parametrize("preset", ["standard", "plain"])
def test_every_size_and_preset_compiles_to_the_numbers_of_the_default_tables(made, size, preset):
    deployment = made(size=size, preset=preset)

    policy = compile_policy(deployment.policy_text, capabilities(deployment))

    defaults = default_tables(size, preset)
    assert [(t.name, t.k, t.clip, t.horizon // 86_400_000) for t in policy.tables] == [
        (t.name, t.k, t.clip, t.horizon_days) for t in defaults
    ]
    assert preset == "standard" or tuple(table.name for table in policy.tables) == PLAIN


def test_a_larger_k_of_the_policy_reaches_every_table(made):
    deployment = made()

    text = deployment.policy_text.replace("\nk = 11 ", "\nk = 30 ")

    assert {table.k for table in compile_policy(text, capabilities(deployment)).tables} == {30}


def test_sources_not_chosen_are_there_as_comments_that_can_be_taken_away(made, tmp_path):
    made(sources=["carrel-event"])
    text = (tmp_path / "lib" / "carrel.toml").read_text()

    bare = "\n".join(
        line.removeprefix("# ") for line in text.splitlines() if not line.startswith(("# To read", "# Where things"))
    )

    assert list(tomllib.loads(bare)["sources"]) == list(ADAPTERS)
    assert tomllib.loads(bare)["sources"]["carrel-event"]["ordered_by"] == "arrival"
    for name in ("folio", "evergreen"):
        assert set(tomllib.loads(bare)["sources"][name]["codes"]["branch"].values()) == set(BRANCHES)


def test_keys_lie_apart_and_only_their_owner_reads_them(made, tmp_path):
    deployment = made()

    assert deployment.keyring.resolve() == tmp_path / "secrets" / "keyring"
    assert mode(tmp_path / "secrets" / "keyring") == 0o700
    assert mode(tmp_path / "secrets" / "recipient.key") == 0o600
    assert mode(tmp_path / "lib" / "dead-letters") == 0o700
    assert len(load_private(tmp_path / "secrets" / "recipient.key")) == len(load_public(deployment.recipient)) == 32
    assert sorted(path.name for path in (tmp_path / "lib").iterdir()) == [
        "carrel.toml", "dead-letters", "policy.toml", "recipient.pub",
    ]  # fmt: skip


def test_by_default_keys_lie_in_the_users_data_under_a_name_of_the_path(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("a", "b"):
        init(tmp_path / name / "lib")

    found = sorted((tmp_path / "home" / ".local" / "share" / "carrel").iterdir())

    assert len(found) == 2
    assert all(folder.name.startswith("lib-") and len(folder.name) == len("lib-") + 8 for folder in found)
    assert load(tmp_path / "a" / "lib" / "carrel.toml").keyring in [folder / "keyring" for folder in found]


@pytest.mark.parametrize("name", ['my "logs"', "o'logs", "back\\slash", "[1]*", "b\u00fccher"])
def test_paths_with_odd_characters_come_back_as_they_were(tmp_path, name):
    logs, secrets = tmp_path / name, tmp_path / f"{name} secrets"
    (logs / "carrel-event").mkdir(parents=True)
    (logs / "carrel-event" / "patron.jsonl").touch()
    init(tmp_path / "lib", sources=["carrel-event", "folio"], secrets=secrets, logs=logs)

    event, folio = load(tmp_path / "lib" / "carrel.toml").sources

    import glob

    assert len(glob.glob(event.archive)) == 1  # noqa: PTH207 - as replay does
    assert folio.lookups["patrons"][0].resolve() == logs / "folio" / "lookups" / "users.jsonl"
    assert load(tmp_path / "lib" / "carrel.toml").keyring.is_dir()


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"sources": ["koha"]}, "--sources: need some of carrel-event, folio, evergreen, salesforce"),
        ({"sources": []}, "--sources: need some of"),
        ({"preset": "formal"}, "--preset: need plain or standard; formal is not built yet"),
        ({"size": "huge"}, "--size: need small, medium or large"),
    ],
)
def test_an_unknown_choice_is_refused_before_anything_is_written(made, tmp_path, choices, words):
    with pytest.raises(ConfigurationError, match=words):
        made(**choices)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["carrel.toml", "policy.toml", "recipient.pub"])
def test_nothing_is_written_over(made, tmp_path, name):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / name).write_text("mine")

    with pytest.raises(ConfigurationError, match=f"there is a {name} already"):
        made()

    assert [path.name for path in (tmp_path / "lib").iterdir()] == [name]
    assert not (tmp_path / "secrets").exists()


def test_a_key_that_is_there_is_kept_and_no_half_deployment_is_left(made, tmp_path):
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "recipient.key").write_text("mine")

    with pytest.raises(ConfigurationError, match="holds a recipient key already"):
        made()

    assert (tmp_path / "secrets" / "recipient.key").read_text() == "mine"
    assert not (tmp_path / "lib").exists()


def test_a_place_that_cannot_be_written_is_said_in_one_line(made, tmp_path):
    (tmp_path / "lib").write_text("a file")

    with pytest.raises(ConfigurationError, match=r"cannot be written \(.*\); name a folder") as caught:
        made()

    assert "\n" not in str(caught.value)
