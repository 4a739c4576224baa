"""The Terraform module: what must hold of retention, rights, encryption and the job, and that no name is undeclared.

`terraform validate` needs the google provider. Where CARREL_TERRAFORM_PROVIDERS names a folder of providers it is run;
where not, a warning in the summary says that it was not.
"""

import json
import os
import re
import shutil
import subprocess
import tomllib
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.counts_address import counts_address
from pipelines.counts_bigquery_statements import SCHEMA
from pipelines.keyring_address import keyring_address

ROOT = Path(__file__).parent.parent.parent
HERE = ROOT / "deploy" / "terraform"
FILES = {path.name: path.read_text() for path in sorted(HERE.glob("*.tf"))}
TYPES = {"INT64": "INTEGER", "FLOAT64": "FLOAT"}
# What each call of `pipelines/key_secrets.py` needs.
SECRETS = {
    "access_secret_version": "versions.access", "add_secret_version": "versions.add", "create_secret": "secrets.create",
    "delete_secret": "secrets.delete", "destroy_secret_version": "versions.destroy", "get_secret": "secrets.get",
    "list_secret_versions": "versions.list", "list_secrets": "secrets.list", "update_secret": "secrets.update",
}  # fmt: skip
WRAPPING = {
    "create_crypto_key": "cryptoKeys.create", "decrypt": "cryptoKeyVersions.useToDecrypt",
    "destroy_crypto_key_version": "cryptoKeyVersions.destroy", "encrypt": "cryptoKeyVersions.useToEncrypt",
    "get_crypto_key": "cryptoKeys.get", "list_crypto_key_versions": "cryptoKeyVersions.list",
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A block at the top of a file: its words and what is between its braces."""

    kind: str
    labels: tuple[str, ...]
    body: str

    def __getitem__(self, name):
        """The value of an argument of the block itself, as written."""
        return re.search(rf"^  {name} += (.*)$", self.body, re.MULTILINE)[1]

    def has(self, text):
        return re.search(rf"\b{text}\b", self.body) is not None


BLOCKS = [
    Block(kind, tuple(re.findall(r'"([^"]+)"', labels)), body)
    for text in FILES.values()
    for kind, labels, body in re.findall(r'^(\w+)((?: "[^"]+")*) \{\n(.*?)^\}', text, re.MULTILINE | re.DOTALL)
]


def resources(kind):
    return {one.labels[1]: one for one in BLOCKS if one.kind == "resource" and one.labels[0] == kind}


def terraform(*words, cwd=HERE):
    program = shutil.which("terraform")
    if program is None:
        message = "terraform: not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    environment = {**os.environ, "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}
    return subprocess.run(
        [program, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_module_has_the_form_that_terraform_gives_it():
    done = terraform("fmt", "-check", "-diff", "-recursive")

    assert (done.returncode, done.stdout) == (0, "")


def test_the_provider_agrees_where_it_is_there(tmp_path):
    providers = os.environ.get("CARREL_TERRAFORM_PROVIDERS")
    if providers is None:
        warnings.warn("terraform validate was NOT run: CARREL_TERRAFORM_PROVIDERS names no providers", stacklevel=1)
        return
    module = shutil.copytree(HERE, tmp_path / "module")
    assert terraform("init", "-backend=false", f"-plugin-dir={providers}", cwd=module).returncode == 0
    done = terraform("validate", "-json", cwd=module)

    assert json.loads(done.stdout)["valid"], done.stdout


GOOD = {
    "project": "library-project", "keys_project": "library-keys", "region": "europe-west3", "publishers": "[]",
    "image_repository": "carrel", "subnetwork": "regions/r/subnetworks/s", "notification_channels": "[]",
}  # fmt: skip


@pytest.fixture(scope="module")
def variables(tmp_path_factory):
    """The module's variables alone: they need no provider, so that terraform itself judges values."""
    alone = tmp_path_factory.mktemp("variables")
    shutil.copy(HERE / "variables.tf", alone)
    assert terraform("init", "-no-color", cwd=alone).returncode == 0
    return alone


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, None),
        ({"image": "registry/carrel@sha256:" + "0" * 64, "name": "carrel-two"}, None),
        ({"image": "registry/carrel:latest"}, "Need an image by its digest."),
        ({"keys_project": "library-project"}, "The keyring needs a project of its own."),
        ({"region": "eu"}, "Need a region, not a multi-region."),
        ({"name": "my_library"}, "Need 1 to 20 small letters, digits and hyphens."),
    ],
)
def test_terraform_refuses_values_that_cannot_be_meant(variables, change, said):
    words = [word for name, value in (GOOD | change).items() for word in ("-var", f"{name}={value}")]

    done = terraform("plan", "-input=false", "-no-color", *words, cwd=variables)

    assert (done.returncode == 0) == (said is None), done.stderr
    assert said is None or said in " ".join(done.stderr.replace("│", " ").split())


