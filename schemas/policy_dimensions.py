"""The dimensions that a policy can publish: closed lists of codes, and the groupings of them."""

from typing import Dict, Tuple

from schemas.events import PARTS
from schemas.policy import OTHER, Dimension
from schemas.policy_file import LISTED, PolicyFile

DAY_TYPES = ("weekday", "weekend")
DAYPARTS = ("night", "early", "morning", "afternoon", "evening", "late")
AGE_BANDS = ("0-12", "13-17", "18-24", "25-44", "45-64", "65+")
OUTCOMES = ("placed", "filled", "cancelled", "expired")
PATRON_DERIVED = frozenset({"home_branch", "home_region", "home_zone", "zip3", "patron_type", "age_band"})
HOME_PLACES = frozenset({"home_zone", "zip3"})
PLACES = HOME_PLACES | {"branch", "home_branch"}
# Dimensions that divide by what an event is, and the kind of event that has them.
OF_KIND = {"action": "circulation", "outcome": "circulation", "change": "patron"}
# What names an item, a session or a person, and what must not be asked of one (privacy.md 4).
DENIED = frozenset(
    {
        *("title", "author", "isbn", "bib_id", "item", "barcode", "call_number", "url", "query"),
        *("session", "session_id", "workstation", "workstation_id", "staff", "staff_id"),
        *("patron_ref", "name", "email", "phone", "address", "postal_code", "birth_date", "birth_year"),
        *("gender", "sex", "race", "ethnicity", "disability", "school"),
    }
)


def codes_of(file: PolicyFile) -> Dict[str, Tuple[str, ...]]:
    """The closed list of each dimension that events carry; `other` comes last in all but `branch`."""
    branches = tuple(file.branches)
    codes = {"branch": branches, "home_branch": (*branches, OTHER)}
    codes["home_zone"] = (*sorted(set(file.zones.values())), OTHER)
    return codes | {name: (*file.dimensions.get(name, ()), OTHER) for name in LISTED}


def dimensions_of(file: PolicyFile) -> Dict[str, Dimension]:
    """Every dimension that a table of this policy may name."""
    base = codes_of(file)
    given = (
        *base.items(),
        ("zip3", ("000",)),
        ("age_band", (*AGE_BANDS, OTHER)),
        ("day_type", DAY_TYPES),
        ("daypart", DAYPARTS),
        ("action", PARTS["circulation"]),
        ("outcome", OUTCOMES),
        ("change", PARTS["patron"]),
    )
    found = {name: Dimension(name, codes, name, (), name in PATRON_DERIVED) for name, codes in given}
    regions = tuple(sorted(set(file.branches.values())))
    of_branch = tuple(regions.index(region) for region in file.branches.values())
    found["region"] = Dimension("region", regions, "branch", of_branch, patron_derived=False)
    of_home = (*of_branch, len(regions))
    found["home_region"] = Dimension("home_region", (*regions, OTHER), "home_branch", of_home, patron_derived=True)
    return found | {name: _grouping(name, group, base) for name, group in file.groups.items()}


def _grouping(name: str, group: Dict[str, str], base: Dict[str, Tuple[str, ...]]) -> Dimension:
    column = group["of"]
    codes = tuple(sorted({code for key, code in group.items() if key != "of"}))
    if base[column][-1] == OTHER:
        codes = (*codes, OTHER)
    grouping = tuple(codes.index(group.get(code, OTHER)) for code in base[column])
    return Dimension(name, codes, column, grouping, column in PATRON_DERIVED)


def is_branch_level(dimension: Dimension, branches: int) -> bool:
    """Whether some code of the dimension stands for one branch."""
    if dimension.column not in ("branch", "home_branch"):
        return False
    groups = dimension.grouping[:branches]
    return not groups or any(groups.count(group) == 1 for group in groups)
