"""`carrel init`: a commented deployment for the example library, to be changed into one's own."""

import glob
import json
import os
import uuid
from pathlib import Path
from typing import Iterator, Optional, Sequence

from blake3 import blake3

from pipelines.configuration import ConfigurationError
from pipelines.opening import generate_recipient
from schemas.default_tables import DefaultTable, default_tables
from schemas.policy_compiler import Capability, PolicyError, compile_policy
from schemas.wire import ADAPTERS

BRANCHES = {f"B{number:02d}": region for number, region in enumerate(
    ("north",) * 4 + ("center",) * 4 + ("south",) * 3 + ("island",), start=1
)}  # fmt: skip
MATERIALS = (
    "book", "large-print", "audiobook", "dvd", "music", "magazine", "ebook", "eaudio", "game", "equipment", "kit", "map",
)  # fmt: skip
AUDIENCES = ("adult", "young-adult", "children")
PATRON_TYPES = ("adult", "teen", "child", "senior", "educator", "nonresident")
CAMPAIGNS = ("newsletter", "reading-challenge", "event-invitation", "fundraising", "welcome", "survey")
RESPONSES = ("sent", "opened", "clicked", "responded", "declined", "unsubscribed")
ZONES = {str(10_001 + at): f"zone-{at // 3 + 1}" for at in range(12)}
MATERIAL_GROUPS = {
    **dict.fromkeys(("book", "large-print", "magazine", "map"), "print"),
    **dict.fromkeys(("audiobook", "dvd", "music"), "media"),
    **dict.fromkeys(("ebook", "eaudio"), "digital"),
    **dict.fromkeys(("game", "equipment", "kit"), "things"),
}
DEFAULT_K = 11
_ARCHIVES = {
    "carrel-event": "carrel-event/*",
    "folio": "folio/*.jsonl*",
    "evergreen": "evergreen/action.circulation*.tsv*",
    "salesforce": "salesforce/*ChangeEvent*.avro*",
}
_LOOKUPS = {
    "folio": {"patrons": ["folio/lookups/users.jsonl"], "items": ["folio/lookups/items.jsonl"]},
    "evergreen": {
        "patrons": ["evergreen/lookups/actor.usr.tsv", "evergreen/lookups/actor.usr_address.tsv"],
        "items": ["evergreen/lookups/asset.copy.tsv"],
    },
    "salesforce": {
        "campaigns": ["salesforce/lookups/campaigns.csv"],
        "members": ["salesforce/lookups/members.csv"],
    },
}
# The CRM system repeats registrations that the ILS tells already: counted once, from the ILS.
_KINDS = {"salesforce": ("engagement",)}


def example_uuid(what: str, code: str) -> str:
    """The id under which the example library's FOLIO knows a code."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"carrel:example:{what}:{code}"))


def example_codes(adapter: str) -> dict[str, dict[str, str]]:
    """The example library's code maps: dimension -> wire code -> policy code."""
    if adapter == "folio":
        return {
            "branch": {example_uuid("service-point", code): code for code in BRANCHES},
            "home_branch": {example_uuid("department", code): code for code in BRANCHES},
            "material": {example_uuid("material-type", code): code for code in MATERIALS},
            "audience": {example_uuid("location", code): code for code in AUDIENCES},
            "patron_type": {example_uuid("patron-group", code): code for code in PATRON_TYPES},
        }
    if adapter == "evergreen":
        units = {str(100 + number): code for number, code in enumerate(BRANCHES, start=1)}
        profiles = {str(number): code for number, code in enumerate(PATRON_TYPES, start=1)}
        return {
            "branch": units,
            "home_branch": units,
            "audience": {str(number): code for number, code in enumerate(AUDIENCES, start=1)},
            "patron_type": {**profiles, "90": "staff", "91": "test"},
        }
    if adapter == "salesforce":
        return {
            "campaign_type": {code.replace("-", " ").title(): code for code in CAMPAIGNS},
            "response": {code.title(): code for code in RESPONSES},
        }
    return {}


