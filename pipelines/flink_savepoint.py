"""Stops a running job with a savepoint, from which the next one goes on; `deploy/flink/upgrade.sh` calls it.

python -m pipelines.flink_savepoint http://127.0.0.1:8081 JOB-NAME
"""

import sys
from typing import Sequence

from pipelines.flink_checks import running
from pipelines.flink_rest import FlinkError, FlinkRest

DONE, USAGE = 0, 2


def main(words: Sequence[str]) -> int:
    """Print the savepoint's address once the job has ended; every error is one line and the exit code 2."""
    if len(words) != 2:
        sys.stderr.write("flink: need the address of Flink's REST interface and the job's name\n")
        return USAGE
    address, name = words
    rest = FlinkRest(address)
    try:
        if not (jobs := running(rest, name)):
            sys.stderr.write(f"flink: no job {name} runs at {address}\n")
            return USAGE
        savepoint = rest.stop_with_savepoint(jobs[0])
        rest.wait_for(jobs[0])
    except FlinkError as error:
        sys.stderr.write(f"{error}\n")
        return USAGE
    sys.stdout.write(f"{savepoint}\n")
    return DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
