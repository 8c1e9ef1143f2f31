"""Rows as a model reads them: categories as codes, and refused values by the name of their column."""

import numpy as np
import pyarrow as pa
import pytest

from fraud_retraining.domain.training.estimators.model_input import category_codes, float_columns
from fraud_retraining.domain.training.fitting import (
    fit,
)
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining_tests.support.training_transactions import (
    FEATURES,
    NUMERIC,
    TRAINING,
    UNSEEN,
    changed,
    given_in,
    policy,
)


def test_integer_categories_are_categories_even_after_a_detour_through_float():
    numbers = np.random.default_rng(3).integers(0, 5, 8000)
    model = fit(policy(), FEATURES, ("city",), given_in(changed(TRAINING, "city", numbers)))
    assert set(model.vocabularies["city"]) == set("01234")
    as_integers = changed(UNSEEN, "city", numbers[:4000])
    as_floats = changed(UNSEEN, "city", numbers[:4000].astype(float))
    assert np.array_equal(model.predict(as_integers), model.predict(as_floats))


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300], ids=["inf", "-inf", "beyond float32"])
@pytest.mark.parametrize("estimator", ["xgboost", "logistic_regression"])
def test_an_infinite_value_is_refused_by_the_name_of_its_column(value, estimator):
    ratio = TRAINING["ratio"].to_numpy().astype(np.float64)
    ratio[4321] = value
    with pytest.raises(DataInvalid, match="ratio"):
        fit(policy(estimator), FEATURES, ("city",), given_in(changed(TRAINING, "ratio", ratio)))


def test_missing_columns_are_all_named():
    with pytest.raises(DataInvalid) as refusal:
        fit(policy(), (*NUMERIC, "height", "depth"), (), given_in(TRAINING))
    assert refusal.value.culprits == ("height", "depth")
    with pytest.raises(DataInvalid, match="colour"):
        fit(policy(), (*NUMERIC, "colour"), ("colour",), given_in(TRAINING))


def test_codes_keep_other_and_missing_apart():
    column = pa.chunked_array([["b", None, "zzz", "a"]])
    assert category_codes(column, ("a", "b")).tolist() == [3, 1, 0, 2]


def test_a_category_is_the_same_however_it_is_stored():
    texts = pa.chunked_array([["7", None, "x"]])
    assert category_codes(texts.dictionary_encode(), ("7",)).tolist() == category_codes(texts, ("7",)).tolist()
    assert category_codes(pa.chunked_array([[7.0, float("nan")]]), ("7",)).tolist() == [2, 1]


def test_a_frame_and_a_table_give_the_same_columns():
    table = UNSEEN.slice(0, 50)
    one, other = (float_columns(rows, FEATURES, {"city": ("ash",)}) for rows in (table, table.to_pandas()))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert all(column.dtype == np.float32 for column in one)
