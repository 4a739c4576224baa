"""The Kubernetes manifests: what kubectl itself knows of them without a cluster, and what must hold of ports and rights.

No operator and no cluster was there; `upgrade.sh` is tried against a `kubectl` that answers as Flink's interface does.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from pipelines.stream_options import stream_options
from tests.support.command_words import faults

ROOT = Path(__file__).parent.parent.parent
HERE = ROOT / "deploy" / "kubernetes"
POOL = 50_000
KINDS = {
    "FlinkDeployment": "flink.apache.org/v1beta1", "Job": "batch/v1", "Namespace": "v1",
    "NetworkPolicy": "networking.k8s.io/v1", "PersistentVolumeClaim": "v1", "Role": "rbac.authorization.k8s.io/v1",
    "RoleBinding": "rbac.authorization.k8s.io/v1", "ServiceAccount": "v1",
}  # fmt: skip
# Of the operator's reference: what a FlinkDeployment may say.
DEPLOYMENT = {
    "image", "imagePullPolicy", "serviceAccount", "flinkVersion", "ingress", "podTemplate", "jobManager", "taskManager",
    "logConfiguration", "mode", "job", "restartNonce", "flinkConfiguration",
}  # fmt: skip
MANAGER = {"resource", "replicas", "podTemplate"}


def documents(name):
    return [one for one in yaml.safe_load_all((HERE / name).read_text()) if one]


ALL = [one for path in sorted(HERE.glob("*.yaml")) if path.name != "kustomization.yaml" for one in documents(path.name)]


def of_kind(kind):
    return {one["metadata"]["name"]: one for one in ALL if one["kind"] == kind}


CLUSTER = of_kind("FlinkDeployment")["carrel-flink"]["spec"]
SUBMIT = of_kind("Job")["carrel-submit"]
PODS = {
    "flink": CLUSTER["podTemplate"],
    "taskmanager": CLUSTER["taskManager"]["podTemplate"],
    "submit": {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "submit"},
        "spec": SUBMIT["spec"]["template"]["spec"],
    },
}


def containers(pod):
    return pod["spec"].get("initContainers", []) + pod["spec"]["containers"]


def kubectl(*words, given=None):
    program = shutil.which("kubectl")
    if program is None:
        message = "kubectl: not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    done = subprocess.run(
        [program, *words], input=given, env={**os.environ, "KUBECONFIG": "/dev/null"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def lost(written, read, path=""):
    """Where a document has something that was not read: a field that kubectl's own types do not have."""
    if isinstance(written, dict) and isinstance(read, dict):
        return [
            fault
            for key, value in written.items()
            for fault in ([f"{path}.{key}"] if key not in read else lost(value, read[key], f"{path}.{key}"))
        ]
    if isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        return [fault for number, one in enumerate(written) for fault in lost(one, read[number], f"{path}[{number}]")]
    return [] if written == read else [path]


def test_kubectl_builds_the_whole_without_a_cluster():
    built = kubectl("kustomize", str(HERE))

    assert {one["kind"] for one in built} == set(KINDS) - {"Job"}
    assert {one["metadata"].get("namespace") for one in built if one["kind"] != "Namespace"} == {"carrel"}
    assert len(built) == len(ALL) - 1


@pytest.mark.parametrize("name", [*PODS, "job"])
def test_kubectls_own_types_know_every_field_of_pods_and_job(name):
    written = SUBMIT if name == "job" else PODS[name]
    container = containers(SUBMIT["spec"]["template"] if name == "job" else written)[-1]
    written = json.loads(json.dumps(written))
    words = ("set", "image", "--local", "--filename", "-", "--output", "yaml", f"{container['name']}=other/image:1")
    for one in containers(written["spec"]["template"] if name == "job" else written):
        one.setdefault("image", "flink")

    (read,) = kubectl(*words, given=yaml.safe_dump(written))

    assert set(lost(written, read)) <= {fault for fault in lost(written, read) if fault.endswith(".image")}
    wrong = json.loads(json.dumps(written))
    (wrong["spec"]["template"] if name == "job" else wrong)["spec"]["restartpolicy"] = "Never"
    assert any(
        fault.endswith(".restartpolicy") for fault in lost(wrong, kubectl(*words, given=yaml.safe_dump(wrong))[0])
    )


