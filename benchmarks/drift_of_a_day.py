"""`drift_report` of one day against a 30-day reference, beside Evidently's drift report on the same rows.

Ours reads the day's Parquet file once and holds it against the profile that the reference left behind; what leaving it
behind costs is shown apart. Evidently gets the day and as many rows of the reference as a frame in memory: reading them
is not counted, and thirty days would not fit. It runs in an environment of its own (made here, with the version below),
because it is needed for nothing else. Each side runs in a process of its own; time excludes imports.

    python -m benchmarks.drift_of_a_day [--rows 1000000] [--reference-days 30] [--reference-rows 200000]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

EVIDENTLY = "evidently==0.7.23"
DAY = date(2026, 3, 1)
NUMBERS, CATEGORIES = 26, 4
WORDS = ("chip", "contactless", "online", "wallet", "atm")
SHIFTED, CALM = "number_00", "number_01"
GOAL = 20
REPEATS = 5


def main() -> int:
    """Writes the days, runs both sides and prints a table; 1 when the goal is missed."""
    options = _options()
    if options.side:
        print(json.dumps(_SIDES[options.side](Path(options.folder))))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _write_days(folder, options)
        python = _evidently_python(folder / "environment")
        ours = _run(sys.executable, ["-m", "benchmarks.drift_of_a_day"], "ours", folder)
        theirs = _run(python, [str(Path(__file__).resolve())], "evidently", folder)
    return _print(options, ours, theirs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the day")
    parser.add_argument("--reference-days", type=int, default=30)
    parser.add_argument("--reference-rows", type=int, default=200_000, help="rows of each day of the reference")
    parser.add_argument("--side", choices=("ours", "evidently"), help="measure one side in this process")
    parser.add_argument("--folder", help="folder of the days, with --side")
    return parser.parse_args()


def _names() -> tuple[list[str], list[str]]:
    return [f"number_{n:02d}" for n in range(NUMBERS)], [f"word_{n}" for n in range(CATEGORIES)]


def _write_days(folder: Path, options: argparse.Namespace) -> None:
    import pyarrow.parquet as pq

    (folder / "reference").mkdir()
    for number in range(options.reference_days):
        at = DAY - timedelta(days=options.reference_days - number)
        table = _day(at, options.reference_rows, scale=1.0)
        pq.write_table(table, folder / "reference" / f"{at}.parquet", compression="zstd", row_group_size=131_072)
    pq.write_table(_day(DAY, options.rows, 1.3), folder / "day.parquet", compression="zstd", row_group_size=131_072)


def _day(at: date, rows: int, scale: float) -> Any:
    import numpy as np
    import pyarrow as pa

    random = np.random.default_rng(at.toordinal())
    moments = np.sort(random.integers(0, 86_400_000_000, rows)).astype("timedelta64[us]")
    numbers, words = _names()
    columns: dict[str, Any] = {"timestamp": np.datetime64(at, "us") + moments}
    for name in numbers:
        values = random.gamma(2, 40, rows) * (scale if name == SHIFTED else 1.0)
        columns[name] = values.astype(np.float32)
    for name in words:
        columns[name] = pa.array(random.choice(WORDS, rows, p=(0.4, 0.3, 0.2, 0.08, 0.02)))
    return pa.table(columns)


def _evidently_python(folder: Path) -> str:
    """An interpreter that has Evidently."""
    made = subprocess.run([sys.executable, "-m", "uv", "venv", "--quiet", str(folder)], check=False)
    if made.returncode:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    wanted = [EVIDENTLY, "pandas<3", "pyarrow"]
    uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python, *wanted]
    if made.returncode or subprocess.run(uv, check=False).returncode:
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
    return python


def _run(python: str, script: list[str], side: str, folder: Path) -> dict[str, Any]:
    command = [python, *script, "--side", side, "--folder", str(folder)]
    environment = {**os.environ, "DO_NOT_TRACK": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _peak_megabytes() -> float:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def _ours(folder: Path) -> dict[str, Any]:
    from fraud_retraining.adapters.days.day_counts import Counter
    from fraud_retraining.adapters.storage.engine import Engine
    from fraud_retraining.domain.monitoring.drift import FeatureRole, feature_drift

    with Engine(temp_directory=folder / "spill") as engine:
        started = time.perf_counter()
        profiles = _profiles(engine, folder)
        profiling = time.perf_counter() - started
    seconds, processor = [], []
    for _ in range(REPEATS):
        with Engine(temp_directory=folder / "spill") as engine:
            started, used = time.perf_counter(), time.process_time()
            counted = Counter(engine, [one.bins for one in profiles]).count(DAY, [folder / "day.parquet"])
            drifts = {
                one.bins.name: feature_drift(one, counted.counts[one.bins.name], FeatureRole("all"), statistic="psi")
                for one in profiles
            }
            seconds.append(time.perf_counter() - started)
            processor.append(time.process_time() - used)
    return {
        "seconds": sorted(seconds)[REPEATS // 2],
        "processor": sorted(processor)[REPEATS // 2],
        "profiling": profiling,
        "megabytes": _peak_megabytes(),
        "drift": {name: drifts[name].psi for name in (SHIFTED, CALM)},
    }


def _profiles(engine: Any, folder: Path) -> list[Any]:
    """The profiles that the reference leaves behind, by the functions that a training window uses."""
    from fraud_retraining.adapters.days.day_counts import choose_bins, counts_by_day
    from fraud_retraining.domain.monitoring.drift import DriftPolicy, FeatureProfile

    numbers, words = _names()
    paths = {date.fromisoformat(path.stem): path for path in sorted((folder / "reference").iterdir())}
    days = dict.fromkeys((*numbers, *words), tuple(paths))
    bins = choose_bins(engine, paths, days, words, DriftPolicy())
    counts = counts_by_day(engine, paths, bins)
    return [FeatureProfile.of(one, [counts[day][one.name] for day in paths]) for one in bins]


def _evidently(folder: Path) -> dict[str, Any]:
    import pandas as pd
    import pyarrow.parquet as pq
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    numbers, words = _names()
    day = pq.read_table(folder / "day.parquet", columns=[*numbers, *words]).to_pandas()
    frames, rows = [], 0
    for path in sorted((folder / "reference").iterdir()):
        if rows < len(day):
            frames.append(pq.read_table(path, columns=[*numbers, *words]).to_pandas())
            rows += len(frames[-1])
    reference = pd.concat(frames, ignore_index=True).head(len(day))
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=words)
    started, used = time.perf_counter(), time.process_time()
    result = Report([DataDriftPreset(method="psi")]).run(
        Dataset.from_pandas(day, data_definition=definition), Dataset.from_pandas(reference, data_definition=definition)
    )
    found = result.dict()
    seconds, processor = time.perf_counter() - started, time.process_time() - used
    values = {
        metric["config"]["column"]: float(metric["value"])
        for metric in found["metrics"]
        if metric.get("config", {}).get("column")
    }
    return {
        "seconds": seconds,
        "processor": processor,
        "megabytes": _peak_megabytes(),
        "drift": {name: values[name] for name in (SHIFTED, CALM)},
    }


_SIDES = {"ours": _ours, "evidently": _evidently}


def _print(options: argparse.Namespace, ours: dict[str, Any], theirs: dict[str, Any]) -> int:
    ratio = theirs["seconds"] / ours["seconds"]
    reference = options.reference_days * options.reference_rows
    print(f"A day of {options.rows:,} rows x {NUMBERS + CATEGORIES} features; {reference:,} rows of reference")
    print(f"{'':34}{'seconds':>9}{'CPU s':>8}{'peak MB':>9}{'psi of a shifted and of a calm feature':>42}")
    for name, found in (("drift_report, from the file", ours), (f"{EVIDENTLY}, from memory", theirs)):
        values = " and ".join(f"{value:.3f}" for value in found["drift"].values())
        print(f"{name:34}{found['seconds']:9.2f}{found['processor']:8.2f}{found['megabytes']:9.0f}{values:>42}")
    print(f"{ratio:.0f} times faster; leaving the profile behind took {ours['profiling']:.2f} s, once a model")
    return 0 if ratio >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
