"""The same monthly counts four ways: this job, DuckDB, Polars and per-element Beam; time and peak memory of each.

python tests/benchmarks/bench.py [--events 1000000,5000000] [--per-month 1000000]

Every job runs in a process of its own, start-up included. The peak is what the kernel reports for that process (and
the largest of its children, if any). This process stays small: a child inherits its parent's peak over fork and exec.
"""

import argparse
import datetime as dt
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from itertools import islice, product
from pathlib import Path
from typing import Any, Callable, NamedTuple

MONTHS = 5  # January to May 2026
PATRONS = 60_000
BEAM_EVENTS = 50_000
SEED = 20_260_101
BRANCHES = [f"B{number:02}" for number in range(1, 13)]
MATERIALS = ["book", "large-print", "audiobook", "dvd", "music", "magazine"]
MATERIALS += ["ebook", "eaudio", "game", "equipment", "kit", "map"]
ACTIONS, AUDIENCES = ["checkout", "renewal"], ["adult", "young-adult", "children"]
PATRON_TYPES = ["adult", "teen", "child", "senior", "educator", "nonresident"]
FIELDS = ["kind", "v", "event_id", "op", "occurred_at", "arrived_at", "patron_ref", "patron_kind", "patron_type"]
FIELDS += ["home_branch", "birth_date", "postal_code", "action", "branch", "material", "audience"]
COLUMNS = dict.fromkeys(FIELDS, "VARCHAR") | {"v": "INTEGER", "occurred_at": "BIGINT", "arrived_at": "BIGINT"}
TABLE = """[[tables]]
name = "circ_month"
why = "The benchmark."
kind = "circulation"
grain = "month"
dimensions = ["branch", "material", "action"]
measures = ["acts", "patrons"]
parts = ["checkout", "renewal"]
"""


def month_start(number: int) -> int:
    """First instant of a month, counted from January 2026, ms UTC; the policy's zone is UTC too."""
    return int(dt.datetime(2026, number + 1, 1, tzinfo=dt.UTC).timestamp() * 1000)


