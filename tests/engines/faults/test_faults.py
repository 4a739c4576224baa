"""Whatever dies, is cut off, stands still or comes twice: what `carrel live` publishes is what the oracle says."""

import ast
import concurrent.futures
import contextlib
import itertools
import json
import os
import shutil
import sqlite3
from pathlib import Path
from queue import Queue

import pytest

from pipelines.maven_parts import PartsMissingError
from tests.engines.conftest import missing
from tests.engines.faults.checker import GROWTH, faults, growth
from tests.engines.faults.growth import grow
from tests.engines.faults.nemesis import strike
from tests.engines.faults.plan import Plan
from tests.engines.faults.seen import see
from tests.engines.faults.tcp_proxy import TcpProxy
from tests.engines.faults.world import World
from tests.support.kafka_server import KafkaServer
from tests.support.postgres_server import PostgresMissingError, PostgresServer
from tests.support.replaying import deployment

pytestmark = pytest.mark.engine
AT_ONCE = 4
SEEDS, SERVED = 40, 8  # of those
SOAK, FIRST = int(os.environ.get("SEEDS", "60")), int(os.environ.get("FIRST", "1000"))
MINUTES = float(os.environ.get("MINUTES", "20"))
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
def servers():
    """PostgreSQL servers, to be taken one for each seed that runs, for they are killed.

    One that a thread has started again ends with that thread.
    """
    with contextlib.ExitStack() as stack:
        free = Queue()
        for _ in range(AT_ONCE):
            try:
                server = PostgresServer()
            except PostgresMissingError as error:
                missing("postgresql", error)
                return
            stack.callback(server.remove)
            server.start()
            free.put(server)
        yield free


@pytest.fixture
def live_through(broker, doors, template, tmp_path):
    """Lives through a plan; returns what is wrong and its world, whose folder goes when nothing is."""

    def run(plan, mutation="", *, servers=None, keep=False):
        home = tmp_path / f"seed-{plan.seed}-{next(_NUMBERS)}"
        with taken(doors) as (door, address), taken(servers if plan.is_served else None) as server:
            world = World(plan, broker, door, address, template, home, mutation, server=server)
            try:
                world.live_through(strike)
                found = faults(
                    world.folder, world.oracle, world.observed,
                    elsewhere=None if server is None else server.directory,
                    replayed=home / "replayed" if plan.is_replayed else None,
                )  # fmt: skip
            except AssertionError as error:
                found = [f"did not end: {error}"]
            finally:
                world.end()
        if not (found or keep):
            shutil.rmtree(home)
        return found, world

    return run


@contextlib.contextmanager
def taken(queue):
    """One of a queue, for a while; None where there is no queue."""
    one = None if queue is None else queue.get(timeout=600)
    try:
        yield one
    finally:
        if queue is not None:
            queue.put(one)


def all_lived(live_through, plans, servers=None, told=lambda *_: None):
    """Some at once: much of a seed is waiting. What is wrong, by seed, and the worlds.

    Args:
      told: is told of each seed that has ended: its plan, what is wrong, its world.
    """

    def run(plan):
        found, world = live_through(plan, servers=servers)
        told(plan, found, world)
        return found, world

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(zip(plans, pool.map(run, plans), strict=True))
    return {plan.seed: found for plan, (found, _) in outcomes if found}, [world for _, (_, world) in outcomes]


def first_plans(amount, *, served):
    return list(
        itertools.islice((plan for plan in map(Plan.of, itertools.count(2)) if plan.is_served == served), amount)
    )


@pytest.mark.timeout(1_800)
def test_whatever_is_done_to_it_live_publishes_what_the_oracle_says(live_through):
    plans = [Plan.of_command(0), Plan.of_command(1), *first_plans(SEEDS - 2 - SERVED, served=False)]

    wrong, worlds = all_lived(live_through, plans)

    assert wrong == {}
    assert sum(world.kills for world in worlds) >= len(plans)


@pytest.mark.timeout(1_800)
def test_whatever_is_done_to_it_and_to_the_server_of_its_store_live_publishes_what_the_oracle_says(
    live_through, servers
):
    wrong, _ = all_lived(live_through, first_plans(SERVED, served=True), servers)

    assert wrong == {}


@pytest.mark.soak
@pytest.mark.timeout(600 + 30 * SOAK)
def test_whatever_is_done_to_it_for_long_live_publishes_what_the_oracle_says(live_through, servers, capsys):
    ended = []

    def told(plan, found, world):
        ended.append(found)
        wrong, kills = sum(map(bool, ended)), world.kills
        with capsys.disabled():
            print(f"faults: seed {plan.seed}, {len(ended)} of {SOAK}, wrong {wrong}, kills {kills} {found}", flush=True)  # noqa: T201

    wrong, worlds = all_lived(live_through, [Plan.of(seed) for seed in range(FIRST, FIRST + SOAK)], servers, told)

    kills, starts = sum(world.kills for world in worlds), sorted(one for world in worlds for one in world.started)
    with capsys.disabled():
        print(  # noqa: T201 - the result
            f"\nfaults: {len(worlds)} seeds run, {kills} kills, wrong {len(wrong)}; {len(starts)} starts, "
            f"half of them within {starts[len(starts) // 2]:.1f} s, the slowest {starts[-1]:.1f} s"
        )
    assert wrong == {}


