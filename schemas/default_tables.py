"""The default tables, each with the reason why staff need it. `carrel init` writes them into `policy.toml`."""

from dataclasses import dataclass, replace
from typing import Dict, Optional, Tuple

CIRC = ("checkout", "renewal")


@dataclass(frozen=True)
class DefaultTable:
    """One default table.

    Attributes:
      k: smallest publishable number of distinct patrons.
      clip: C, the most acts of one patron that count in one cell.
      horizon_days: H, how late an event may arrive.
      invariant: its totals are declared as exact figures.
    """

    name: str
    kind: str
    grain: str
    dimensions: Tuple[str, ...]
    measures: Tuple[str, ...]
    parts: Tuple[str, ...]
    why: str
    k: int = 11
    clip: int = 10
    horizon_days: int = 2
    invariant: bool = False


MEDIUM: Tuple[DefaultTable, ...] = (
    DefaultTable(
        "circ_branch_month", "circulation", "month", ("branch",), ("total_checkouts", "total_renewals", "patrons"),
        CIRC, "Board and statutory circulation figures.", invariant=True,
    ),
    DefaultTable(
        "circ_branch_material_month", "circulation", "month", ("branch", "material"), ("acts", "patrons"),
        CIRC, "What each branch's shelves are used for.",
    ),
    DefaultTable("circ_system_day", "circulation", "day", (), ("acts", "patrons"), CIRC, "How busy each day is."),
    DefaultTable(
        "circ_branch_daypart_month", "circulation", "month", ("branch", "day_type", "daypart"), ("acts",),
        CIRC, "Staffing: when a branch is busy over a month.",
    ),
    DefaultTable(
        "circ_age_month", "circulation", "month", ("age_band", "audience"), ("acts", "patrons"),
        CIRC, "Whom the collections for each age reach.",
    ),
    DefaultTable(
        "circ_ptype_month", "circulation", "month", ("patron_type",), ("acts", "patrons"), CIRC, "Use by kind of card.",
    ),
    DefaultTable(
        "flow_month", "circulation", "month", ("home_region", "region"), ("acts", "patrons"),
        CIRC, "Who borrows away from home: delivery and hours.",
    ),
    DefaultTable(
        "holds_month", "circulation", "month", ("branch", "outcome"), ("acts", "patrons"),
        ("hold_placed", "hold_filled", "hold_cancelled", "hold_expired"), "Holds by pickup branch and outcome.",
    ),
    DefaultTable(
        "registrations_month", "patron", "month", ("home_branch", "change"), ("patrons",),
        ("new", "renewed", "expired"), "How the membership of a branch moves.", clip=1, horizon_days=7,
    ),
    DefaultTable(
        "engagement_month", "engagement", "month", ("campaign_type", "response"), ("patrons",),
        (), "Which campaigns are answered.", clip=5, horizon_days=7,
    ),
)  # fmt: skip
PLAIN = ("circ_branch_material_month", "registrations_month", "engagement_month")
_COARSER: Dict[str, str] = {"branch": "region", "material": "material_group", "home_branch": "home_region"}


def _small(table: DefaultTable) -> DefaultTable:
    """Branch groups instead of branches, four groups of materials, no profile of the day by place."""
    if table.name == "circ_branch_daypart_month":
        return replace(table, dimensions=("day_type", "daypart"))
    return replace(table, dimensions=tuple(_COARSER.get(name, name) for name in table.dimensions))


def default_tables(size: str, preset: str) -> Tuple[DefaultTable, ...]:
    """The tables of a size (small, medium, large); under `plain` one per event kind.

    Raises:
      ValueError: unknown size.
    """
    tables: Optional[Tuple[DefaultTable, ...]] = {
        "small": tuple(_small(table) for table in MEDIUM),
        "medium": MEDIUM,
        "large": (
            *MEDIUM,
            DefaultTable(
                "circ_zone_month", "circulation", "month", ("home_zone",), ("acts", "patrons"),
                CIRC, "Use by service zone of 20,000 residents or more.",
            ),
        ),
    }.get(size)  # fmt: skip
    if tables is None:
        message = "--size: need small, medium or large"
        raise ValueError(message)
    return tuple(table for table in tables if preset != "plain" or table.name in PLAIN)
