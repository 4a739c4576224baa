"""Whether the deployment of a carrel.toml can run on workers that share no disk; if not, one line and exit 2.

Prints the files, besides the three that every deployment has, that its image needs: settings of brokers, which must
hold no secret.
"""

import sys
from pathlib import Path

from pipelines.configuration import ConfigurationError, Deployment, load

_SECRETS = ("password", "secret", "pem", "oauthbearer.config")  # in names of settings


def settings_of(deployment: Deployment) -> list[Path]:
    """The settings files of its buses."""
    buses = [source.bus for source in deployment.sources if source.bus is not None]
    letters = deployment.letters_to
    files = [bus.settings for bus in buses] + [letters.settings if letters is not None else None]
    return sorted({file for file in files if file is not None})


def fault(deployment: Deployment) -> str:
    """What is in the way, and what may stand in its place; empty when nothing is."""
    if isinstance(deployment.keyring, Path):
        return "keyring: a folder is on one machine; need gcp-secrets:..."
    if isinstance(deployment.counts_store, Path) or deployment.counts_store.startswith("parquet:"):
        return "counts_store: a file is on one machine; need bigquery:... or postgresql://..."
    if deployment.letters_to is None:
        return "dead_letters: a folder is on one machine; need a table of kind pubsub, kafka or postgresql"
    if any(source.lookups for source in deployment.sources):
        return "lookups: files with patrons are never put into an image; leave the source to carrel live"
    for file in settings_of(deployment):
        if file.parent != deployment.directory or not file.is_file():
            return f"{file.name}: settings must lie beside carrel.toml, where the image has them"
        names = [line.partition("=")[0].strip() for line in file.read_text().splitlines() if line[:1] != "#"]
        if any(word in name for name in names for word in _SECRETS):
            return f"{file.name}: holds a secret; name an environment variable for it in settings_environment"
    return ""


def main() -> int:
    """Judge the deployment that the command names."""
    try:
        deployment = load(Path(sys.argv[1]))
        said = fault(deployment)
    except ConfigurationError as error:
        said = str(error)
    if said:
        sys.stderr.write(f"build.sh: {said}\n")
        return 2
    sys.stdout.writelines(f"{file}\n" for file in settings_of(deployment))
    return 0


if __name__ == "__main__":
    sys.exit(main())
