# The keyring: `keyring = "gcp-secrets:..."` in carrel.toml. Carrel makes and destroys the keys themselves; a KMS key
# of its own wraps each, so that destroying it makes every copy of its secret worthless.
resource "google_kms_key_ring" "keyring" {
  project  = var.keys_project
  location = var.region
  name     = var.name

  depends_on = [google_project_service.keys]
}

resource "google_project_iam_custom_role" "secrets" {
  project = var.keys_project
  role_id = "${replace(var.name, "-", "_")}_secrets"
  title   = "Carrel: secrets of the keyring"
  permissions = [
    "secretmanager.secrets.create",
    "secretmanager.secrets.delete",
    "secretmanager.secrets.get",
    "secretmanager.secrets.list",
    "secretmanager.secrets.update",
    "secretmanager.versions.access",
    "secretmanager.versions.add",
    "secretmanager.versions.destroy",
    "secretmanager.versions.list",
  ]
}

resource "google_project_iam_custom_role" "wrapping" {
  project = var.keys_project
  role_id = "${replace(var.name, "-", "_")}_wrapping"
  title   = "Carrel: wrapping keys of the keyring"
  permissions = [
    "cloudkms.cryptoKeyVersions.destroy",
    "cloudkms.cryptoKeyVersions.list",
    "cloudkms.cryptoKeyVersions.useToDecrypt",
    "cloudkms.cryptoKeyVersions.useToEncrypt",
    "cloudkms.cryptoKeys.create",
    "cloudkms.cryptoKeys.get",
  ]
}

# Making a secret is a right on the project, which is why the keyring has one of its own.
resource "google_project_iam_member" "secrets" {
  project = var.keys_project
  role    = google_project_iam_custom_role.secrets.id
  member  = google_service_account.worker.member
}

resource "google_kms_key_ring_iam_member" "wrapping" {
  key_ring_id = google_kms_key_ring.keyring.id
  role        = google_project_iam_custom_role.wrapping.id
  member      = google_service_account.worker.member
}

# Who opened which key, and when; alerts.tf tells when it was anybody else.
resource "google_project_iam_audit_config" "keys" {
  for_each = local.keys_services
  project  = var.keys_project
  service  = each.value

  audit_log_config {
    log_type = "DATA_READ"
  }

  audit_log_config {
    log_type = "DATA_WRITE"
  }
}
