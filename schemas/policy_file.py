"""The form of `policy.toml`, before it is compiled. Unknown keys and wrong types are refused."""

import importlib.resources
import re
from functools import lru_cache
from typing import Any, Dict, FrozenSet, List, Literal, Optional

from pydantic import BaseModel, ConfigDict, Field

from schemas.policy import OTHER

SMALLEST_K, MOST_MATERIALS = 5, 12
LISTED = ("material", "audience", "patron_type", "campaign_type", "response")
CARRIED = frozenset({"branch", "home_branch", "home_zone", *LISTED})
_GIVEN = frozenset({"region", "home_region", "zip3", "age_band", "day_type", "daypart", "action", "outcome", "change"})
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


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


@lru_cache(maxsize=1)
def _zones() -> FrozenSet[str]:
    """Every zone of the pinned tzdata package, which also is what the buckets are cut with."""
    return frozenset(importlib.resources.files("tzdata").joinpath("zones").read_text().split())


def findings_of(file: PolicyFile) -> List[str]:
    """What is wrong with the lists that all tables share, one line each; empty when nothing is."""
    findings = []
    if file.preset == "formal":
        findings.append("preset: formal is not built yet: use standard or plain")
    if file.time_zone not in _zones():
        findings.append("time_zone: not an IANA zone; give one such as America/New_York")
    if file.k < SMALLEST_K:
        findings.append(f"k: need {SMALLEST_K} or more")
    lists = {
        "branches": list(file.branches),
        "regions": list(file.branches.values()),
        "zones": list(file.zones.values()),
    }
    lists |= {f"dimensions.{name}": codes for name, codes in file.dimensions.items()}
    for name, group in file.groups.items():
        lists[f"groups.{name}"] = [text for pair in group.items() if pair[0] != "of" for text in pair]
    for name, codes in lists.items():
        if OTHER in codes:
            findings.append(f"{name}: `other` is always there; do not list it")
        if any(not _CODE.fullmatch(code) for code in codes):
            findings.append(
                f"{name}: codes are letters, digits, space and . _ + -, at most 64, first a letter or digit"
            )
    for name, codes in file.dimensions.items():
        if name not in LISTED:
            findings.append(f"dimensions.{name}: not a listed dimension; there are {', '.join(LISTED)}")
        if not codes:
            findings.append(f"dimensions.{name}: is empty; list its codes")
        if len(set(codes)) != len(codes):
            findings.append(f"dimensions.{name}: names a code twice")
    if len(file.dimensions.get("material", ())) > MOST_MATERIALS:
        findings.append(f"dimensions.material: at most {MOST_MATERIALS} codes; group the rest as `other`")
    return findings + [f"groups.{name}: {one}" for name in file.groups for one in _group_findings(name, file)]


def _group_findings(name: str, file: PolicyFile) -> List[str]:
    group, base = file.groups[name], file.groups[name].get("of")
    if name in CARRIED | _GIVEN or not _NAME.fullmatch(name):
        return ["is the name of a dimension already, or no name; use another of lower-case letters, digits and _"]
    if base not in CARRIED:
        return [f"`of` must name a dimension that events carry: {', '.join(sorted(CARRIED))}"]
    if base in ("branch", "home_branch"):
        known = set(file.branches)
    else:
        known = set(file.zones.values()) if base == "home_zone" else set(file.dimensions.get(base, ()))
    grouped = set(group) - {"of", OTHER}
    findings = [] if grouped else ["is empty; give code = group"]
    if grouped - known:
        findings.append(f"groups a code that {base} does not list")
    if base == "branch" and known - grouped:
        findings.append("every branch needs a group")
    return findings
