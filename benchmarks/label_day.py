"""Cost of one day of a label feed: its events matched with the transactions that they may refer to.

Here: the expressions of the asset `labels` in the engine that ships, with 30 and with 120 days of transactions within
reach, each measured in a process of its own. Beside it stands the least that any match has to do: reading the ids and
days of those transactions and joining them with the events. Not here: whether the labels are right
(`fraud_retraining_tests/domain/labels/test_events.py`).

    python -m benchmarks.label_day [--events 50000] [--rows 200000] [--reaches 30 120] [--repeats 3]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path

import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.features_of_a_day import raw_day
from benchmarks.measuring import Stopwatch
from fraud_retraining.adapters.storage.engine import Engine, PreparedQuery
from fraud_retraining.domain.labels.events import LabelDay, judged_events, settled_events, split_events
from fraud_retraining.domain.labels.feed import canonical_feed
from fraud_retraining.domain.labels.policy import LabelColumns
from fraud_retraining.domain.values.schemas import LabelValues

DAY = date(2026, 7, 1)
ENTITIES = ("customer", "terminal")
MEMORY_LIMIT = "500MB"
FEED, TRANSACTIONS = "feed", "transactions"
SEED = 7


def write_days(folder: Path, first: int, last: int, rows: int) -> None:
    """Transactions of the days from `last` to `first` days before the label day."""
    (folder / TRANSACTIONS).mkdir(exist_ok=True)
    for before in range(first, last + 1):
        day = DAY - timedelta(days=before)
        pq.write_table(raw_day(day, rows), folder / TRANSACTIONS / f"{day}.parquet")


def write_feed(folder: Path, events: int, rows: int, reach: int) -> None:
    """Events that became known on the label day, of transactions of any day within reach."""
    rng = np.random.default_rng(SEED)
    days = DAY.toordinal() - rng.integers(0, reach, events)
    (folder / FEED).mkdir(exist_ok=True)
    pq.write_table(
        pa.table(
            {
                "transaction_id": days * rows + rng.integers(0, rows, events),
                "is_fraud": (rng.random(events) < 0.95).astype(np.int8),
                "known_at": np.datetime64(DAY, "us")
                + np.sort(rng.integers(0, 86_400_000_000, events)).astype("timedelta64[us]"),
            }
        ),
        folder / FEED / f"{reach}.parquet",
    )


def ours(engine: Engine, paths: Mapping[str, list[str]]) -> LabelDay:
    """The label day as the asset makes it."""

    def settled(this_day: ir.DateScalar, views: Mapping[str, ir.Table]) -> ir.Table:
        events = canonical_feed(views[FEED], LabelColumns(), LabelValues(), text_ids=False)
        return settled_events(judged_events(events, views[TRANSACTIONS], this_day, ENTITIES), None)

    query = PreparedQuery("labels", settled, keep_nan=True)
    return split_events(engine.prepared(query, DAY, paths), ENTITIES)


def bare(engine: Engine, paths: Mapping[str, list[str]]) -> pa.Table:
    """Ids of the events that have a transaction."""
    events, rows = engine.read_parquet(paths[FEED]), engine.read_parquet(paths[TRANSACTIONS])
    return engine.to_arrow(events.join(rows.select("transaction_id", "timestamp"), "transaction_id"))


SIDES: dict[str, Callable[[Engine, Mapping[str, list[str]]], object]] = {"ours": ours, "bare": bare}


def measure(side: str, folder: Path, reach: int, repeats: int) -> dict[str, float]:
    """Median seconds from files to tables in memory, and the peak memory of this process."""
    days = {f"{DAY - timedelta(days=before)}.parquet" for before in range(reach)}
    found = [str(path) for path in sorted((folder / TRANSACTIONS).iterdir()) if path.name in days]
    paths = {FEED: [str(folder / FEED / f"{reach}.parquet")], TRANSACTIONS: found}
    readings = []
    for _ in range(repeats):
        with Engine(temp_directory=folder / "spill", memory_limit=MEMORY_LIMIT) as engine:
            watch = Stopwatch()
            SIDES[side](engine, paths)
            readings.append(watch.read())
    return {name: statistics.median(reading[name] for reading in readings) for name in readings[0]}


def _in_a_process(side: str, folder: Path, reach: int, repeats: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.label_day", "--side", side, "--folder", str(folder)]
    sizes = ["--reaches", str(reach), "--repeats", str(repeats)]
    finished = subprocess.run([*command, *sizes], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(finished.stdout)


def compare(events: int, rows: int, reaches: list[int], repeats: int) -> None:
    print(f"{events:,} events of one day, against days of {rows:,} transactions")
    print(f"{'':<24}{'days':>6}{'seconds':>10}{'ratio':>8}{'CPU s':>10}{'ratio':>8}{'peak MB':>10}")
    with tempfile.TemporaryDirectory() as scratch:
        folder, written = Path(scratch), 0
        for reach in sorted(reaches):
            write_days(folder, written, reach - 1, rows)
            write_feed(folder, events, rows, reach)
            written = reach
            least = _in_a_process("bare", folder, reach, repeats)
            for name, found in (("the label day", _in_a_process("ours", folder, reach, repeats)), ("bare join", least)):
                timed = (f"{found[key]:>10.2f}{found[key] / least[key]:>7.1f}x" for key in ("seconds", "cpu"))
                print(f"{name:<24}{reach:>6}{''.join(timed)}{found['megabytes']:>10.0f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=50_000, help="events of the label day")
    parser.add_argument("--rows", type=int, default=200_000, help="transactions a day")
    parser.add_argument("--reaches", type=int, nargs="+", default=[30, 120], help="days of transactions within reach")
    parser.add_argument("--repeats", type=int, default=3, help="runs, of which the median counts")
    parser.add_argument("--side", choices=sorted(SIDES), help="measure one side in this process")
    parser.add_argument("--folder", type=Path, help="folder of the days, with --side")
    arguments = parser.parse_args()
    if arguments.side:
        found = measure(arguments.side, arguments.folder, arguments.reaches[0], arguments.repeats)
        print(json.dumps(found))
    else:
        compare(arguments.events, arguments.rows, arguments.reaches, arguments.repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main())