def test_every_document_is_of_a_known_kind_and_version():
    assert [one["kind"] for one in ALL if KINDS.get(one["kind"]) != one["apiVersion"]] == []
    assert set(CLUSTER) <= DEPLOYMENT
    assert set(CLUSTER["jobManager"]) | set(CLUSTER["taskManager"]) <= MANAGER
    assert "job" not in CLUSTER  # a session cluster
    assert all(isinstance(value, str) for value in CLUSTER["flinkConfiguration"].values())


def test_images_are_of_one_version_each():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    beam = re.search(r"(?m)^apache-beam==([0-9.]+)", (ROOT / "requirements" / "runtime.txt").read_text())[1]
    minor = CLUSTER["flinkVersion"].removeprefix("v").replace("_", ".")
    images = {CLUSTER["image"]} | {one["image"] for pod in PODS.values() for one in containers(pod) if "image" in one}

    assert {one.rpartition(":")[0]: one.rpartition(":")[2] for one in images} == {
        "flink": CLUSTER["image"].rpartition(":")[2],
        "registry.example.org/carrel": version,
        f"apache/beam_flink{minor}_job_server": beam,
    }
    assert re.fullmatch(rf"flink:{re.escape(minor)}\.\d+-java17", CLUSTER["image"])


@pytest.mark.parametrize("name", PODS)
def test_no_container_may_gain_rights_and_carrels_own_write_nowhere(name):
    pod = PODS[name]
    for one in containers(pod):
        if "image" not in one and name == "taskmanager":
            continue  # what is merged into Flink's own container, which the common template describes
        assert one["securityContext"]["allowPrivilegeEscalation"] is False
        assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        if "carrel" in one.get("image", ""):
            assert one["securityContext"]["readOnlyRootFilesystem"] is True
    context = pod["spec"].get("securityContext", CLUSTER["podTemplate"]["spec"]["securityContext"])
    assert context["runAsNonRoot"] is True
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}


def test_nothing_secret_stands_in_a_file():
    for one in ALL:
        assert one["kind"] not in ("Secret", "ConfigMap")
    for pod in PODS.values():
        for one in containers(pod):
            assert {variable["name"] for variable in one.get("env", [])} <= {"PYTHONUNBUFFERED"}
            assert one.get("envFrom", []) in ([], [{"secretRef": {"name": "carrel-bus"}}])


def test_only_flink_asks_the_cluster_and_only_for_config_maps():
    accounts = {name: one["automountServiceAccountToken"] for name, one in of_kind("ServiceAccount").items()}
    rules = {name: one["rules"] for name, one in of_kind("Role").items()}
    main, workers = PODS["taskmanager"]["spec"]["containers"]

    assert accounts == {"carrel": False, "flink": True}
    assert {name: [rule["resources"] for rule in found] for name, found in rules.items()} == {
        "carrel": [["configmaps"]], "flink": [["configmaps"]],
    }  # fmt: skip
    assert rules["carrel"][0]["verbs"] == ["get", "list", "watch"]
    for name, one in of_kind("RoleBinding").items():
        assert (one["roleRef"]["name"], [subject["name"] for subject in one["subjects"]]) == (name, [name])
    assert CLUSTER["serviceAccount"] == "flink"
    assert CLUSTER["flinkConfiguration"]["kubernetes.taskmanager.service-account"] == "carrel"
    for name in ("taskmanager", "submit"):
        assert PODS[name]["spec"]["serviceAccountName"] == "carrel"
        assert PODS[name]["spec"]["automountServiceAccountToken"] is False
    assert "token" in {one["name"] for one in main["volumeMounts"]}
    assert "token" not in {one["name"] for one in workers["volumeMounts"]}


