locals {
  late = 6 * 3600 # seconds; windows wait meanwhile
  alerts = {
    watermark = {
      title     = "the job's data are older than six hours"
      filter    = "metric.type=\"dataflow.googleapis.com/job/data_watermark_age\" AND resource.type=\"dataflow_job\" AND resource.labels.job_name=\"${var.name}\""
      threshold = local.late
    }
    backlog = {
      title     = "an event waits for more than six hours"
      filter    = "metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\" AND resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${google_pubsub_subscription.events.name}\""
      threshold = local.late
    }
    letters = {
      title     = "sealed letters do not reach their bucket"
      filter    = "metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\" AND resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${google_pubsub_subscription.letters.name}\""
      threshold = local.late
    }
    failed = {
      title     = "the job failed"
      filter    = "metric.type=\"dataflow.googleapis.com/job/is_failed\" AND resource.type=\"dataflow_job\" AND resource.labels.job_name=\"${var.name}\""
      threshold = 0
    }
  }
}

resource "google_monitoring_alert_policy" "this" {
  for_each              = local.alerts
  project               = var.project
  display_name          = "Carrel: ${each.value.title}"
  combiner              = "OR"
  notification_channels = var.notification_channels

  conditions {
    display_name = each.value.title

    condition_threshold {
      filter          = each.value.filter
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.threshold
      duration        = "600s"

      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_MAX"
      }
    }
  }

  documentation {
    content = "docs/runbooks/dataflow.md"
  }
}

# Anybody but the job who opens a secret of the keyring or unwraps with its key ring.
resource "google_monitoring_alert_policy" "keys" {
  project               = var.keys_project
  display_name          = "Carrel: another account used a key"
  combiner              = "OR"
  notification_channels = var.notification_channels

  conditions {
    display_name = "a key was used by another account"

    condition_matched_log {
      filter = join(" AND ", [
        "logName=\"projects/${var.keys_project}/logs/cloudaudit.googleapis.com%2Fdata_access\"",
        "protoPayload.methodName=~\"(AccessSecretVersion|Decrypt)$\"",
        "protoPayload.resourceName=~\"(keyRings/${var.name}/|secrets/${var.name}_)\"",
        "protoPayload.authenticationInfo.principalEmail!=\"${google_service_account.worker.email}\"",
      ])
    }
  }

  alert_strategy {
    notification_rate_limit {
      period = "3600s"
    }
  }

  documentation {
    content = "docs/runbooks/keys.md"
  }
}
