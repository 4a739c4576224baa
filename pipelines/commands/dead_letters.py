"""`carrel deadletters list, open, log, purge`: what was refused, for the operator; what it held, for the officer."""

import base64
import datetime as dt
import json
import os
import pwd
from dataclasses import asdict, astuple
from pathlib import Path

from pipelines.access_log import Access, AccessLog, AccessLogError
from pipelines.dead_letters import DeadLetterDirectory
from pipelines.invocation import DONE, FINDING, Invocation, say_error
from pipelines.iso_days import utc_day
from pipelines.letters_output import kept_since, letters_output
from pipelines.letters_output import purge_letters as purge
from pipelines.opening import load_private, open_reject
from pipelines.terminal import say, say_json, show_table


def list_letters(run: Invocation, *, as_json: bool) -> int:
    """Count the letters; opens none."""
    found = DeadLetterDirectory(run.deployment().dead_letters).list()
    if as_json:
        say_json([asdict(one) for one in found])
        return DONE
    if found:
        show_table(
            ("day", "source", "reason", "letters", "redriven"), map(astuple, found), numbers=("letters", "redriven")
        )
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
            for letter, payload in letters.open(secret, open_reject, access(run, "open")):
                record = {**letter.fields, "payload": base64.b64encode(payload).decode()}
                stream.write(json.dumps(record, sort_keys=True) + "\n")
                number += 1
    except BaseException:
        output.unlink()
        raise
    say(f"opened {number} dead letters into {output}: whole patron records, delete it the same day")
    return DONE


def access(run: Invocation, action: str) -> Access:
    """What the log says of this run."""
    try:
        who = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        who = f"uid {os.getuid()}"
    return Access(who, dt.datetime.fromtimestamp(run.now / 1000, dt.UTC).strftime("%Y-%m-%dT%HZ"), action)


def show_log(run: Invocation, *, as_json: bool) -> int:
    """Check who opened letters when, and show it; a finding when the log was altered."""
    try:
        chain = AccessLog(run.deployment().dead_letters).check()
    except AccessLogError as error:
        say_error(str(error))
        return FINDING
    if as_json:
        say_json({"entries": chain.entries, "end": chain.end})
        return DONE
    if chain.entries:
        lines = [tuple(entry[name] for name in ("hour", "who", "action", "count")) for entry in chain.entries]
        show_table(("hour", "who", "action", "letters"), lines, numbers=("letters",))
    say(f"{len(chain.entries)} accesses, no gap; last hash {chain.end}")
    return DONE


def purge_letters(run: Invocation, days: int) -> int:
    """Delete the files of letters that are older than some days."""
    deployment, today = run.deployment(), utc_day(run.now)
    number = purge(deployment, letters_output(deployment), today, kept=days)
    what = "files" if deployment.letters_to is None else "files and rows"
    say(f"deleted {number} {what} of days before {kept_since(today, kept=days)}")
    return DONE
