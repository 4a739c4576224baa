"""The form of `policy.toml`, before it is compiled. Unknown keys are refused."""

from typing import Any, Dict, List, Literal, Optional

from pydantic import BaseModel, ConfigDict, Field


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TableFile(_Strict):
    """One published table."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$", description="as published")
    kind: Literal["circulation", "patron", "engagement"] = Field(description="event kind that feeds it")
    grain: Literal["day", "month"] = Field(description="civil days or months; never longer, never shorter")
    dimensions: List[str] = Field(default_factory=list, description="at most 3, at most 1 describing the patron")
    measures: List[str] = Field(min_length=1, description="patrons, acts, total, total_checkouts, total_renewals")
    parts: List[str] = Field(default_factory=list, description="which actions or changes count; empty: all")
    k: Optional[int] = Field(default=None, description="smallest publishable number of distinct patrons")
    clip: Optional[int] = Field(default=None, ge=1, description="C, the most acts of a patron in a cell")
    horizon_days: Optional[int] = Field(default=None, ge=0, le=60, description="H, how late an event may arrive")
    sensitive: bool = Field(default=False, description="a sensitive category: k is 20 or more")
    invariant: bool = Field(default=False, description="its totals are declared as exact figures")
    structural_zeros: List[Dict[str, str]] = Field(default_factory=list, description="cells that cannot be")
    why: str = Field(min_length=1, description="one line: who needs it")


class PolicyFile(_Strict):
    """The whole file."""

    preset: Literal["plain", "standard", "formal"] = Field(description="which disclosure control")
    time_zone: str = Field(description="the library's IANA zone")
    k: int = Field(default=11, description="for tables that say nothing else")
    branches: Dict[str, str] = Field(min_length=1, description="branch = region")
    dimensions: Dict[str, List[str]] = Field(default_factory=dict, description="closed lists of codes")
    zones: Dict[str, str] = Field(default_factory=dict, description="postal code = service zone")
    groups: Dict[str, Dict[str, str]] = Field(default_factory=dict, description="groupings: `of`, then code = group")
    labels: Dict[str, Dict[str, str]] = Field(default_factory=dict, description="dimension -> code = label for people")
    tables: List[TableFile] = Field(min_length=1)


def policy_json_schema() -> Dict[str, Any]:
    """JSON Schema of the file, for editors."""
    return PolicyFile.model_json_schema()
