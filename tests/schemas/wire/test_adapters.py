"""Every registered adapter is complete and says what it can fill."""

import pytest

from schemas.events import CODED, MODELS
from schemas.wire import ADAPTERS
from schemas.wire.adapter import Adapter, Context

SOURCE_ADAPTERS = [ADAPTERS[name] for name in ("folio", "evergreen", "salesforce")]


@pytest.mark.parametrize("adapter", ADAPTERS.values(), ids=list(ADAPTERS))
def test_an_adapter_has_its_own_name_and_fills_canonical_columns_only(adapter: Adapter) -> None:
    assert ADAPTERS[adapter.name] is adapter
    for kind, columns in adapter.fills.items():
        assert columns <= set(MODELS[kind].model_fields) | set(CODED[kind])
        assert ("home_zone" in columns) == ("postal_code" in columns)


def test_the_columns_of_a_table_are_the_fields_that_its_adapter_knows():
    assert {"id", "usr", "checkin_workstation"} < ADAPTERS["evergreen"].columns
    assert len(ADAPTERS["evergreen"].columns) == 34


@pytest.mark.parametrize("adapter", SOURCE_ADAPTERS, ids=lambda adapter: adapter.name)
def test_no_direct_or_sensitive_field_is_used(adapter: Adapter) -> None:
    for table in adapter.fields.values():
        assert not [field.path for field in table.fields if field.use == "used" and field.cls in {"D", "S"}]


def test_a_lookup_that_is_not_there_says_nothing() -> None:
    context = Context("s", lookups={"items": {"1": {"material": "book"}}})
    assert context.codes("items", "1") == {"material": "book"}
    for lookup, key in (("items", "2"), ("items", None), ("patrons", "1")):
        assert context.codes(lookup, key) == {}
