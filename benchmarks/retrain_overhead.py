"""A whole retrain of a ready window against bare fit and predict of the same estimator on the same rows.

Ours runs the job `retrain` (window, checks, streamed fit, MLflow, evaluation, gates, registration, release) on a store
whose days are ready. The bare side reads the same feature files into one matrix, fits XGBClassifier with the same
parameters and predicts the holdout. Each side runs in a process of its own; time excludes imports.

    python -m benchmarks.retrain_overhead [--rows-per-day 200000] [--days 30]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

START = date(2025, 1, 1)
HOLDOUT, DELAY = 2, 1


def main() -> None:
    """Prepares a store, runs both sides and prints a table."""
    options = _options()
    if options.side:
        print(json.dumps(_SIDES[options.side](options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        _write_lake(Path(folder), options)
        _run(options, folder, "prepare")
        sides = {
            "bare fit and predict": _run(options, folder, "bare"),
            "a whole retrain": _run(options, folder, "ours"),
        }
    _print(sides)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows-per-day", type=int, default=200_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--side", choices=("prepare", "ours", "bare"))
    parser.add_argument("--folder")
    return parser.parse_args()


def _as_of(options: argparse.Namespace) -> date:
    return START + timedelta(days=options.days + HOLDOUT + DELAY - 1)


def _write_lake(folder: Path, options: argparse.Namespace) -> None:
    import pyarrow.parquet as pq
    import yaml

    from fraud_retraining.simulation import SimulationPolicy, Simulator, lake_path

    settings = {
        "lake": {"uri": str(folder / "lake")},
        "window": {"days": options.days},
        "holdout": {"days": HOLDOUT},
        "labels": {"delay_days": DELAY},
        "gates": {"min_average_precision": 0.0, "min_roc_auc": 0.0, "max_calibration_error": 100},
    }
    (folder / "retraining.yaml").write_text(yaml.safe_dump(settings))
    days = options.days + HOLDOUT + DELAY
    for day, table in Simulator(SimulationPolicy(start=START, days=days, transactions_per_day=options.rows_per_day)):
        path = folder / "lake" / lake_path(day)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, compression="zstd")


def _run(options: argparse.Namespace, folder: str, side: str) -> dict[str, float]:
    sizes = ["--rows-per-day", str(options.rows_per_day), "--days", str(options.days)]
    command = [sys.executable, "-m", "benchmarks.retrain_overhead", "--side", side, "--folder", folder, *sizes]
    environment = {
        **os.environ,
        "FRAUD_RETRAINING_HOME": str(Path(folder) / "home"),
        "FRAUD_RETRAINING_CONFIG": str(Path(folder) / "retraining.yaml"),
    }
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def _measured(started: float) -> dict[str, float]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": time.perf_counter() - started, "megabytes": peak}


def _pipeline() -> Any:
    import logging

    from fraud_retraining.commands.runs import Pipeline
    from fraud_retraining.orchestration.progress import LogProgress
    from fraud_retraining.settings import load_settings

    logging.disable(logging.CRITICAL)
    return Pipeline(load_settings(), LogProgress())


def _prepare(options: argparse.Namespace) -> dict[str, float]:
    from fraud_retraining.domain.windows import DayRange

    started = time.perf_counter()
    _pipeline().ingest(DayRange(start=START, end=_as_of(options)))
    return _measured(started)


def _ours(options: argparse.Namespace) -> dict[str, float]:
    from fraud_retraining.domain.triggers import Trigger

    pipeline = _pipeline()
    started = time.perf_counter()
    done = pipeline.retrain(_as_of(options), Trigger.MANUAL)
    assert done.outcome is not None, done.message
    return _measured(started)


def _bare(options: argparse.Namespace) -> dict[str, float]:
    import numpy as np
    import pyarrow.parquet as pq
    from xgboost import XGBClassifier

    from fraud_retraining.orchestration.resources import open_store
    from fraud_retraining.settings import load_settings

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

    started = time.perf_counter()
    training = [START + timedelta(days=n) for n in range(options.days)]
    holdout = [START + timedelta(days=options.days + n) for n in range(HOLDOUT)]
    matrix, labels = read(training)
    model = XGBClassifier(
        **settings.model.parameters.model_dump(), tree_method="hist", random_state=settings.model.seed
    )
    model.fit(matrix, labels)
    model.predict_proba(read(holdout)[0])
    return _measured(started)


_SIDES = {"prepare": _prepare, "ours": _ours, "bare": _bare}


def _print(sides: dict[str, dict[str, float]]) -> None:
    base = sides["bare fit and predict"]
    print(f"{'':24}{'seconds':>9}{'x bare':>8}{'MB':>8}{'x bare':>8}")
    for name, found in sides.items():
        print(
            f"{name:24}{found['seconds']:9.1f}{found['seconds'] / base['seconds']:8.2f}"
            f"{found['megabytes']:8.0f}{found['megabytes'] / base['megabytes']:8.2f}"
        )


if __name__ == "__main__":
    main()
