"""Canonical events: one exact contract per event kind, the single source of every other form of it.

JSON Schema, Avro schema and the fast reader (`schemas.fast`) are generated from these models.
Instants are milliseconds since 1970-01-01T00:00:00Z. Codes are the source's own; its code map in
`carrel.toml` turns them into policy codes. Personal data: `repr` shows none of it.
"""

from typing import Annotated, Literal, Optional, Union, get_args

from pydantic import BaseModel, ConfigDict, Field

EARLIEST = 631_152_000_000  # 1990-01-01: older dates are typing errors, not circulation
LATEST = 4_102_444_800_000  # 2100-01-01, exclusive

Instant = Annotated[int, Field(ge=EARLIEST, lt=LATEST, strict=True)]
Code = Annotated[str, Field(min_length=1, max_length=64)]
ActId = Annotated[str, Field(min_length=1, max_length=128)]
# That it is a day of the calendar is checked for a whole column at once (`transforms.privacy.times.birth_days`).
Day = Annotated[str, Field(min_length=10, max_length=10, json_schema_extra={"format": "date"})]
PatronKind = Literal["patron", "staff", "system", "test", "shadow", "guest"]


class Event(BaseModel):
    """What every kind has: which act, when, whose."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, strict=True)

    v: Literal[1] = Field(default=1, description="version of this contract")
    event_id: ActId = Field(description="the source's own id of the act: the same act, the same id")
    op: Literal["add", "retract"] = Field(default="add", description="retract takes the act of this id and time out")
    occurred_at: Instant = Field(description="event time, ms since 1970 UTC")
    arrived_at: Optional[Instant] = Field(default=None, description="when the bus took it, ms since 1970 UTC")
    patron_ref: Optional[Code] = Field(default=None, description="the patron's id in the source; becomes a token")
    patron_kind: PatronKind = Field(default="patron", description="only `patron` is counted")
    patron_type: Optional[Code] = Field(default=None, description="patron category code of the source")
    home_branch: Optional[Code] = Field(default=None, description="the patron's own branch")
    birth_date: Optional[Day] = Field(default=None, description="YYYY-MM-DD; becomes an age band")
    postal_code: Optional[Annotated[str, Field(min_length=1, max_length=16)]] = Field(
        default=None, description="becomes a library-drawn service zone"
    )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(<redacted>)"

    __str__ = __repr__


class Circulation(Event):
    """A checkout, renewal, return, or a step in the life of a hold."""

    kind: Literal["circulation"] = Field(description="the event kind")
    action: Literal["checkout", "renewal", "return", "hold_placed", "hold_filled", "hold_cancelled", "hold_expired"] = (
        Field(description="what happened")
    )
    branch: Optional[Code] = Field(default=None, description="where; for holds the pickup branch")
    material: Optional[Code] = Field(default=None, description="material code of the source")
    audience: Optional[Code] = Field(default=None, description="audience code of the source")


class Patron(Event):
    """A registration or a change of contact data; the data themselves are never carried."""

    kind: Literal["patron"] = Field(description="the event kind")
    change: Literal["new", "renewed", "expired", "updated", "deleted", "opted_out"] = Field(
        description="what changed; after deleted and opted_out the patron counts in no window that is still open"
    )


class Engagement(Event):
    """One patron's part in a campaign of the CRM system."""

    kind: Literal["engagement"] = Field(description="the event kind")
    campaign_type: Optional[Code] = Field(default=None, description="campaign type code of the source")
    response: Optional[Code] = Field(default=None, description="response code of the source")


MODELS: dict[str, type[Event]] = {"circulation": Circulation, "patron": Patron, "engagement": Engagement}
ANY_EVENT = Annotated[Union[Circulation, Patron, Engagement], Field(discriminator="kind")]

# What an event of each kind can be; a batch carries the position in this list.
PARTS: dict[str, tuple[str, ...]] = {
    "circulation": get_args(Circulation.model_fields["action"].annotation),
    "patron": get_args(Patron.model_fields["change"].annotation),
    "engagement": ("response",),
}
# What patron events erase the patron from open windows.
ERASING = frozenset(("deleted", "opted_out"))
# The coded columns that events of each kind can fill.
CODED: dict[str, tuple[str, ...]] = {
    "circulation": ("branch", "home_branch", "material", "audience", "patron_type", "home_zone"),
    "patron": ("home_branch", "patron_type", "home_zone"),
    "engagement": ("home_branch", "patron_type", "home_zone", "campaign_type", "response"),
}
