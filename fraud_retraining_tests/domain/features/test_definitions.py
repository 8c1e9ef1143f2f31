"""A feature is written once: a row gives its names, its horizon, and its values in a batch and online."""

import math
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.domain.features import definitions
from fraud_retraining.domain.features.definitions import Feature, gridded, in_two_parts
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining_tests.domain.features.test_online import Lake, assert_same_bits
from fraud_retraining_tests.domain.features.test_point_in_time import DAY, PLAN, at, transaction


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(temp_directory=tmp_path_factory.mktemp("spill"), threads=1) as engine:
        yield engine


def test_a_feature_is_one_row_and_everything_else_follows(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    """As CONTRIBUTING.md says it: a row of `ENTITY_FEATURES`, and nothing else."""
    words = "amount less the {entity}'s earlier mean in {window}"
    row = Feature("amount_over_mean", words, lambda seen: (seen.amount - seen.past.mean).fill_null(0), windowed=True)
    monkeypatch.setattr(definitions, "ENTITY_FEATURES", (*definitions.ENTITY_FEATURES, row))
    names = [f"customer_amount_over_mean_{window}d" for window in (1, 3, 5)]
    assert [name for name in PLAN.names if "over_mean" in name and name.startswith("customer")] == names
    assert [PLAN.horizons[name] for name in names] == [1, 3, 5]
    assert {PLAN.topics[name] for name in names} == {"customer"}
    assert PLAN.meanings[names[1]] == "amount less the customer's earlier mean in the last 3 days"
    rows = [transaction(1, at(hour=8), 10), transaction(2, at(hour=9), 16)]
    lake = Lake(engine, PLAN, rows)
    found = lake.batch_features(DAY)
    assert [found[2][name] for name in names] == [6, 6, 6]
    assert_same_bits(lake.online(DAY, [rows]), found)


@pytest.mark.parametrize(("name", "wrong"), [("", "no name"), ("a b", "no name"), ("count", "named twice")])
def test_a_feature_without_a_name_or_with_that_of_another_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, wrong: str
):
    row = Feature(name, "amount", lambda seen: seen.amount, windowed=True)
    monkeypatch.setattr(definitions, "ENTITY_FEATURES", (*definitions.ENTITY_FEATURES, row))
    with pytest.raises(ValidationError, match=wrong):
        FeaturePlan(**PLAN.model_dump())


@given(st.lists(st.floats(0, 1e9) | st.floats(0, 1), min_size=1, max_size=200), st.randoms())
def test_squares_add_up_to_their_exact_sum_in_any_order(amounts, random):
    squares = [gridded(amount) ** 2 for amount in amounts]
    random.shuffle(amounts)
    high, low = (sum(part) for part in zip(*(in_two_parts(gridded(amount) ** 2) for amount in amounts), strict=True))
    assert high + low == math.fsum(squares)
