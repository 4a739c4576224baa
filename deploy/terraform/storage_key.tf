# One key of the library's own for what lies in the cloud's stores; not of the keyring, which Carrel alone uses.
resource "google_kms_key_ring" "storage" {
  project  = var.keys_project
  location = var.region
  name     = "${var.name}-storage"

  depends_on = [google_project_service.keys]
}

resource "google_kms_crypto_key" "storage" {
  name            = "storage"
  key_ring        = google_kms_key_ring.storage.id
  rotation_period = "7776000s" # 90 days

  lifecycle {
    prevent_destroy = true
  }
}

data "google_storage_project_service_account" "this" {
  project = var.project
}

data "google_bigquery_default_service_account" "this" {
  project = var.project
}

locals {
  agents = {
    bigquery = "serviceAccount:${data.google_bigquery_default_service_account.this.email}"
    compute  = "serviceAccount:service-${data.google_project.this.number}@compute-system.iam.gserviceaccount.com"
    dataflow = "serviceAccount:service-${data.google_project.this.number}@dataflow-service-producer-prod.iam.gserviceaccount.com"
    pubsub   = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
    storage  = "serviceAccount:${data.google_storage_project_service_account.this.email_address}"
  }
}

resource "google_kms_crypto_key_iam_member" "agents" {
  for_each      = local.agents
  crypto_key_id = google_kms_crypto_key.storage.id
  role          = "roles/cloudkms.cryptoKeyEncrypterDecrypter"
  member        = each.value
}
