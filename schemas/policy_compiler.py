"""Compiles `policy.toml` into closed enumerations, and refuses what is unsafe, each with its own words.

What a table may not be is in `policy_tables`, what tables may not be together in `policy_lattice`.
"""

import json
import tomllib
from dataclasses import asdict, replace
from typing import List, Sequence, Tuple, get_args

import tzdata  # type: ignore[import-untyped]
from blake3 import blake3
from pydantic import ValidationError

from schemas.events import PatronKind
from schemas.policy import PrivacyPolicy, Table
from schemas.policy_dimensions import codes_of, dimensions_of
from schemas.policy_explanation import explain
from schemas.policy_file import PolicyFile, findings_of, policy_json_schema
from schemas.policy_lattice import lattice_findings
from schemas.policy_tables import Capability, table_findings, table_of

__all__ = ["Capability", "PolicyError", "compile_policy", "explain", "parse_policy", "policy_json_schema"]

NOISE_SCALE = 2
# What a source's code map may say besides the policy's codes: these are not patrons and are filtered.
_NOT_PATRONS = frozenset(get_args(PatronKind)) - {"patron"}
_SAID = {"extra_forbidden": "unknown key; remove it or check its spelling", "missing": "is missing; add it"}
_SAID |= dict.fromkeys(("model_type", "dict_type"), "need a table of keys and values")


class PolicyError(ValueError):
    """The policy is refused; `findings` has one line for each reason, all of one file."""

    def __init__(self, findings: Sequence[str], file: str = "policy.toml") -> None:
        self.findings = tuple(" ".join(one.split()) for one in findings)
        more = f" (and {len(findings) - 1} more)" if findings[1:] else ""
        super().__init__(f"{file}: {self.findings[0]}{more}")


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
    if findings := findings_of(file):
        raise PolicyError(findings)
    if findings := _code_map_findings(file, capabilities):
        raise PolicyError(findings, "carrel.toml")
    dimensions = dimensions_of(file)
    tables: List[Table] = []
    for entry in file.tables:
        found = table_findings(entry, file, dimensions, capabilities)
        findings += [f"table {entry.name}: {one}" for one in found]
        if not found:
            tables.append(table_of(entry, file, dimensions))
    if findings := findings or lattice_findings(file, tables):
        raise PolicyError(findings)
    policy = PrivacyPolicy(
        time_zone=file.time_zone,
        preset=file.preset,
        tables=tuple(tables),
        codes=codes_of(file),
        zones=dict(sorted(file.zones.items())),
        noise_scale=NOISE_SCALE if file.preset == "standard" else None,
        tzdata_version=tzdata.IANA_VERSION,
        digest="",
    )
    canonical = json.dumps(asdict(policy), sort_keys=True, separators=(",", ":")).encode()
    return replace(policy, digest=blake3(canonical).hexdigest())


def _code_map_findings(file: PolicyFile, capabilities: Sequence[Capability]) -> List[str]:
    """Code maps that lead to codes the policy does not list: such events could not be counted anywhere."""
    codes = codes_of(file)
    findings = []
    for one in capabilities:
        for name in sorted(one.names):
            known = {*codes.get(name, ()), *(_NOT_PATRONS if name == "patron_type" else ())}
            if name not in codes:
                findings.append(f"sources.{one.source}.codes.{name}: no such dimension; use {', '.join(codes)}")
            elif one.names[name] - known:
                findings.append(f"sources.{one.source}.codes.{name}: leads to a code that the policy does not list")
    return findings
