"""What Dataflow is given: a template that its own class reads, an image by its rules, scripts that ask what they should.

`docker` and `gcloud` are stand-ins that note what they are asked; no image was built and no job run.
"""

import argparse
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from google.cloud.dataflow_v1beta3 import TemplateMetadata

from pipelines.stream_options import stream_options

ROOT = Path(__file__).parent.parent.parent
HERE = ROOT / "deploy" / "dataflow"
DIGEST = "@sha256:" + "0123456789abcdef" * 4
KEYRING = "gcp-secrets:projects/library-keys/locations/europe-west3/keyRings/carrel"
# Flags of `gcloud dataflow flex-template`, as its help lists them.
BUILD_FLAGS = {"--image", "--sdk-language", "--metadata-file"}
RUN_FLAGS = {
    "--additional-experiments", "--dataflow-kms-key", "--disable-public-ips", "--enable-streaming-engine",
    "--max-workers", "--parameters", "--project", "--region", "--service-account-email", "--staging-location",
    "--subnetwork", "--temp-location", "--template-file-gcs-location", "--transform-name-mappings", "--update",
}  # fmt: skip
STAND_IN = """#!/usr/bin/env bash
printf '%s\\n' "$(basename "$0") $(printf '%q ' "$@")" >> "$ASKED"
case "$1" in
  build) (cd "${@: -1}" && find . -type f) | sed 's#^./##' >> "$ASKED.context" ;;
  inspect) echo "registry/carrel@sha256:$(printf 'a%.0s' {1..64})" ;;
esac
"""
PYTHON = """#!/usr/bin/env bash
if [ "$1 $2" = "-m build" ]; then touch "$6/carrel-0.1.0-py3-none-any.whl"; else exec {python} "$@"; fi
"""


@pytest.fixture(scope="module")
def metadata():
    return TemplateMetadata.from_json((HERE / "metadata.json").read_text(), ignore_unknown_fields=False)


def test_the_metadata_is_read_by_the_services_own_class(metadata):
    assert metadata.name == "Carrel"
    assert (metadata.streaming, metadata.supports_exactly_once, metadata.supports_at_least_once) == (True, True, False)
    assert metadata.default_streaming_mode == "EXACTLY_ONCE"
    assert [one.name for one in metadata.parameters] == [
        one["name"] for one in json.loads((HERE / "metadata.json").read_text())["parameters"]
    ]


LAUNCHER = ["--runner=DataflowRunner", "--project=p", "--region=r", "--temp_location=gs://b/t"]
VALUES = {
    "sdk_container_image": f"registry.example.org/p/carrel/carrel{DIGEST}",
    "sdk_location": "container",
    "update_compatibility_version": "2.77.0",
}


def test_every_parameter_is_an_option_of_beam_that_the_command_takes(metadata):
    parser = argparse.ArgumentParser()
    for kind in PipelineOptions.__subclasses__():
        kind._add_argparse_args(parser)
    known = {option for action in parser._actions for option in action.option_strings}
    given = {one.name: VALUES[one.name] for one in metadata.parameters}

    judged = stream_options([*LAUNCHER, *(f"--{name}={value}" for name, value in given.items())])

    assert [name for name in given if f"--{name}" not in known] == []
    assert judged.engine == "dataflow"
    assert {f"--{name}={value}" for name, value in given.items()} <= set(judged.words)
    assert "--experiments=disable_always_on_exception_sampling" in judged.words


def test_every_regex_compiles_and_judges(metadata):
    found = {one.name: [re.compile(pattern) for pattern in one.regexes] for one in metadata.parameters}

    assert all(found.values())
    image = found["sdk_container_image"][0]
    assert image.search(f"registry.example.org/p/carrel/carrel{DIGEST}")
    assert not image.search("registry.example.org/p/carrel/carrel:latest")
    assert not found["sdk_location"][0].search("default")
    assert found["update_compatibility_version"][0].search("2.77.0")


