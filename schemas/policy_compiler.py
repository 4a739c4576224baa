"""Compiles `policy.toml` into closed enumerations, and refuses what is unsafe, each with its own words."""

import json
import re
import tomllib
from dataclasses import asdict, dataclass
from typing import Dict, FrozenSet, List, Mapping, Sequence, Tuple

import tzdata  # type: ignore[import-untyped]
from blake3 import blake3
from pydantic import ValidationError

from schemas.events import PARTS
from schemas.policy import OTHER, Dimension, Measure, PrivacyPolicy, Table
from schemas.policy_file import PolicyFile, TableFile

DAY = 86_400_000
SMALLEST_K, SENSITIVE_K = 5, 20
MOST_DIMENSIONS, MOST_MATERIALS, MOST_CELLS = 3, 12, 100_000
NOISE_SCALE = 2
EPSILON = 0.5
CLIP = {"circulation": 10, "patron": 1, "engagement": 5}
HORIZON_DAYS = {"circulation": 2, "patron": 7, "engagement": 7}
DAY_TYPES = ("weekday", "weekend")
DAYPARTS = ("night", "early", "morning", "afternoon", "evening", "late")
AGE_BANDS = ("0-12", "13-17", "18-24", "25-44", "45-64", "65+")
OUTCOMES = ("placed", "filled", "cancelled", "expired")
PATRON_DERIVED = frozenset({"home_branch", "home_region", "home_zone", "zip3", "patron_type", "age_band"})
HOME_PLACES = frozenset({"home_zone", "zip3"})
BRANCH_PLACES = frozenset({"branch", "region"})
LISTED = ("material", "audience", "patron_type", "campaign_type", "response")
DENIED = frozenset(
    [
        "title",
        "isbn",
        "bib_id",
        "barcode",
        "call_number",
        "url",
        "query",
        "session",
        "workstation",
        "staff",
        "author",
        "patron_ref",
        "item",
    ]
)
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}")


class PolicyError(ValueError):
    """The policy is refused; `findings` has one line for each reason."""

    def __init__(self, findings: Sequence[str]) -> None:
        super().__init__(f"policy.toml: {findings[0]}" + (f" (and {len(findings) - 1} more)" if findings[1:] else ""))
        self.findings = tuple(findings)


@dataclass(frozen=True)
class Capability:
    """What one configured source can fill: event kind -> canonical columns."""

    source: str
    kinds: FrozenSet[str]
    fills: Mapping[str, FrozenSet[str]]


def parse_policy(text: str) -> PolicyFile:
    """Read the file's form.

    Raises:
      PolicyError: not TOML, or not of the form.
    """
    try:
        return PolicyFile.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise PolicyError([f"is not TOML: {error}"]) from None
    except ValidationError as error:
        findings = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False)]
        raise PolicyError(findings) from None


def compile_policy(text: str, capabilities: Sequence[Capability]) -> PrivacyPolicy:
    """Compile a policy for the sources that are configured.

    Raises:
      PolicyError: all findings at once.
    """
    file = parse_policy(text)
    findings = _file_findings(file)
    if findings:
        raise PolicyError(findings)
    dimensions = _dimensions(file)
    tables: List[Table] = []
    for entry in file.tables:
        found = _table_findings(entry, file, dimensions, capabilities)
        findings += [f"table {entry.name}: {one}" for one in found]
        if not found:
            tables.append(_table(entry, file, dimensions))
    if not findings:
        findings = _lattice_findings(file, tables)
    if findings:
        raise PolicyError(findings)
    policy = PrivacyPolicy(
        time_zone=file.time_zone,
        preset=file.preset,
        tables=tuple(tables),
        codes=_codes(file),
        zones=dict(sorted(file.zones.items())),
        noise_scale=NOISE_SCALE if file.preset == "standard" else None,
        tzdata_version=tzdata.IANA_VERSION,
        digest="",
    )
    canonical = json.dumps(asdict(policy), sort_keys=True, separators=(",", ":")).encode()
    return PrivacyPolicy(**{**policy.__dict__, "digest": blake3(canonical).hexdigest()})


def _codes(file: PolicyFile) -> Dict[str, Tuple[str, ...]]:
    branches = tuple(file.branches)
    codes = {"branch": branches, "home_branch": (*branches, OTHER)}
    codes["home_zone"] = (*sorted(set(file.zones.values())), OTHER)
    return codes | {name: (*file.dimensions.get(name, ()), OTHER) for name in LISTED}


