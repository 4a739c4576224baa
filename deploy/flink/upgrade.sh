#!/usr/bin/env bash
# Replace a running job: stop it with a savepoint, submit again from there.
#
#   deploy/flink/upgrade.sh REST JOB COMMAND...
#
#   REST     address of Flink's REST interface, as in http://127.0.0.1:8081
#   JOB      the job's name, as in --job_name
#   COMMAND  carrel -c carrel.toml stream -- OPTIONS...; --savepoint_path is added
#
# Never drains: a drained watermark has proved nothing. When the savepoint fails the job runs on as before. When the
# restore fails: run COMMAND as it is; a job that begins clean reads again what open windows need.
set -euo pipefail

if [ $# -lt 3 ]; then
  echo "upgrade.sh: need REST, JOB and the COMMAND that submits" >&2
  exit 2
fi
cd "$(dirname "$0")/../.."
savepoint=$("${PYTHON:-.venv/bin/python}" -m pipelines.flink_savepoint "$1" "$2")
echo "stopped with $savepoint"
exec "${@:3}" "--savepoint_path=$savepoint"
