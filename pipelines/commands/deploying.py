"""`carrel sample, init, check`: from nothing to a deployment that is known to be safe."""

import os
from pathlib import Path
from typing import Optional

from pipelines import initialise
from pipelines.configuration import Deployment, counts_store_at, load
from pipelines.counts_address import PARQUET
from pipelines.counts_opening import open_counts
from pipelines.invocation import DONE, Invocation, UsageError
from pipelines.keyring import Keyring
from pipelines.opening import load_public
from pipelines.synthetic import SOURCES, write_sample
from pipelines.terminal import say, say_json
from schemas.policy import PrivacyPolicy
from schemas.policy_compiler import PolicyError, explain
from schemas.wire import ADAPTERS
from transforms.privacy.times import DAY


def sample(directory: Path, *, patrons: int, days: int, seed: int, sources: str) -> int:
    """Write the logs of a synthetic library."""
    names = sources.split(",")
    if set(names) - set(SOURCES):
        message = f"--sources: need some of {', '.join(SOURCES)}"
        raise UsageError(message)
    write_sample(directory, patrons=patrons, days=days, seed=seed, sources=names)
    say(f"the logs of {', '.join(names)} and truth.csv are in {directory}")
    say(f"next: carrel init DIR --sources {sources} --logs {directory}")
    return DONE


def init(
    directory: Path,
    *,
    size: str,
    preset: str,
    sources: str,
    secrets: Optional[Path],
    logs: Optional[Path],
    counts_store: str,
) -> int:
    """Write a deployment; a store elsewhere is made first, so that nothing is written where it cannot be reached."""
    address = counts_store_at(counts_store, directory.absolute())
    if isinstance(address, str) and not address.startswith(PARQUET):
        open_counts(address, create=True).close()
    initialise.init(
        directory,
        size=size,
        preset=preset,
        sources=sources.split(","),
        secrets=secrets,
        logs=logs,
        counts_store=counts_store,
    )
    deployment = load(directory / "carrel.toml")
    open_counts(deployment.counts_store, create=True).close()
    hidden = os.path.normpath(Path(deployment.keyring).parent)  # `init` writes a folder
    say(f"wrote {directory}/carrel.toml and policy.toml: read and change them")
    say(f"the keyring and the privacy officer's recipient.key are in {hidden}: keep both out of backups")
    say(f"next: carrel -c {directory}/carrel.toml check")
    return DONE


def check(run: Invocation, *, as_json: bool) -> int:
    """Compile everything, explain it, refuse what is unsafe.

    Raises:
      PolicyError: after all its findings were shown; the error's own line has the first.
    """
    deployment = run.deployment()
    try:
        policy = run.policy(deployment)
    except PolicyError as error:
        if as_json:
            say_json({"refused": list(error.findings)})
        elif error.findings[1:]:
            for finding in error.findings:
                say(f"refused: {finding}")
        raise
    load_public(deployment.recipient)
    Keyring(deployment.keyring).listing()
    if as_json:
        say_json(_as_json(policy, deployment))
        return DONE
    for line in explain(policy):
        say(line)
    for source in deployment.sources:
        envelope = ADAPTERS[source.adapter].envelope
        say(f"source {source.name}: {source.adapter} ({envelope}), feeds {', '.join(sorted(source.kinds))}")
    say("ok", style="green")
    return DONE


def _as_json(policy: PrivacyPolicy, deployment: Deployment) -> dict[str, object]:
    return {
        "policy_hash": policy.digest,
        "preset": policy.preset,
        "time_zone": policy.time_zone,
        "tables": [
            {
                "name": table.name,
                "kind": table.kind,
                "grain": table.grain,
                "dimensions": [one.name for one in table.dimensions],
                "measures": [one.name for one in table.measures],
                "cells": table.n_cells,
                "k": table.k,
                "clip": table.clip,
                "horizon_days": table.horizon // DAY,
                "why": table.why,
            }
            for table in policy.tables
        ],
        "sources": {source.name: sorted(source.kinds) for source in deployment.sources},
        "explanation": explain(policy),
    }
