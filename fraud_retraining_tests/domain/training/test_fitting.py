"""The fit: repeatable, streamed, honest about weights, and unwilling to learn from nothing."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fraud_retraining.domain.training.estimators.base import MAX_CATEGORIES
from fraud_retraining.domain.training.fitting import (
    Batches,
    FittedModel,
    ModelPolicy,
    fit,
)
from fraud_retraining.domain.training.training_rows import BLOCK_ROWS
from fraud_retraining.domain.values.errors import DataInvalid

NUMERIC = ("amount", "count", "ratio", "noise")
FEATURES = (*NUMERIC, "city")
ESTIMATORS = ("xgboost", "hist_gradient_boosting", "logistic_regression")
SMALL = {
    "xgboost": {"n_estimators": 12, "max_depth": 3, "learning_rate": 0.3, "max_bin": 64},
    "hist_gradient_boosting": {"max_iter": 12, "max_leaf_nodes": 8, "learning_rate": 0.3},
    "logistic_regression": {},
}


def policy(estimator: str = "xgboost", *, seed: int = 7, downsample: float | None = None, threads: int = 1, **params):
    return ModelPolicy(
        estimator=estimator, seed=seed, downsample=downsample, threads=threads, params={**SMALL[estimator], **params}
    )


def transactions(rows: int, seed: int = 0) -> pa.Table:
    """Fraud follows amount, the product of count and ratio, and the city `dust`; noise says nothing."""
    random = np.random.default_rng(seed)
    numbers = {name: random.standard_normal(rows).astype(np.float32) for name in NUMERIC}
    city = random.choice(["ash", "birch", "cove", "dust"], rows, p=[0.5, 0.3, 0.15, 0.05])
    odds = 2 * numbers["amount"] + numbers["count"] * numbers["ratio"] + 2.5 * (city == "dust") - 3.5
    fraud = random.random(rows) < 1 / (1 + np.exp(-odds))
    return pa.table(
        {
            "transaction_id": pa.array(np.arange(rows) + seed * rows),
            **numbers,
            "city": city.tolist(),
            "is_fraud": pa.array(fraud.astype(np.int8)),
            "weight": np.ones(rows, np.float32),
        }
    )


def given_in(table: pa.Table, rows: int = 1000) -> Batches:
    def batches() -> Iterator[pa.RecordBatch]:
        yield from table.to_batches(max_chunksize=rows)

    return batches


def changed(table: pa.Table, name: str, values) -> pa.Table:
    position = table.schema.get_field_index(name)
    return table.set_column(position, name, pa.array(values))


TRAINING = transactions(8000)
UNSEEN = transactions(4000, seed=1)


@pytest.fixture(scope="module", params=ESTIMATORS)
def model(request) -> FittedModel:
    return fit(policy(request.param), FEATURES, ("city",), given_in(TRAINING))


# ---------------------------------------------------------------- what a fit gives


def test_a_fit_ranks_frauds_first_and_its_probabilities_have_the_base_rate(model):
    from sklearn.metrics import roc_auc_score

    fraud, scores = UNSEEN["is_fraud"].to_numpy(), model.predict(UNSEEN)
    assert scores.dtype == np.float64
    assert ((scores >= 0) & (scores <= 1)).all()
    assert roc_auc_score(fraud, scores) > 0.85
    assert scores.mean() == pytest.approx(fraud.mean(), abs=0.015)


def test_importance_is_a_share_and_noise_has_the_least_of_it(model):
    importance = model.importance()
    assert set(importance) == set(FEATURES)
    assert sum(importance.values()) == pytest.approx(1)
    assert importance["amount"] == max(importance.values())
    if model.estimator != "logistic_regression":  # which cannot see the product of count and ratio
        assert importance["noise"] == min(importance.values())


def test_the_facts_of_a_fit_count_its_rows(model):
    frauds = int(TRAINING["is_fraud"].to_numpy().sum())
    assert model.facts == {"rows": 8000, "frauds": frauds, "weight": 8000.0, "constant_features": []}
    assert set(model.versions) == {"numpy", "xgboost" if model.estimator == "xgboost" else "scikit-learn"}


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_same_rows_give_the_same_model(estimator):
    first, second = (fit(policy(estimator), FEATURES, ("city",), given_in(TRAINING)) for _ in range(2))
    assert np.array_equal(first.predict(UNSEEN), second.predict(UNSEEN))
    if estimator != "hist_gradient_boosting":  # skops files name objects by their address
        assert first.files() == second.files()


@pytest.mark.parametrize("rows", [40, 333, 8000])
def test_how_the_batches_are_cut_does_not_matter(rows, monkeypatch):
    monkeypatch.setattr("fraud_retraining.domain.training.training_rows.BLOCK_ROWS", 1024)
    few = TRAINING.slice(0, 3000)
    cut = fit(policy(), FEATURES, ("city",), given_in(few, rows))
    assert cut.files() == fit(policy(), FEATURES, ("city",), given_in(few, 700)).files()


def test_the_number_of_threads_does_not_change_the_trees():
    """An assumption about XGBoost: `ModelPolicy.threads` and the machine's cores are no part of a fingerprint."""
    one, three = (fit(policy(threads=threads), FEATURES, ("city",), given_in(TRAINING)) for threads in (1, 3))
    assert one.files()["model.ubj"] == three.files()["model.ubj"]