def test_every_name_that_is_referred_to_is_declared_and_every_variable_is_used():
    text = "\n".join(re.sub(r"(?m)#.*$", "", one) for one in FILES.values())
    declared = {f"{one.kind}.{'.'.join(one.labels)}" for one in BLOCKS}
    declared |= {
        f"local.{name}" for one in BLOCKS if one.kind == "locals" for name in re.findall(r"(?m)^  (\w+) +=", one.body)
    }
    wanted = {f"local.{name}" for name in re.findall(r"\blocal\.(\w+)", text)}
    wanted |= {f"variable.{name}" for name in re.findall(r"\bvar\.(\w+)", text)}
    wanted |= {f"data.{name}" for name in re.findall(r"\bdata\.(google_\w+\.\w+)", text)}
    wanted |= {f"resource.{name}" for name in re.findall(r"(?<!data\.)\b(google_\w+\.\w+)", text)}

    assert len(BLOCKS) > 40
    assert wanted - declared == set()
    assert {f"variable.{one.labels[0]}" for one in BLOCKS if one.kind == "variable"} <= wanted
    assert {one.labels[0].partition("_")[0] for one in BLOCKS if one.kind == "resource"} == {"google"}


def test_events_are_kept_as_long_as_pubsub_can_and_never_put_aside_in_clear():
    topic, subscription = resources("google_pubsub_topic")["events"], resources("google_pubsub_subscription")["events"]

    assert topic["message_retention_duration"] == subscription["message_retention_duration"] == f'"{31 * 86_400}s"'
    assert subscription["retain_acked_messages"] == "true"
    assert subscription["enable_message_ordering"] == subscription["enable_exactly_once_delivery"] == "false"
    assert re.search(r'expiration_policy \{\n    ttl = "" #', subscription.body)
    assert "dead_letter_policy" not in "".join(FILES.values())


def test_sealed_letters_are_gone_after_14_days_wherever_they_lie():
    subscription, bucket = (
        resources("google_pubsub_subscription")["letters"],
        resources("google_storage_bucket")["letters"],
    )
    waits = int(subscription["message_retention_duration"].strip('"s'))
    stays = int(
        re.search(
            r"lifecycle_rule \{\n    condition \{\n      age = (\d+)\n    \}\n    action \{\n      type = \"Delete\"",
            bucket.body,
        )[1]
    )

    assert waits + stays * 86_400 == 14 * 86_400
    assert re.search(r"soft_delete_policy \{\n    retention_duration_seconds = 0\n", bucket.body)
    assert re.search(r"versioning \{\n    enabled = false\n", bucket.body)
    assert not resources("google_pubsub_topic")["letters"].has("message_retention_duration")


@pytest.mark.parametrize(
    "kind",
    ["google_pubsub_topic", "google_storage_bucket", "google_bigquery_dataset", "google_dataflow_flex_template_job"],
)
def test_what_is_stored_is_encrypted_by_the_librarys_own_key(kind):
    found = resources(kind)

    assert found
    for one in found.values():
        assert re.search(r"kms_key_name += google_kms_crypto_key\.storage\.id", one.body), one.labels


def test_buckets_are_closed():
    for one in resources("google_storage_bucket").values():
        assert (one["uniform_bucket_level_access"], one["public_access_prevention"]) == ("true", '"enforced"')


def test_every_role_is_a_small_one_and_on_the_smallest_thing():
    text = "".join(FILES.values())
    on_projects = resources("google_project_iam_member").values()

    assert set(re.findall(r'"(roles/[^"]+)"', text)) == {
        "roles/artifactregistry.reader", "roles/bigquery.dataEditor", "roles/bigquery.dataViewer", "roles/bigquery.jobUser",
        "roles/cloudkms.cryptoKeyEncrypterDecrypter", "roles/dataflow.worker", "roles/pubsub.publisher",
        "roles/pubsub.subscriber", "roles/pubsub.viewer", "roles/storage.legacyBucketReader", "roles/storage.objectAdmin",
        "roles/storage.objectCreator",
    }  # fmt: skip
    assert {role for one in on_projects for role in re.findall(r'"(roles/[^"]+)"', one.body)} == {
        "roles/bigquery.jobUser", "roles/dataflow.worker",
    }  # fmt: skip
    assert "allUsers" not in text
    assert "google_service_account_key" not in text


