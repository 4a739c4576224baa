"""Rows of action.circulation become checkouts and renewals, or rejects."""

import contextlib
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import MODELS
from schemas.rejects import DecodeError, Reason
from schemas.wire import ADAPTERS, envelopes
from schemas.wire.adapter import Context
from schemas.wire.envelopes import Delivered
from schemas.wire.evergreen import COLUMNS

SAMPLES = Path(__file__).parents[4] / "shared" / "data" / "samples" / "evergreen"
EVERGREEN = ADAPTERS["evergreen"]
ROW: dict[str, str | None] = {
    **dict.fromkeys(COLUMNS, None),
    "id": "1",
    "usr": "4",
    "xact_start": "2014-05-14 08:39:13.070326-04",
    "target_copy": "2",
    "circ_lib": "101",
    "circ_staff": "228",
}
CONTEXT = Context(
    source="evergreen",
    lookups={
        "patrons": {"4": {"patron_type": "2", "home_branch": "101", "birth_date": "2000-01-31"}},
        "items": {"2": {"material": "book", "audience": "1"}},
    },
    columns=COLUMNS,
)


def acts(row: dict[str, Any], context: Context = CONTEXT) -> list[dict[str, Any]]:
    found = [msgspec.to_builtins(e) for e in EVERGREEN.events(Delivered(list(row.values())), context)]
    for built in found:
        MODELS[built["kind"]].model_validate(built)
    return found


def refused(value: Any, context: Context = CONTEXT) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        EVERGREEN.events(Delivered(value), context)
    return caught.value


def test_a_row_is_a_checkout_with_what_the_lookups_say() -> None:
    (found,) = acts(ROW)
    assert {name: value for name, value in found.items() if value is not None} == {
        "kind": "circulation", "v": 1, "event_id": "1", "op": "add", "action": "checkout",
        "occurred_at": 1_400_071_153_070, "patron_ref": "4", "patron_kind": "patron", "branch": "101",
        "patron_type": "2", "home_branch": "101", "birth_date": "2000-01-31", "material": "book", "audience": "1",
    }  # fmt: skip


def test_a_row_with_a_parent_is_a_renewal() -> None:
    assert acts({**ROW, "parent_circ": "9"})[0]["action"] == "renewal"


def test_there_are_34_columns_and_their_order_is_the_default() -> None:
    assert len(COLUMNS) == 34
    assert acts(ROW, Context("e"))[0]["branch"] == "101"


def test_a_row_without_one_cell_per_column_is_no_tsv() -> None:
    values: list[Any] = [list(ROW.values())[:-1], [*ROW.values(), None], {}, None]
    for value in values:
        assert refused(value).reason is Reason.NOT_TSV


def test_an_unknown_column_is_refused_unless_dropped_or_stripped() -> None:
    columns = (*COLUMNS, "usr_post_code")
    row = [*ROW.values(), "10001"]
    found = refused(row, Context("e", columns=columns))
    assert (found.reason, found.unknown) == (Reason.DISALLOWED_FIELD, 1)
    dropped = Context("e", columns=columns, also_drop=(("usr_post_code", "Q"),))
    for context in (dropped, Context("e", columns=columns, strip=("usr_post_code",))):
        assert EVERGREEN.events(Delivered(row), context)


def test_an_export_without_a_needed_column_is_refused() -> None:
    columns = tuple(name for name in COLUMNS if name != "parent_circ")
    found = refused([ROW[name] for name in columns], Context("e", columns=columns))
    assert (found.reason, found.fields) == (Reason.MISSING_FIELD, ("parent_circ",))


@pytest.mark.parametrize(
    ("cell", "value", "reason"),
    [
        ("id", None, Reason.MISSING_FIELD),
        ("id", "1" * 65, Reason.BAD_VALUE),
        ("id", 5, Reason.WRONG_TYPE),
        ("circ_lib", None, Reason.MISSING_FIELD),
        ("circ_lib", "", Reason.MISSING_FIELD),
        ("xact_start", "", Reason.MISSING_FIELD),
        ("xact_start", "yesterday", Reason.BAD_TIME),
        ("xact_start", "2014-05-14 08:39:13", Reason.BAD_TIME),
    ],
)
def test_a_bad_cell_is_refused(cell: str, value: Any, reason: Reason) -> None:
    assert refused(list({**ROW, cell: value}.values())).reason is reason