def make(path: Path, events: int, per_month: int) -> None:
    """Write the canonical events, month after month, in the order they happened."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    kinds, homes = rng.choice(PATRON_TYPES, PATRONS), rng.choice(BRANCHES, PATRONS)
    births = np.datetime64("1936-01-01") + rng.integers(0, 80 * 365, PATRONS)
    posts = rng.integers(10_001, 10_013, PATRONS)
    persons = [
        f'"patron_ref":"p{at:06}","patron_kind":"patron","patron_type":"{kind}",'
        f'"home_branch":"{home}","birth_date":"{born}","postal_code":"{post}",'
        for at, (kind, home, born, post) in enumerate(zip(kinds, homes, births, posts, strict=True))
    ]
    acts = [
        f'"action":"{action}","branch":"{branch}","material":"{material}","audience":"{audience}"}}\n'
        for action, branch, material, audience in product(ACTIONS, BRANCHES, MATERIALS, AUDIENCES)
    ]
    # A few patrons borrow much, most little; so it is with branches and materials.
    heavy = np.cumsum(rng.lognormal(0.0, 1.0, PATRONS))
    often = np.cumsum(rng.lognormal(0.0, 1.0, len(acts)))
    written = 0
    with path.open("w", encoding="ascii") as stream:
        for month in range(MONTHS):
            count = min(per_month, events - written)
            times = np.sort(rng.integers(month_start(month), month_start(month + 1) - 600_000, count))
            for at in range(0, count, 100_000):
                when = times[at : at + 100_000]
                late = when + rng.integers(500, 300_000, len(when))
                who = np.searchsorted(heavy, rng.random(len(when)) * heavy[-1])
                what = np.searchsorted(often, rng.random(len(when)) * often[-1])
                rows = zip(when.tolist(), late.tolist(), who.tolist(), what.tolist(), strict=True)
                stream.writelines(
                    f'{{"kind":"circulation","v":1,"event_id":"loan-{number:09}","op":"add","occurred_at":{occurred},'
                    f'"arrived_at":{arrived},{persons[person]}{acts[act]}'
                    for number, (occurred, arrived, person, act) in enumerate(rows, written + at)
                )
            written += count


def report(acts: int, seconds: float = 0.0) -> None:
    """Hand the number of acts counted (and seconds of the part that scales) to the parent."""
    sys.stdout.write(json.dumps({"acts": acts, "seconds": seconds}) + "\n")


def duck(path: Path, _: int, __: int) -> None:
    """DuckDB, two threads."""
    import duckdb

    columns = ", ".join(f"{name}: '{kind}'" for name, kind in COLUMNS.items())
    connection = duckdb.connect(config={"threads": 2})
    rows = connection.execute(
        "SELECT date_trunc('month', make_timestamp(occurred_at * 1000)) AS month, branch, material, action, "
        "count(*) AS acts, count(DISTINCT patron_ref) AS patrons "
        f"FROM read_json('{path}', format = 'newline_delimited', columns = {{{columns}}}) GROUP BY 1, 2, 3, 4"
    ).fetchall()
    report(sum(row[4] for row in rows))


def polars(path: Path, _: int, __: int) -> None:
    """Polars, lazy and streaming; two threads by the environment."""
    import polars as pl

    types: dict[str, Any] = {"VARCHAR": pl.String, "INTEGER": pl.Int32, "BIGINT": pl.Int64}
    month = pl.from_epoch("occurred_at", time_unit="ms").dt.truncate("1mo").alias("month")
    found = (
        pl.scan_ndjson(path, schema={name: types[kind] for name, kind in COLUMNS.items()})
        .group_by(month, "branch", "material", "action")
        .agg(pl.len().alias("acts"), pl.col("patron_ref").n_unique().alias("patrons"))
        .collect(engine="streaming")
    )
    report(int(found["acts"].sum()))


def beam(path: Path, _: int, __: int) -> None:
    """Beam as it is usually written, element by element: the same contract, tokens and civil months; first events only."""
    import hashlib
    import hmac
    from importlib import import_module

    from schemas.events import Circulation

    apache_beam: Any = import_module("apache_beam")  # its functions are not typed
    window: Any = import_module("apache_beam.transforms.window")
    secret = os.urandom(32)

    class Months(window.NonMergingWindowFn):
        """Civil months, in UTC as the policy of this benchmark has it."""

        def assign(self, context: Any) -> list[Any]:
            at = context.timestamp.to_utc_datetime(has_tz=True)
            first = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
            after = (first + dt.timedelta(days=32)).replace(day=1)
            return [window.IntervalWindow(first.timestamp(), after.timestamp())]

        def get_window_coder(self) -> Any:
            return import_module("apache_beam.coders.coders").IntervalWindowCoder()

    def stamped(event: Circulation) -> Any:
        return window.TimestampedValue(event, event.occurred_at / 1000)

    def key(event: Circulation) -> tuple[tuple[str, ...], str]:
        token = hmac.new(secret, str(event.patron_ref).encode(), hashlib.sha256).hexdigest()
        return (str(event.branch), str(event.material), event.action), token

    start = path.with_suffix(".start")
    with path.open() as lines, start.open("w") as stream:
        stream.writelines(islice(lines, BEAM_EVENTS))
    begun = time.perf_counter()
    with apache_beam.Pipeline(runner="FnApiRunner", argv=[]) as pipeline:
        lines = pipeline | "Read" >> apache_beam.io.ReadFromText(str(start))
        events = lines | "Validate" >> apache_beam.Map(Circulation.model_validate_json)
        months = events | "Stamp" >> apache_beam.Map(stamped) | "Months" >> apache_beam.WindowInto(Months())
        pairs = months | "Pseudonymize" >> apache_beam.Map(key)
        acts = pairs | "Acts" >> apache_beam.combiners.Count.PerKey()
        patrons = pairs | "Distinct" >> apache_beam.Distinct() | "Patrons" >> apache_beam.combiners.Count.PerKey()
        both = {"acts": acts, "patrons": patrons} | "Join" >> apache_beam.CoGroupByKey()
        told = both | "Format" >> apache_beam.Map(lambda row: f"{row[1]['acts'][0]} {row[1]['patrons'][0]}")
        _ = told | "Write" >> apache_beam.io.WriteToText(str(path.with_suffix(".beam")), num_shards=1)
    seconds = time.perf_counter() - begun
    (written,) = path.parent.glob(path.with_suffix(".beam").name + "-*")
    report(sum(int(line.split()[0]) for line in written.read_text().splitlines()), seconds)


PARTS: dict[str, Callable[[Path, int, int], None]] = {"make": make, "duckdb": duck, "polars": polars, "beam": beam}


class Measured(NamedTuple):
    """One job on one file; `scaled` when only the first events were read."""

    job: str
    events: int
    seconds: float
    megabytes: float
    scaled: bool = False


def run(command: list[str]) -> tuple[float, float, str]:
    """Wall seconds, peak resident MB and output of a command; a failed one ends the benchmark."""
    with tempfile.TemporaryFile("w+") as out:
        begun = time.perf_counter()
        child = subprocess.Popen(command, stdout=out, env=os.environ | {"POLARS_MAX_THREADS": "2"})
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - begun
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read()
    if child.returncode:
        raise SystemExit(f"{Path(command[0]).name} ended with {child.returncode}\n{text}")
    return seconds, usage.ru_maxrss / (1 << (20 if sys.platform == "darwin" else 10)), text


def deployment(carrel: str, directory: Path) -> Path:
    """A plain deployment with the one table; returns its carrel.toml."""
    run([carrel, "init", str(directory), "--secrets", str(directory.with_suffix(".keys")), "--preset", "plain"])
    policy = directory / "policy.toml"
    head = policy.read_text().split("[[tables]]")[0].replace('"America/New_York"', '"UTC"')
    policy.write_text(head + TABLE)
    return directory / "carrel.toml"


def measure(events: int, per_month: int, carrel: str, directory: Path) -> list[Measured]:
    """All four jobs on a file of so many events."""
    path = directory / "events.jsonl"
    own = [sys.executable, __file__, "--events", str(events), "--per-month", str(per_month), "--file", str(path)]
    run([*own, "--only", "make"])
    toml = deployment(carrel, directory / "deployment")
    replay = ["replay", str(path), "--source", "carrel-event", "--complete-from", "2026-01-01"]
    months = -(-events // per_month)
    # No later: the job refuses a day that lies well after the last event it read. Five months: 2026-05-31.
    through = dt.datetime.fromtimestamp(month_start(months) / 1000 - 1, dt.UTC).date().isoformat()
    seconds, peak, text = run([carrel, "-c", str(toml), *replay, "--complete-through", through, "--json"])
    told = json.loads(text.splitlines()[-1])
    if told["counts"]["counted"] != events or len(told["released"]) != months:
        raise SystemExit(text)
    found = [Measured("this job", events, seconds, peak)]
    for name in ("duckdb", "polars", "beam"):
        seconds, peak, text = run([*own, "--only", name])
        told = json.loads(text.splitlines()[-1])
        read = min(events, BEAM_EVENTS) if name == "beam" else events
        if told["acts"] != read:
            raise SystemExit(f"{name}: {text}")
        # Only the pipeline is scaled, not the imports before it.
        seconds += told["seconds"] * (events / read - 1)
        found.append(Measured(name, events, seconds, peak, scaled=read < events))
    return found


def main() -> None:
    """Measure and print, or be one of the measured processes."""
    parser = argparse.ArgumentParser(description="This job, DuckDB, Polars and per-element Beam on the same events.")
    parser.add_argument("--events", default="1000000,5000000", help="comma-separated sizes")
    parser.add_argument("--per-month", type=int, default=1_000_000, help="events a month, January to May 2026")
    parser.add_argument("--only", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    sizes = [int(size) for size in chosen.events.split(",")]
    if max(sizes) > MONTHS * chosen.per_month:
        parser.error(f"--events: at most {MONTHS} months of --per-month")
    if chosen.only:
        PARTS[chosen.only](chosen.file, sizes[0], chosen.per_month)
        return
    carrel = shutil.which("carrel", path=sysconfig.get_path("scripts")) or "carrel"
    own: list[Measured] = []
    lines = ["| job | events | seconds | events/s | peak MB | ratio to this job |", "|---|--:|--:|--:|--:|--:|"]
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="carrel-bench-") as directory:
            rows = measure(size, chosen.per_month, carrel, Path(directory))
        own.append(rows[0])
        for row in rows:
            name = f"{row.job} (first {BEAM_EVENTS:,} events, scaled)" if row.scaled else row.job
            lines.append(
                f"| {name} | {row.events:,} | {row.seconds:.1f} | {row.events / row.seconds:,.0f} "
                f"| {row.megabytes:.0f} | {row.seconds / rows[0].seconds:.2f} |"
            )
    sys.stdout.write("\n".join(lines) + "\n\nRatio: seconds of the job by seconds of this job; a scaled peak is not.\n")
    if len(own) > 1:
        ratio = own[-1].megabytes / own[0].megabytes
        sys.stdout.write(f"Peak memory of this job, {own[-1].events:,} / {own[0].events:,} events: {ratio:.2f}\n")


if __name__ == "__main__":
    main()
