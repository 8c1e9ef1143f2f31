"""The data stage of a 48-hour retrain: from day files to a validated window, against the usual pandas way.

Ours is what a retrain runs before features: see which days are new, ingest those (types, rejects, digests, commit),
check them, hold every day's checks against the window, pin the window by manifest, check it. The pandas way has no
memory of earlier runs: it reads each day, concatenates, writes, reads again, and validates with pandera.

Each side runs in a process of its own, in turns; figures are medians over the turns. Time excludes imports on both
sides, memory is the peak of the process. Not counted: Dagster's records of a run, which the pandas way would need too.

    python -m benchmarks.data_stage [--rows-per-day 200000] [--days 30] [--new 2] [--turns 3]
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks.measuring import Stopwatch

if TYPE_CHECKING:
    from fraud_retraining.domain.training.windows import TrainingWindow
    from fraud_retraining.orchestration.state.inventory import Inventory

START = date(2025, 1, 1)
OURS, ALL_NEW, PANDAS, PREPARE = "ours", "all_new", "pandas", "prepare"
COLUMNS = ("seconds", "cpu", "megabytes")


def main() -> None:
    """Runs the sides in turns and prints a table."""
    options = _options()
    if options.side:
        print(json.dumps(_side(options)))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_lake(folder / "lake", options.days, options.rows_per_day)
        _run(folder, PREPARE, options.days - options.new)
        turns = [_turn(folder, options.days) for _ in range(options.turns)]
    sides = {side: {key: median(turn[side][key] for turn in turns) for key in COLUMNS} for side in turns[0]}
    _print(sides, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows-per-day", type=int, default=200_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--new", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3, help="runs of each side, of which the median counts")
    parser.add_argument("--side", choices=(OURS, PREPARE, PANDAS))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--upto", type=int)
    return parser.parse_args()


def _write_lake(lake: Path, days: int, rows: int) -> None:
    import pyarrow.parquet as pq

    from fraud_retraining.simulation import SimulationPolicy, Simulator, lake_path

    for day, table in Simulator(SimulationPolicy(start=START, days=days, transactions_per_day=rows)):
        path = lake / lake_path(day)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, compression="zstd")


def _turn(folder: Path, days: int) -> dict[str, dict[str, float]]:
    """Every side once, ours from a store as it was before the new days and from an empty one."""
    shutil.copytree(folder / "store", folder / "store-before")
    ours = _run(folder, OURS, days)
    shutil.rmtree(folder / "store")
    pandas = _run(folder, PANDAS, days)
    all_new = _run(folder, OURS, days)
    shutil.rmtree(folder / "store")
    (folder / "store-before").rename(folder / "store")
    return {OURS: ours, ALL_NEW: all_new, PANDAS: pandas}


def _run(folder: Path, side: str, upto: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.data_stage", "--side", side]
    command += ["--folder", str(folder), "--upto", str(upto)]
    environment = {**os.environ, "FRAUD_RETRAINING_CONFIG": "", "FRAUD_RETRAINING_HOME": str(folder / "home")}
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def _side(options: argparse.Namespace) -> dict[str, float]:
    days = [START + timedelta(days=n) for n in range(options.upto)]
    _load_validators()
    return _pandas(options.folder, days) if options.side == PANDAS else _ours(options.folder, days)


def _load_validators() -> None:
    """Pandera imports its parts with the first validation: on both sides that is import time."""
    import ibis
    import pandas as pd
    import pandera.ibis
    import pandera.pandas

    checked = pandera.pandas.Column(float, pandera.pandas.Check.ge(0), unique=True)
    pandera.pandas.DataFrameSchema({"a": checked}).validate(pd.DataFrame({"a": [1.0]}), lazy=True)
    pandera.ibis.DataFrameSchema({"a": pandera.ibis.Column(float)}).validate(ibis.memtable({"a": [1.0]}), lazy=True)


def _pandas(folder: Path, days: list[date]) -> dict[str, float]:
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
    watch = Stopwatch()
    columns = list(schema.columns)
    window = pd.concat([pd.read_parquet(folder / "lake" / lake_path(day), columns=columns) for day in days])
    window.to_parquet(folder / "window.parquet", index=False)
    read = pd.read_parquet(folder / "window.parquet")
    schema.validate(read, lazy=True)
    assert len(read) >= 50_000
    assert 0.001 <= read["TX_FRAUD"].mean() <= 0.10
    return watch.read()


def _ours(folder: Path, days: list[date]) -> dict[str, float]:
    import duckdb  # noqa: F401  imported by the engine

    from fraud_retraining.adapters.storage.engine import Engine  # noqa: F401  imported by the first run that needs it
    from fraud_retraining.adapters.storage.lake import Lake
    from fraud_retraining.adapters.storage.locations import FolderLocation
    from fraud_retraining.adapters.storage.store import Store
    from fraud_retraining.domain.training.window_checks import WindowEvidence, window_checks
    from fraud_retraining.domain.values.days import DayRange
    from fraud_retraining.orchestration.assets.ingestion import DayInput, LakeToStore, refresh_transactions
    from fraud_retraining.orchestration.checks.data_checks import day_report
    from fraud_retraining.orchestration.resources import open_engine
    from fraud_retraining.orchestration.state.inventory import Inventory
    from fraud_retraining.settings import Settings

    settings = Settings()
    watch = Stopwatch()
    store = Store(FolderLocation(folder / "store"), folder / "scratch")
    lake = Lake(FolderLocation(folder / "lake"))
    arrived = lake.days(DayRange(start=days[0], end=days[-1]))
    inventory = Inventory(store, settings, days)
    stale = inventory.stale_transactions(arrived)
    with open_engine(settings) as engine:
        way = LakeToStore(settings.mapping, lake, store, engine)
        for day in stale:
            refresh_transactions(DayInput(day, arrived[day], {}), inventory, way)
        for day in stale:
            day_report(day, inventory, settings, store, engine)
    inventory = Inventory(store, settings, days)
    assert not inventory.stale_transactions(arrived)
    assert not inventory.unchecked(days)
    window = _window(inventory, days)
    digests = {day: partition.digest for day, partition in inventory.transactions.items()}
    columns = {"transaction_id", "timestamp", "is_fraud", "amount"}
    checks = window_checks(WindowEvidence(window, settings.validation, columns, digests, digests))
    assert all(check.passed for check in checks), [check for check in checks if not check.passed]
    return watch.read()


def _window(inventory: "Inventory", days: list[date]) -> "TrainingWindow":
    """The manifest of these days; transactions stand for the features, which are another stage."""
    from fraud_retraining.domain.training.windows import (
        FeatureDay,
        HoldoutPolicy,
        RollingWindow,
        WindowDays,
        WindowFeatures,
        build_manifest,
    )
    from fraud_retraining.domain.values.days import DayRange

    holdout = DayRange(start=days[-HoldoutPolicy(days=min(7, len(days) // 2)).days], end=days[-1])
    training = DayRange(start=days[0], end=holdout.start - timedelta(days=1))
    found = {
        day: FeatureDay(
            digest=partition.digest,
            features_digest=partition.digest,
            label_days=((None, partition.facts["labelled"], partition.facts["frauds"]),),
        )
        for day, partition in inventory.transactions.items()
    }
    return build_manifest(
        WindowDays(strategy=RollingWindow().strategy, as_of=days[-1], training=training, holdout=holdout),
        found,
        {},
        label_delay_days=0,
        features=WindowFeatures(names=("amount",), categorical=(), policy_digest=""),
    )


def _print(sides: Mapping[str, Mapping[str, float]], options: argparse.Namespace) -> None:
    base = sides[PANDAS]
    names = {
        OURS: f"ours, {options.new} of {options.days} days new",
        ALL_NEW: f"ours, all {options.days} days new",
        PANDAS: "pandas",
    }
    print(f"{options.days * options.rows_per_day:,} rows, median of {options.turns} turns, ratios to pandas")
    print(f"{'':28}{'seconds':>9}{'ratio':>7}{'CPU s':>9}{'ratio':>7}{'MB':>8}{'ratio':>7}")
    for side, found in sides.items():
        numbers = f"{found['seconds']:9.2f}{_ratio(found, base, 'seconds'):>7}"
        numbers += f"{found['cpu']:9.2f}{_ratio(found, base, 'cpu'):>7}"
        print(f"{names[side]:28}{numbers}{found['megabytes']:8.0f}{_ratio(found, base, 'megabytes'):>7}")
    faster = base["seconds"] / sides[OURS]["seconds"]
    print(f"{options.new} days new: {faster:.1f} times faster, CPU {base['cpu'] / sides[OURS]['cpu']:.1f} times less")


def _ratio(found: Mapping[str, float], base: Mapping[str, float], key: str) -> str:
    return f"{found[key] / base[key]:.2f}"


if __name__ == "__main__":
    main()
