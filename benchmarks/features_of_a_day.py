"""Cost of the features of one new day: two days of rows and `entity_days`, against trailing windows over raw history.

Here: both ways in the same engine on the same simulated days, each measured in a process of its own, with 40 and with
180 days of history in the folder. The trailing windows get only the days that they need, so their cost does not grow
with the history either. Not here: whether the features are right
(`fraud_retraining_tests/domain/features/test_point_in_time.py`).

    python -m benchmarks.features_of_a_day [--rows 200000] [--histories 40 180] [--repeats 5]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measuring import Stopwatch
from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.features.point_in_time import entity_days, transaction_features
from fraud_retraining.domain.values.schemas import EntityPolicy

DAY = date(2026, 7, 1)
ROWS_PER_CUSTOMER_DAY = 2
ROWS_PER_TERMINAL_DAY = 10
FRAUD_RATE = 0.008
DELAY_DAYS = 8
MEMORY_LIMIT = "8GB"
PLAN = FeaturePlan(
    entities={
        "customer": EntityPolicy(column="CUSTOMER_ID"),
        "terminal": EntityPolicy(column="TERMINAL_ID", fraud_share=True),
    },
    label_delay_days=DELAY_DAYS - 1,
)


def raw_day(day: date, rows: int) -> pa.Table:
    """A day of transactions in the canonical shape."""
    rng = np.random.default_rng(day.toordinal())
    moments = np.sort(rng.integers(0, 86_400_000_000, rows)).astype("timedelta64[us]")
    return pa.table(
        {
            "transaction_id": np.arange(rows, dtype=np.int64) + day.toordinal() * rows,
            "timestamp": np.datetime64(day, "us") + moments,
            "amount": np.round(rng.gamma(2, 40, rows), 2),
            "is_fraud": (rng.random(rows) < FRAUD_RATE).astype(np.int8),
            "customer": rng.integers(0, max(rows // ROWS_PER_CUSTOMER_DAY, 1), rows),
            "terminal": rng.integers(0, max(rows // ROWS_PER_TERMINAL_DAY, 1), rows),
        }
    )


def write_history(folder: Path, first: int, last: int, rows: int) -> None:
    """The days from `last` to `first` days before the new day, with their `entity_days`."""
    with Engine(temp_directory=folder / "spill") as engine:
        for before in range(first, last + 1):
            day = DAY - timedelta(days=before)
            table = raw_day(day, rows)
            _write(table, folder / "transactions", day)
            for entity in PLAN.entities:
                statistics_of_day = entity_days(engine.memtable(table), entity, PLAN, day)
                _write(engine.to_arrow(statistics_of_day.mutate(day=ibis.literal(day))), folder / entity, day)


def _write(table: pa.Table, folder: Path, day: date) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / f"{day}.parquet")


def _read(engine: Engine, folder: Path, days: Iterator[date] | list[date] | tuple[date, ...]) -> ir.Table:
    wanted = {f"{day}.parquet" for day in days}
    return engine.read_parquet([path for path in sorted(folder.iterdir()) if path.name in wanted])


def ours(engine: Engine, folder: Path) -> ir.Table:
    """The features that ship."""
    needed = PLAN.lookback(DAY)
    return transaction_features(
        PLAN,
        DAY,
        today=_read(engine, folder / "transactions", [DAY]),
        yesterday=_read(engine, folder / "transactions", [needed.yesterday]),
        entity_days={entity: _read(engine, folder / entity, iter(days)) for entity, days in needed.entity_days.items()},
    )


def trailing(engine: Engine, folder: Path) -> ir.Table:
    """The same features from exact trailing windows over the raw rows of the days that they reach back to."""
    days = [DAY - timedelta(days=before) for before in range(max(_windows()) + DELAY_DAYS + 1)]
    rows = _read(engine, folder / "transactions", days)
    features: dict[str, ir.Value] = {}
    for entity, policy in PLAN.entities.items():
        for window in policy.windows_days:
            features |= _trailing_amounts(rows, entity, window)
            if policy.fraud_share:
                features |= _trailing_labels(rows, entity, window)
        previous = rows.timestamp.lag().over(group_by=entity, order_by="timestamp")
        features[f"{entity}_seconds_since_previous"] = rows.timestamp.delta(previous, unit="microsecond") / 1e6
    computed = rows.select("transaction_id", "timestamp", "amount", "is_fraud", **features)
    return computed.filter(computed.timestamp >= ibis.literal(DAY).cast("timestamp"))


def _windows() -> set[int]:
    return {window for policy in PLAN.entities.values() for window in policy.windows_days}


def _trailing_amounts(rows: ir.Table, entity: str, days: int) -> dict[str, ir.Value]:
    window = _range(entity, days, 0)
    count, total = rows.amount.count().over(window), rows.amount.sum().over(window)
    squares = (rows.amount * rows.amount).sum().over(window)
    past = (count - 1).nullif(0)
    mean = (total - rows.amount) / past
    variance = (squares - rows.amount * rows.amount) / past - mean * mean
    return {
        f"{entity}_count_{days}d": count,
        f"{entity}_mean_amount_{days}d": total / count,
        f"{entity}_max_amount_{days}d": rows.amount.max().over(window),
        f"{entity}_amount_ratio_{days}d": rows.amount / mean.nullif(0),
        f"{entity}_amount_zscore_{days}d": (rows.amount - mean) / (variance > 0).ifelse(variance, None).sqrt(),
    }


def _trailing_labels(rows: ir.Table, entity: str, days: int) -> dict[str, ir.Value]:
    window = _range(entity, days + DELAY_DAYS, DELAY_DAYS)
    labelled = rows.is_fraud.count().over(window)
    return {
        f"{entity}_labelled_count_{days}d": labelled,
        f"{entity}_fraud_share_{days}d": rows.is_fraud.sum().over(window) / labelled.nullif(0),
    }


def _range(entity: str, from_days: int, to_days: int) -> object:
    begin, end = ibis.interval(days=from_days), ibis.interval(days=to_days)
    return ibis.range_window(preceding=(begin, end), group_by=entity, order_by="timestamp")


SIDES: dict[str, Callable[[Engine, Path], ir.Table]] = {"ours": ours, "trailing": trailing}


def measure(side: str, folder: Path, repeats: int) -> dict[str, float]:
    """Seconds from files to rows in memory, expression and planning included, and the peak memory of this process."""
    readings = []
    for _ in range(repeats):
        with Engine(temp_directory=folder / "spill", memory_limit=MEMORY_LIMIT) as engine:
            watch = Stopwatch()
            engine.to_arrow(SIDES[side](engine, folder))
            readings.append(watch.read())
    return {name: statistics.median(reading[name] for reading in readings) for name in readings[0]}


def _in_a_process(side: str, folder: Path, repeats: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.features_of_a_day", "--side", side, "--folder", str(folder)]
    finished = subprocess.run([*command, "--repeats", str(repeats)], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(finished.stdout)


def compare(rows: int, histories: list[int], repeats: int) -> None:
    print(f"{rows:,} transactions of one new day")
    print(f"{'':<30}{'history':>9}{'seconds':>10}{'ratio':>8}{'CPU s':>10}{'ratio':>8}{'peak MB':>10}")
    with tempfile.TemporaryDirectory() as scratch:
        folder, written = Path(scratch), -1
        for history in sorted(histories):
            write_history(folder, written + 1, history, rows)
            written = history
            mine = _in_a_process("ours", folder, repeats)
            print(_line("two days and entity_days", history, mine, mine))
            other = _in_a_process("trailing", folder, 1)
            print(_line("trailing windows", history, other, mine), flush=True)


def _line(name: str, history: int, found: dict[str, float], ours: dict[str, float]) -> str:
    timed = (f"{found[key]:>10.2f}{found[key] / ours[key]:>7.1f}x" for key in ("seconds", "cpu"))
    return f"{name:<30}{history:>9}{''.join(timed)}{found['megabytes']:>10.0f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000, help="transactions a day")
    parser.add_argument("--histories", type=int, nargs="+", default=[40, 180], help="days of history in the folder")
    parser.add_argument("--repeats", type=int, default=5, help="runs of our side, of which the median counts")
    parser.add_argument("--side", choices=sorted(SIDES), help="measure one side in this process")
    parser.add_argument("--folder", type=Path, help="folder of the days, with --side")
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(measure(arguments.side, arguments.folder, arguments.repeats)))
    else:
        compare(arguments.rows, arguments.histories, arguments.repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main())
