"""LightGBM: rows that stream give the trees of rows in memory, and a file that LightGBM alone can open."""

import subprocess
import sys

import numpy as np
import pytest

from fraud_retraining.domain.training import training_rows
from fraud_retraining.domain.training.estimators import lightgbm as estimator
from fraud_retraining.domain.training.estimators.model_input import float_columns, stacked
from fraud_retraining.domain.training.fitting import fit
from fraud_retraining_tests.support.training_transactions import FEATURES, TRAINING, UNSEEN, changed, given_in, policy


@pytest.mark.parametrize(("block", "pushed", "sample"), [(1000, 300, 2500), (700, 1 << 15, 200_000), (1 << 18, 7, 50)])
def test_streamed_rows_give_the_trees_of_rows_in_memory(
    monkeypatch: pytest.MonkeyPatch, block: int, pushed: int, sample: int
) -> None:
    """However blocks and batches are cut, and if only some rows find the bins: it is LightGBM on the whole matrix."""
    import lightgbm

    monkeypatch.setattr(training_rows, "BLOCK_ROWS", block)
    monkeypatch.setattr(estimator, "PUSHED_ROWS", pushed)
    weighted = changed(TRAINING, "weight", np.random.default_rng(0).uniform(0.5, 2, len(TRAINING)).astype(np.float32))
    given = policy("lightgbm", bin_construct_sample_cnt=sample)
    streamed = fit(given, FEATURES, ("city",), given_in(weighted, 900))
    params = given.parameters.model_dump() | {
        "objective": "binary",
        "metric": "None",
        "seed": given.seed,
        "data_random_seed": 7,
    }
    params |= {"num_threads": 1, "deterministic": True, "force_row_wise": True, "verbosity": -1}
    rounds = params.pop("num_iterations")
    matrix = stacked(float_columns(weighted, FEATURES, streamed.vocabularies), np.float64)
    label, weight = (weighted[name].to_numpy() for name in ("is_fraud", "weight"))
    rows = lightgbm.Dataset(matrix, label, weight=weight, categorical_feature=[4], params=params)
    whole = lightgbm.train(params, rows, rounds)
    unseen = stacked(float_columns(UNSEEN, FEATURES, streamed.vocabularies))
    assert np.array_equal(whole.predict(unseen, num_threads=1), streamed.predict(UNSEEN))


def test_the_text_is_a_model_of_plain_lightgbm(tmp_path):
    """What production may fall back on: LightGBM alone opens the file and gives the same probabilities."""
    import lightgbm

    fitted = fit(policy("lightgbm"), ("amount", "count"), (), given_in(TRAINING))
    fitted.save(tmp_path)
    plain = lightgbm.Booster(model_file=str(tmp_path / "model.txt"))
    assert np.array_equal(plain.predict(UNSEEN.select(["amount", "count"]).to_pandas()), fitted.predict(UNSEEN))


def test_fewer_rows_than_a_leaf_needs_give_the_share_of_frauds():
    few = TRAINING.slice(0, 40)
    model = fit(policy("lightgbm"), FEATURES, ("city",), given_in(few))
    assert model.predict(UNSEEN) == pytest.approx(few["is_fraud"].to_numpy().mean())
    assert set(model.importance().values()) == {0.0}


POOR_ROWS = """
import pyarrow as pa
from fraud_retraining.domain.training.fitting import ModelPolicy, fit

rows = pa.table({"amount": pa.array([None, 0.0], pa.float32()), "is_fraud": pa.array([1, 0], pa.int8())})
fit(ModelPolicy(estimator="lightgbm", threads=1), ("amount",), (), lambda: iter(rows.to_batches()))
"""


def test_what_lightgbm_says_of_poor_rows_is_not_on_stdout():
    """In a process of its own: once a fit has made LightGBM silent, it stays so."""
    done = subprocess.run([sys.executable, "-c", POOR_ROWS], capture_output=True, text=True, check=True)
    assert done.stdout == ""
