# Sealed dead letters: a topic, from which the service writes them into a bucket. Whole records, for the holder of the
# officer's private key, and for 14 days in all: one in the subscription at most, 13 in the bucket.
resource "google_pubsub_topic" "letters" {
  project      = var.project
  name         = "${var.name}-letters"
  kms_key_name = google_kms_crypto_key.storage.id

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [google_kms_crypto_key_iam_member.agents, google_project_service.this]
}

resource "google_pubsub_subscription" "letters" {
  project                    = var.project
  name                       = "${var.name}-letters"
  topic                      = google_pubsub_topic.letters.id
  ack_deadline_seconds       = 600 # a file may not take longer
  message_retention_duration = "86400s"

  cloud_storage_config {
    bucket          = google_storage_bucket.letters.name
    filename_prefix = "letters-"
    filename_suffix = ".jsonl"
    max_duration    = "600s"
  }

  expiration_policy {
    ttl = ""
  }

  depends_on = [google_storage_bucket_iam_member.letters]
}

resource "google_storage_bucket" "letters" {
  project                     = var.project
  name                        = "${var.project}-${var.name}-letters"
  location                    = var.region
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  encryption {
    default_kms_key_name = google_kms_crypto_key.storage.id
  }

  lifecycle_rule {
    condition {
      age = 13
    }
    action {
      type = "Delete"
    }
  }

  # What the lifecycle deletes is gone: by default it would be kept for seven days more.
  soft_delete_policy {
    retention_duration_seconds = 0
  }

  versioning {
    enabled = false
  }

  depends_on = [google_kms_crypto_key_iam_member.agents]
}

resource "google_storage_bucket_iam_member" "letters" {
  for_each = toset(["roles/storage.legacyBucketReader", "roles/storage.objectCreator"])
  bucket   = google_storage_bucket.letters.name
  role     = each.value
  member   = local.agents.pubsub
}
