"""Whatever dies, is cut off, stands still or comes twice: what `carrel live` publishes is what the oracle says."""

import ast
import concurrent.futures
import contextlib
import itertools
import os
import shutil
from pathlib import Path
from queue import Queue

import pytest

from tests.engines.conftest import missing
from tests.engines.faults.checker import faults
from tests.engines.faults.tcp_proxy import TcpProxy
from tests.engines.faults.world import Plan, World
from tests.support.kafka_server import KafkaMissingError, KafkaServer
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
    except KafkaMissingError as error:
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
    """Runs a seed to its end; returns what is wrong, its folder is kept then, and the kills."""

    def run(plan, mutation=""):
        door, address = doors.get(timeout=600)
        home = tmp_path / f"seed-{plan.seed}-{next(_NUMBERS)}"
        world = World(plan, broker, door, address, template, home, mutation)
        try:
            world.live_through()
            found = faults(world.folder, world.oracle, world.observed)
        except AssertionError as error:
            found = [f"did not end: {error}"]
        finally:
            world.kill()
            doors.put((door, address))
        if not found:
            shutil.rmtree(home)
        return found, world.kills

    return run


def all_lived(lived, seeds):
    """Some at once: much of a seed is waiting."""
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = dict(zip(seeds, pool.map(lambda seed: lived(Plan.of(seed)), seeds), strict=True))
    return {seed: found for seed, (found, _) in outcomes.items() if found}, sum(kills for _, kills in outcomes.values())


def test_whatever_is_done_to_it_live_publishes_what_the_oracle_says(lived):
    wrong, kills = all_lived(lived, range(SEEDS))

    assert wrong == {}
    assert kills >= SEEDS


@pytest.mark.soak
@pytest.mark.timeout(600 + 30 * SOAK)
def test_whatever_is_done_to_it_for_long_live_publishes_what_the_oracle_says(lived, capsys):
    seeds = range(1_000, 1_000 + SOAK)

    wrong, kills = all_lived(lived, seeds)

    with capsys.disabled():
        print(f"\nfaults: {len(seeds)} seeds run, {kills} kills, wrong {len(wrong)}")  # noqa: T201 - the result
    assert wrong == {}


@pytest.mark.parametrize("name", ["checker.py", "oracle.py"])
def test_the_checker_and_its_oracle_know_no_code_of_the_product(name):
    tree = ast.parse((Path(__file__).parent / name).read_text())
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names]

    assert modules
    assert not {module.partition(".")[0] for module in modules} & {"pipelines", "transforms", "schemas", "tests"}
