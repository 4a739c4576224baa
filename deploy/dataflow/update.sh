#!/usr/bin/env bash
# Replace a running job by the image that IMAGE names; the same variables as run.sh.
#
#   TRANSFORM_NAMES               optional: renamed steps, as JSON {"old": "new"} (a rename is in CHANGELOG.md)
#   UPDATE_COMPATIBILITY_VERSION  optional: the Beam version of the running job, when that is another one
#
# Refused by the service, or a step changed its coder: cancel the job and start it with run.sh. Never drain it.
set -euo pipefail
exec "$(dirname "$0")/run.sh" --update "$@"
