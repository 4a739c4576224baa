# Staged files, temporary ones and the template. The engine's own state is not here.
resource "google_storage_bucket" "work" {
  project                     = var.project
  name                        = "${var.project}-${var.name}-work"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  encryption {
    default_kms_key_name = google_kms_crypto_key.storage.id
  }

  lifecycle_rule {
    condition {
      age            = 14
      matches_prefix = ["temporary/"]
    }
    action {
      type = "Delete"
    }
  }

  soft_delete_policy {
    retention_duration_seconds = 0
  }

  depends_on = [google_kms_crypto_key_iam_member.agents]
}

# Cancelled when it is taken away, never drained: a drain closes windows before their time.
resource "google_dataflow_flex_template_job" "this" {
  count                   = var.image == null ? 0 : 1
  provider                = google-beta
  project                 = var.project
  region                  = var.region
  name                    = var.name
  container_spec_gcs_path = "gs://${google_storage_bucket.work.name}/templates/carrel.json"
  staging_location        = "gs://${google_storage_bucket.work.name}/staging"
  temp_location           = "gs://${google_storage_bucket.work.name}/temporary"
  service_account_email   = google_service_account.worker.email
  subnetwork              = var.subnetwork
  ip_configuration        = "WORKER_IP_PRIVATE"
  kms_key_name            = google_kms_crypto_key.storage.id
  enable_streaming_engine = true
  max_workers             = var.max_workers
  on_delete               = "cancel"

  # Sampling of exceptions would keep the event that failed, in clear.
  additional_experiments = ["disable_always_on_exception_sampling"]

  parameters = {
    sdk_container_image = var.image
    sdk_location        = "container"
  }

  depends_on = [
    google_artifact_registry_repository_iam_member.worker,
    google_bigquery_dataset_iam_member.worker,
    google_bigquery_table.counts,
    google_kms_key_ring_iam_member.wrapping,
    google_project_iam_member.secrets,
    google_project_iam_member.worker,
    google_pubsub_subscription_iam_member.worker,
    google_pubsub_topic_iam_member.worker,
    google_storage_bucket_iam_member.worker,
  ]
}
