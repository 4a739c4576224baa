# The counts store: `counts_store = "bigquery:PROJECT.DATASET"`. Released numbers only; no event ever comes here.
resource "google_bigquery_dataset" "counts" {
  project     = var.project
  dataset_id  = replace(var.name, "-", "_")
  location    = var.region
  description = "Disclosure-safe counts of what patrons do, and the ledger of their releases."

  default_encryption_configuration {
    kms_key_name = google_kms_crypto_key.storage.id
  }

  depends_on = [google_kms_crypto_key_iam_member.agents, google_project_service.this]
}

# `carrel init` makes the same tables where they are not there, and gives the store its id; run it after this.
resource "google_bigquery_table" "counts" {
  for_each            = jsondecode(file("${path.module}/counts_tables.json"))
  project             = var.project
  dataset_id          = google_bigquery_dataset.counts.dataset_id
  table_id            = each.key
  schema              = jsonencode(each.value)
  clustering          = each.key == "released_counts" ? ["table_name", "window_start"] : null
  deletion_protection = true
}