def test_the_workers_are_in_the_taskmanagers_pod_and_their_port_is_reached_from_nowhere_else():
    (workers,) = (one for one in PODS["taskmanager"]["spec"]["containers"] if one["name"] == "workers")
    policies = of_kind("NetworkPolicy")

    assert workers["command"] == ["python", "-m", "pipelines.worker_pool", str(POOL)]
    assert "ports" not in workers
    assert policies["nothing"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, one in policies.items():
        for rule in one["spec"].get("ingress", []):
            assert rule["from"], name
            assert rule["ports"], name
            assert all("endPort" not in port and port["port"] != POOL for port in rule["ports"]), name
        for rule in one["spec"].get("egress", []):
            assert rule["to"], name
            assert rule["ports"], name
        selected = one["spec"]["podSelector"].get("matchLabels", {})
        assert selected or "matchExpressions" in one["spec"]["podSelector"] or name in ("nothing", "names")


def test_policies_and_configuration_speak_of_the_same_ports_and_pods():
    configured = CLUSTER["flinkConfiguration"]
    policies = {name: one["spec"] for name, one in of_kind("NetworkPolicy").items()}
    inside = {int(configured[f"taskmanager.{one}.port"]) for one in ("data", "rpc")}
    manager = {int(configured["jobmanager.rpc.port"]), int(configured["blob.server.port"]), 8081}

    def ports(rule):
        return {port["port"] for port in rule["ports"]}

    assert ports(policies["taskmanager"]["ingress"][0]) == inside
    assert ports(policies["taskmanager"]["egress"][0]) == inside | manager
    assert ports(policies["jobmanager"]["ingress"][0]) == manager
    assert ports(policies["jobmanager"]["ingress"][1]) == ports(policies["submit"]["egress"][0]) == {8081}
    label = policies["stores"]["podSelector"]["matchExpressions"][0]["key"]
    for labels in (PODS["taskmanager"]["metadata"]["labels"], SUBMIT["spec"]["template"]["metadata"]["labels"]):
        assert labels[label] == "true"
    assert SUBMIT["spec"]["template"]["metadata"]["labels"]["app"] == "carrel-submit"


def test_state_is_kept_recovers_and_can_be_restored():
    configured = CLUSTER["flinkConfiguration"]

    assert configured["execution.checkpointing.externalized-checkpoint-retention"] == "RETAIN_ON_CANCELLATION"
    assert configured["high-availability.type"] == "kubernetes"
    assert configured["restart-strategy.type"] == "exponential-delay"
    # Without it the operator lays lists of volumes and containers over each other by their order.
    assert configured["kubernetes.operator.pod-template.merge-arrays-by-name"] == "true"
    (mount,) = CLUSTER["podTemplate"]["spec"]["containers"][0]["volumeMounts"]
    places = [configured[f"state.{one}.dir"] for one in ("checkpoints", "savepoints")]
    assert all(
        one.startswith(f"file://{mount['mountPath']}/") for one in [*places, configured["high-availability.storageDir"]]
    )
    (volume,) = CLUSTER["podTemplate"]["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] in of_kind("PersistentVolumeClaim")


def options():
    (submit,) = SUBMIT["spec"]["template"]["spec"]["containers"]
    words = [*submit["command"], *submit["args"]]
    assert faults(shlex.join(words[: words.index("--")])) == []
    given = words[words.index("--") + 1 :]
    assert stream_options(given).engine == "flink"
    assert "--flink=http://carrel-flink-rest:8081" in words  # without it the pod would have to stay
    return dict(one.removeprefix("--").partition("=")[::2] for one in given)


def test_the_submission_asks_for_what_recovery_needs_and_is_made_once():
    asked = options()
    (server,) = SUBMIT["spec"]["template"]["spec"]["initContainers"]
    served = dict(one.removeprefix("--").partition("=")[::2] for one in server["args"])
    slots = int(CLUSTER["flinkConfiguration"]["taskmanager.numberOfTaskSlots"]) * CLUSTER["taskManager"]["replicas"]

    assert asked["runner"] == "PortableRunner"
    assert asked["job_endpoint"] == f"{served['job-host']}:{served['job-port']}" == "localhost:8099"
    assert served["flink-master"] == "carrel-flink-rest:8081"
    assert (asked["environment_type"], asked["environment_config"]) == ("EXTERNAL", f"127.0.0.1:{POOL}")
    assert int(asked["checkpointing_interval"]) >= 10_000
    assert asked["finish_bundle_before_checkpointing"] == ""
    assert int(asked["parallelism"]) == slots
    assert asked["max_parallelism"] == CLUSTER["flinkConfiguration"]["pipeline.max-parallelism"]
    assert server["restartPolicy"] == "Always"
    assert (SUBMIT["spec"]["backoffLimit"], SUBMIT["spec"]["template"]["spec"]["restartPolicy"]) == (0, "Never")


STAND_IN = """#!/usr/bin/env bash
printf '%s\\n' "$(printf '%q ' "$@")" >> "$STATE/asked"
case "$*" in
  *--raw*/jobs) cat "$STATE/jobs" ;;
  *--raw*/stop*) cp "${@: -1}" "$STATE/stop"; echo '{"request-id": "trigger"}' ;;
  *--raw*/savepoints/trigger)
    if [ -e "$STATE/asked-once" ]; then cat "$STATE/savepoint"; else touch "$STATE/asked-once"; echo '{"status": {"id": "IN_PROGRESS"}}'; fi ;;
  *patch*) exec "$KUBECTL" "$@" ;;
  *create*) cat > "$STATE/created" ;;
  *wait*) exit "${WAITS:-0}" ;;
esac
"""
JOB = "0123456789abcdef" * 2
RUNNING = {"jobs": [{"id": JOB, "status": "RUNNING"}, {"id": "f" * 32, "status": "CANCELED"}]}
TAKEN = {"status": {"id": "COMPLETED"}, "operation": {"location": "file:///state/savepoints/savepoint-012345-abc"}}
FAILED = {"status": {"id": "COMPLETED"}, "operation": {"failure-cause": {"class": "CANARY", "stack-trace": "CANARY"}}}


@pytest.fixture
def upgrade(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "kubectl").write_text(STAND_IN)
    (tmp_path / "bin" / "kubectl").chmod(0o755)

    def run(*words, jobs=RUNNING, savepoint=TAKEN, **environment):
        (tmp_path / "jobs").write_text(json.dumps(jobs))
        (tmp_path / "savepoint").write_text(json.dumps(savepoint))
        done = subprocess.run(
            [HERE / "upgrade.sh", *words], capture_output=True, text=True, timeout=120, check=False,
            env={
                "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "STATE": str(tmp_path), "KUBECONFIG": "/dev/null",
                "KUBECTL": shutil.which("kubectl") or "", "PAUSE": "0.1", **environment,
            },
        )  # fmt: skip
        return done, [shlex.split(line) for line in (tmp_path / "asked").read_text().splitlines()]

    return run


def test_an_upgrade_stops_with_a_savepoint_never_drains_and_submits_from_there(upgrade, tmp_path):
    kubectl("version", "--client")  # the patch is its own
    (tmp_path / "kustomization.yaml").write_text("resources: []\n")

    done, asked = upgrade(tmp_path)

    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "stop").read_text()) == {
        "drain": False,
        "targetDirectory": "file:///state/savepoints",
    }
    created = yaml.safe_load((tmp_path / "created").read_text())
    args = created["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[-1] == f"--savepoint_path={TAKEN['operation']['location']}"
    assert args[:-1] == SUBMIT["spec"]["template"]["spec"]["containers"][0]["args"]
    assert [one for one in asked if "apply" in one] == [["apply", "-k", str(tmp_path)]]
    order = [
        next(index for index, one in enumerate(asked) if word in one) for word in ("apply", "delete", "patch", "wait")
    ]
    assert order == sorted(order)


@pytest.mark.parametrize(
    ("jobs", "savepoint", "said"),
    [
        ({"jobs": []}, TAKEN, "need one running job"),
        ({"jobs": [RUNNING["jobs"][0]] * 2}, TAKEN, "need one running job"),
        (RUNNING, FAILED, "the savepoint failed; the job runs on as it was"),
    ],
)
def test_an_upgrade_that_cannot_stop_in_order_submits_nothing(upgrade, tmp_path, jobs, savepoint, said):
    done, asked = upgrade(jobs=jobs, savepoint=savepoint)

    assert done.returncode == 1
    assert said in done.stderr
    assert "CANARY" not in done.stderr
    assert not [one for one in asked if {"create", "delete", "apply"} & set(one) and "--raw" not in one]
    assert not (tmp_path / "created").exists()


def test_an_upgrade_gives_up_waiting_and_tells_of_a_submission_that_failed(upgrade):
    waiting, _ = upgrade(savepoint={"status": {"id": "IN_PROGRESS"}}, PATIENCE="1")
    refused, _ = upgrade(WAITS="1")

    assert (waiting.returncode, refused.returncode) == (1, 1)
    assert "no savepoint after 1 s" in waiting.stderr
    assert "To begin clean" in refused.stderr
