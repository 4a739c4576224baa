"""A laptop's deployment: parsed, and held to what must be so of ports, images, rights, secrets and options.

Docker was not there; nothing of it was started.
"""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
FILE = ROOT / "deploy" / "compose.yaml"
DEPLOYMENT = yaml.safe_load(FILE.read_text())
SERVICES = DEPLOYMENT["services"]
OURS = {"carrel", "live", "workers", "submit"}
# Of the Compose specification: what a service may say.
KNOWN = {
    "cap_add", "cap_drop", "command", "depends_on", "entrypoint", "environment", "healthcheck", "image", "network_mode",
    "ports", "profiles", "read_only", "restart", "secrets", "security_opt", "stop_grace_period", "tmpfs", "ulimits", "user",
    "volumes",
}  # fmt: skip


def test_it_says_only_what_compose_knows():
    assert {name for name in DEPLOYMENT if not name.startswith("x-")} == {"name", "services", "volumes", "secrets"}
    assert {key for one in SERVICES.values() for key in one} <= KNOWN


def test_every_port_is_this_machines_only():
    ports = [port for one in SERVICES.values() for port in one.get("ports", [])]

    assert len(ports) == 3
    assert [port for port in ports if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)] == []
    assert "host" not in {one.get("network_mode") for one in SERVICES.values()}


def test_images_are_of_one_version_each_and_the_same_as_elsewhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    beam = re.search(r"(?m)^apache-beam==([0-9.]+)", (ROOT / "requirements" / "runtime.txt").read_text())[1]
    kafka = re.search(
        r"<artifactId>kafka_2\.13</artifactId>\s*<version>([0-9.]+)<",
        (ROOT / "deploy" / "kafka" / "pom.xml").read_text(),
    )[1]
    cluster = next(yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "flink.yaml").read_text()))["spec"]["image"]
    images = {name: one["image"] for name, one in SERVICES.items()}

    assert {images[name] for name in OURS} == {f"carrel:{version}"}
    assert images["jobmanager"] == images["taskmanager"] == cluster
    assert images["kafka"] == f"apache/kafka:{kafka}"
    assert images["job-server"] == f"apache/beam_flink{cluster.split(':')[1][:4]}_job_server:{beam}"
    assert [one for one in images.values() if not re.search(r":\d+\.\d+[\w.-]*$", one)] == []


def test_no_secret_stands_in_it_and_what_is_made_beside_it_is_never_committed():
    values = [str(value) for one in SERVICES.values() for value in one.get("environment", {}).values()]
    names = [name for one in SERVICES.values() for name in one.get("environment", {})]

    assert [
        name for name in names if re.search("PASS|SECRET|TOKEN|KEY", name) and not re.search("PASSFILE$|_FILE$", name)
    ] == []
    assert all(value.startswith("/run/secrets/") for name, value in zip(names, values, strict=True) if "PASS" in name)
    assert not re.search(r"://[^/\s]*:[^/\s]*@", FILE.read_text())
    assert {one["file"].split("/")[1] for one in DEPLOYMENT["secrets"].values()} == {"secrets"}
    for name in ("secrets/pgpass", "data/library/carrel.toml"):
        ignored = subprocess.run(["git", "check-ignore", "-q", f"deploy/{name}"], cwd=ROOT, check=False)
        assert ignored.returncode == 0, name


def test_what_is_named_is_declared():
    assert {other for one in SERVICES.values() for other in one.get("depends_on", [])} <= set(SERVICES)
    shared = {one["network_mode"].removeprefix("service:") for one in SERVICES.values() if "network_mode" in one}
    assert shared == {"taskmanager", "job-server"}
    assert {secret for one in SERVICES.values() for secret in one.get("secrets", [])} == set(DEPLOYMENT["secrets"])
    mounted = {volume.partition(":")[0] for one in SERVICES.values() for volume in one.get("volumes", [])}
    assert {one for one in mounted if not one.startswith(".")} == set(DEPLOYMENT["volumes"])
    for one in SERVICES.values():
        for other, how in dict(one["depends_on"]).items() if isinstance(one.get("depends_on"), dict) else ():
            assert how["condition"] != "service_healthy" or "healthcheck" in SERVICES[other]


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"postgresql"}))
def test_nothing_may_gain_rights(name):
    one = SERVICES[name]

    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert one.get("cap_add", []) == (["CHOWN"] if name == "flink-state" else [])
    if name in OURS:
        assert one["read_only"] is True
        assert one["ulimits"] == {"core": 0}  # keys are in memory
        assert one["user"].startswith("${CARREL_USER:-")


def test_loop_and_stream_never_start_together_by_default():
    assert {name for name, one in SERVICES.items() if "profiles" not in one} == {"kafka", "postgresql"}
    assert SERVICES["live"]["profiles"] == ["live"]
    assert SERVICES["submit"]["profiles"] == ["stream"]


def test_the_submission_asks_for_the_same_as_on_kubernetes():
    job = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "submit.yaml").read_text())
    (there,) = job["spec"]["template"]["spec"]["containers"]
    words = SERVICES["submit"]["command"]

    def alike(given):
        return [re.sub(r"^(--readers|--parallelism|--flink)=.*$", r"\1", one) for one in given]

    assert alike(words) == alike([*there["command"], *there["args"]])
    assert "--flink=http://jobmanager:8081" in words
    assert SERVICES["workers"]["command"][:3] == ["python", "-m", "pipelines.worker_pool"]
    assert f"--environment_config=127.0.0.1:{SERVICES['workers']['command'][3]}" in words


def test_kafka_keeps_events_as_long_as_any_table_needs_them():
    assert int(SERVICES["kafka"]["environment"]["KAFKA_LOG_RETENTION_HOURS"]) >= 73 * 24
