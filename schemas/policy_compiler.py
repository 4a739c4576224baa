"""Compiles `policy.toml` into closed enumerations, and refuses what is unsafe, each with its own words."""

import json
import tomllib
from dataclasses import asdict, dataclass, field
from typing import Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple, get_args

import tzdata  # type: ignore[import-untyped]
from blake3 import blake3
from pydantic import ValidationError

from schemas.events import PARTS, PatronKind
from schemas.policy import OTHER, Dimension, Measure, PrivacyPolicy, Table
from schemas.policy_file import LISTED, SMALLEST_K, PolicyFile, TableFile, findings_of, policy_json_schema

__all__ = ["Capability", "PolicyError", "compile_policy", "explain", "parse_policy", "policy_json_schema"]

DAY = 86_400_000
SENSITIVE_K = 20
MOST_DIMENSIONS, MOST_CELLS = 3, 100_000
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
        "session_id",
        "workstation",
        "workstation_id",
        "staff",
        "staff_id",
        "author",
        "patron_ref",
        "item",
    ]
)
# What a source's code map may say besides the policy's codes: these are not patrons and are filtered.
_NOT_PATRONS = frozenset(get_args(PatronKind)) - {"patron"}
_OF_KIND = {"action": "circulation", "outcome": "circulation", "change": "patron"}
_SAID = {"extra_forbidden": "unknown key; remove it or check its spelling", "missing": "is missing; add it"}


class PolicyError(ValueError):
    """The policy is refused; `findings` has one line for each reason."""

    def __init__(self, findings: Sequence[str]) -> None:
        self.findings = tuple(" ".join(one.split()) for one in findings)
        more = f" (and {len(findings) - 1} more)" if findings[1:] else ""
        super().__init__(f"policy.toml: {self.findings[0]}{more}")


@dataclass(frozen=True)
class Capability:
    """What one configured source can fill.

    Attributes:
      source: its name.
      kinds: event kinds that it feeds.
      fills: event kind -> canonical columns.
      names: dimension -> policy codes that the source's code maps name.
    """

    source: str
    kinds: FrozenSet[str]
    fills: Mapping[str, FrozenSet[str]]
    names: Mapping[str, FrozenSet[str]] = field(default_factory=dict)


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
        raise PolicyError([_said(one["loc"], one["type"], one["msg"]) for one in error.errors()]) from None


def _said(place: Tuple[object, ...], fault: str, message: str) -> str:
    if place == ("preset",) and fault == "literal_error":
        return "preset: is unknown; use standard or plain"
    return f"{'.'.join(map(str, place))}: {_SAID.get(fault, message)}"


def compile_policy(text: str, capabilities: Sequence[Capability]) -> PrivacyPolicy:
    """Compile a policy for the sources that are configured.

    Raises:
      PolicyError: all findings at once.
    """
    file = parse_policy(text)
    findings = findings_of(file) or _code_map_findings(file, capabilities)
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


def _code_map_findings(file: PolicyFile, capabilities: Sequence[Capability]) -> List[str]:
    """Code maps that lead to codes the policy does not list: such events could not be counted anywhere."""
    codes = _codes(file)
    findings = []
    for one in capabilities:
        for name in sorted(one.names):
            known = {*codes.get(name, ()), *(_NOT_PATRONS if name == "patron_type" else ())}
            if name not in codes:
                findings.append(f"source {one.source}: codes.{name}: no such dimension; use {', '.join(codes)}")
            elif one.names[name] - known:
                findings.append(f"source {one.source}: codes.{name}: leads to a code that the policy does not list")
    return findings


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
    columns = {one.column for one in used}
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
            "branch" in columns and bool(HOME_PLACES & columns),
            "a branch is never published together with where patrons live",
        ),
        (
            entry.grain == "day" and any(_is_branch_level(one, len(file.branches)) for one in used),
            "branch tables are monthly, and so are tables of regions with a single branch",
        ),
        (entry.grain == "day" and "daypart" in names, "the hour of a date is never published; use month"),
        (cells > MOST_CELLS, f"has more than {MOST_CELLS} cells"),
        (
            bool(totals) and any(one.patron_derived for one in used),
            "a total has no dimension that describes the patron",
        ),
        (bool(totals) and entry.grain != "month", "a total is monthly"),
        (bool(totals) and not entry.invariant, "a total is an exact figure: declare invariant = true"),
        (bool(totals) and "acts" in entry.measures, "a total is never published beside acts over the same cells"),
        (
            "outcome" in names and not (entry.parts and all(part.startswith("hold_") for part in entry.parts)),
            "outcome is of holds: list the hold_ actions in parts",
        ),
        (len(set(entry.parts)) != len(entry.parts), "names a part twice"),
        (len(set(entry.measures)) != len(entry.measures), "names a measure twice"),
    )
    findings = [text for refused, text in rules if refused]
    findings += [
        f"dimension {one.name} has no codes: list them in [{'zones' if one.column == 'home_zone' else 'dimensions'}]"
        for one in used
        if one.column in ("home_zone", *LISTED) and not _codes(file)[one.column][:-1]
    ]
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


