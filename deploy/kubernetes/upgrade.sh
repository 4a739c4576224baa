#!/usr/bin/env bash
# Replace the running job: stop it with a savepoint, submit again from there.
#
#   deploy/kubernetes/upgrade.sh [OVERLAY]
#
#   OVERLAY   folder with your kustomization.yaml, applied between the two (new images); by default nothing is
#   NAMESPACE optional, carrel
#
# The submission is the Job carrel-submit as it stands in the cluster, or $SUBMIT, a file. Never drains: a drain would
# close windows before their time. When the savepoint fails the job runs on as before. When the restore fails: cancel
# the job and submit without a savepoint; it reads again what open windows need.
set -euo pipefail

fail() {
  echo "upgrade.sh: $1" >&2
  exit "${2:-2}"
}

here=$(cd "$(dirname "$0")" && pwd)
namespace=${NAMESPACE:-carrel}
submit=${SUBMIT:-$here/submit.yaml}
flink=/api/v1/namespaces/$namespace/services/carrel-flink-rest:8081/proxy
patience=${PATIENCE:-600} # seconds for the savepoint
[ $# -le 1 ] || fail "need at most an OVERLAY"
[ $# -eq 0 ] || [ -f "$1/kustomization.yaml" ] || fail "$1: has no kustomization.yaml"
[ -f "$submit" ] || fail "$submit: not there"

pick() { # pick EXPRESSION: of the JSON on standard input, as Python says it
  python3 -c "import json, sys; found = json.load(sys.stdin); print($1)"
}

jobs=$(kubectl get --raw "$flink/jobs") || fail "the cluster's JobManager does not answer" 1
job=$(pick '" ".join(one["id"] for one in found["jobs"] if one["status"] == "RUNNING")' <<<"$jobs")
[[ $job =~ ^[0-9a-f]{32}$ ]] || fail "need one running job; look at the jobs of carrel-flink" 1

asked=$(mktemp)
trap 'rm -f "$asked"' EXIT
echo '{"drain": false, "targetDirectory": "file:///state/savepoints"}' >"$asked"
stopping=$(kubectl create --raw "$flink/jobs/$job/stop" -f "$asked" | pick 'found["request-id"]')

end=$((SECONDS + patience))
while :; do
  answer=$(kubectl get --raw "$flink/jobs/$job/savepoints/$stopping") || answer='{"status": {"id": "?"}}'
  [ "$(pick 'found["status"]["id"]' <<<"$answer")" != COMPLETED ] || break
  [ $SECONDS -lt $end ] || fail "no savepoint after $patience s; look at the job before anything else" 1
  sleep "${PAUSE:-2}"
done
savepoint=$(pick 'found["operation"].get("location", "")' <<<"$answer")
[[ $savepoint == file:///state/savepoints/* ]] || fail "the savepoint failed; the job runs on as it was" 1
echo "stopped with $savepoint"

[ $# -eq 0 ] || kubectl apply -k "$1"
kubectl --namespace "$namespace" delete job carrel-submit --ignore-not-found
kubectl patch --local --dry-run=client --output yaml --type json --filename "$submit" --patch \
  '[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--savepoint_path='"$savepoint"'"}]' |
  kubectl --namespace "$namespace" create --filename -
kubectl --namespace "$namespace" wait --for=condition=complete --timeout=900s job/carrel-submit ||
  fail "the submission failed; its log says why. To begin clean: kubectl create -f submit.yaml" 1
