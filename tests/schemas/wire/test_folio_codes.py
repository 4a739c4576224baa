"""What is read of a FOLIO user and item, and what becomes of records that say less."""

import pytest

from schemas.rejects import DecodeError, Reason
from schemas.wire.folio_codes import patron_codes, reduce_item, reduce_patron

USER = {
    "id": "u1",
    "type": "staff",
    "patronGroup": "g1",
    "departments": ["d1", "d2"],
    "personal": {"dateOfBirth": "2001-02-03T00:00:00Z", "addresses": [{"postalCode": "10001"}]},
}
CODES = {
    "patron_kind": "staff",
    "patron_type": "g1",
    "home_branch": "d1",
    "birth_date": "2001-02-03",
    "postal_code": "10001",
}


@pytest.mark.parametrize(
    ("left_out", "column"),
    [("patronGroup", "patron_type"), ("departments", "home_branch"), ("type", "patron_kind")],
)
@pytest.mark.parametrize("absent", ["left out", "null"])
def test_what_a_user_does_not_say_is_missing_and_one_without_type_is_a_patron(left_out, column, absent):
    user = USER | {left_out: None}
    if absent == "left out":
        del user[left_out]
    expected = {name: code for name, code in CODES.items() if name != column}
    if column == "patron_kind":
        expected["patron_kind"] = "patron"

    assert patron_codes(user, "") == expected
    assert reduce_patron(user) == ("u1", expected)


@pytest.mark.parametrize(
    ("personal", "missing"),
    [
        (None, {"birth_date", "postal_code"}),
        ({}, {"birth_date", "postal_code"}),
        ({"dateOfBirth": "2001-02-03"}, {"postal_code"}),
        ({"dateOfBirth": "2001-02-03", "addresses": None}, {"postal_code"}),
        ({"dateOfBirth": "2001-02-03", "addresses": []}, {"postal_code"}),
        ({"dateOfBirth": "2001-02-03", "addresses": [{}]}, {"postal_code"}),
        ({"addresses": [{"postalCode": "10001"}]}, {"birth_date"}),
    ],
)
def test_a_user_without_birth_date_or_address_has_the_other_codes(personal, missing):
    expected = {name: code for name, code in CODES.items() if name not in missing}

    assert patron_codes(USER | {"personal": personal}, "") == expected
    assert reduce_patron(USER | {"personal": personal}) == ("u1", expected)


def test_what_cannot_be_read_of_a_user_is_refused_in_an_event_and_missing_in_an_export():
    user = USER | {"departments": "d1"}

    with pytest.raises(DecodeError) as refused:
        patron_codes(user, "data.new.")
    assert (refused.value.reason, refused.value.fields) == (Reason.WRONG_TYPE, ("data.new.departments",))
    assert reduce_patron(user) == ("u1", {name: code for name, code in CODES.items() if name != "home_branch"})


def test_a_user_of_an_unknown_type_is_refused_in_an_event_and_no_patron_in_an_export():
    with pytest.raises(DecodeError) as refused:
        patron_codes(USER | {"type": "robot"}, "")
    assert (refused.value.reason, refused.value.fields) == (Reason.UNKNOWN_CODE, ("type",))
    assert reduce_patron(USER | {"type": "robot"}) == ("u1", CODES | {"patron_kind": "system"})


def test_records_without_id_say_nothing():
    assert reduce_patron({name: value for name, value in USER.items() if name != "id"}) is None
    assert reduce_item({"materialTypeId": "m1"}) is None


@pytest.mark.parametrize(
    ("item", "codes"),
    [
        ({"materialTypeId": "m1", "effectiveLocationId": "l1"}, {"material": "m1", "audience": "l1"}),
        ({"materialType": {"id": "m1"}, "effectiveLocation": {"id": "l1"}}, {"material": "m1", "audience": "l1"}),
        ({"materialTypeId": "m1"}, {"material": "m1"}),
        ({}, {}),
    ],
)
def test_an_item_of_either_form_gives_its_material_and_its_location(item, codes):
    assert reduce_item({"id": "i1"} | item) == ("i1", codes)
