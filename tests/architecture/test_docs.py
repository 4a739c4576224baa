"""What the documents say is what is there: commands run, links lead somewhere, promises have their tests."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from command_words import faults
from documents import ROOT, blocks, documents, run_blocks

PAGES = {str(page.relative_to(ROOT)): page for page in documents()}
# Those of the examples are run, and what came of them looked at, by `test_examples.py`.
RUN = [name for name, page in PAGES.items() if blocks(page) and name != "examples/README.md" and "runbooks" not in name]


def commands_of(page: Path) -> list[str]:
    """Every command that a page shows, in blocks and in the text; `|` in a table is no pipe."""
    text = page.read_text()
    shown = [line for block in blocks(page) for line in block.splitlines()]
    shown += re.findall(r"`((?:\.venv/bin/)?carrel [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    return [line for line in shown if "carrel " in line and not line.startswith("cp ")]


@pytest.mark.parametrize("name", RUN)
def test_every_command_block_runs_as_it_stands(tmp_path, name):
    said = run_blocks(PAGES[name], tmp_path)

    assert said


def test_the_pages_that_show_commands_are_known():
    assert "README.md" in RUN
    assert not [name for name, page in PAGES.items() if "runbooks" in name and blocks(page)]
    assert blocks(PAGES["examples/README.md"])
    assert sum(map(len, map(blocks, PAGES.values()))) >= 7


@pytest.mark.parametrize("name", PAGES)
def test_every_command_that_a_page_names_exists_with_its_options(name):
    assert [f"{line}: {fault}" for line in commands_of(PAGES[name]) for fault in faults(line)] == []


@pytest.mark.parametrize("name", PAGES)
def test_every_path_and_link_leads_somewhere(name):
    page = PAGES[name]
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    links = [page.parent / link for link in re.findall(r"\]\(([^)#:]+)\)", text)]
    named = re.findall(r"`((?:docs|tests|schemas|transforms|pipelines|examples|deploy|requirements)/[^`\s]*)`", text)
    paths = [ROOT / one.partition("::")[0] for one in named]

    assert [str(path) for path in links if not path.exists()] == []
    assert [str(path) for path in paths if not (path.exists() or list(path.parent.glob(path.name)))] == []


PROMISES = [
    row
    for row in re.findall(
        r"^\| (.+?) \| (.+) \|$",
        (PAGES["docs/privacy-model.md"].read_text()).split("## What holds")[1].split("\n## ")[0],
        re.MULTILINE,
    )
    if row[0] not in ("promise", "---")
]


@pytest.mark.parametrize(("promise", "held_by"), PROMISES, ids=[promise[:60] for promise, _ in PROMISES])
def test_every_promise_names_a_test_that_is_there(promise, held_by):
    named = re.findall(r"`(tests/[^`:]+)::(test_\w+)`", held_by)

    assert named
    assert "`" not in re.sub(r"`tests/[^`:]+::test_\w+`", "", held_by)
    for file, test in named:
        assert re.search(rf"^def {test}\(", (ROOT / file).read_text(), re.MULTILINE), test


def test_the_privacy_model_makes_its_promises_in_the_form_that_is_checked():
    assert len(PROMISES) > 30


@pytest.mark.parametrize(
    "sentence",
    [
        "barcode + keyring + work store reveal a patron's open cells: about 35 days for circulation, 67 for vendor logs",
        "**Dead letters hold whole records** for 14 days",
        "**Separate deployments over the same data cannot be prevented**",
        "distinct patrons of a longer time cannot be computed, by design",
        "0.5 under `standard`), conditional on which cells are withheld; not per patron",
    ],
)
def test_what_does_not_hold_is_said_plainly(sentence):
    assert sentence in PAGES["docs/privacy-model.md"].read_text()


def test_the_first_screen_of_the_readme_says_what_holds_what_does_not_and_one_command():
    screen = PAGES["README.md"].read_text().split("## Install")[0]
    guarantees, _, rest = screen.partition("**It does not guarantee**")

    assert screen.splitlines()[2].count(".") == 1
    assert guarantees.count("\n- ") == rest.split("\n\n")[0].count("\n- ") == 3
    assert blocks(PAGES["README.md"])[0] == "make demo\n"
    for name in (
        "RawChunk",
        "PersonalBatch",
        "PseudonymizedBatch",
        "CellBatch",
        "Tally",
        "ReleasedTable",
        "SealedReject",
    ):
        assert name in screen


def test_the_demo_shows_counts_ledger_rejects_and_where_things_lie(run, tmp_path):
    said = run("demo", tmp_path / "demo").stdout
    shown = PAGES["README.md"].read_text().split("make demo\n```\n\n```\n")[1].split("```")[0].splitlines()

    for word in ("circ_branch_month", "circ_age_month", "sealed", "disallowed_field", "conservation holds", "next:"):
        assert word in said
    assert [line for line in shown[:2] if line not in said.splitlines()] == []
    assert "\n    source " in said
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == ["deployment", "logs", "secrets"]


def test_make_demo_is_carrel_demo():
    recipe = (ROOT / "Makefile").read_text().split("\ndemo:")[1].split("\n\n")[0]

    assert "$(BIN)/carrel demo carrel-demo" in recipe
