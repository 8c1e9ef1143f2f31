"""Transactions with a known rule of fraud, and small parameters of each estimator."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from fraud_retraining.domain.training.fitting import (
    Batches,
    ModelPolicy,
)

NUMERIC = ("amount", "count", "ratio", "noise")

FEATURES = (*NUMERIC, "city")

ESTIMATORS = ("xgboost", "lightgbm", "catboost", "hist_gradient_boosting", "logistic_regression")

SMALL: dict[str, dict[str, Any]] = {
    "xgboost": {"n_estimators": 12, "max_depth": 3, "learning_rate": 0.3, "max_bin": 64},
    "lightgbm": {"num_iterations": 12, "num_leaves": 8, "learning_rate": 0.3, "max_bin": 63, "feature_fraction": 1.0},
    "catboost": {"iterations": 12, "depth": 3, "learning_rate": 0.3, "border_count": 64, "rsm": 1.0},
    "hist_gradient_boosting": {"max_iter": 12, "max_leaf_nodes": 8, "learning_rate": 0.3},
    "logistic_regression": {},
}


def policy(
    estimator: str = "xgboost", *, seed: int = 7, downsample: float | None = None, threads: int = 1, **params: Any
) -> ModelPolicy:
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


def changed(table: pa.Table, name: str, values: Any) -> pa.Table:
    position = table.schema.get_field_index(name)
    return table.set_column(position, name, pa.array(values))


TRAINING = transactions(8000)

UNSEEN = transactions(4000, seed=1)
