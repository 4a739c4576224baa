"""Whatever dies, is cut off, stands still or comes twice: what `carrel live` publishes is what the oracle says."""

import ast
import concurrent.futures
import contextlib
import itertools
import os
import shutil
import sqlite3
from pathlib import Path
from queue import Queue

import pytest

from pipelines.maven_parts import PartsMissingError
from tests.engines.conftest import missing
from tests.engines.faults.checker import faults
from tests.engines.faults.nemesis import strike
from tests.engines.faults.plan import Plan
from tests.engines.faults.tcp_proxy import TcpProxy
from tests.engines.faults.world import World
from tests.support.kafka_server import KafkaServer
from tests.support.replaying import deployment

pytestmark = pytest.mark.engine
AT_ONCE = 4
SEEDS = 40
SOAK = int(os.environ.get("SEEDS", "60"))
_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return deployment(tmp_path_factory.mktemp("faults") / "template")


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """A broker of this file's own, for it is paused."""
    try:
        server = KafkaServer(tmp_path_factory.mktemp("broker"), doors=AT_ONCE)
    except PartsMissingError as error:
        missing("kafka", error)
        return
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def doors(broker):
    """Proxies before the broker, to be taken one for each seed that runs."""
    with contextlib.ExitStack() as stack:
        free = Queue()
        for heard, told in broker.doors:
            free.put((stack.enter_context(TcpProxy(told, heard)), f"127.0.0.1:{told}"))
        yield free


@pytest.fixture
def lived(broker, doors, template, tmp_path):
    """Lives through a plan; returns what is wrong and its world, whose folder goes when nothing is."""

    def run(plan, mutation="", *, keep=False):
        door, address = doors.get(timeout=600)
        home = tmp_path / f"seed-{plan.seed}-{next(_NUMBERS)}"
        world = World(plan, broker, door, address, template, home, mutation)
        try:
            world.live_through(strike)
            found = faults(world.folder, world.oracle, world.observed)
        except AssertionError as error:
            found = [f"did not end: {error}"]
        finally:
            world.end()
            doors.put((door, address))
        if not (found or keep):
            shutil.rmtree(home)
        return found, world

    return run


def all_lived(lived, plans):
    """Some at once: much of a seed is waiting. What is wrong, by seed, and the worlds."""
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(zip(plans, pool.map(lived, plans), strict=True))
    return {plan.seed: found for plan, (found, _) in outcomes if found}, [world for _, (_, world) in outcomes]


def test_whatever_is_done_to_it_live_publishes_what_the_oracle_says(lived):
    wrong, worlds = all_lived(lived, [Plan.of_command(0), Plan.of_command(1), *map(Plan.of, range(2, SEEDS))])

    assert wrong == {}
    assert sum(world.kills for world in worlds) >= SEEDS


@pytest.mark.soak
@pytest.mark.timeout(600 + 30 * SOAK)
def test_whatever_is_done_to_it_for_long_live_publishes_what_the_oracle_says(lived, capsys):
    wrong, worlds = all_lived(lived, [Plan.of(seed) for seed in range(1_000, 1_000 + SOAK)])

    kills, slowest = sum(world.kills for world in worlds), max(seconds for world in worlds for seconds in world.started)
    with capsys.disabled():
        print(  # noqa: T201 - the result
            f"\nfaults: {len(worlds)} seeds run, {kills} kills, slowest start {slowest:.1f} s, wrong {len(wrong)}"
        )
    assert wrong == {}


# A checker that cannot fail proves nothing.


@pytest.mark.parametrize(
    ("mutation", "harms"),
    [
        ("position before commit", ((("crash", "graph-run:1"),), (("stop", 0),))),
        ("no fencing", ((("twin", 0),), (("twins read", 0),))),
        ("acts named by position", ((("stop", 0),), (("stop", 0),))),
    ],
)
def test_the_checker_sees_a_product_that_breaks_its_word(lived, mutation, harms):
    plan = Plan(7, 1, 2, 50_000, 0.3, harms)

    found, _ = lived(plan, mutation)

    assert any(line.startswith("I1") for line in found), found


def test_the_checker_finds_nothing_until_something_is_tampered_with(lived):
    plan = Plan(7, 1, 2, 50_000, 0.3, ((("crash", "graph-run:1"),), (("stop", 0),)))

    sound, world = lived(plan, keep=True)
    (world.folder / "leak").write_text("canary-patron-3")
    with contextlib.closing(sqlite3.connect(world.folder / "counts.db")) as database, database:
        database.execute("UPDATE released_counts SET value = 3 WHERE status = 'published' AND measure = 'patrons'")
    next((world.folder / "dead-letters").glob("*.jsonl")).unlink()
    tampered = {line.partition(":")[0].split()[0] for line in faults(world.folder, world.oracle, world.observed)}

    assert sound == []
    assert tampered == {"I1", "I2", "I7", "I10"}


@pytest.mark.parametrize("name", ["checker.py", "oracle.py"])
def test_the_checker_and_its_oracle_know_no_code_of_the_product(name):
    tree = ast.parse((Path(__file__).parent / name).read_text())
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names]

    assert modules
    assert not {module.partition(".")[0] for module in modules} & {"pipelines", "transforms", "schemas", "tests"}