def init(
    directory: Path,
    *,
    size: str = "medium",
    preset: str = "standard",
    sources: Sequence[str] = ("carrel-event",),
    secrets: Optional[Path] = None,
    logs: Optional[Path] = None,
    counts_store: str = "counts.db",
) -> None:
    """Write a deployment directory, a keyring and the officer's key pair.

    Args:
      size: grain of the default tables.
      preset: plain or standard.
      sources: adapters to read; the others are written as comments.
      secrets: where keyring and private key go; by default outside the deployment and its backups.
      logs: a `carrel sample` folder; by default archives are looked for in the deployment's `archive`.
      counts_store: path of a SQLite file, or the address of another store.

    Raises:
      ConfigurationError: something is there already, or an unknown choice.
    """
    unknown = [name for name in sources if name not in ADAPTERS]
    if unknown or not sources:
        message = f"--sources: need some of {', '.join(ADAPTERS)}"
        raise ConfigurationError(message)
    if preset not in ("plain", "standard"):
        message = "--preset: need plain or standard; formal is not built yet"
        raise ConfigurationError(message)
    try:
        tables = default_tables(size, preset)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    for name in ("carrel.toml", "policy.toml", "recipient.pub"):
        if (directory / name).exists():
            message = f"{directory}: there is a {name} already; name another folder"
            raise ConfigurationError(message)
    hidden = secrets.absolute() if secrets else _outside(directory)
    if (hidden / "recipient.key").exists():
        message = f"{hidden}: holds a recipient key already; name another --secrets folder"
        raise ConfigurationError(message)
    keyring = hidden / "keyring"
    base = os.path.relpath(logs.absolute(), directory.absolute()) if logs else "archive"
    shown = os.path.relpath(keyring, directory.absolute()) if secrets else str(keyring)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "dead-letters").mkdir(mode=0o700, exist_ok=True)
        keyring.mkdir(mode=0o700, parents=True, exist_ok=True)
        keyring.chmod(0o700)
        generate_recipient(hidden / "recipient.key", directory / "recipient.pub")
        (directory / "carrel.toml").write_text("\n".join(_configuration(sources, shown, base, counts_store)) + "\n")
        (directory / "policy.toml").write_text("\n".join(_policy(tables, size, preset, sources)) + "\n")
    except OSError as error:
        message = f"{directory}: cannot be written ({error.strerror}); name a folder that you may write to"
        raise ConfigurationError(message) from None


def _quoted(text: str) -> str:
    """A TOML basic string: its escapes are those of JSON."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _listed(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(_quoted, texts))}]"


def _outside(directory: Path) -> Path:
    """A folder of this user's own data: not in the deployment, so not in its backups."""
    tag = blake3(str(directory.absolute()).encode()).hexdigest(length=4)
    data = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    return data / "carrel" / f"{directory.absolute().name}-{tag}"


def _configuration(sources: Sequence[str], keyring: str, base: str, counts_store: str) -> Iterator[str]:
    yield "# Where things lie. Paths are relative to this file."
    yield 'tenant = "example"            # whose counts these are; part of every key'
    yield 'policy = "policy.toml"'
    yield 'recipient = "recipient.pub"   # rejects are sealed to it; the private key is the officer\'s'
    yield f"keyring = {_quoted(keyring)}"
    yield 'work_store = "work.db"        # open tallies and positions: restricted'
    yield f"counts_store = {_quoted(counts_store)}    # released counts and the ledger: for analysts"
    yield 'dead_letters = "dead-letters"'
    yield '# metrics = { address = "127.0.0.1:9464" }   # where `carrel live` answers /metrics, /readyz and /healthz; else nowhere'
    for name in ADAPTERS:
        yield ""
        lines = list(_source(name, base))
        if name not in sources:
            yield f"# To read {name}, take the comment marks away."
        yield from lines if name in sources else (f"# {line}" for line in lines)