def test_the_seed_changes_the_trees():
    one, other = (fit(policy(seed=seed, subsample=0.5), NUMERIC, (), given_in(TRAINING)) for seed in (1, 2))
    assert one.files()["model.ubj"] != other.files()["model.ubj"]


def test_blocks_are_small_enough_to_stream():
    assert BLOCK_ROWS * 40 * 4 < 64 * 2**20


# ---------------------------------------------------------------- weights and down-sampling


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_weight_of_two_is_the_row_twice(estimator):
    few = TRAINING.slice(0, 3000)
    exact = {"hist_gradient_boosting": {"min_samples_leaf": 1, "max_bins": 255}}.get(estimator, {"subsample": 1.0})
    exact = {} if estimator == "logistic_regression" else exact
    doubled = changed(few, "weight", np.full(3000, 2.0, np.float32))
    twice = pa.table({name: few[name].take(np.repeat(np.arange(3000), 2)) for name in few.column_names})
    by_weight = fit(policy(estimator, **exact), NUMERIC, (), given_in(doubled)).predict(UNSEEN)
    by_row = fit(policy(estimator, **exact), NUMERIC, (), given_in(twice)).predict(UNSEEN)
    assert np.corrcoef(by_weight, by_row)[0, 1] > 0.98
    assert by_weight.mean() == pytest.approx(by_row.mean(), rel=0.02)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_downsampling_keeps_every_fraud_and_leaves_probabilities_right(estimator):
    sampled = fit(policy(estimator, downsample=0.25), FEATURES, ("city",), given_in(TRAINING))
    base = TRAINING["is_fraud"].to_numpy()
    assert sampled.facts["frauds"] == base.sum()
    assert sampled.facts["rows"] - base.sum() == pytest.approx(0.25 * (8000 - base.sum()), rel=0.1)
    assert sampled.facts["weight"] == pytest.approx(8000, rel=0.05)
    assert sampled.predict(UNSEEN).mean() == pytest.approx(base.mean(), rel=0.15)
    assert sampled.params["downsample"] == 0.25


def kept(table: pa.Table, seed: int = 7) -> set:
    from fraud_retraining.domain.training.fitting import TrainingRows

    with_id = (*NUMERIC, "transaction_id")
    rows = TrainingRows(given_in(table), with_id, (), 0.25, seed)
    return {key for block in rows for key in block["transaction_id"].to_pylist()}


@pytest.mark.parametrize("text", [False, True])
def test_a_transaction_stays_kept_when_the_window_moves_on(text):
    table = TRAINING
    if text:
        table = changed(table, "transaction_id", [f"t-{key}" for key in table["transaction_id"].to_pylist()])
    whole, later = kept(table), kept(table.slice(2500))
    assert later == whole & set(table.slice(2500)["transaction_id"].to_pylist())
    assert kept(table, seed=8) != whole