def _dimensions(file: PolicyFile) -> Dict[str, Dimension]:
    base = _codes(file)
    found = {name: Dimension(name, codes, name, (), name in PATRON_DERIVED) for name, codes in base.items()}
    derived = (
        ("zip3", ("000",)),
        ("age_band", (*AGE_BANDS, OTHER)),
        ("day_type", DAY_TYPES),
        ("daypart", DAYPARTS),
        ("action", PARTS["circulation"]),
        ("outcome", OUTCOMES),
        ("change", PARTS["patron"]),
    )
    found |= {name: Dimension(name, codes, name, (), name in PATRON_DERIVED) for name, codes in derived}
    regions = tuple(sorted(set(file.branches.values())))
    of_branch = tuple(regions.index(region) for region in file.branches.values())
    found["region"] = Dimension("region", regions, "branch", of_branch, patron_derived=False)
    of_home = (*of_branch, len(regions))
    found["home_region"] = Dimension("home_region", (*regions, OTHER), "home_branch", of_home, patron_derived=True)
    for name, group in file.groups.items():
        base_name = group["of"]
        groups = tuple(sorted({code for key, code in group.items() if key != "of"}))
        has_other = base[base_name][-1] == OTHER
        codes = (*groups, OTHER) if has_other else groups
        grouping = tuple(codes.index(group.get(code, OTHER)) for code in base[base_name])
        found[name] = Dimension(name, codes, base_name, grouping, base_name in PATRON_DERIVED)
    return found


def _file_findings(file: PolicyFile) -> List[str]:
    findings = []
    if file.preset == "formal":
        findings.append("preset: formal is not built yet; use standard or plain")
    if file.k < SMALLEST_K:
        findings.append(f"k: need {SMALLEST_K} or more")
    lists = {
        "branches": list(file.branches),
        "regions": list(file.branches.values()),
        "zones": list(file.zones.values()),
    }
    lists |= file.dimensions | {f"groups.{name}": list(group.values()) for name, group in file.groups.items()}
    for name, codes in lists.items():
        if name in file.dimensions:
            if name not in LISTED:
                findings.append(f"dimensions.{name}: not a listed dimension; there are {', '.join(LISTED)}")
            if not codes:
                findings.append(f"dimensions.{name}: is empty; list its codes")
            if len(set(codes)) != len(codes):
                findings.append(f"dimensions.{name}: names a code twice")
        if OTHER in codes and not name.startswith("groups."):
            findings.append(f"{name}: `other` is always there; do not list it")
        if any(not _CODE.fullmatch(code) for code in codes):
            findings.append(f"{name}: codes are letters, digits, space and . _ + -, at most 64")
    if len(file.dimensions.get("material", ())) > MOST_MATERIALS:
        findings.append(f"dimensions.material: at most {MOST_MATERIALS} codes")
    bases = {"branch", "home_branch", "home_zone", *LISTED}
    for name, group in file.groups.items():
        if group.get("of") not in bases:
            findings.append(f"groups.{name}: `of` must name a dimension that events carry")
        elif group["of"] == "branch" and set(file.branches) - group.keys():
            findings.append(f"groups.{name}: every branch needs a group")
    return findings


def _table_findings(
    entry: TableFile, file: PolicyFile, dimensions: Mapping[str, Dimension], capabilities: Sequence[Capability]
) -> List[str]:
    denied = [name for name in entry.dimensions if name in DENIED]
    unknown = [name for name in entry.dimensions if name not in dimensions and name not in DENIED]
    if denied or unknown:
        return [f"dimension {name} is never published" for name in denied] + [
            f"dimension {name} is not known" for name in unknown
        ]
    names = entry.dimensions
    used = [dimensions[name] for name in names]
    k = _k(entry, file)
    totals = [name for name in entry.measures if name.startswith("total")]
    cells = 1
    for dimension in used:
        cells *= len(dimension.codes)
    rules = (
        (len(names) > MOST_DIMENSIONS, f"at most {MOST_DIMENSIONS} dimensions"),
        (len(set(names)) != len(names), "names a dimension twice"),
        (sum(one.patron_derived for one in used) > 1, "at most one dimension that describes the patron"),
        (k < SMALLEST_K, f"k: need {SMALLEST_K} or more"),
        (entry.sensitive and k < SENSITIVE_K, f"k: a sensitive table needs {SENSITIVE_K} or more"),
        (_clip(entry) > k - 1, "clip: need at most k - 1, so that nobody dominates a cell"),
        (
            bool(BRANCH_PLACES & set(names)) and bool(HOME_PLACES & set(names)),
            "a branch is never published together with where patrons live",
        ),
        (entry.grain == "day" and "branch" in names, "branch tables are monthly"),
        (entry.grain == "day" and "daypart" in names, "the hour of a date is never published; use month"),
        (cells > MOST_CELLS, f"has more than {MOST_CELLS} cells"),
        (
            bool(totals) and any(one.patron_derived for one in used),
            "a total has no dimension that describes the patron",
        ),
        (bool(totals) and entry.grain != "month", "a total is monthly"),
        (bool(totals) and not entry.invariant, "a total is an exact figure: declare invariant = true"),
        (bool(totals) and "acts" in entry.measures, "a total is never published beside acts over the same cells"),
        (len(set(entry.measures)) != len(entry.measures), "names a measure twice"),
    )
    findings = [text for refused, text in rules if refused]
    for name in entry.measures:
        if name not in ("patrons", "acts") and not _total_parts(name, entry):
            findings.append(f"measure {name} is not known")
    findings += [f"part {part} is not known" for part in entry.parts if part not in PARTS[entry.kind]]
    for zero in entry.structural_zeros:
        if not zero or any(name not in names or code not in dimensions[name].codes for name, code in zero.items()):
            findings.append("structural_zeros: names a cell that is not in the table")
    return findings + _unfillable(entry, used, capabilities)


