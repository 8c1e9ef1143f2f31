"""The fitted model: the same scores from every kind of frame and after every trip through files."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from fraud_retraining.domain.training.estimators.registry import ESTIMATORS
from fraud_retraining.domain.training.fitting import ModelPolicy, fit
from fraud_retraining.domain.training.score_mapping import through
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.values.errors import DataInvalid, IntegrityError

FEATURES = ("amount", "count", "city", "ratio")

PARAMS = {
    "xgboost": {"n_estimators": 10, "max_bin": 64},
    "lightgbm": {"num_iterations": 10},
    "catboost": {"iterations": 10},
    "hist_gradient_boosting": {"max_iter": 10},
    "logistic_regression": {},
}


def rows(count: int = 3000, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    amount, ratio = random.gamma(2, 50, count), random.standard_normal(count).astype(np.float32)
    city = random.choice(["ash", "birch", "cove"], count)
    fraud = (amount / 200 + (city == "cove") + 0.3 * random.standard_normal(count)) > 1.5
    return pa.table(
        {
            "amount": amount,
            "count": random.integers(0, 9, count),
            "city": pa.array(city.tolist()),
            "ratio": ratio,
            "is_fraud": pa.array(fraud.astype(np.int8)),
        }
    )


@pytest.fixture(scope="module", params=list(ESTIMATORS))
def model(request) -> FittedModel:
    policy = ModelPolicy(estimator=request.param, params=PARAMS[request.param], threads=1)
    return fit(policy, FEATURES, ("city",), lambda: iter(rows().to_batches()))


def test_a_model_answers_the_same_after_a_trip_through_files(model, tmp_path):
    model.save(tmp_path)
    loaded = FittedModel.load(tmp_path)
    assert np.array_equal(loaded.predict(rows(500, 1)), model.predict(rows(500, 1)))
    assert loaded.description == model.description
    assert loaded.importance() == model.importance()


def test_no_file_of_a_model_is_a_pickle(model):
    assert set(model.files()) <= {
        "model.json",
        "model.ubj",
        "model.txt",
        "model.cbm",
        "model.skops",
        "coefficients.json",
    }
    for data in model.files().values():
        assert not data.startswith(b"\x80")


def test_every_kind_of_frame_gives_the_same_answer(model):
    table = rows(400, 1)
    answer = model.predict(table)
    assert np.array_equal(answer, model.predict(table.combine_chunks().to_batches()[0]))
    assert np.array_equal(answer, model.predict(table.to_pandas()))
    assert np.array_equal(answer, model.predict(table.to_pandas().astype({"city": "category"})))
    assert np.array_equal(answer, model.predict(table.to_pandas()[["ratio", "city", "count", "amount"]]))
    assert np.array_equal(answer, np.concatenate([model.predict(table.slice(0, 150)), model.predict(table.slice(150))]))


def test_predict_proba_has_the_form_of_scikit_learn(model):
    table = rows(50, 1)
    both = model.predict_proba(table)
    assert both.shape == (50, 2)
    assert np.array_equal(both[:, 1], model.predict(table))
    assert np.allclose(both.sum(axis=1), 1)


def test_categories_never_seen_and_missing_ones_are_scored(model):
    table = rows(3, 1).to_pandas()
    table["city"] = ["atlantis", None, "cove"]
    assert np.isfinite(model.predict(table)).all()


def test_missing_numbers_are_scored(model):
    frame = pd.DataFrame({"amount": [None, 3.0], "count": [None, None], "city": ["ash", None], "ratio": [np.nan, 1]})
    assert np.isfinite(model.predict(frame)).all()


def test_no_rows_give_no_scores(model):
    assert model.predict(rows(10).slice(0, 0)).shape == (0,)


def test_absent_columns_are_all_named(model):
    with pytest.raises(DataInvalid) as refusal:
        model.predict(rows(10).select(["amount", "city"]))
    assert refusal.value.culprits == ("count", "ratio")


def test_an_infinite_amount_is_refused_by_name(model):
    frame = rows(5).to_pandas()
    frame.loc[2, "amount"] = np.inf
    with pytest.raises(DataInvalid, match="amount"):
        model.predict(frame)


def test_a_model_of_a_newer_format_or_with_a_file_missing_is_refused(model):
    files = model.files()
    newer = {**files, "model.json": json.dumps({**json.loads(files["model.json"]), "format": 3}).encode()}
    with pytest.raises(IntegrityError, match="format 3"):
        FittedModel.from_files(newer)
    for name in files:
        with pytest.raises(IntegrityError, match="not a fitted model"):
            FittedModel.from_files({other: data for other, data in files.items() if other != name})


def test_scrambled_bytes_are_refused_as_such(model):
    files = model.files()
    for name in files:
        with pytest.raises(IntegrityError):
            FittedModel.from_files({**files, name: b"\x80\x04 not a model"})


def test_a_mapping_travels_in_the_model_and_is_in_every_score(model):
    before, mapped = model.files(), model.with_mapping(through([0.1, 0.5], [0.2, 0.4], {"rows": 7}))
    again = FittedModel.from_files(mapped.files())
    assert again.mapping == mapped.mapping and json.loads(mapped.files()["model.json"])["format"] == 2
    frame = rows(50)
    assert np.array_equal(again.predict(frame), mapped.mapping(model.predict(frame)))
    assert np.array_equal(again.predict_proba(frame)[:, 1], again.predict(frame))
    assert again.unmapped.files()["model.json"] == before["model.json"], (
        "without it the model has the bytes that it had before"
    )
    assert b"score_mapping" not in before["model.json"]
    broken = json.loads(mapped.files()["model.json"])
    broken["score_mapping"]["mapped"] = [0.4, 0.2]
    with pytest.raises(IntegrityError, match="not a fitted model"):
        FittedModel.from_files({**mapped.files(), "model.json": json.dumps(broken).encode()})