def test_without_an_id_the_position_decides_whatever_the_batches():
    nameless = TRAINING.drop_columns(["transaction_id"])
    one, other = (fit(policy(downsample=0.3), NUMERIC, (), given_in(nameless, rows)).files() for rows in (100, 3333))
    assert one == other


# ---------------------------------------------------------------- categories


def test_the_vocabulary_is_the_most_frequent_categories_ties_in_the_order_of_the_text():
    words = ["b"] * 3 + ["a"] * 3 + ["z"] * 5 + [None] * 9
    rows = len(words) * 20
    table = transactions(rows)
    table = changed(table, "city", words * 20)
    assert fit(policy(), FEATURES, ("city",), given_in(table, 7)).vocabularies == {"city": ("z", "a", "b")}


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_thousand_categories_are_capped_and_the_rare_ones_are_other(estimator):
    names = np.random.default_rng(3).zipf(1.3, 8000) % 1000
    table = changed(TRAINING, "city", [f"city {name}" for name in names])
    model = fit(policy(estimator), FEATURES, ("city",), given_in(table))
    assert len(model.vocabularies["city"]) == MAX_CATEGORIES
    assert np.isfinite(model.predict(table)).all()


def test_integer_categories_are_categories_even_after_a_detour_through_float():
    numbers = np.random.default_rng(3).integers(0, 5, 8000)
    model = fit(policy(), FEATURES, ("city",), given_in(changed(TRAINING, "city", numbers)))
    assert set(model.vocabularies["city"]) == set("01234")
    as_integers = changed(UNSEEN, "city", numbers[:4000])
    as_floats = changed(UNSEEN, "city", numbers[:4000].astype(float))
    assert np.array_equal(model.predict(as_integers), model.predict(as_floats))


# ---------------------------------------------------------------- missing and impossible values


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_missing_numbers_are_learnt_from(estimator):
    amounts = TRAINING["amount"].to_numpy().copy()
    amounts[::3] = np.nan
    model = fit(policy(estimator), FEATURES, ("city",), given_in(changed(TRAINING, "amount", amounts)))
    assert np.isfinite(model.predict(changed(UNSEEN, "amount", np.full(4000, np.nan)))).all()


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300], ids=["inf", "-inf", "beyond float32"])
@pytest.mark.parametrize("estimator", ["xgboost", "logistic_regression"])
def test_an_infinite_value_is_refused_by_the_name_of_its_column(value, estimator):
    ratio = TRAINING["ratio"].to_numpy().astype(np.float64)
    ratio[4321] = value
    with pytest.raises(DataInvalid, match="ratio"):
        fit(policy(estimator), FEATURES, ("city",), given_in(changed(TRAINING, "ratio", ratio)))


FRAUD = TRAINING["is_fraud"].to_numpy()


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("is_fraud", np.zeros(8000, np.int8), "one class only: 0 frauds"),
        ("is_fraud", np.ones(8000, np.int8), "one class only: 8000 frauds"),
        ("is_fraud", [None, *FRAUD[1:].tolist()], "1 without a label"),
        ("is_fraud", np.where(FRAUD == 1, 2, 0), "neither 0 nor 1"),
        ("weight", np.full(8000, np.nan, np.float32), "weight"),
        ("weight", np.zeros(8000, np.float32), "weight"),
        ("amount", ["dear"] * 8000, "amount"),
    ],
)
def test_rows_that_teach_nothing_or_something_wrong_are_refused(estimator, column, values, reason):
    with pytest.raises(DataInvalid, match=reason):
        fit(policy(estimator), NUMERIC, (), given_in(changed(TRAINING, column, values)))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_no_rows_and_features_without_any_difference_are_refused(estimator):
    with pytest.raises(DataInvalid, match="no rows"):
        fit(policy(estimator), FEATURES, ("city",), given_in(TRAINING.slice(0, 0)))
    flat = TRAINING
    for name in NUMERIC:
        flat = changed(flat, name, np.ones(8000))
    with pytest.raises(DataInvalid, match="every feature is constant"):
        fit(policy(estimator), NUMERIC, (), given_in(flat))


def test_one_constant_feature_is_allowed_and_named():
    model = fit(policy(), NUMERIC, (), given_in(changed(TRAINING, "noise", np.zeros(8000))))
    assert model.facts["constant_features"] == ["noise"]
    assert model.importance()["noise"] == 0


