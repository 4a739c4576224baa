"""The one graph: raw chunks in; sealed tallies, released tables and sealed rejects out. No I/O here."""

from typing import NamedTuple, Optional, Tuple

from apache_beam.pvalue import PCollection

from schemas.chunks import ArrivalSpan, RawChunk
from schemas.counts import ReleasedTable, Tally
from schemas.policy import PrivacyPolicy
from schemas.rejects import SealedReject
from transforms.decode import DecodeEvents, Decoding
from transforms.erasure import longest_horizon
from transforms.generalize import GeneralizeEvents
from transforms.keys import OpensKeys
from transforms.pseudonymize import PseudonymizePatrons
from transforms.release import ReleaseCounts
from transforms.tally import TallyActs


class Tallied(NamedTuple):
    """What the first half gives."""

    tallies: PCollection[Tally]
    rejects: PCollection[SealedReject]
    spans: PCollection[ArrivalSpan]


def tally_events(chunks: PCollection[RawChunk], given: Decoding) -> Tallied:
    """RawChunk -> PersonalBatch -> PseudonymizedBatch -> CellBatch -> Tally."""
    grains: Tuple[Tuple[str, str], ...] = tuple((table.name, table.grain) for table in given.policy.tables)
    decoded = chunks | "DecodeEvents" >> DecodeEvents(given)
    tallies = (
        decoded.events
        | "PseudonymizePatrons"
        >> PseudonymizePatrons(given.policy.time_zone, longest_horizon(given.policy), given.keyring)
        | "GeneralizeEvents" >> GeneralizeEvents(given.policy)
        | "TallyActs" >> TallyActs(grains, given.keyring)
    )
    return Tallied(tallies, decoded.rejects, decoded.spans)


def release_tallies(
    merged: PCollection[Tally], policy: PrivacyPolicy, tenant: str, keyring: Optional[OpensKeys]
) -> PCollection[ReleasedTable]:
    """Tally -> ReleasedTable, for windows whose publication time has passed."""
    return merged | "ReleaseCounts" >> ReleaseCounts(policy, tenant, keyring)
