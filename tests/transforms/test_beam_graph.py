"""The graph of the batch loop on FnApiRunner, work store and keyring included, against the row-wise reference."""

import contextlib
import tempfile
from collections import Counter
from pathlib import Path

from beam_free_job import TENANT, numbers_of, secret
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from generated_logs import HOUR, NOW, SOURCES, a_line, a_policy, logs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rowwise import geometric, no_noise, whole_job

from pipelines.keys import KeyringAt
from pipelines.loop import Job, build_release_graph, build_tally_graph, pipeline, release_windows, run_batch
from pipelines.work_store import WorkStore
from pipelines.work_values import OPEN, Position
from schemas.chunks import ArrivalSpan, RawChunk
from schemas.counts import ReleasedTable, SealedTally, Tally
from schemas.generalized import CellBatch
from schemas.personal import PersonalBatch
from schemas.pseudonymized import PseudonymizedBatch
from schemas.rejects import SealedReject
from transforms.coders import ColumnsCoder
from transforms.decode import Decoding

MONTHS = ("2026-02", "2026-03", "2026-04", "2026-05", "2026-10", "2026-11", "2027-01")
RECIPIENT = X25519PrivateKey.from_private_bytes(bytes(range(1, 33))).public_key().public_bytes_raw()
CROSSING = (
    RawChunk, PersonalBatch, PseudonymizedBatch, CellBatch, Tally, SealedTally, SealedReject, ArrivalSpan, ReleasedTable,
)  # fmt: skip
# A run of the graph costs some tenths of a second: fewer examples than of other laws.
FEW = settings(
    max_examples=max(3, settings.default.max_examples // 20), suppress_health_check=list(HealthCheck), deadline=None
)


def a_job(directory, policy):
    """A job whose keyring holds the tests' token keys."""
    keyring = directory / "keyring"
    keyring.mkdir(mode=0o700)
    for month in MONTHS:
        key = keyring / f"token-{TENANT}-{month}.key"
        key.touch(mode=0o600)
        key.write_bytes(secret(month) + b"0")
    at = KeyringAt(str(keyring), TENANT, "store", NOW)
    lookups = {rules.name: {} for rules in SOURCES}
    return Job(TENANT, policy, SOURCES, at, lookups, RECIPIENT, NOW, "2027-01-15")


@contextlib.contextmanager
def a_loop(policy):
    """A job and an open work store in a folder of their own."""
    with tempfile.TemporaryDirectory() as folder, WorkStore(Path(folder) / "work.db") as store:
        yield a_job(Path(folder), policy), store


def run_source(job, store, rules, lines, cut=0, name="batch"):
    """One batch of one source, in two chunks."""
    blocks = [b"\n".join(part) for part in (lines[:cut], lines[cut:])]
    run_batch(
        job,
        store,
        source=rules.name,
        chunks=tuple(RawChunk(rules.name, b"", (block,)) for block in blocks),
        batch_name=name,
        published=frozenset(),
        verifying=True,
        move=lambda transaction, *_: transaction.advance(rules.name, Position("log", 1, b"", done=True)),
    )


def released(job, store):
    """The numbers of all windows but those that erasures alone wait for."""
    tables, _ = release_windows(job, store, OPEN, sorted(store.windows(OPEN)))
    return dict(map(numbers_of, tables))


def counted(job, store):
    """Conservation counts summed over sources, without the sums over others."""
    counts = Counter()
    for (source, name), amount in store.totals(OPEN).items():
        if source in {rules.name for rules in SOURCES} and name not in ("messages", "decoded", "events"):
            counts[name] += amount
    return counts


def noise_of(job):
    """The reference's noise under the keyring's noise keys."""
    keys = job.keyring.open()

    def noise(window, cell, measure, true_value):
        where = (TENANT, window.table, window.start, cell, measure, 0)
        return geometric(2, keys.noise(window.start[:7]), where, true_value)

    return noise if job.policy.noise_scale else no_noise


@FEW
@given(st.data(), st.sampled_from(["standard", "plain"]), st.booleans())
def test_the_loop_releases_what_the_row_wise_reference_does_also_when_a_batch_is_read_twice(data, preset, twice):
    policy = a_policy(preset=preset)
    log = data.draw(logs(policy, most=10))
    by_source = [(rules, [line for source, line in log if source is rules]) for rules in SOURCES]

    with a_loop(policy) as (job, store):
        for rules, lines in by_source:
            run_source(job, store, rules, lines, data.draw(st.integers(0, len(lines))))
        counts = counted(job, store)
        if twice:
            run_source(job, store, *by_source[0], name="again")
        numbers = released(job, store)
        noise = noise_of(job)

        expected, expected_counts = whole_job(log, policy=policy, now=NOW, secrets=secret, noise=noise)

    assert numbers == expected
    assert counts == expected_counts


def test_a_batch_without_messages_leaves_nothing():
    with a_loop(a_policy()) as (job, store):
        run_source(job, store, SOURCES[0], [])

        assert store.stored(OPEN) == {}
        assert released(job, store) == {}
        assert counted(job, store) == Counter()


def test_a_retraction_in_a_later_batch_takes_the_act_out():
    added = [a_line(patron_ref=str(at), event_id=f"e{at}", arrived_at=NOW - 9) for at in range(1, 7)]
    retracted = [a_line(patron_ref="5", event_id="e5", arrived_at=NOW - 8, op="retract")]
    with a_loop(a_policy()) as (job, store):
        run_source(job, store, SOURCES[0], retracted)
        run_source(job, store, SOURCES[0], added, name="later")

        tables, sizes = release_windows(job, store, OPEN, sorted(store.windows(OPEN)))

    assert {key.table: size for key, size in sizes.items()}["days"] == (7, 5)
    assert {table.key.table for table in tables} == {key.table for key in sizes}


def coders_between(root):
    """The coder of every collection that a stage hands to another."""
    proto, context = root.to_runner_api(return_context=True)
    return [context.coders.get_by_id(one.coder_id) for one in proto.components.pcollections.values()]


def test_every_edge_of_the_graph_carries_columns_and_never_a_pickle():
    policy = a_policy()
    with tempfile.TemporaryDirectory() as folder:
        job = a_job(Path(folder), policy)
        decoding = Decoding(TENANT, policy, SOURCES, job.keyring, dict, RECIPIENT, NOW)
        tallying, releasing = pipeline(), pipeline()
        build_tally_graph(tallying, decoding, "exchange", job.keyring)
        build_release_graph(releasing, policy, TENANT, "exchange", job.keyring)

        found = coders_between(tallying) + coders_between(releasing)

    carried = {coder.name for coder in found if isinstance(coder, ColumnsCoder)}
    others = {type(coder).__name__ for coder in found if not isinstance(coder, ColumnsCoder)}
    assert carried == {one.__name__ for one in CROSSING}
    assert others == {"BytesCoder", "StrUtf8Coder", "FastPrimitivesCoder"}  # names, and the outputs of sinks: nothing


def test_an_hour_before_the_reader_is_no_future():
    with a_loop(a_policy()) as (job, store):
        run_source(job, store, SOURCES[0], [a_line(occurred_at=NOW - HOUR), a_line(occurred_at=NOW + HOUR)])

        assert counted(job, store)["rejected/clock"] == 1
        assert len(store.pending_rejects()["batch"]) == 1
