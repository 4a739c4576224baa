"""`carrel deadletters list, open, purge`: what was refused, for the operator; what it held, for the officer."""

import base64
import datetime as dt
import json
import os
from dataclasses import asdict, astuple
from pathlib import Path

from pipelines.dead_letters import DeadLetterDirectory
from pipelines.invocation import DONE, Invocation
from pipelines.iso_days import utc_day
from pipelines.opening import load_private, open_reject
from pipelines.terminal import say, say_json, show_table


def list_letters(run: Invocation, *, as_json: bool) -> int:
    """Count the letters; opens none."""
    found = DeadLetterDirectory(run.deployment().dead_letters).list()
    if as_json:
        say_json([asdict(one) for one in found])
        return DONE
    if found:
        show_table(("day", "source", "reason", "letters"), map(astuple, found), numbers=("letters",))
    say(f"{sum(one.letters for one in found)} dead letters")
    return DONE


def open_letters(run: Invocation, key: Path, output: Path) -> int:
    """Open all letters into a new file of the caller's own; one that cannot be finished is removed."""
    letters = DeadLetterDirectory(run.deployment().dead_letters)
    secret = load_private(key)
    number = 0
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as stream:
            for clear, payload in letters.open(secret, open_reject, day=run.day):
                record = {**clear, "payload": base64.b64encode(payload).decode()}
                stream.write(json.dumps(record, sort_keys=True) + "\n")
                number += 1
    except BaseException:
        output.unlink()
        raise
    say(f"opened {number} dead letters into {output}: whole patron records, delete it the same day")
    return DONE


def purge_letters(run: Invocation, days: int) -> int:
    """Delete the files of letters that are older than some days."""
    limit = utc_day(run.now) - dt.timedelta(days=days)
    number = DeadLetterDirectory(run.deployment().dead_letters).purge(limit.isoformat())
    say(f"deleted {number} files of days before {limit.isoformat()}")
    return DONE