def _is_branch_level(dimension: Dimension, branches: int) -> bool:
    """Whether some code of the dimension stands for one branch."""
    if dimension.column not in ("branch", "home_branch"):
        return False
    groups = dimension.grouping[:branches]
    return not groups or any(groups.count(group) == 1 for group in groups)


def _unfillable(entry: TableFile, used: Sequence[Dimension], capabilities: Sequence[Capability]) -> List[str]:
    feeding = [one for one in capabilities if entry.kind in one.kinds]
    if not feeding:
        return [f"no configured source gives {entry.kind} events"]
    findings = [
        f"dimension {one.name} is of {_OF_KIND[one.name]} events only"
        for one in used
        if _OF_KIND.get(one.name, entry.kind) != entry.kind
    ]
    needed = {_NEEDS.get(one.column, one.column) for one in used} - _NO_COLUMN
    return findings + [
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


def _place(dimension: Dimension, table: Table) -> Optional[Tuple[str, Tuple[int, ...]]]:
    """Which column the dimension divides, and into which blocks; None when it divides nothing."""
    if dimension.column in _OF_KIND:
        # These divide by part: tables of equal parts divide alike, whatever the codes are called.
        parts = table.parts or PARTS[table.kind]
        return None if len(parts) == 1 else (_OF_KIND[dimension.column], ())
    if dimension.column == "day_type" and table.grain == "day":
        return None
    seen: Dict[int, int] = {}
    groups = dimension.grouping or range(len(dimension.codes))
    blocks = tuple(seen.setdefault(group, len(seen)) for group in groups)
    return (dimension.column, blocks) if len(seen) > 1 else None


def _cells(table: Table) -> Tuple[object, ...]:
    """What a table's cells structurally are, whatever dimensions and groups are called."""
    places = [place for place in (_place(one, table) for one in table.dimensions) if place is not None]
    return (table.kind, table.grain, tuple(sorted(places)))


def _lattice_findings(file: PolicyFile, tables: Sequence[Table]) -> List[str]:
    findings = []
    names = [table.name for table in tables]
    if len(set(names)) != len(names):
        findings.append("tables: two have the same name")
    shapes: Dict[Tuple[object, ...], int] = {}
    for at, table in enumerate(tables):
        parts = tuple(sorted(table.parts or PARTS[table.kind]))
        first = shapes.setdefault((_cells(table), parts), at)
        if first != at:
            findings.append(f"table {table.name}: the same cells as {tables[first].name}; publish them once")
    exact = {_cells(table): table.name for table in tables if any(one.kind == "total" for one in table.measures)}
    for table in tables:
        beside = exact.get(_cells(table), table.name)
        if beside != table.name and any(one.kind == "acts" for one in table.measures):
            findings.append(f"table {table.name}: acts over the same cells as the total of {beside}; keep one of them")
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
    for table in policy.tables:
        names = ", ".join(one.name for one in table.dimensions) or "no dimension"
        measures = ", ".join(one.name for one in table.measures)
        charge = f", epsilon {_per_act(table):g} per act, {_per_patron(table):g} per patron and cell"
        lines.append(
            f"{table.name}: each {table.grain} by {names}: {measures}; {table.n_cells} cells, k {table.k},"
            f" C {table.clip}, H {table.horizon // DAY} days{charge if policy.noise_scale else ''}. {table.why}"
        )
    if not policy.noise_scale:
        return [*lines, "no noise: threshold and clip only; nothing is claimed against subtraction of other data"]
    for kind in PARTS:
        tables = policy.tables_of(kind)
        if tables:
            # An act is of one part: it touches only the tables that count this part.
            act = max(
                sum(_per_act(table) for table in tables if part in (table.parts or (part,))) for part in PARTS[kind]
            )
            patron = sum(_per_patron(table) for table in tables)
            lines.append(
                f"{kind}: one act changes released numbers by epsilon {act:g} at most; one patron in one cell of each"
                f" table by at most {patron:g} a window (conditional on which cells are withheld)"
            )
    if any(one.kind == "total" for table in policy.tables for one in table.measures):
        lines.append("totals are exact figures, rounded to 10, declared as invariant: no epsilon covers them")
    return lines


def _per_act(table: Table) -> float:
    return EPSILON * sum(one.kind != "total" for one in table.measures)


def _per_patron(table: Table) -> float:
    weights = {"patrons": 1, "acts": table.clip}
    return EPSILON * sum(weights.get(one.kind, 0) for one in table.measures)