def test_lookups_reduce_rows_to_codes() -> None:
    patron, item = EVERGREEN.lookups["patrons"], EVERGREEN.lookups["items"]
    assert patron({"id": "4", "profile": "2", "home_ou": "101", "dob": "2000-01-31", "email": "e"}) == (
        "4", {"patron_type": "2", "home_branch": "101", "birth_date": "2000-01-31"}
    )  # fmt: skip
    assert patron({"id": "4"}) == ("4", {})
    assert patron({"id": None}) is None
    assert patron({"id": "4", "mailing_address": "7"}) == ("4", {"mailing_address": "7"})
    assert patron({"id": "7", "usr": "4", "post_code": "10001", "pending": "0"}) == ("4", {"address/7": "10001"})
    assert patron({"usr": "4", "post_code": "10001"}) == ("4", {"postal_code": "10001"})
    assert patron({"usr": "4", "post_code": None}) == ("4", {})
    for silent in ({"pending": "t"}, {"pending": "1"}, {"usr": None}):
        assert patron({"id": "7", "usr": "4", "post_code": "10001", **silent}) is None
    assert item({"id": "2", "circ_modifier": "book", "location": "1"}) == ("2", {"material": "book", "audience": "1"})
    assert item({"id": None}) is None
    assert patron({"id": "4", "profile": "90", "dob": "31.1.2000"}) == ("4", {"patron_type": "90"})


@pytest.mark.parametrize(
    ("known", "postal"),
    [
        ({"mailing_address": "10", "address/9": "A", "address/10": "B", "address/11": "C"}, "B"),
        ({"mailing_address": "12", "address/11": "C", "address/10": "B", "address/9": "A"}, "A"),
        ({"address/11": "C", "address/9": "A"}, "A"),
        ({"postal_code": "A"}, "A"),
        ({"mailing_address": "12"}, None),
    ],
)
def test_of_several_addresses_the_mailing_address_counts_else_the_oldest(
    known: dict[str, str], postal: str | None
) -> None:
    context = Context("e", lookups={"patrons": {"4": {"patron_type": "2", **known}}})

    (found,) = acts(ROW, context)

    assert (found["patron_type"], found["postal_code"]) == ("2", postal)


def sample(name: str) -> list[bytes]:
    path = SAMPLES / name
    if not path.exists():
        assert os.environ.get("CI") != "true", "the samples are missing"
        pytest.skip("the samples are not here")
    return path.read_bytes().splitlines()


def test_all_real_circulations_decode() -> None:
    head, *lines = sample("action.circulation.tsv")
    context = Context("e", columns=envelopes.header(head))
    actions = []
    for line in lines:
        (event,) = EVERGREEN.events(envelopes.open_tsv(line), context)
        built = msgspec.to_builtins(event)
        MODELS["circulation"].model_validate(built)
        actions.append(built["action"])
        assert built["patron_ref"] == line.split(b"\t")[1].decode()
    assert len(actions) == len(lines) > 200
    assert actions.count("renewal") == sum(not line.endswith(b"\\N") for line in lines)


@pytest.mark.parametrize(
    ("name", "lookup"), [("actor.usr", "patrons"), ("actor.usr_address", "patrons"), ("asset.copy", "items")]
)
def test_all_real_lookup_rows_reduce(name: str, lookup: str) -> None:
    head, *lines = sample(f"{name}.tsv")
    columns = envelopes.header(head)
    for line in lines:
        assert EVERGREEN.lookups[lookup](dict(zip(columns, envelopes.cells(line), strict=True))) is not None


@given(st.lists(st.sampled_from(COLUMNS)), st.text(max_size=70) | st.none() | st.integers() | st.lists(st.none()))
def test_mutated_rows_make_valid_events_or_rejects(names: list[str], junk: Any) -> None:
    with contextlib.suppress(DecodeError):
        acts({**ROW, **dict.fromkeys(names, junk)})
