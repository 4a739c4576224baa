#!/usr/bin/env bash
# Build and push a deployment's image, and write its flex template.
#
#   deploy/dataflow/build.sh DEPLOYMENT IMAGE TEMPLATE
#
#   DEPLOYMENT   folder with carrel.toml, policy.toml and recipient.pub; nothing else of it is taken
#   IMAGE        name to push to, without a tag, such as registry.example/P/carrel/carrel
#   TEMPLATE     gs://BUCKET/carrel.json
#
# PYTHON_IMAGE, BEAM_IMAGE and LAUNCHER_IMAGE name the base images by their digests (README.md).
# Prints the image by its digest: that is what run.sh wants.
set -euo pipefail

fail() {
  echo "build.sh: $1" >&2
  exit 2
}

[ $# -eq 3 ] || fail "need DEPLOYMENT IMAGE TEMPLATE"
deployment=$1 image=$2 template=$3
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}

for name in PYTHON_IMAGE BEAM_IMAGE LAUNCHER_IMAGE; do
  [[ ${!name:-} =~ @sha256:[0-9a-f]{64}$ ]] || fail "$name: need an image by its digest, NAME@sha256:..."
done
[[ $image != *@* && ${image##*/} != *:* ]] || fail "IMAGE: leave tag and digest out"
[[ $template == gs://*/*.json ]] || fail "TEMPLATE: need gs://BUCKET/NAME.json"
for name in carrel.toml policy.toml recipient.pub; do
  [ -f "$deployment/$name" ] || fail "$deployment/$name: not there"
done
"$python" "$here/fits_workers.py" "$deployment/carrel.toml" || exit 2

context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
"$python" -m build --wheel --no-isolation --outdir "$context" "$root" >&2
cp "$here/Dockerfile" "$here/launch.py" "$root/requirements/runtime.txt" "$context"
cp "$deployment/carrel.toml" "$deployment/policy.toml" "$deployment/recipient.pub" "$context"

tag=$image:$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/pyproject.toml")
docker build --build-arg "PYTHON_IMAGE=$PYTHON_IMAGE" --build-arg "BEAM_IMAGE=$BEAM_IMAGE" \
  --build-arg "LAUNCHER_IMAGE=$LAUNCHER_IMAGE" --tag "$tag" "$context" >&2
docker push "$tag" >&2
pinned=$(docker inspect --format '{{index .RepoDigests 0}}' "$tag")
gcloud dataflow flex-template build "$template" --image "$pinned" --sdk-language PYTHON \
  --metadata-file "$here/metadata.json" >&2
echo "$pinned"