def _source(name: str, base: str) -> Iterator[str]:
    yield f"[sources.{name}]"
    yield f'adapter = "{name}"'
    kinds = _KINDS.get(name, tuple(ADAPTERS[name].fills))
    yield f"kinds = {_listed(kinds)}"
    pattern = f"{glob.escape(base)}/{_ARCHIVES[name]}"
    yield f"archive = {_quoted(pattern)}   # what `carrel replay` without PATH reads"
    yield '# ordered_by = "arrival"         # its files are in the order of arrival: their clock moves while they are read'
    yield '# complete_from = "2026-03-01"   # nothing is missing from this day on; else from the day of its first arrival'
    yield "# ended = true                   # it will never say more, and holds no table back"
    yield '# bus = { kind = "kafka", topics = ["events"], settings = "kafka.properties" }   # what `carrel live` reads;'
    yield "#   # settings: a file of the client's own, name=value; or of Pub/Sub:"
    yield '#   # bus = { kind = "pubsub", subscription = "projects/PROJECT/subscriptions/NAME" }'
    yield "# state_is_only_copy = true      # the bus forgets before windows are released, and the work store is kept safe"
    if name in _LOOKUPS:
        yield f"[sources.{name}.lookups]"
        for lookup, files in _LOOKUPS[name].items():
            yield f"{lookup} = {_listed([f'{base}/{file}' for file in files])}"
    for dimension, codes in example_codes(name).items():
        yield f"[sources.{name}.codes.{dimension}]   # code of the system (sources list --fields says of which field) = code of the policy"
        for wire, code in codes.items():
            yield f'"{wire}" = "{code}"'


def _policy(tables: Sequence[DefaultTable], size: str, preset: str, sources: Sequence[str]) -> Iterator[str]:
    head = list(_lists(size, preset))
    yield from head
    for table in tables:
        yield ""
        if _can_be_filled(table, head, sources):
            yield from _table(table)
        else:
            yield f"# left out: {table.name} (no chosen source can fill it): {table.why}"


def _table(table: DefaultTable) -> Iterator[str]:
    yield "[[tables]]"
    yield f'name = "{table.name}"'
    yield f'why = "{table.why}"'
    yield f'kind = "{table.kind}"'
    yield f'grain = "{table.grain}"'
    for key, values in (("dimensions", table.dimensions), ("measures", table.measures), ("parts", table.parts)):
        yield f"{key} = {_listed(values)}"
    # A written k would outlive a change of the policy's own: only another one is written.
    yield f"# k = {table.k}, the policy's" if table.k == DEFAULT_K else f"k = {table.k}"
    yield f"clip = {table.clip}                      # C: the most acts of one patron that count in one cell"
    yield f"horizon_days = {table.horizon_days}              # H: how late an event may arrive"
    if table.invariant:
        yield "invariant = true               # its totals are exact figures, rounded to 10"


def _lists(size: str, preset: str) -> Iterator[str]:
    yield "# What may be published. Change it, then run `carrel check`: it explains and refuses."
    yield f'preset = "{preset}"            # plain: threshold and clip. standard: with noise'
    yield 'time_zone = "America/New_York"'
    yield f"k = {DEFAULT_K}                         # fewer distinct patrons than this are withheld"
    yield ""
    yield "[branches]                     # every branch = its region; an event of another branch is rejected"
    for code, region in BRANCHES.items():
        yield f'{code} = "{region}"'
    yield ""
    yield "[dimensions]                   # closed lists; anything else becomes `other`"
    for name, codes in (
        ("material", MATERIALS),
        ("audience", AUDIENCES),
        ("patron_type", PATRON_TYPES),
        ("campaign_type", CAMPAIGNS),
        ("response", RESPONSES),
    ):
        yield f"{name} = {_listed(codes)}"
    if size == "small":
        yield ""
        yield "[groups.material_group]        # coarser materials"
        yield 'of = "material"'
        for code, group in MATERIAL_GROUPS.items():
            yield f'{code} = "{group}"'
    yield ""
    yield "[zones]                        # postal code = service zone, each of 20,000 residents or more"
    for postal, zone in ZONES.items():
        yield f'"{postal}" = "{zone}"'


def _can_be_filled(table: DefaultTable, head: Sequence[str], sources: Sequence[str]) -> bool:
    """Whether the compiler takes the table for the chosen sources: only what they lack can speak against it."""
    chosen = [
        Capability(name, frozenset(_KINDS.get(name, tuple(ADAPTERS[name].fills))), ADAPTERS[name].fills)
        for name in sources
    ]
    try:
        compile_policy("\n".join((*head, *_table(table))), chosen)
    except PolicyError:
        return False
    return True