def test_the_keyrings_roles_are_what_its_code_asks_for():
    code = (ROOT / "pipelines" / "key_secrets.py").read_text()
    roles = resources("google_project_iam_custom_role")
    permissions = {
        name: set(re.findall(r'"((?:secretmanager|cloudkms)\.[\w.]+)"', one.body)) for name, one in roles.items()
    }

    assert permissions == {
        "secrets": {f"secretmanager.{SECRETS[call]}" for call in re.findall(r"self\._secrets\.(\w+)\(", code)},
        "wrapping": {f"cloudkms.{WRAPPING[call]}" for call in re.findall(r"self\._kms\.(\w+)\(", code)},
    }


def test_the_keyring_has_a_project_of_its_own_and_its_use_is_told():
    for kind, name in (
        ("google_kms_key_ring", "keyring"), ("google_project_iam_custom_role", "secrets"),
        ("google_project_iam_member", "secrets"), ("google_project_iam_audit_config", "keys"),
        ("google_monitoring_alert_policy", "keys"),
    ):  # fmt: skip
        assert resources(kind)[name]["project"] == "var.keys_project"
    assert resources("google_project_iam_audit_config")["keys"].has("DATA_READ")
    alert = resources("google_monitoring_alert_policy")["keys"].body
    assert "principalEmail!=" in alert
    assert "AccessSecretVersion|Decrypt" in alert


def test_the_job_is_cancelled_never_drained_private_and_not_sampled():
    job = resources("google_dataflow_flex_template_job")["this"]

    assert (job["on_delete"], job["ip_configuration"]) == ('"cancel"', '"WORKER_IP_PRIVATE"')
    assert job["additional_experiments"] == '["disable_always_on_exception_sampling"]'
    assert job["service_account_email"] == "google_service_account.worker.email"
    assert job["enable_streaming_engine"] == "true"
    given = set(re.findall(r"(?m)^    (\w+) +=", job.body.split("parameters = {")[1].split("}")[0]))
    metadata = json.loads((ROOT / "deploy" / "dataflow" / "metadata.json").read_text())
    assert given == {one["name"] for one in metadata["parameters"] if not one["isOptional"]}


def test_the_tables_are_those_that_the_counts_store_makes():
    made = {}
    for statement in SCHEMA:
        name, columns = re.match(r"CREATE TABLE IF NOT EXISTS DATASET\.(\w+)\((.*?)\)", statement).groups()
        words = [column.split(maxsplit=2) for column in columns.split(", ")]
        made[name] = [
            {"name": column, "type": TYPES.get(kind, kind), "mode": "REQUIRED" if rest else "NULLABLE"}
            for column, kind, *rest in words
        ]

    assert json.loads((HERE / "counts_tables.json").read_text()) == made
    assert "CLUSTER BY table_name, window_start" in SCHEMA[1]
    assert '? ["table_name", "window_start"] :' in resources("google_bigquery_table")["counts"].body


def test_what_it_prints_for_the_configuration_is_what_the_configuration_reads():
    (output,) = (one.body for one in BLOCKS if one.labels == ("carrel_toml",))
    text = output.split("<<-TOML\n")[1].split("  TOML")[0]
    for written, value in {
        "google_kms_key_ring.keyring.id": "projects/library-keys/locations/europe-west3/keyRings/carrel",
        "google_bigquery_dataset.counts.dataset_id": "carrel",
        "google_pubsub_topic.letters.id": "projects/library/topics/carrel-letters",
        "google_pubsub_subscription.events.id": "projects/library/subscriptions/carrel-events",
        "var.project": "library-project",
    }.items():
        text = text.replace(f"${{{written}}}", value)

    said = tomllib.loads(text)

    assert keyring_address(said["keyring"], Path) == said["keyring"]
    assert counts_address(said["counts_store"], Path) == said["counts_store"]
    assert said["dead_letters"]["kind"] == said["bus"]["kind"] == "pubsub"
    assert "$" not in text
