"""The engines that tests need. One that is missing leaves its tests out, by name; in CI it is a failure."""

import contextlib
import os

import pytest

from pipelines.flink_rest import FlinkError
from pipelines.maven_parts import PartsMissingError
from tests.support.bigquery_server import BigQueryMissingError, BigQueryServer
from tests.support.flink_server import flink_server, running
from tests.support.kafka_server import KafkaServer
from tests.support.postgres_server import PostgresMissingError, PostgresServer
from tests.support.prism_binary import PrismMissingError, prism_binary
from tests.support.pubsub_server import PubsubMissingError, PubsubServer


def missing(engine: str, why: object) -> None:
    """An engine is not there: a failure where everything must be tested (CI=true), else the tests are left out."""
    text = f"{engine}: {why}"
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(text, pytrace=False)
    pytest.skip(text)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory):
    """A broker for all tests; one that stops it starts it again."""
    try:
        server = KafkaServer(tmp_path_factory.mktemp("kafka"))
    except PartsMissingError as error:
        missing("kafka", error)
        return
    server.start()
    yield server
    server.stop()


@contextlib.contextmanager
def a_cluster(directory, **given):
    """A standalone Flink of two TaskManagers with a slot each, ended afterwards."""
    with contextlib.ExitStack() as stack:
        try:
            cluster = stack.enter_context(running(flink_server(directory, **given)))
        except (PartsMissingError, FlinkError) as error:
            missing("flink", error)
            return
        yield cluster


@pytest.fixture(scope="session")
def flink(tmp_path_factory, request):
    """A cluster for all tests; one that ends a part starts it again.

    Its workers know the Pub/Sub emulator, where there is one.
    """
    with contextlib.ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            with contextlib.suppress(pytest.skip.Exception):
                patch.setenv("PUBSUB_EMULATOR_HOST", request.getfixturevalue("pubsub_server").host)
            cluster = stack.enter_context(a_cluster(tmp_path_factory.mktemp("flink")))
        yield cluster


@pytest.fixture
def lasting_flink(tmp_path):
    """A cluster whose jobs outlive their JobManager: ZooKeeper keeps them."""
    with a_cluster(tmp_path / "flink", survives=True) as cluster:
        yield cluster


@pytest.fixture
def embedded_flink(tmp_path):
    """A job server that runs jobs in its own process, and a pool of workers."""
    try:
        cluster = flink_server(tmp_path / "flink", slots=2)
        cluster.prepare()
    except (PartsMissingError, FlinkError) as error:
        missing("flink", error)
        return
    cluster.start_job_server("[local]")
    cluster.start_pool()
    try:
        cluster.wait(0)
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def prism():
    """Beam's own runner for trials, built once for each version of Beam."""
    try:
        return prism_binary()
    except PrismMissingError as error:
        missing("prism", error)


@pytest.fixture(scope="session")
def pubsub_server(tmp_path_factory):
    try:
        server = PubsubServer(tmp_path_factory.mktemp("pubsub"))
    except PubsubMissingError as error:
        missing("pubsub", error)
        return
    server.start()
    yield server
    server.stop()


@pytest.fixture
def pubsub(pubsub_server, monkeypatch):
    """An emulator for all tests, and the environment that leads a client to it."""
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", pubsub_server.host)
    return pubsub_server


@pytest.fixture(scope="session")
def postgres():
    """A server for all tests; one that stops it starts it again."""
    try:
        server = PostgresServer()
    except PostgresMissingError as error:
        missing("postgresql", error)
        return
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
def postgres_database(postgres):
    """The name of an empty database, dropped afterwards; `postgres.address(name)` leads to it."""
    name = postgres.make_database()
    yield name
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def bigquery_server(tmp_path_factory):
    try:
        server = BigQueryServer(tmp_path_factory.mktemp("bigquery"))
    except BigQueryMissingError as error:
        missing("bigquery emulator", error)
        return
    server.start()
    yield server
    server.stop()


@pytest.fixture
def bigquery_dataset(bigquery_server, monkeypatch):
    """The address of an empty dataset, and the environment that leads a client to it."""
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", bigquery_server.host)
    return bigquery_server.make_dataset()
