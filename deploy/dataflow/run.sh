#!/usr/bin/env bash
# Start a deployment's job from its flex template; update.sh replaces a running one.
#
#   PROJECT=... REGION=... BUCKET=... SUBNETWORK=... SERVICE_ACCOUNT=... IMAGE=...@sha256:... \
#     deploy/dataflow/run.sh JOB
#
#   BUCKET           of templates, staged files and temporary ones (Terraform: buckets.work)
#   SUBNETWORK       regions/REGION/subnetworks/NAME, with Private Google Access: workers have no public addresses
#   SERVICE_ACCOUNT  of the workers (Terraform: worker_account)
#   KMS_KEY          optional: a key of yours for the engine's state
#   MAX_WORKERS      optional, 4
set -euo pipefail

fail() {
  echo "run.sh: $1" >&2
  exit 2
}

update=()
if [ "${1:-}" = --update ]; then
  update=(--update)
  shift
fi
[ $# -eq 1 ] || fail "need the JOB's name"
for name in PROJECT REGION BUCKET SUBNETWORK SERVICE_ACCOUNT IMAGE; do
  [ -n "${!name:-}" ] || fail "$name: is not set"
done
[[ $IMAGE =~ @sha256:[0-9a-f]{64}$ ]] || fail "IMAGE: need what build.sh printed, NAME@sha256:..."
[[ $SERVICE_ACCOUNT == *.iam.gserviceaccount.com ]] || fail "SERVICE_ACCOUNT: need one made for Carrel, not a default one"

options=(sdk_container_image="$IMAGE" sdk_location=container)
if [ -n "${UPDATE_COMPATIBILITY_VERSION:-}" ]; then
  options+=(update_compatibility_version="$UPDATE_COMPATIBILITY_VERSION")
fi
more=()
[ -z "${KMS_KEY:-}" ] || more+=(--dataflow-kms-key "$KMS_KEY")
[ -z "${TRANSFORM_NAMES:-}" ] || more+=(--transform-name-mappings "$TRANSFORM_NAMES")

# Sampling of exceptions would keep the event that failed, in clear: the service may switch it on by itself.
exec gcloud dataflow flex-template run "$1" "${update[@]}" --project "$PROJECT" --region "$REGION" \
  --template-file-gcs-location "gs://$BUCKET/templates/carrel.json" \
  --staging-location "gs://$BUCKET/staging" --temp-location "gs://$BUCKET/temporary" \
  --service-account-email "$SERVICE_ACCOUNT" --subnetwork "$SUBNETWORK" --disable-public-ips \
  --enable-streaming-engine --max-workers "${MAX_WORKERS:-4}" "${more[@]}" \
  --additional-experiments disable_always_on_exception_sampling \
  --parameters "$(IFS=,; echo "${options[*]}")"