@pytest.mark.soak
@pytest.mark.timeout(600 + 90 * MINUTES)
def test_in_a_long_run_it_does_not_grow(broker, doors, template, tmp_path, capsys):
    with taken(doors) as (door, address):
        world = World(Plan(1, 1, 2, 50_000, 1.0, ()), broker, door, address, template, tmp_path / "grown")
        try:
            grow(world, MINUTES * 60)
        finally:
            world.end()

    slopes = growth(map(json.loads, world.observed.open()))
    with capsys.disabled():
        print(f"\nfaults: in an hour {slopes}, by a run of {MINUTES} minutes")  # noqa: T201 - the result
    assert slopes.keys() == GROWTH.keys()
    assert {name for name, slope in slopes.items() if slope > GROWTH[name]} == set()


# A checker that cannot fail proves nothing.


BROKEN = {
    "position before commit": ((("surely crash", "graph-run:1"),), (("stop", 0),), "I1"),
    "no fencing": ((("twin", 0),), (("twins read", 0),), "I1"),
    "acts named by position": ((("stop", 0),), (("stop", 0),), "I1"),
    "every letter is new": ((("again", 0),), (("stop", 0),), "I5"),
    "full disk not heard": ((("surely full", ("letters", 0)),), (("stop", 0),), "I1"),
}


@pytest.mark.timeout(1_800)
def test_the_checker_sees_each_product_that_breaks_its_word(live_through):
    def seen(mutation):
        *harms, invariant = BROKEN[mutation]
        found, _ = live_through(Plan(7, 1, 2, 50_000, 0.3, tuple(harms)), mutation)
        return found if not any(line.startswith(invariant) for line in found) else invariant

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = dict(zip(BROKEN, pool.map(seen, BROKEN), strict=True))

    assert outcomes == {mutation: invariant for mutation, (*_, invariant) in BROKEN.items()}


@pytest.fixture(scope="module")
def sound(broker, doors, template, tmp_path_factory):
    """What a run has left behind in which nothing is wrong; to be copied."""
    plan = Plan(
        7, 1, 2, 50_000, 0.3, ((("crash", "graph-run:1"),), (("again", 0),)), is_replayed=True
    )  # fmt: skip
    with taken(doors) as (door, address):
        world = World(plan, broker, door, address, template, tmp_path_factory.mktemp("sound") / "seed")
        try:
            world.live_through(strike)
        finally:
            world.end()
    return world.home


def counts_changed(folder, statement):
    with contextlib.closing(sqlite3.connect(folder / "counts.db")) as database, database:
        assert database.execute(statement).rowcount


A_ROW = "INSERT INTO released_counts SELECT release_id, tenant, table_name, window_start, window_end, time_zone"
TAMPERINGS = {
    "nothing": (lambda _: None, set()),
    "a leak": (lambda home: (home / "library" / "leak").write_text("canary-patron-3"), {"I7"}),
    "a letter less": (lambda home: next((home / "library" / "dead-letters").glob("*.jsonl")).unlink(), {"I1"}),
    "a number below k": (
        lambda home: counts_changed(
            home / "library",
            "UPDATE released_counts SET value = 3 WHERE status = 'published' AND measure = 'patrons'",
        ),
        {"I2", "I6", "I10"},
    ),
    "a number where nobody is": (
        lambda home: counts_changed(
            home / "library",
            "UPDATE released_counts SET value = 11, status = 'published' WHERE cell LIKE '%B09%map%'",
        ),
        {"I2", "I6"},
    ),
    "a withheld number of no cell": (
        lambda home: counts_changed(
            home / "library",
            f"{A_ROW}, '{{}}', measure, NULL, 'withheld', mechanism, revision FROM released_counts LIMIT 1",
        ),
        {"I2", "I6"},
    ),
    "another replay": (
        lambda home: counts_changed(home / "replayed", "UPDATE released_counts SET time_zone = 'UTC'"),
        {"I6"},
    ),
    "a letter more by reading again": (
        lambda home: seen_changed(home, "again", lambda one: one["second"]["state"]["letters"].append("x")),
        {"I5"},
    ),
    "a number less by reading again": (
        lambda home: seen_changed(home, "again", lambda one: one["first"]["state"]["numbers"].append("x")),
        {"I5"},
    ),
    "a slow start": (lambda home: seen_changed(home, "start", lambda one: one.update(seconds=61)), {"I9"}),
    "descriptors that stay open": (
        lambda home: [see(home / "observed.jsonl", "size", at=at, rss=1 << 28, descriptors=20 + at // 60, threads=9)
                      for at in range(600)],
        {"I8"},
    ),
}  # fmt: skip


def seen_changed(home, what, change):
    lines = [json.loads(line) for line in (home / "observed.jsonl").open()]
    found = [one for one in lines if one["see"] == what]
    change(found[-1])
    (home / "observed.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))


@pytest.mark.parametrize("what", TAMPERINGS)
def test_the_checker_sees_what_is_tampered_with_and_nothing_else(sound, tmp_path, what):
    home = shutil.copytree(sound, tmp_path / "seed")
    tamper, invariants = TAMPERINGS[what]

    tamper(home)
    found = faults(home / "library", home / "oracle.jsonl", home / "observed.jsonl", replayed=home / "replayed")

    assert {line.partition(":")[0].split()[0] for line in found} == invariants, found


@pytest.mark.parametrize("name", ["checker.py", "oracle.py", "truth.py"])
def test_the_checker_and_its_oracle_know_no_code_of_the_product(name):
    tree = ast.parse((Path(__file__).parent / name).read_text())
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names]

    known = {module for module in modules if module != "tests.engines.faults.truth"}
    assert known
    assert not {module.partition(".")[0] for module in known} & {"pipelines", "transforms", "schemas", "tests"}