def test_the_image_is_pinned_hashed_and_not_roots():
    lines = (HERE / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    bases = [words for step, words in steps if step == "FROM"]
    arguments = [words for step, words in steps if step == "ARG"]
    installs = [part for step, words in steps if step == "RUN" for part in words.split("&&") if "install" in part]
    environment = dict(part.split("=", 1) for step, words in steps if step == "ENV" for part in words.split())
    copied = {name for step, words in steps if step == "COPY" and "--from" not in words for name in words.split()[:-1]}

    assert [base.split()[0] for base in bases] == [*(f"${{{name}}}" for name in arguments), "carrel"]
    assert len(arguments) == 3  # without a default: whoever builds names the digests
    assert ["--require-hashes -r" in one or "--no-index" in one for one in installs] == [True, True]
    assert all("--no-deps" in one for one in installs)
    assert [words for step, words in steps if step == "USER"] == ["10001:10001"] * 2
    assert steps[-1] == ["ENTRYPOINT", '["/opt/apache/beam/boot"]']
    assert "ADD" not in {step for step, _ in steps}
    assert environment["FLEX_TEMPLATE_PYTHON_PY_FILE"] == "/opt/carrel/launch.py"
    assert environment["CARREL_CONFIG"] == "/etc/carrel/carrel.toml"
    assert copied == {
        "runtime.txt", "carrel-*.whl", "launch.py", "carrel.toml", "policy.toml", "recipient.pub", "settings/",
    }  # fmt: skip


@pytest.fixture
def tools(tmp_path):
    """Stand-ins for what the scripts start; gives a function that runs a script with what it asked for."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "tmp").mkdir()
    for name, text in {"docker": STAND_IN, "gcloud": STAND_IN, "python": PYTHON.format(python=sys.executable)}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)

    def run(script, *words, **environment):
        given = {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHON": str(tmp_path / "bin" / "python"),
            "ASKED": str(tmp_path / "asked"), "TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": str(ROOT), **environment,
        }  # fmt: skip
        done = subprocess.run(
            [HERE / script, *words], env=given, capture_output=True, text=True, timeout=120, check=False
        )
        asked = tmp_path / "asked"
        lines = asked.read_text().splitlines() if asked.exists() else []
        return done, [shlex.split(line) for line in lines]

    return run


def flags(words):
    return {word for word in words if word.startswith("--")}


def after(words, flag):
    return words[words.index(flag) + 1]


BASES = {f"{name}_IMAGE": f"registry/{name.lower()}{DIGEST}" for name in ("PYTHON", "BEAM", "LAUNCHER")}
IMAGE = "registry/carrel/carrel"


@pytest.fixture
def deployment(tmp_path):
    made = tmp_path / "library"
    made.mkdir()
    (made / "policy.toml").write_text("")
    (made / "recipient.pub").write_text("")
    (made / "recipient.key").write_text("never to be taken")
    (made / "carrel.toml").write_text(f"""tenant = "example"
keyring = "{KEYRING}"
counts_store = "bigquery:library-counts.carrel"
dead_letters = {{ kind = "pubsub", topic = "projects/library/topics/letters" }}
[sources.events]
adapter = "carrel-event"
bus = {{ kind = "pubsub", subscription = "projects/library/subscriptions/events" }}
""")
    return made


@pytest.fixture
def checkout():
    """What is committed is what is built."""
    if subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, check=False).returncode:
        pytest.skip("not a git checkout: there is no commit to build")


@pytest.mark.usefixtures("checkout")
def test_build_takes_seven_files_and_pins_what_it_pushed(tools, deployment, tmp_path):
    done, asked = tools("build.sh", deployment, IMAGE, "gs://bucket/templates/carrel.json", **BASES)

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"registry/carrel@sha256:{'a' * 64}\n"
    assert sorted((tmp_path / "asked.context").read_text().split()) == [
        "Dockerfile", "carrel-0.1.0-py3-none-any.whl", "carrel.toml", "launch.py", "policy.toml", "recipient.pub",
        "runtime.txt",
    ]  # fmt: skip
    built, pushed, _, template = asked
    assert {f"{name}={value}" for name, value in BASES.items()} <= set(built)
    assert after(built, "--tag") == pushed[2] == f"{IMAGE}:0.1.0"
    assert template[:5] == ["gcloud", "dataflow", "flex-template", "build", "gs://bucket/templates/carrel.json"]
    assert flags(template) == BUILD_FLAGS
    assert after(template, "--image") == done.stdout.strip()
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.usefixtures("checkout")
def test_settings_of_brokers_are_taken_but_never_a_secret(tools, deployment, tmp_path):
    toml = deployment / "carrel.toml"
    toml.write_text(
        toml.read_text().split("[sources")[0]
        + """[sources.events]
adapter = "carrel-event"
bus = { kind = "kafka", topics = ["events"], settings = "kafka.properties" }
"""
    )
    words = ("build.sh", deployment, IMAGE, "gs://bucket/carrel.json")
    missing, _ = tools(*words, **BASES)
    (deployment / "kafka.properties").write_text("bootstrap.servers=kafka:9092\nsasl.password=CANARY\n")
    refused, asked = tools(*words, **BASES)
    (deployment / "kafka.properties").write_text("bootstrap.servers=kafka:9092\n#sasl.password=\n")
    done, _ = tools(*words, **BASES)

    assert (missing.returncode, refused.returncode, asked) == (2, 2, [])
    assert "settings must lie beside carrel.toml" in missing.stderr
    assert "kafka.properties: holds a secret" in refused.stderr
    assert "CANARY" not in refused.stderr
    assert done.returncode == 0, done.stderr
    assert "settings/kafka.properties" in (tmp_path / "asked.context").read_text().split()


@pytest.mark.usefixtures("checkout")
def test_a_local_build_is_carrel_alone(tools, tmp_path):
    done, (asked,) = tools("build.sh", "--local", PYTHON_IMAGE=BASES["PYTHON_IMAGE"])
    refused, _ = tools("build.sh", "--local", PYTHON_IMAGE="python:3.11-slim")

    assert (done.returncode, done.stdout) == (0, "carrel:0.1.0\n"), done.stderr
    assert sorted((tmp_path / "asked.context").read_text().split()) == [
        "Dockerfile", "carrel-0.1.0-py3-none-any.whl", "runtime.txt",
    ]  # fmt: skip
    assert after(asked, "--target") == "carrel"
    assert after(asked, "--tag") == "carrel:0.1.0"
    assert (refused.returncode, refused.stderr.startswith("build.sh: PYTHON_IMAGE: need")) == (2, True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"BEAM_IMAGE": "apache/beam_python3.11_sdk:2.77.0"}, "BEAM_IMAGE: need an image by its digest"),
        ({"PYTHON_IMAGE": ""}, "PYTHON_IMAGE: need an image by its digest"),
        ({"image": f"{IMAGE}:latest"}, "IMAGE: leave tag and digest out"),
        ({"template": "carrel.json"}, "TEMPLATE: need gs://BUCKET/NAME.json"),
        ({"missing": "recipient.pub"}, "recipient.pub: not there"),
    ],
)
def test_build_refuses_what_could_not_run_or_is_not_pinned(tools, deployment, change, said):
    if "missing" in change:
        (deployment / change["missing"]).unlink()
    environment = BASES | {name: value for name, value in change.items() if name.isupper()}

    done, asked = tools(
        "build.sh", deployment, change.get("image", IMAGE), change.get("template", "gs://b/carrel.json"), **environment
    )

    assert (done.returncode, asked) == (2, [])
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (KEYRING, "../secrets", "keyring: a folder is on one machine"),
        ("bigquery:library-counts.carrel", "counts.db", "counts_store: a file is on one machine"),
        ("bigquery:library-counts.carrel", "parquet:counts", "counts_store: a file is on one machine"),
        ("dead_letters = ", "# ", "dead_letters: a folder is on one machine"),
        ("[sources.events]", "[sources.events]\nlookups = { items = 'items.csv' }", "lookups: files with patrons"),
        ("tenant", "tennant", "carrel.toml: "),
    ],
)
def test_a_deployment_with_something_on_one_machine_is_refused(deployment, monkeypatch, capsys, old, new, said):
    toml = deployment / "carrel.toml"
    text = toml.read_text().replace(old, new)
    if "lookups" in new:  # an adapter that has some
        text = text.replace('"carrel-event"', '"folio"')
    toml.write_text(text)
    monkeypatch.setattr(sys, "argv", ["fits_workers.py", str(toml)])

    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(HERE / "fits_workers.py"), run_name="__main__")

    told = capsys.readouterr()
    assert (ended.value.code, told.out, len(told.err.splitlines())) == (2, "", 1)
    assert told.err.startswith(f"build.sh: {said}")


SETTINGS = {
    "PROJECT": "library", "REGION": "europe-west3", "BUCKET": "library-work", "SUBNETWORK": "regions/r/subnetworks/s",
    "SERVICE_ACCOUNT": "carrel-worker@library.iam.gserviceaccount.com", "IMAGE": f"{IMAGE}{DIGEST}",
}  # fmt: skip


def test_run_starts_a_job_without_sampling_public_addresses_or_default_rights(tools, metadata):
    done, (asked,) = tools("run.sh", "carrel", **SETTINGS)

    assert done.returncode == 0, done.stderr
    assert asked[:5] == ["gcloud", "dataflow", "flex-template", "run", "carrel"]
    assert flags(asked) <= RUN_FLAGS - {"--update"}
    assert {"--disable-public-ips", "--enable-streaming-engine"} <= flags(asked)
    assert after(asked, "--additional-experiments") == "disable_always_on_exception_sampling"
    assert after(asked, "--service-account-email") == SETTINGS["SERVICE_ACCOUNT"]
    given = dict(one.split("=", 1) for one in after(asked, "--parameters").split(","))
    assert given == {"sdk_container_image": SETTINGS["IMAGE"], "sdk_location": "container"}
    for one in metadata.parameters:
        assert one.is_optional or all(re.search(pattern, given[one.name]) for pattern in one.regexes)


def test_update_asks_for_the_same_job_and_names_what_was_renamed(tools):
    renamed = '{"Old": "New"}'
    done, (asked,) = tools(
        "update.sh", "carrel", **SETTINGS, TRANSFORM_NAMES=renamed, UPDATE_COMPATIBILITY_VERSION="2.76.0",
        KMS_KEY="projects/p/locations/l/keyRings/r/cryptoKeys/k", MAX_WORKERS="9",
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert asked[4:6] == ["carrel", "--update"]
    assert flags(asked) <= RUN_FLAGS
    assert after(asked, "--transform-name-mappings") == renamed
    assert after(asked, "--dataflow-kms-key").endswith("/k")
    assert after(asked, "--max-workers") == "9"
    assert "update_compatibility_version=2.76.0" in after(asked, "--parameters").split(",")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"PROJECT": ""}, "PROJECT: is not set"),
        ({"IMAGE": f"{IMAGE}:latest"}, "IMAGE: need what build.sh printed"),
        ({"SERVICE_ACCOUNT": "1-compute@developer.gserviceaccount.com"}, "SERVICE_ACCOUNT: need one made for Carrel"),
    ],
)
@pytest.mark.parametrize("script", ["run.sh", "update.sh"])
def test_run_refuses_an_image_by_tag_and_default_accounts(tools, script, change, said):
    done, asked = tools(script, "carrel", **(SETTINGS | change))

    assert (done.returncode, asked) == (2, [])
    assert said in done.stderr


def test_the_launchers_file_is_the_command_with_the_launchers_options(tmp_path):
    ours = {**os.environ, "PYTHONPATH": str(ROOT), "CARREL_CONFIG": str(tmp_path / "none.toml")}
    done = subprocess.run(
        [sys.executable, HERE / "launch.py", *LAUNCHER, "--sdk_location=container"],
        env=ours, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert "none.toml: cannot be read" in done.stderr
