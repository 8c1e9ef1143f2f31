"""The data stage of a 48-hour retrain: from day files to a validated window, against the usual pandas way.

Ours ingests the days that are new (types, rejects, checks, digest) and pins the window by manifest. The pandas way has
no memory of earlier runs: it reads each day, concatenates, writes, reads again, and validates. Each side runs in a
process of its own; time excludes imports, memory is the peak of the process.

    python -m benchmarks.data_stage [--rows-per-day 200000] [--days 30] [--new 2]
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

START = date(2025, 1, 1)


def main() -> None:
    """Runs both sides and prints a table."""
    options = _options()
    if options.side:
        print(json.dumps(_side(options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        _write_lake(Path(folder) / "lake", options.days, options.rows_per_day)
        _run(options, folder, "prepare", options.days - options.new)
        sides = {
            f"ours, {options.new} of {options.days} days new": _run(options, folder, "ours", options.days),
            "pandas": _run(options, folder, "pandas", options.days),
        }
    with tempfile.TemporaryDirectory() as folder:
        _write_lake(Path(folder) / "lake", options.days, options.rows_per_day)
        sides[f"ours, all {options.days} days new"] = _run(options, folder, "ours", options.days)
    _print(sides)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows-per-day", type=int, default=200_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--new", type=int, default=2)
    parser.add_argument("--side", choices=("ours", "prepare", "pandas"))
    parser.add_argument("--folder")
    parser.add_argument("--upto", type=int)
    return parser.parse_args()


def _write_lake(lake: Path, days: int, rows: int) -> None:
    import pyarrow.parquet as pq

    from fraud_retraining.simulation import SimulationPolicy, Simulator, lake_path

    for day, table in Simulator(SimulationPolicy(start=START, days=days, transactions_per_day=rows)):
        path = lake / lake_path(day)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, compression="zstd")


def _run(options: argparse.Namespace, folder: str, side: str, upto: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.data_stage", "--side", side, "--folder", folder, "--upto", str(upto)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, env={**os.environ, "FRAUD_RETRAINING_CONFIG": ""}
    )
    return json.loads(done.stdout.splitlines()[-1])


def _side(options: argparse.Namespace) -> dict[str, float]:
    days = [START + timedelta(days=n) for n in range(options.upto)]
    seconds = _pandas(Path(options.folder), days) if options.side == "pandas" else _ours(Path(options.folder), days)
    return {"seconds": seconds, "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _pandas(folder: Path, days: list[date]) -> float:
    import pandas as pd
    import pandera.pandas as pa

    from fraud_retraining.simulation import lake_path

    schema = pa.DataFrameSchema(
        {
            "TRANSACTION_ID": pa.Column("int64", nullable=False, unique=True),
            "TX_DATETIME": pa.Column("datetime64[us]", nullable=False),
            "CUSTOMER_ID": pa.Column("int64", nullable=False),
            "TERMINAL_ID": pa.Column("int64", nullable=False),
            "TX_AMOUNT": pa.Column("float64", pa.Check.ge(0), nullable=False),
            "TX_FRAUD": pa.Column("int8", pa.Check.isin([0, 1]), nullable=False),
        }
    )
    started = time.perf_counter()
    columns = list(schema.columns)
    window = pd.concat([pd.read_parquet(folder / "lake" / lake_path(day), columns=columns) for day in days])
    window.to_parquet(folder / "window.parquet", index=False)
    read = pd.read_parquet(folder / "window.parquet")
    schema.validate(read, lazy=True)
    assert len(read) >= 50_000
    assert 0.001 <= read["TX_FRAUD"].mean() <= 0.10
    return time.perf_counter() - started


def _ours(folder: Path, days: list[date]) -> float:
    import pandera.ibis
    import pandera.pandas  # noqa: F401  imported by the first check

    from fraud_retraining.adapters.lake import Lake
    from fraud_retraining.adapters.locations import FolderLocation
    from fraud_retraining.adapters.store import Store
    from fraud_retraining.domain.window_checks import window_checks
    from fraud_retraining.domain.windows import (
        DayRange,
        FeatureDay,
        HoldoutPolicy,
        RollingWindow,
        WindowDays,
        build_manifest,
    )
    from fraud_retraining.orchestration.assets.ingestion import refresh_transactions
    from fraud_retraining.orchestration.checks.data_checks import day_report
    from fraud_retraining.orchestration.inventory import Inventory
    from fraud_retraining.orchestration.resources import open_engine
    from fraud_retraining.settings import Settings

    settings = Settings()
    os.environ["FRAUD_RETRAINING_HOME"] = str(folder / "home")
    holdout = HoldoutPolicy(days=min(7, len(days) // 2))
    split = days[-holdout.days]
    started = time.perf_counter()
    store = Store(FolderLocation(folder / "store"), folder / "scratch")
    lake = Lake(FolderLocation(folder / "lake"))
    everything = DayRange(start=days[0], end=days[-1])
    with open_engine(settings) as engine:
        inventory = Inventory(store, settings, days)
        arrived = lake.days(everything)
        for day in inventory.stale_transactions(arrived):
            refresh_transactions(day, arrived[day], inventory, settings.mapping, lake, store, engine)
        reports = {day: day_report(day, inventory, settings, store, engine) for day in days}
    assert not any(report.failed for report in reports.values())
    found = {
        day: FeatureDay(
            digest=partition.digest,
            features_digest=partition.digest,
            label_days=((None, partition.facts["labelled"], partition.facts["frauds"]),),
        )
        for day, partition in inventory.transactions.items()
    }
    window = build_manifest(
        WindowDays(
            strategy=RollingWindow().strategy,
            as_of=days[-1],
            training=DayRange(start=days[0], end=split - timedelta(days=1)),
            holdout=DayRange(start=split, end=days[-1]),
        ),
        found,
        {},
        label_delay_days=0,
        features=("amount",),
        categorical=(),
        features_policy="",
    )
    digests = {day: partition.digest for day, partition in inventory.transactions.items()}
    columns = {"transaction_id", "timestamp", "is_fraud", "amount"}
    checks = window_checks(window, settings.validation, columns=columns, digests=digests, features_digests=digests)
    assert all(check.passed for check in checks), [check for check in checks if not check.passed]
    return time.perf_counter() - started


def _print(sides: dict[str, dict[str, float]]) -> None:
    base = sides["pandas"]
    print(f"{'':34}{'seconds':>9}{'x pandas':>10}{'MB':>8}{'x pandas':>10}")
    for name, found in sides.items():
        print(
            f"{name:34}{found['seconds']:9.2f}{found['seconds'] / base['seconds']:10.2f}"
            f"{found['megabytes']:8.0f}{found['megabytes'] / base['megabytes']:10.2f}"
        )


if __name__ == "__main__":
    main()
