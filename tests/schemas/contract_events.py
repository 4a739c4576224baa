"""Events as the contract wants them, written down apart from the models that define it."""

from hypothesis import strategies as st

from schemas.events import EARLIEST, LATEST, MODELS

BASES = {
    "circulation": {"kind": "circulation", "event_id": "e", "occurred_at": EARLIEST, "action": "checkout"},
    "patron": {"kind": "patron", "event_id": "e", "occurred_at": LATEST - 1, "change": "new"},
    "engagement": {"kind": "engagement", "event_id": "e", "occurred_at": EARLIEST},
}
KNOWN = sorted({name for model in MODELS.values() for name in model.model_fields})


def text(longest):
    return st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=longest)


INSTANTS = st.integers(EARLIEST, LATEST - 1)
CODES = text(64) | st.sampled_from(["x" * 64, "\N{GRINNING FACE}" * 64])
OPTIONAL_CODES = st.none() | CODES
OPTIONAL = {
    "v": st.just(1),
    "op": st.sampled_from(["add", "retract"]),
    "arrived_at": st.none() | INSTANTS,
    "patron_ref": OPTIONAL_CODES,
    "patron_kind": st.sampled_from(["patron", "staff", "system", "test", "shadow", "guest"]),
    "patron_type": OPTIONAL_CODES,
    "home_branch": OPTIONAL_CODES,
    "birth_date": st.none() | st.dates().map(str),
    "postal_code": st.none() | text(16),
}
HOLDS = ["hold_placed", "hold_filled", "hold_cancelled", "hold_expired"]
OWN = {
    "circulation": (
        {"action": st.sampled_from(["checkout", "renewal", "return", *HOLDS])},
        dict.fromkeys(("branch", "material", "audience"), OPTIONAL_CODES),
    ),
    "patron": ({"change": st.sampled_from(["new", "renewed", "expired", "updated", "deleted"])}, {}),
    "engagement": ({}, dict.fromkeys(("campaign_type", "response"), OPTIONAL_CODES)),
}


def events_of(kind):
    needed, further = OWN[kind]
    return st.fixed_dictionaries(
        {"kind": st.just(kind), "event_id": text(128), "occurred_at": INSTANTS} | needed, optional=OPTIONAL | further
    )


EVENTS = st.sampled_from(sorted(OWN)).flatmap(events_of)
