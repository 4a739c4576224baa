"""The compiled policy in plain words: what is published, how finely, and what an act and a patron can spend."""

from typing import Iterator, List

from schemas.events import PARTS
from schemas.policy import PrivacyPolicy, Table
from schemas.policy_lattice import EPSILON, epsilon_of_an_act, epsilon_per_act
from schemas.policy_tables import DAY


def explain(policy: PrivacyPolicy) -> List[str]:
    """The policy in plain words, one line each."""
    zone = f"zone {policy.time_zone} (tzdata {policy.tzdata_version})"
    lines = [f"preset {policy.preset}, {zone}, policy {policy.digest[:16]}"]
    lines += [_described(table, noise=bool(policy.noise_scale)) for table in policy.tables]
    return [*lines, *(_spent(policy) if policy.noise_scale else _plain())]


def _described(table: Table, *, noise: bool) -> str:
    names = ", ".join(one.name for one in table.dimensions) or "no dimension"
    measures = ", ".join(one.name for one in table.measures)
    charge = f", epsilon {epsilon_per_act(table):g} per act, {_per_patron(table):g} per patron and cell"
    total = any(one.kind == "total" for one in table.measures)
    exact = f", totals from {5 * table.k} patrons on and if none has over a tenth" if total else ""
    return (
        f"{table.name}: each {table.grain} by {names}: {measures}; {table.n_cells} cells, k {table.k}{exact},"
        f" C {table.clip}, H {table.horizon // DAY} days{charge if noise else ''}. {table.why}"
    )


def _plain() -> Iterator[str]:
    yield "no noise: threshold and clip only; nothing is claimed against subtraction of other data"


def _spent(policy: PrivacyPolicy) -> Iterator[str]:
    for kind in PARTS:
        tables = policy.tables_of(kind)
        if tables:
            act, patron = epsilon_of_an_act(kind, tables), sum(_per_patron(table) for table in tables)
            yield (
                f"{kind}: one act changes released numbers by epsilon {act:g} at most; one patron in one cell of each"
                f" table by at most {patron:g} a window (conditional on which cells are withheld)"
            )
    if any(one.kind == "total" for table in policy.tables for one in table.measures):
        yield "totals are exact figures, rounded to 10, declared as invariant: no epsilon covers them"


def _per_patron(table: Table) -> float:
    weights = {"patrons": 1, "acts": table.clip}
    return EPSILON * sum(weights.get(one.kind, 0) for one in table.measures)
