# The launcher and the workers run as this account, and as nothing else.
resource "google_service_account" "worker" {
  project      = var.project
  account_id   = "${var.name}-worker"
  display_name = "Carrel's job"
}

resource "google_project_iam_member" "worker" {
  for_each = toset(["roles/bigquery.jobUser", "roles/dataflow.worker"])
  project  = var.project
  role     = each.value
  member   = google_service_account.worker.member
}

resource "google_artifact_registry_repository_iam_member" "worker" {
  project    = var.project
  location   = var.region
  repository = var.image_repository
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.worker.member
}

resource "google_storage_bucket_iam_member" "worker" {
  bucket = google_storage_bucket.work.name
  role   = "roles/storage.objectAdmin"
  member = google_service_account.worker.member
}

resource "google_pubsub_subscription_iam_member" "worker" {
  for_each     = toset(["roles/pubsub.subscriber", "roles/pubsub.viewer"])
  project      = var.project
  subscription = google_pubsub_subscription.events.name
  role         = each.value
  member       = google_service_account.worker.member
}

resource "google_pubsub_topic_iam_member" "worker" {
  project = var.project
  topic   = google_pubsub_topic.letters.name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.worker.member
}

resource "google_bigquery_dataset_iam_member" "worker" {
  project    = var.project
  dataset_id = google_bigquery_dataset.counts.dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.worker.member
}

resource "google_bigquery_dataset_iam_member" "analysts" {
  for_each   = var.analysts
  project    = var.project
  dataset_id = google_bigquery_dataset.counts.dataset_id
  role       = "roles/bigquery.dataViewer"
  member     = each.value
}

resource "google_project_iam_member" "analysts" {
  for_each = var.analysts
  project  = var.project
  role     = "roles/bigquery.jobUser"
  member   = each.value
}

resource "google_pubsub_topic_iam_member" "publishers" {
  for_each = var.publishers
  project  = var.project
  topic    = google_pubsub_topic.events.name
  role     = "roles/pubsub.publisher"
  member   = each.value
}
