output "carrel_toml" {
  description = "What these resources are called in carrel.toml."
  value       = <<-TOML
    keyring = "gcp-secrets:${google_kms_key_ring.keyring.id}"
    counts_store = "bigquery:${var.project}.${google_bigquery_dataset.counts.dataset_id}"
    dead_letters = { kind = "pubsub", topic = "${google_pubsub_topic.letters.id}" }
    bus = { kind = "pubsub", subscription = "${google_pubsub_subscription.events.id}" }
  TOML
}

output "worker_account" {
  description = "SERVICE_ACCOUNT of deploy/dataflow/run.sh."
  value       = google_service_account.worker.email
}

output "buckets" {
  description = "work is BUCKET of deploy/dataflow/run.sh; letters holds sealed dead letters."
  value = {
    letters = google_storage_bucket.letters.name
    work    = google_storage_bucket.work.name
  }
}

output "storage_key" {
  description = "KMS_KEY of deploy/dataflow/run.sh."
  value       = google_kms_crypto_key.storage.id
}