_NEEDS = {"age_band": "birth_date", "home_zone": "home_zone", "zip3": "home_zone"}
_NO_COLUMN = frozenset({"day_type", "daypart", "action", "outcome", "change"})


def _unfillable(entry: TableFile, used: Sequence[Dimension], capabilities: Sequence[Capability]) -> List[str]:
    feeding = [one for one in capabilities if entry.kind in one.kinds]
    if not feeding:
        return [f"no configured source gives {entry.kind} events"]
    needed = {_NEEDS.get(one.column, one.column) for one in used} - _NO_COLUMN
    return [
        f"source {one.source} cannot fill {column}"
        for one in feeding
        for column in sorted(needed - one.fills.get(entry.kind, frozenset()))
    ]


def _k(entry: TableFile, file: PolicyFile) -> int:
    if entry.k is not None:
        return entry.k
    return max(file.k, SENSITIVE_K) if entry.sensitive else file.k


def _clip(entry: TableFile) -> int:
    return CLIP[entry.kind] if entry.clip is None else entry.clip


def _total_parts(name: str, entry: TableFile) -> Tuple[str, ...]:
    """Which acts a total counts: `total` all of the table's, `total_checkouts` the checkouts."""
    parts = tuple(entry.parts) or PARTS[entry.kind]
    if name == "total":
        return parts
    return tuple(part for part in parts if name == f"total_{part}s")


def _table(entry: TableFile, file: PolicyFile, dimensions: Mapping[str, Dimension]) -> Table:
    parts = tuple(entry.parts)
    used = []
    for name in entry.dimensions:
        dimension = dimensions[name]
        if name in ("action", "change") and parts:
            dimension = Dimension(name, parts, name, (), patron_derived=False)
        used.append(dimension)
    measures = tuple(
        Measure(name, name, parts) if name in ("patrons", "acts") else Measure(name, "total", _total_parts(name, entry))
        for name in entry.measures
    )
    days = HORIZON_DAYS[entry.kind] if entry.horizon_days is None else entry.horizon_days
    return Table(
        name=entry.name,
        kind=entry.kind,
        grain=entry.grain,
        dimensions=tuple(used),
        measures=measures,
        parts=parts,
        k=_k(entry, file),
        clip=_clip(entry),
        horizon=days * DAY,
        structural_zeros=tuple(tuple(sorted(zero.items())) for zero in entry.structural_zeros),
        why=entry.why,
    )


def _shape(table: Table) -> Tuple[object, ...]:
    """What a table's cells structurally are: equal shapes would publish one set twice."""
    places = []
    for one in table.dimensions:
        singles = one.grouping and len(set(one.grouping)) == len(one.grouping)
        if len(one.codes) > 1:
            places.append(one.column if singles or not one.grouping else one.name)
    return (table.kind, table.grain, table.parts, tuple(sorted(places)))


def _lattice_findings(file: PolicyFile, tables: Sequence[Table]) -> List[str]:
    findings = []
    names = [table.name for table in tables]
    if len(set(names)) != len(names):
        findings.append("tables: two have the same name")
    shapes: Dict[Tuple[object, ...], str] = {}
    for table in tables:
        twin = shapes.setdefault(_shape(table), table.name)
        if twin != table.name:
            findings.append(f"table {table.name}: the same cells as {twin}; publish them once")
    if file.preset == "plain":
        for kind in PARTS:
            of_kind = [table.name for table in tables if table.kind == kind]
            if len(of_kind) > 1:
                findings.append(
                    f"plain: one table per event kind, or one could be subtracted; {kind} has {len(of_kind)}"
                )
    return findings


def explain(policy: PrivacyPolicy) -> List[str]:
    """The policy in plain words, one line each."""
    lines = [
        f"preset {policy.preset}, zone {policy.time_zone} (tzdata {policy.tzdata_version}), policy {policy.digest[:16]}"
    ]
    sums: Dict[str, List[float]] = {}
    for table in policy.tables:
        names = ", ".join(one.name for one in table.dimensions) or "no dimension"
        measures = ", ".join(one.name for one in table.measures)
        lines.append(
            f"{table.name}: each {table.grain} by {names}: {measures}; {table.n_cells} cells, k {table.k},"
            f" C {table.clip}, H {table.horizon // DAY} days. {table.why}"
        )
        noised = [one for one in table.measures if one.kind != "total"]
        if policy.noise_scale:
            of = sums.setdefault(table.kind, [0.0, 0.0])
            of[0] += EPSILON * len(noised)
            of[1] += EPSILON * sum(table.clip if one.kind == "acts" else 1 for one in noised)
    for kind, (act, patron) in sums.items():
        lines.append(
            f"{kind}: one act changes released numbers by epsilon {act:g} in all; one patron in one cell of each"
            f" table by at most {patron:g} a window (conditional on which cells are withheld)"
        )
    return lines