def test_missing_columns_are_all_named():
    with pytest.raises(DataInvalid) as refusal:
        fit(policy(), (*NUMERIC, "height", "depth"), (), given_in(TRAINING))
    assert refusal.value.culprits == ("height", "depth")
    with pytest.raises(DataInvalid, match="colour"):
        fit(policy(), (*NUMERIC, "colour"), ("colour",), given_in(TRAINING))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_rows_that_change_between_passes_are_refused(estimator):
    passes = iter([TRAINING, TRAINING.take(np.arange(8000)[::-1]), TRAINING, TRAINING, TRAINING])
    with pytest.raises(DataInvalid, match="between two passes"):
        fit(policy(estimator), NUMERIC, (), lambda: given_in(next(passes))())


def test_an_error_of_the_reader_comes_out_as_it_is():
    def batches() -> Iterator[pa.RecordBatch]:
        yield from TRAINING.slice(0, 1000).to_batches()
        raise OSError("the disk went away")

    with pytest.raises(OSError, match="the disk went away"):
        fit(policy(), NUMERIC, (), batches)


# ---------------------------------------------------------------- rounds and parameters


def test_each_boosting_round_is_reported():
    rounds: list[tuple[int, int]] = []
    fit(policy(), NUMERIC, (), given_in(TRAINING), on_round=lambda done, total: rounds.append((done, total)))
    assert rounds == [(done, 12) for done in range(1, 13)]


def test_raising_in_a_round_ends_the_fit():
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise TimeoutError("the budget is spent")

    with pytest.raises(TimeoutError, match="the budget is spent"):
        fit(policy(), NUMERIC, (), given_in(TRAINING), on_round=stop)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_unknown_and_impossible_parameter_is_named_at_once(estimator):
    wrong = {"learning_rate": 0.0} if estimator != "logistic_regression" else {"C": 0.0, "max_iter": 0}
    with pytest.raises(ValidationError) as refusal:
        ModelPolicy(estimator=estimator, params={"depht": 3, "tree_method": "exact", **wrong})
    message = str(refusal.value)
    assert f"{estimator} has no parameter depht, tree_method" in message
    known = set(type(ModelPolicy(estimator=estimator).parameters).model_fields)
    assert all(name in message for name in known)
    assert all(f"{name}: Input should be greater" in message for name in wrong)


def test_parameters_override_the_defaults_by_name():
    model = fit(policy(max_depth=2), NUMERIC, (), given_in(TRAINING))
    assert model.params["max_depth"] == 2
    assert model.params["min_child_weight"] == ModelPolicy().parameters.min_child_weight


def test_trees_come_from_histograms_and_boosting_starts_from_the_fraud_rate():
    """XGBoost 3 changed both defaults; a version that estimates the base score otherwise gives another model."""
    import json

    booster = fit(policy(), NUMERIC, (), given_in(TRAINING)).core.booster
    learner = json.loads(booster.save_config())["learner"]
    assert learner["gradient_booster"]["gbtree_train_param"]["tree_method"] == "hist"
    assert float(learner["learner_model_param"]["base_score"].strip("[]")) == pytest.approx(
        pc.mean(TRAINING["is_fraud"]).as_py(), rel=1e-3
    )


@settings(max_examples=15, deadline=None)
@given(
    rows=st.lists(
        st.tuples(st.floats(-1e6, 1e6, width=32) | st.none(), st.sampled_from(["a", "b", None]), st.booleans()),
        min_size=2,
        max_size=40,
    )
)
def test_a_fit_gives_probabilities_or_refuses(rows):
    amount, city, fraud = (list(column) for column in zip(*rows, strict=True))
    table = pa.table(
        {
            "amount": pa.array(amount, pa.float32()),
            "city": pa.array(city, pa.string()),
            "is_fraud": pa.array([int(value) for value in fraud], pa.int8()),
        }
    )
    try:
        model = fit(policy(), ("amount", "city"), ("city",), given_in(table, 3))
    except DataInvalid:
        return
    scores = model.predict(table)
    assert ((scores > 0) & (scores < 1)).all()
