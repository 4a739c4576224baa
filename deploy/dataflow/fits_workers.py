"""Whether the deployment of a carrel.toml can run on workers that share no disk; if not, one line and exit 2."""

import sys
from pathlib import Path

from pipelines.configuration import ConfigurationError, Deployment, load


def fault(deployment: Deployment) -> str:
    """What lies on one machine's disk, and where it may lie instead; empty when nothing does."""
    if isinstance(deployment.keyring, Path):
        return "keyring: a folder is on one machine; need gcp-secrets:..."
    if isinstance(deployment.counts_store, Path) or deployment.counts_store.startswith("parquet:"):
        return "counts_store: a file is on one machine; need bigquery:... or postgresql://..."
    if deployment.letters_to is None:
        return "dead_letters: a folder is on one machine; need a table of kind pubsub, kafka or postgresql"
    if any(source.lookups for source in deployment.sources):
        return "lookups: files with patrons are never put into an image; leave the source to carrel live"
    return ""


def main() -> int:
    """Say what is wrong with the deployment that the command names."""
    try:
        said = fault(load(Path(sys.argv[1])))
    except ConfigurationError as error:
        said = str(error)
    if said:
        sys.stderr.write(f"build.sh: {said}\n")
    return 2 if said else 0


if __name__ == "__main__":
    sys.exit(main())
