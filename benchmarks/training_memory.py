"""Memory and time of a fit: streamed from day files, against the bare estimator on the same rows in one matrix.

Here: `fit` and `predict` on many rows, and `XGBClassifier.fit` and `predict_proba` with the same parameters on fewer,
because it holds them all; each in a process of its own, imports included. Not here: whether the model is any good
(`benchmarks/handbook_quality.py`).

    python -m benchmarks.training_memory [--rows 10000000] [--compare-rows 6000000] [--days 30] [--rounds 200]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FEATURES = tuple(f"feature_{number:02d}" for number in range(20))
FRAUD_RATE = 0.008
BATCH_ROWS = 131_072
LIMITS_GB = {10_000_000: 2.5, 30_000_000: 5.0}


def day_of_features(seed: int, rows: int) -> pa.Table:
    """A day of features like ours: amounts, counts, ratios and shares, float32; fraud follows some of them."""
    rng = np.random.default_rng(seed)
    columns = {name: rng.standard_normal(rows, dtype=np.float32) for name in FEATURES}
    for name in FEATURES[4:10]:
        columns[name] = rng.poisson(3, rows).astype(np.float32)
    for name in FEATURES[10:14]:
        columns[name] = np.round(rng.gamma(2, 40, rows), 2).astype(np.float32)
    odds = columns[FEATURES[0]] + columns[FEATURES[1]] * columns[FEATURES[2]] + columns[FEATURES[10]] / 80
    threshold = np.quantile(odds[:50_000], 1 - FRAUD_RATE)
    return pa.table(
        {
            "transaction_id": np.arange(rows, dtype=np.int64) + seed * rows,
            **columns,
            "is_fraud": (odds > threshold).astype(np.int8),
        }
    )


def write_days(folder: Path, rows: int, days: int) -> None:
    """Day files that hold `rows` rows together."""
    folder.mkdir()
    for day in range(days):
        some = rows // days + (day < rows % days)
        pq.write_table(day_of_features(day, some), folder / f"{day:04d}.parquet")


def batches_of(folder: Path) -> Callable[[], Iterator[pa.RecordBatch]]:
    """The rows of the day files, in the same batches each time."""

    def batches() -> Iterator[pa.RecordBatch]:
        for path in sorted(folder.glob("*.parquet")):
            yield from pq.ParquetFile(path).iter_batches(BATCH_ROWS)

    return batches


def streamed(folder: Path, rounds: int) -> dict[str, float]:
    """Fit and predict as this package does it."""
    from fraud_retraining.domain.training import ModelPolicy, fit

    batches = batches_of(folder)
    started = time.perf_counter()
    model = fit(ModelPolicy(params={"n_estimators": rounds}), FEATURES, (), batches)
    fitted = time.perf_counter()
    frauds = sum(float(model.predict(batch).sum()) for batch in batches())
    return {"fit": fitted - started, "predict": time.perf_counter() - fitted, "expected_frauds": frauds}


def bare(folder: Path, rounds: int) -> dict[str, float]:
    """Fit and predict with the estimator alone, on rows that lie ready in one matrix; reading them is not counted."""
    import xgboost

    from fraud_retraining.domain.training import ModelPolicy

    paths = sorted(folder.glob("*.parquet"))
    tables = [pq.read_table(path, columns=[*FEATURES, "is_fraud"]) for path in paths]
    matrix = np.empty((sum(table.num_rows for table in tables), len(FEATURES)), np.float32)
    label = np.concatenate([table["is_fraud"].to_numpy() for table in tables])
    for position, name in enumerate(FEATURES):
        matrix[:, position] = np.concatenate([table[name].to_numpy() for table in tables])
    del tables
    policy = ModelPolicy(params={"n_estimators": rounds})
    classifier = xgboost.XGBClassifier(
        **policy.parameters.model_dump(), tree_method="hist", random_state=policy.seed, n_jobs=policy.threads
    )
    started = time.perf_counter()
    classifier.fit(matrix, label)
    fitted = time.perf_counter()
    frauds = float(classifier.predict_proba(matrix)[:, 1].sum(dtype=np.float64))
    return {"fit": fitted - started, "predict": time.perf_counter() - fitted, "expected_frauds": frauds}


SIDES = {"streamed": streamed, "bare": bare}


def peak_gigabytes() -> float:
    """The most memory that this process has held."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measured(side: str, folder: Path, rounds: int) -> dict[str, float]:
    """One side in a fresh process; idle threads sleep instead of spinning, so that a busy machine measures the same."""
    command = [sys.executable, "-m", "benchmarks.training_memory", "--side", side, "--folder", str(folder)]
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    command += ["--rounds", str(rounds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def run_side(side: str, folder: Path, rounds: int) -> None:
    found = SIDES[side](folder, rounds)
    print(json.dumps({**found, "cpu": time.process_time(), "peak": peak_gigabytes()}))


def print_row(name: str, rows: int, found: dict[str, float], note: str = "") -> None:
    total = found["fit"] + found["predict"]
    print(
        f"{name:<10} {rows:>12,} {found['fit']:>8.1f} {found['predict']:>9.1f} {total:>8.1f} {found['cpu']:>8.1f} "
        f"{found['peak']:>8.2f}  {note}"
    )


def compare(folder: Path, rows: int, days: int, rounds: int) -> None:
    """Both sides on the same rows, and their ratio."""
    write_days(folder, rows, days)
    ours, theirs = (measured(side, folder, rounds) for side in ("streamed", "bare"))
    total, against = (found["fit"] + found["predict"] for found in (ours, theirs))
    ratios = {"time": total / against, **{name: ours[name] / theirs[name] for name in ("cpu", "peak")}}
    print_row("bare", rows, theirs)
    print_row("streamed", rows, ours, ", ".join(f"{ratio:.2f}x {name}" for name, ratio in ratios.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=[10_000_000])
    parser.add_argument("--compare-rows", type=int, default=6_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--side", choices=sorted(SIDES))
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.side:
        run_side(given.side, given.folder, given.rounds)
        return
    with tempfile.TemporaryDirectory() as scratch:
        print(f"{'side':<10} {'rows':>12} {'fit s':>8} {'predict s':>9} {'both s':>8} {'cpu s':>8} {'peak GB':>8}")
        for rows in given.rows:
            write_days(Path(scratch) / str(rows), rows, given.days)
            found = measured("streamed", Path(scratch) / str(rows), given.rounds)
            limit = LIMITS_GB.get(rows)
            print_row("streamed", rows, found, f"limit {limit} GB" if limit else "")
        if given.compare_rows:
            compare(Path(scratch) / "compare", given.compare_rows, given.days, given.rounds)


if __name__ == "__main__":
    main()
