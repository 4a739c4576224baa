#!/usr/bin/env bash
# Build and push a deployment's image of what is committed, and write its flex template; or build Carrel alone, for
# this machine.
#
#   deploy/dataflow/build.sh DEPLOYMENT IMAGE TEMPLATE
#   deploy/dataflow/build.sh --local
#
#   DEPLOYMENT   folder with carrel.toml, policy.toml and recipient.pub; beside these only settings of brokers are taken
#   IMAGE        name to push to, without a tag, such as HOST/PROJECT/REPOSITORY/carrel
#   TEMPLATE     gs://BUCKET/carrel.json
#
# PYTHON_IMAGE, BEAM_IMAGE and LAUNCHER_IMAGE name the base images by their digests (README.md); --local needs the
# first alone. Prints the image by its digest: that is what run.sh wants. --local prints carrel:VERSION.
set -euo pipefail

fail() {
  echo "build.sh: $1" >&2
  exit 2
}

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$root/pyproject.toml")

pinned() { # pinned NAME...: each of these variables names an image by its digest
  for name in "$@"; do
    [[ ${!name:-} =~ @sha256:[0-9a-f]{64}$ ]] || fail "$name: need an image by its digest, NAME@sha256:..."
  done
}

context=$(mktemp -d) source=$(mktemp -d)
trap 'rm -rf "$context" "$source"' EXIT

prepare() { # prepare FILE...: a context of these, the wheel of what is committed, and its requirements
  # Built elsewhere: what an earlier build left in the checkout would go into the wheel.
  git -C "$root" archive HEAD pyproject.toml setup.py README.md LICENSE pipelines schemas transforms | tar -x -C "$source"
  "$python" -m build --wheel --no-isolation --outdir "$context" "$source" >&2
  cp "$here/Dockerfile" "$root/requirements/runtime.txt" "$@" "$context"
}

if [ "$*" = --local ]; then
  pinned PYTHON_IMAGE
  prepare
  docker build --target carrel --build-arg "PYTHON_IMAGE=$PYTHON_IMAGE" --build-arg BEAM_IMAGE=scratch \
    --build-arg LAUNCHER_IMAGE=scratch --tag "carrel:$version" "$context" >&2
  echo "carrel:$version"
  exit
fi

[ $# -eq 3 ] || fail "need DEPLOYMENT IMAGE TEMPLATE, or --local"
deployment=$1 image=$2 template=$3
pinned PYTHON_IMAGE BEAM_IMAGE LAUNCHER_IMAGE
[[ $image != *@* && ${image##*/} != *:* ]] || fail "IMAGE: leave tag and digest out"
[[ $template == gs://*/*.json ]] || fail "TEMPLATE: need gs://BUCKET/NAME.json"
for name in carrel.toml policy.toml recipient.pub; do
  [ -f "$deployment/$name" ] || fail "$deployment/$name: not there"
done
settings=$("$python" "$here/fits_workers.py" "$deployment/carrel.toml") || exit 2

prepare "$here/launch.py" "$deployment/carrel.toml" "$deployment/policy.toml" "$deployment/recipient.pub"
mkdir "$context/settings"
while read -r file; do
  [ -z "$file" ] || cp "$file" "$context/settings"
done <<<"$settings"
tag=$image:$version
docker build --build-arg "PYTHON_IMAGE=$PYTHON_IMAGE" --build-arg "BEAM_IMAGE=$BEAM_IMAGE" \
  --build-arg "LAUNCHER_IMAGE=$LAUNCHER_IMAGE" --tag "$tag" "$context" >&2
docker push "$tag" >&2
digest=$(docker inspect --format '{{index .RepoDigests 0}}' "$tag")
gcloud dataflow flex-template build "$template" --image "$digest" --sdk-language PYTHON \
  --metadata-file "$here/metadata.json" >&2
echo "$digest"
