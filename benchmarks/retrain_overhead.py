"""A whole retrain of a ready window against bare fit and predict of the same estimator on the same rows.

Ours runs the job `retrain` (window, checks, streamed fit, MLflow, evaluation beside a champion, gates, registration,
release) on a store whose days are ready and whose champion was trained two days earlier; beside it stands the product's
fit alone, streamed from the same files. The bare side reads the same feature files into one matrix, fits the library's
own classifier with the same parameters and predicts the holdout. Each side runs in a process of its own; time excludes
imports on all sides.

    python -m benchmarks.retrain_overhead [--estimator lightgbm] [--rows-per-day 200000] [--days 30]
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from benchmarks.measuring import Stopwatch

START = date(2025, 1, 1)
HOLDOUT, DELAY, EVERY = 7, 1, 2
CHAMPION_DAYS = HOLDOUT
OPEN_GATES = {
    "min_average_precision": 0,
    "min_roc_auc": 0,
    "max_regression": 1,
    "max_slice_regression": 1,
    "max_calibration_error": 100,
    "max_importance": 1,
    "min_distinct_scores": 2,
}
"""What is measured ends with a promotion, however good the model is."""
LIBRARIES = (
    "dagster_mlflow",
    "duckdb",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "mlflow.artifacts",
    "pandera.pandas",
    "scipy.sparse",
    "sqlalchemy",
)
CLASSIFIERS = {
    "xgboost": ("xgboost.sklearn", "XGBClassifier", {"tree_method": "hist"}),
    "lightgbm": ("lightgbm.sklearn", "LGBMClassifier", {"verbosity": -1}),
    "catboost": ("catboost", "CatBoostClassifier", {"bootstrap_type": "Bernoulli", "silent": True}),
}
"""Module, class and further arguments of the bare side."""


def main() -> None:
    """Prepares a store and a champion, runs both sides and prints a table."""
    options = _options()
    if options.side:
        print(json.dumps(_SIDES[options.side](options)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_lake(folder, options)
        _run(options, folder, "prepare", window_days=CHAMPION_DAYS)
        sides = {
            "bare fit and predict": _run(options, folder, "bare"),
            "ours, fit and predict": _run(options, folder, "fitted"),
            "a whole retrain": _run(options, folder, "ours"),
        }
    _print(sides, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--estimator", choices=tuple(CLASSIFIERS), default="xgboost")
    parser.add_argument("--rows-per-day", type=int, default=200_000)
    parser.add_argument("--days", type=int, default=30, help="length of the training window")
    parser.add_argument("--side", choices=tuple(_SIDES))
    return parser.parse_args()


def _as_of(options: argparse.Namespace) -> date:
    return START + timedelta(days=EVERY + options.days + HOLDOUT + DELAY - 1)


def _training(options: argparse.Namespace) -> list[date]:
    return [START + timedelta(days=EVERY + n) for n in range(options.days)]


def _holdout(options: argparse.Namespace) -> list[date]:
    return [_training(options)[-1] + timedelta(days=n + 1) for n in range(HOLDOUT)]


def _write_lake(folder: Path, options: argparse.Namespace) -> None:
    import pyarrow.parquet as pq
    import yaml

    from fraud_retraining.simulation import SimulationPolicy, Simulator, lake_path

    settings = {
        "lake": {"uri": str(folder / "lake")},
        "window": {"days": options.days},
        "holdout": {"days": HOLDOUT},
        "labels": {"delay_days": DELAY},
        "gates": OPEN_GATES,
        "promotion": {"mode": "auto"},
        "validation": {"min_rows": 1000},
    }
    (folder / "retraining.yaml").write_text(yaml.safe_dump(settings))
    days = (_as_of(options) - START).days + 1
    for day, table in Simulator(SimulationPolicy(start=START, days=days, transactions_per_day=options.rows_per_day)):
        path = folder / "lake" / lake_path(day)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, compression="zstd")


def _run(options: argparse.Namespace, folder: Path, side: str, *, window_days: int | None = None) -> dict[str, float]:
    sizes = ["--rows-per-day", str(options.rows_per_day), "--days", str(options.days), "--estimator", options.estimator]
    command = [sys.executable, "-m", "benchmarks.retrain_overhead", "--side", side, *sizes]
    environment = {
        **os.environ,
        "FRAUD_RETRAINING_HOME": str(folder / "home"),
        "FRAUD_RETRAINING_CONFIG": str(folder / "retraining.yaml"),
        "FRAUD_RETRAINING_MODEL__ESTIMATOR": options.estimator,
        "OMP_WAIT_POLICY": "passive",
    }
    if window_days is not None:
        environment["FRAUD_RETRAINING_WINDOW__DAYS"] = str(window_days)
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def _pipeline() -> Any:
    import logging

    from fraud_retraining.commands.implementation.pipeline import Pipeline
    from fraud_retraining.orchestration.runs.progress import LogProgress
    from fraud_retraining.settings import load_settings

    logging.disable(logging.CRITICAL)
    return Pipeline(load_settings(), LogProgress())


def _prepare(options: argparse.Namespace) -> dict[str, float]:
    """Every day ingested and featurized, and a champion of a short window as of two days earlier."""
    from fraud_retraining.domain.retraining.triggers.values import Trigger
    from fraud_retraining.domain.values.days import DayRange

    watch, pipeline = Stopwatch(), _pipeline()
    pipeline.ingest(DayRange(start=START, end=_as_of(options)))
    done = pipeline.retrain(_as_of(options) - timedelta(days=EVERY), Trigger.MANUAL)
    assert done.status == "promoted", done.message
    return watch.read()


def _ours(options: argparse.Namespace) -> dict[str, float]:
    from fraud_retraining.domain.retraining.triggers.values import Trigger

    for library in (*LIBRARIES, CLASSIFIERS[options.estimator][0]):
        importlib.import_module(library)
    pipeline = _pipeline()
    watch = Stopwatch()
    done = pipeline.retrain(_as_of(options), Trigger.MANUAL)
    measured = watch.read()
    assert done.status == "promoted", done.message
    assert done.evaluation.evidence.champion is not None
    return measured


def _bare(options: argparse.Namespace) -> dict[str, float]:
    import numpy as np
    import pyarrow.parquet as pq

    from fraud_retraining.orchestration.resources import open_store
    from fraud_retraining.settings import load_settings

    module, name, more = CLASSIFIERS[options.estimator]
    classifier = getattr(importlib.import_module(module), name)
    settings = load_settings()
    names = list(settings.feature_plan.names)
    store = open_store(settings)

    def read(days: list[date]) -> tuple[Any, Any]:
        records = list(store.partitions("transaction_features", days).values())
        tables = [pq.ParquetFile(path).read(columns=[*names, "is_fraud"]) for path in store.paths(records, "rows")]
        matrix = np.concatenate(
            [np.column_stack([table[name].to_numpy().astype(np.float32) for name in names]) for table in tables]
        )
        return matrix, np.concatenate([table["is_fraud"].to_numpy() for table in tables])

    watch = Stopwatch()
    matrix, labels = read(_training(options))
    given = {name: value for name, value in settings.model.parameters.model_dump().items() if value is not None}
    model = classifier(**given, **more, random_state=settings.model.seed)
    model.fit(matrix, labels)
    model.predict_proba(read(_holdout(options))[0])
    return watch.read()


def _fitted(options: argparse.Namespace) -> dict[str, float]:
    """The fit of the product alone, streamed from the same files, and its scores of the holdout."""
    import pyarrow.parquet as pq

    from fraud_retraining.domain.training.fitting import fit
    from fraud_retraining.orchestration.resources import open_store
    from fraud_retraining.settings import load_settings

    importlib.import_module(CLASSIFIERS[options.estimator][0])
    settings = load_settings()
    names, store = settings.feature_plan.names, open_store(settings)

    def batches(days: list[date]) -> Any:
        records = list(store.partitions("transaction_features", days).values())
        for path in store.paths(records, "rows"):
            yield from pq.ParquetFile(path).iter_batches(batch_size=1 << 16, columns=[*names, "is_fraud"])

    watch = Stopwatch()
    model = fit(settings.model, names, (), lambda: batches(_training(options)))
    for batch in batches(_holdout(options)):
        model.predict(batch)
    return watch.read()


_SIDES = {"prepare": _prepare, "ours": _ours, "bare": _bare, "fitted": _fitted}


def _print(sides: dict[str, dict[str, float]], options: argparse.Namespace) -> None:
    base = sides["bare fit and predict"]
    print(f"{options.days * options.rows_per_day:,} rows to learn from, {HOLDOUT * options.rows_per_day:,} to judge on")
    print(f"{'':24}" + "".join(f"{name:>9}{'ratio':>7}" for name in ("seconds", "CPU s", "MB")))
    for name, found in sides.items():
        numbers = (f"{found[key]:9.1f}{found[key] / base[key]:7.2f}" for key in ("seconds", "cpu", "megabytes"))
        print(f"{name:24}{''.join(numbers)}")


if __name__ == "__main__":
    main()
