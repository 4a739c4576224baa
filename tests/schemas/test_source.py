"""What a configured source promises travels to the workers, and nobody changes it on the way."""

import dataclasses
import pickle

import pytest

from schemas.source import SourceRules

RULES = SourceRules(
    name="ils",
    adapter="folio",
    kinds=("circulation", "patron"),
    namespace="cards",
    id_profile="opaque",
    time_zone="Europe/Oslo",
    also_drop=(("data.new.extra", "S"),),
    strip=("data.new.note",),
    no_patron_ids=("0", "guest"),
    codes={"branch": {"desk-1": "B01"}},
)


def test_the_rules_of_a_source_reach_a_worker_unchanged():
    assert pickle.loads(pickle.dumps(RULES)) == RULES


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(SourceRules)])
def test_no_rule_can_be_changed_in_place(name):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(RULES, name, None)
