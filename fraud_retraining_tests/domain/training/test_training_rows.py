"""The rows of a fit: cut in any way, sampled by id, refused when nothing can be learned from them."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from fraud_retraining.domain.training.estimators import registry
from fraud_retraining.domain.training.estimators.base import MAX_CATEGORIES
from fraud_retraining.domain.training.fitting import (
    fit,
)
from fraud_retraining.domain.training.training_rows import (
    BLOCK_ROWS,
    Census,
    TrainingRows,
    as_numbers,
    category_counts,
    most_frequent,
    vocabularies,
)
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining_tests.support.training_transactions import (
    ESTIMATORS,
    FEATURES,
    NUMERIC,
    TRAINING,
    UNSEEN,
    changed,
    given_in,
    policy,
    transactions,
)


@pytest.mark.parametrize("rows", [40, 333, 8000])
def test_how_the_batches_are_cut_does_not_matter(rows, monkeypatch):
    monkeypatch.setattr("fraud_retraining.domain.training.training_rows.BLOCK_ROWS", 1024)
    few = TRAINING.slice(0, 3000)
    cut = fit(policy(), FEATURES, ("city",), given_in(few, rows))
    assert cut.files() == fit(policy(), FEATURES, ("city",), given_in(few, 700)).files()


def test_blocks_are_small_enough_to_stream():
    assert BLOCK_ROWS * 40 * 4 < 64 * 2**20


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


def test_the_vocabulary_is_the_most_frequent_categories_ties_in_the_order_of_the_text():
    words = ["b"] * 3 + ["a"] * 3 + ["z"] * 5 + [None] * 9
    rows = len(words) * 20
    table = transactions(rows)
    table = changed(table, "city", words * 20)
    assert fit(policy(), FEATURES, ("city",), given_in(table, 7)).vocabularies == {"city": ("z", "a", "b")}


def rows_of(table: pa.Table) -> TrainingRows:
    return TrainingRows(given_in(table), FEATURES, ("city",), None, 7)


def census_of(table: pa.Table, words: dict[str, tuple[str, ...]]) -> Census:
    census = Census()
    for block in rows_of(table):
        census.add(as_numbers(block, FEATURES, words))
    return census


@pytest.mark.parametrize("cuts", [(0, 8000), (0, 3000, 3000, 8000), (0, 1, 7999, 8000)])
def test_rows_that_are_counted_in_parts_are_counted_as_a_whole(cuts):
    constant = np.full(8000, np.nan)
    whole = changed(changed(TRAINING, NUMERIC[0], constant), NUMERIC[1], np.repeat([1.0, 2.0], [3000, 5000]))
    parts = [whole.slice(first, last - first) for first, last in pairwise(cuts)]
    words = vocabularies(rows_of(whole), 5)
    assert most_frequent([category_counts(rows_of(part)) for part in parts], 5) == words
    merged, at_once = Census.merged([census_of(part, words) for part in parts]), census_of(whole, words)
    assert (merged.rows, merged.frauds) == (at_once.rows, at_once.frauds)
    assert merged.weight == pytest.approx(at_once.weight)
    assert merged.constant(FEATURES) == at_once.constant(FEATURES) == [NUMERIC[0]]


def test_parts_without_rows_teach_nothing():
    none = Census.merged([census_of(TRAINING.slice(0, 0), {"city": ()})])
    with pytest.raises(DataInvalid, match="no rows"):
        none.refuse_if_degenerate(FEATURES)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_thousand_categories_are_capped_and_the_rare_ones_are_other(estimator):
    names = np.random.default_rng(3).zipf(1.3, 8000) % 1000
    table = changed(TRAINING, "city", [f"city {name}" for name in names])
    model = fit(policy(estimator), FEATURES, ("city",), given_in(table))
    most = registry.ESTIMATORS[estimator].max_categories(policy(estimator).parameters)
    assert most == (MAX_CATEGORIES if estimator != "catboost" else 10_000)
    assert len(model.vocabularies["city"]) == min(most, len(set(names)))
    assert np.isfinite(model.predict(table)).all()


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


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_few_rows_are_read_once_and_many_in_each_pass_for_the_same_model(estimator, monkeypatch):
    def passes_and_scores() -> tuple[int, list[float]]:
        passes = 0

        def batches() -> Iterator[pa.RecordBatch]:
            nonlocal passes
            passes += 1
            yield from TRAINING.to_batches()

        return (lambda model: (passes, model.predict(UNSEEN).tolist()))(fit(policy(estimator), NUMERIC, (), batches))

    once, scores = passes_and_scores()
    monkeypatch.setattr("fraud_retraining.domain.training.training_rows.HELD_BYTES", 0)
    again, same = passes_and_scores()
    assert once == 1 < again
    assert scores == same


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_rows_that_change_between_passes_are_refused(estimator, monkeypatch):
    monkeypatch.setattr("fraud_retraining.domain.training.training_rows.HELD_BYTES", 0)
    passes = iter([TRAINING, TRAINING.take(np.arange(8000)[::-1]), TRAINING, TRAINING, TRAINING])
    with pytest.raises(DataInvalid, match="between two passes"):
        fit(policy(estimator), NUMERIC, (), lambda: given_in(next(passes))())


def test_an_error_of_the_reader_comes_out_as_it_is():
    def batches() -> Iterator[pa.RecordBatch]:
        yield from TRAINING.slice(0, 1000).to_batches()
        raise OSError("the disk went away")

    with pytest.raises(OSError, match="the disk went away"):
        fit(policy(), NUMERIC, (), batches)
