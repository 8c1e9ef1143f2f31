"""Peak memory of a whole retrain: window, streamed fit, MLflow, evaluation beside a champion, gates, registration.

Here: the job `retrain` in a process of its own on a store with features of many rows, 20 a row, a week of them to
judge on. The store is written directly, as ingestion and features would have left it: only the memory of the retrain
is measured, and random features are as large as real ones. Memory hardly depends on the number of boosting rounds;
give several to see it. Not here: how long a retrain takes (`benchmarks/retrain_overhead.py`).

    python -m benchmarks.training_memory [--rows 10000000 30000000] [--rounds 40] [--days 30]
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measuring import Stopwatch

if TYPE_CHECKING:
    from fraud_retraining.adapters.storage.store import Store
    from fraud_retraining.orchestration.state.inventory import Inventory

START = date(2025, 1, 1)
HOLDOUT, DELAY, EVERY = 7, 1, 2
CHAMPION_DAYS, CHAMPION_ROUNDS = HOLDOUT, 10
FRAUD_RATE = 0.008
ROWS_A_CUSTOMER = 14
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
LIMITS_GB = {10_000_000: 2.5, 30_000_000: 5.0}
ENTITIES = {
    "customer": {"column": "CUSTOMER_ID", "windows_days": [1]},
    "terminal": {"column": "TERMINAL_ID", "windows_days": [1]},
}
NUMERIC = ["distance", "age"]
TINY = pa.table({"transaction_id": [1]})


def main() -> None:
    """Every number of rows with every number of rounds, one line each."""
    options = _options()
    if options.side:
        print(json.dumps(_SIDES[options.side](options)))
        return
    print(f"{'rows':>12} {'rounds':>7} {'seconds':>8} {'CPU s':>8} {'peak GB':>8} {'limit':>6}")
    for rows in options.rows:
        for rounds in options.rounds:
            with tempfile.TemporaryDirectory() as folder:
                _measure(Path(folder), rows, rounds, options.days)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000_000, 30_000_000])
    parser.add_argument("--rounds", type=int, nargs="+", default=[40])
    parser.add_argument("--days", type=int, default=30, help="length of the training window")
    parser.add_argument("--side", choices=("prepare", "champion", "retrain"))
    return parser.parse_args()


def _measure(folder: Path, rows: int, rounds: int, days: int) -> None:
    _write_settings(folder, days)
    _run(folder, "prepare", rows, rounds, days)
    _run(folder, "champion", rows, CHAMPION_ROUNDS, days, window_days=CHAMPION_DAYS)
    found = _run(folder, "retrain", rows, rounds, days)
    numbers = f"{found['seconds']:>8.1f} {found['cpu']:>8.1f} {found['megabytes'] / 1024:>8.2f}"
    print(f"{rows:>12,} {rounds:>7} {numbers} {LIMITS_GB.get(rows, ''):>6}", flush=True)


def _write_settings(folder: Path, days: int) -> None:
    import yaml

    settings = {
        "lake": {"uri": str(folder / "lake")},
        "entities": ENTITIES,
        "features": {"numeric": NUMERIC},
        "window": {"days": days},
        "holdout": {"days": HOLDOUT},
        "labels": {"delay_days": DELAY},
        "validation": {"min_rows": 1},
        "gates": OPEN_GATES,
        "promotion": {"mode": "auto"},
    }
    (folder / "retraining.yaml").write_text(yaml.safe_dump(settings))


def _run(
    folder: Path, side: str, rows: int, rounds: int, days: int, *, window_days: int | None = None
) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.training_memory", "--side", side]
    command += ["--rows", str(rows), "--days", str(days)]
    environment = {
        **os.environ,
        "FRAUD_RETRAINING_HOME": str(folder / "home"),
        "FRAUD_RETRAINING_CONFIG": str(folder / "retraining.yaml"),
        "FRAUD_RETRAINING_MODEL__PARAMS": json.dumps({"n_estimators": rounds}),
        "OMP_WAIT_POLICY": "passive",
    }
    if window_days is not None:
        environment["FRAUD_RETRAINING_WINDOW__DAYS"] = str(window_days)
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def _as_of(options: argparse.Namespace) -> date:
    return START + timedelta(days=EVERY + options.days + HOLDOUT + DELAY - 1)


# ---------------------------------------------------------------- the store


def _prepare(options: argparse.Namespace) -> dict[str, Any]:
    """Every day as ingestion and features would have left it."""
    from fraud_retraining.adapters.storage.lake import Lake
    from fraud_retraining.adapters.storage.locations import FolderLocation
    from fraud_retraining.orchestration.resources import open_store
    from fraud_retraining.orchestration.state.inventory import Inventory
    from fraud_retraining.settings import load_settings
    from fraud_retraining.simulation import lake_path

    settings = load_settings()
    store, folder = open_store(settings), Path(settings.lake_uri)
    days = [START + timedelta(days=n) for n in range((_as_of(options) - START).days + 1)]
    for day in days:
        path = folder / lake_path(day)
        path.parent.mkdir(parents=True)
        pq.write_table(TINY, path)
    arrived = Lake(FolderLocation(folder)).days()
    for day in days:
        _write_transactions(day, store, Inventory(store, settings, [day]).transactions_inputs(arrived[day]))
    inventory = Inventory(store, settings, days)
    for day in days:
        tables = dict.fromkeys(ENTITIES, TINY)
        facts = {"facts": str(day), "labels": str(day), "keys": {}}
        inputs = inventory.entity_days_inputs(day)
        store.write("entity_days", day, tables, digest=str(day), inputs=inputs, facts=facts)
    inventory = Inventory(store, settings, days)
    for number, day in enumerate(days):
        _write_features(day, number, options.rows[0] // options.days, store, inventory)
    return {}


def _write_transactions(day: date, store: "Store", inputs: dict[str, str]) -> None:
    from fraud_retraining.domain.data.day_checks import DAY_CHECKS
    from fraud_retraining.domain.data.ingestion import DayFacts
    from fraud_retraining.domain.data.rule_results import CheckResult, Report
    from fraud_retraining.orchestration.names import (
        TRANSACTIONS,
    )
    from fraud_retraining.orchestration.state.inventory import (
        CHECKS,
    )

    known = {"rows": 1, "labelled": 1, "frauds": 0, "rejects": {}, "duplicates_dropped": 0, "nulls": {}}
    facts = DayFacts(**known, key_types={}, files=1, source_version="").model_dump(mode="json")
    facts |= {"facts": str(day), "labels": str(day)}
    store.write(TRANSACTIONS, day, {"rows": TINY}, digest=str(day), inputs=inputs, facts=facts)
    passed = [CheckResult(name=name, passed=True, severity="error", message="") for name in DAY_CHECKS]
    store.annotate(TRANSACTIONS, day, CHECKS, Report(digest=str(day), rules="", results=tuple(passed)))


def _write_features(day: date, seed: int, rows: int, store: "Store", inventory: "Inventory") -> None:
    from fraud_retraining.domain.values.digests import table_digest

    table = _features(day, seed, rows, inventory.plan.names)
    frauds = int(np.count_nonzero(table["is_fraud"].to_numpy()))
    facts = {"rows": rows, "label_days": [[None, rows, frauds]], "columns": table.column_names}
    inputs = inventory.features_inputs(day)
    store.write("transaction_features", day, {"rows": table}, digest=table_digest(table), inputs=inputs, facts=facts)


def _features(day: date, seed: int, rows: int, names: tuple[str, ...]) -> pa.Table:
    """A day of features like ours: amounts, counts, ratios; fraud follows some of them."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {name: rng.standard_normal(rows, dtype=np.float32) for name in names}
    counts = [name for name in names if "count" in name or name in ("hour", "weekend", "night")]
    columns |= {name: rng.poisson(3, rows).astype(np.float32) for name in counts}
    columns["amount"] = np.round(rng.gamma(2, 40, rows), 2)
    odds = columns[NUMERIC[0]] + columns[NUMERIC[1]] * columns["customer_mean_amount_1d"] + columns["amount"] / 80
    moments = np.sort(rng.integers(0, 86_400_000_000, rows)).astype("timedelta64[us]")
    return pa.table(
        {
            "transaction_id": np.arange(rows, dtype=np.int64) + seed * rows,
            "timestamp": np.datetime64(datetime(day.year, day.month, day.day), "us") + moments,
            "customer": rng.integers(0, max(rows * HOLDOUT // ROWS_A_CUSTOMER, 1), rows),
            "terminal": rng.integers(0, max(rows // 10, 1), rows),
            "is_fraud": (odds > np.quantile(odds, 1 - FRAUD_RATE)).astype(np.int8),
            **columns,
        }
    )


# ---------------------------------------------------------------- the retrains


def _champion(options: argparse.Namespace) -> dict[str, Any]:
    return _retrained(_as_of(options) - timedelta(days=EVERY))


def _retrain(options: argparse.Namespace) -> dict[str, Any]:
    return _retrained(_as_of(options))


def _retrained(as_of: date) -> dict[str, Any]:
    from fraud_retraining.commands.implementation.pipeline import Pipeline
    from fraud_retraining.domain.retraining.triggers.values import Trigger
    from fraud_retraining.orchestration.runs.progress import LogProgress
    from fraud_retraining.settings import load_settings

    logging.disable(logging.CRITICAL)
    pipeline = Pipeline(load_settings(), LogProgress())
    watch = Stopwatch()
    done = pipeline.retrain(as_of, Trigger.MANUAL)
    measured = watch.read()
    assert done.status == "promoted", done.message
    return measured


_SIDES = {"prepare": _prepare, "champion": _champion, "retrain": _retrain}


if __name__ == "__main__":
    main()
