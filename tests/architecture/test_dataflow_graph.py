"""The whole streaming graph as Dataflow would get it, made by Beam's own runner for it and not submitted."""

import pytest

from pipelines.configuration import load
from pipelines.keyring import Keyring
from pipelines.stream_options import stream_options
from tests.attacks.test_canaries import hits
from tests.support.packed_graphs import with_unpacked
from tests.support.replaying import deployment
from tests.support.stream_graphs import a_stream_graph

IMAGE = "registry.example/carrel@sha256:" + "0" * 64
OPTIONS = (
    "--runner=DataflowRunner",
    "--project=a-library",
    "--region=europe-west3",
    "--job_name=carrel",
    "--temp_location=gs://a-library-carrel/temp",
    "--staging_location=gs://a-library-carrel/staging",
    "--sdk_location=container",
    f"--sdk_container_image={IMAGE}",
    "--service_account_email=carrel@a-library.iam.gserviceaccount.com",
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    made = deployment(tmp_path_factory.mktemp("dataflow") / "deployment", preset="standard")
    Keyring(load(made / "carrel.toml").keyring).store_key()
    return made


@pytest.fixture(scope="module")
def job(directory):
    """What the runner would send: its graph and its options, as the command judges and completes them."""
    words = stream_options(OPTIONS).words
    return a_stream_graph(directory, (*words, "--dry_run=True", "--no_auth")).run().job


def test_every_step_runs_in_the_image_and_nothing_is_sampled(job):
    environments = job.proto_pipeline.components.environments.values()

    assert {one.urn for one in environments} == {"beam:env:docker:v1"}
    assert all(IMAGE.encode() in one.payload for one in environments)
    assert "disable_always_on_exception_sampling" in job.options.get_all_options()["experiments"]


def test_the_job_holds_no_key_no_secret_and_nothing_of_a_session(job, directory):
    data = with_unpacked(job.proto_pipeline.SerializeToString())
    keys = [path.read_bytes()[:32] for path in directory.parent.rglob("*.key")]

    assert keys
    assert not [key for key in keys if key in data or key.hex().encode() in data]
    assert hits(data) == []
    assert b"__main__" not in data
    assert job.options.get_all_options()["save_main_session"] is False


def test_the_hunt_would_find_a_key(job, directory):
    key = next(path.read_bytes()[:32] for path in directory.parent.rglob("*.key"))

    assert key in with_unpacked(job.proto_pipeline.SerializeToString() + key)
