"""A fit by XGBoost's Spark estimator against the fit in one process: quality on the holdout, and time.

Here: the same window of a simulated lake, fitted both ways with several seeds. A fit with another seed is another fit
of the same rows, so the spread over seeds is the noise that a difference has to be held against. Not here: a cluster of
several machines, and windows that one machine cannot hold.

    python -m benchmarks.spark_training [--rows 20000] [--seeds 6] [--workers 2] [--master "local[2]"]
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import yaml
from sklearn.metrics import average_precision_score
from typer.testing import CliRunner

from benchmarks.measuring import Stopwatch
from fraud_retraining.adapters.days.known_labels import KnownLabels
from fraud_retraining.adapters.days.spark_fit import fit_on_spark
from fraud_retraining.adapters.days.window_rows import WindowRows
from fraud_retraining.adapters.storage.spark_days import SparkDays
from fraud_retraining.adapters.storage.spark_session import SparkOptions, require_spark
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.cli import app
from fraud_retraining.domain.training.fitting import FittedModel, ModelPolicy, fit
from fraud_retraining.domain.training.windows import TrainingWindow, WindowDay
from fraud_retraining.domain.values.schemas import IS_FRAUD, TRANSACTION_ID
from fraud_retraining.orchestration.resources import open_lake, open_store
from fraud_retraining.orchestration.state.window_assembly import build_window
from fraud_retraining.settings import load_settings

START, DAYS = date(2026, 1, 1), 40
SETTINGS = {
    "entities": {
        "customer": {"column": "CUSTOMER_ID", "windows_days": [1, 7]},
        "terminal": {"column": "TERMINAL_ID", "windows_days": [1, 7], "fraud_share": True},
    },
    "features": {"numeric": ["TX_DISTANCE_KM"], "categorical": ["TX_CHANNEL"], "forbidden": ["TX_FRAUD_SCENARIO"]},
    "window": {"days": 14},
    "holdout": {"days": 7},
}


def called(*arguments: str) -> None:
    """One command of the product."""
    done = CliRunner().invoke(app, arguments)
    if done.exit_code:
        raise SystemExit(done.output)


def prepared(folder: Path, rows: int) -> tuple[TrainingWindow, Store]:
    """The window of the last mature day of a simulated lake, its days made."""
    config = folder / "retraining.yaml"
    config.write_text(yaml.safe_dump({**SETTINGS, "lake": {"uri": str(folder / "lake")}}))
    os.environ |= {"FRAUD_RETRAINING_HOME": str(folder / "home"), "FRAUD_RETRAINING_CONFIG": str(config)}
    last = START + timedelta(days=DAYS - 1)
    called("simulate", "--start", str(START), "--days", str(DAYS), "--transactions-per-day", str(rows))
    called("ingest", "--from", str(START), "--to", str(last))
    settings = load_settings()
    store = open_store(settings)
    return build_window(last, settings, open_lake(settings), store), store


def read(window: TrainingWindow, store: Store, days: Sequence[WindowDay]) -> WindowRows:
    """Rows of a window."""
    columns = [TRANSACTION_ID, *window.features]
    return WindowRows(store, days, window.days.as_of, columns, KnownLabels.of(window, store))


def average_precision(model: FittedModel, window: TrainingWindow, store: Store) -> float:
    """On the holdout."""
    scores, labels = [], []
    for batch in read(window, store, window.holdout)():
        scores.append(model.predict(batch))
        labels.append(batch.column(IS_FRAUD).to_numpy())
    return float(average_precision_score(np.concatenate(labels), np.concatenate(scores)))


def report(name: str, found: Sequence[float], seconds: Sequence[float]) -> None:
    """Prints one way."""
    print(
        f"{name}: average precision {statistics.mean(found):.4f}, from {min(found):.4f} to {max(found):.4f}, "
        f"standard deviation {statistics.stdev(found):.4f}; {statistics.median(seconds):.1f} s a fit",
        flush=True,
    )


def main() -> None:
    """Print quality and time of both ways, and their paired difference."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--rows", type=int, default=20_000, help="transactions a day")
    given.add_argument("--seeds", type=int, default=6)
    given.add_argument("--workers", type=int, default=2)
    given.add_argument("--master", default="local[2]")
    options = given.parse_args()
    require_spark()
    with tempfile.TemporaryDirectory() as name:
        window, store = prepared(Path(name), options.rows)
        print(f"{window.rows:,} rows, {window.frauds:,} frauds; holdout {window.holdout_frauds:,} frauds", flush=True)
        spark = SparkDays(SparkOptions(options.master, {}, Path(name) / "spark"))
        here, there, seconds = [], [], ([], [])
        try:
            # Started before anything is timed.
            spark.spread([0], str)
            for seed in range(7, 7 + options.seeds):
                local, watch = ModelPolicy(seed=seed, threads=options.workers), Stopwatch()
                model = fit(local, window.features, window.categorical, read(window, store, window.training))
                seconds[0].append(watch.read()["seconds"])
                here.append(average_precision(model, window, store))
                policy, watch = ModelPolicy(seed=seed, trainer="spark", trainer_workers=options.workers), Stopwatch()
                model = fit_on_spark(policy, window, store, spark, lambda: None)
                seconds[1].append(watch.read()["seconds"])
                there.append(average_precision(model, window, store))
                print(f"seed {seed}: {here[-1]:.4f} local, {there[-1]:.4f} spark", flush=True)
        finally:
            spark.close()
    report("local", here, seconds[0])
    report(f"spark, {options.workers} workers", there, seconds[1])
    paired = [second - first for first, second in zip(here, there, strict=True)]
    error = statistics.stdev(paired) / len(paired) ** 0.5
    print(f"spark - local, the same seeds: {statistics.mean(paired):+.4f}, standard error {error:.4f}")


if __name__ == "__main__":
    main()
