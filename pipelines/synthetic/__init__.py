"""`carrel sample`: the logs of a synthetic library in the wire formats of real systems, with the truth."""

from pathlib import Path
from typing import Sequence

SOURCES = ("carrel-event", "folio", "evergreen", "salesforce")


def write_sample(
    directory: Path, *, patrons: int = 20_000, days: int = 90, seed: int = 1, sources: Sequence[str] = SOURCES
) -> None:
    """Write logs, lookups and truth.csv; the same arguments give the same bytes.

    Raises:
      ValueError: an unknown source.
    """
    from pipelines.synthetic import canonical_logs, evergreen_logs, folio_logs, salesforce_logs  # noqa: PLC0415
    from pipelines.synthetic.library import make_world  # noqa: PLC0415
    from pipelines.synthetic.truth import write_truth  # noqa: PLC0415

    if set(sources) - set(SOURCES) or not sources:
        message = f"--sources: need some of {', '.join(SOURCES)}"
        raise ValueError(message)
    world = make_world(patrons=patrons, days=days, seed=seed, sources=sources)
    writers = {
        "carrel-event": canonical_logs.write,
        "folio": folio_logs.write,
        "evergreen": evergreen_logs.write,
        "salesforce": salesforce_logs.write,
    }
    for name in sources:
        (directory / name / "lookups").mkdir(parents=True, exist_ok=True)
        writers[name](world, directory / name)
        if not any((directory / name / "lookups").iterdir()):
            (directory / name / "lookups").rmdir()
    write_truth(world, directory / "truth.csv")
