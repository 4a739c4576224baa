# Events of the library's systems. Both keep 31 days, the most there is: the state of open windows can be made again
# only from here, and after a clean start also from what was acknowledged before.
resource "google_pubsub_topic" "events" {
  project                    = var.project
  name                       = "${var.name}-events"
  kms_key_name               = google_kms_crypto_key.storage.id
  message_retention_duration = "2678400s"

  message_storage_policy {
    allowed_persistence_regions = [var.region]
  }

  depends_on = [google_kms_crypto_key_iam_member.agents, google_project_service.this]
}

# No dead-letter topic: it would hold events in clear. No ordering and no exactly-once delivery: the job does both.
resource "google_pubsub_subscription" "events" {
  project                      = var.project
  name                         = "${var.name}-events"
  topic                        = google_pubsub_topic.events.id
  ack_deadline_seconds         = 600
  message_retention_duration   = "2678400s"
  retain_acked_messages        = true
  enable_message_ordering      = false
  enable_exactly_once_delivery = false

  expiration_policy {
    ttl = "" # never, also when the job is down for a month
  }
}
