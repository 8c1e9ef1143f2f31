"""Features of a range of days: Spark with two workers against one, and Spark against DuckDB on this one machine.

Here: the same query over the same files, each way in a process of its own, into a store as in production; digests of
all days have to agree. Workers are real processes (`local-cluster`) with one core each; DuckDB has as many threads as
the two workers together. Starting Spark is measured apart. Beside the seconds stand those of processors, of the driver
and of the workers, and what other work took of the machine meanwhile: without free cores a second worker brings
nothing. Not here: ingestion, and a cluster of several machines, whose network one machine does not have.

    python -m benchmarks.spark_features [--rows 400000] [--days 30] [--history 38] [--memory 3072] [--repeats 1]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

import ibis

from benchmarks.features_of_a_day import DAY, PLAN, raw_day
from benchmarks.measuring import Stopwatch
from fraud_retraining.adapters.storage.engine import Engine, PreparedQuery
from fraud_retraining.adapters.storage.locations import FolderLocation
from fraud_retraining.adapters.storage.spark_days import Finish, SparkDays
from fraud_retraining.adapters.storage.spark_parts import put_part
from fraud_retraining.adapters.storage.spark_session import SparkOptions, require_spark
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.features.point_in_time import entity_days, transaction_features
from fraud_retraining.domain.values.digests import table_digest
from fraud_retraining.domain.values.schemas import TIMESTAMP, TRANSACTION_ID

TRANSACTIONS, ENTITIES, FEATURES, ROWS = "transactions", "entity_days", "features", "rows"
TODAY, YESTERDAY = "today", "yesterday"
WAYS = ("duckdb", "one worker", "two workers")

QUERY = PreparedQuery(
    FEATURES,
    lambda day, tables: transaction_features(
        PLAN, day, today=tables[TODAY], yesterday=tables[YESTERDAY], entity_days={e: tables[e] for e in PLAN.entities}
    ),
    table_columns={YESTERDAY: [TRANSACTION_ID, TIMESTAMP, "amount", *PLAN.entities]},
    read_often=frozenset({TODAY}),
    spread_by=dict.fromkeys(PLAN.entities, "key"),
)


TICKS = os.sysconf("SC_CLK_TCK")


class Found(NamedTuple):
    """Seconds to start, seconds of the work, processor seconds of the work by who used them, digests of the days."""

    started: float
    seconds: float
    processor: dict[str, float]
    digests: list[str]

    def cores(self) -> str:
        """Processor seconds, and how many cores they kept busy."""
        driver, workers, machine = (self.processor[name] for name in ("driver", "workers", "machine"))
        ours = driver + workers
        used, others = ours / self.seconds, max(0.0, machine - ours) / self.seconds
        return f"processors: driver {driver:.0f} s, workers {workers:.0f} s; {used:.2f} cores, others {others:.2f}"


def processor_seconds() -> dict[str, float]:
    """Processor seconds so far: the driver (this process and its Java), the workers with their Python, the machine."""
    parents, seconds, workers = {}, {}, set()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
            if b"ExecutorBackend" in (place / "cmdline").read_bytes():
                workers.add(int(place.name))
        # It has ended meanwhile.
        except OSError:
            continue
        parents[int(place.name)] = int(fields[1])
        seconds[int(place.name)] = sum(map(int, fields[11:15])) / TICKS

    def above(process: int) -> set[int]:
        found = {process}
        while (process := parents.get(process, 0)) and process not in found:
            found.add(process)
        return found

    ours = {process: above(process) for process in seconds if os.getpid() in above(process)}
    of_workers = sum(seconds[process] for process, line in ours.items() if line & workers)
    user, nice, system, *_ = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    everybody = (user + nice + system) / TICKS
    return {
        "driver": sum(seconds[process] for process in ours) - of_workers,
        "workers": of_workers,
        "machine": everybody,
    }


def since(before: dict[str, float]) -> dict[str, float]:
    """Processor seconds since an earlier reading."""
    return {name: now - before[name] for name, now in processor_seconds().items()}


def open_store(folder: Path) -> Store:
    return Store(FolderLocation(folder / "store"), folder / "scratch")


def write_days(folder: Path, days: Sequence[date], rows: int) -> None:
    """Transactions and their statistics of each day."""
    store = open_store(folder)
    with Engine(temp_directory=folder / "spill") as engine:
        for day in days:
            table = raw_day(day, rows)
            store.write(TRANSACTIONS, day, {ROWS: table}, digest="", inputs={}, facts={})
            sums = {
                entity: engine.to_arrow(
                    entity_days(engine.memtable(table), entity, PLAN, day).order_by("key").mutate(day=ibis.literal(day))
                )
                for entity in PLAN.entities
            }
            store.write(ENTITIES, day, sums, digest="", inputs={}, facts={})


def inputs_of(store: Store, day: date) -> dict[str, tuple[list[Partition], str]]:
    """The partitions of each table that the features of a day read, and their name of it."""
    needed = PLAN.lookback(day)
    tables = {
        TODAY: ([*store.partitions(TRANSACTIONS, [day]).values()], ROWS),
        YESTERDAY: ([*store.partitions(TRANSACTIONS, [needed.yesterday]).values()], ROWS),
    }
    return tables | {
        entity: ([*store.partitions(ENTITIES, days).values()], entity) for entity, days in needed.entity_days.items()
    }


def by_duckdb(folder: Path, days: Sequence[date], output: str) -> Found:
    """The features by DuckDB."""
    store, start = open_store(folder), Stopwatch()
    with Engine(temp_directory=folder / "spill", threads=2, memory_limit="4GB") as engine:
        started, digests, work, before = start.read()["seconds"], [], Stopwatch(), processor_seconds()
        for day in days:
            paths = {name: store.paths(records, table) for name, (records, table) in inputs_of(store, day).items()}
            table = engine.prepared(QUERY, day, paths)
            digests.append(table_digest(table))
            store.write(output, day, {ROWS: table}, digest=digests[-1], inputs={}, facts={})
        return Found(started, work.read()["seconds"], since(before), digests)


def by_spark(folder: Path, days: Sequence[date], output: str, master: str) -> Found:
    """The same on Spark."""
    store, memory = open_store(folder), master.rpartition(",")[2].rstrip("]")
    config = {"spark.executor.memory": f"{memory}m", "spark.driver.memory": "1g"}
    spark, start = SparkDays(SparkOptions(master, config, folder / "spark")), Stopwatch()
    try:
        spark.spread([0] * 8, str)
        started, work, before = start.read()["seconds"], Stopwatch(), processor_seconds()
        files = {
            day: {name: store.objects(records, table) for name, (records, table) in inputs_of(store, day).items()}
            for day in days
        }
        places = {name: store.location for tables in files.values() for name in tables}
        write = partial(put_part, store=store, asset=output, name=ROWS)
        parts = spark.make(QUERY, places, files, Finish((TIMESTAMP, TRANSACTION_ID), write))
        for day, part in parts.items():
            store.commit(output, day, {ROWS: part.file}, digest=part.columns.table(), inputs={}, facts={})
        return Found(started, work.read()["seconds"], since(before), [parts[day].columns.table() for day in days])
    finally:
        spark.close()


def one_way(way: str, folder: Path, days: Sequence[date], memory: int) -> None:
    """Measures one way and prints what it found."""
    if way == WAYS[0]:
        found = by_duckdb(folder, days, "by_duckdb")
    else:
        workers = WAYS.index(way)
        found = by_spark(folder, days, f"by_{workers}", f"local-cluster[{workers},1,{memory}]")
    print(json.dumps(found._asdict()))


def measured(way: str, folder: Path, options: argparse.Namespace) -> list[Found]:
    """What several runs of one way found, each in a process of its own."""
    found: list[Found] = []
    for _ in range(options.repeats):
        command = [sys.executable, "-m", "benchmarks.spark_features", "--way", way, "--folder", str(folder)]
        command += ["--days", str(options.days), "--memory", str(options.memory)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append(Found(**json.loads(done.stdout.strip().splitlines()[-1])))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=400_000, help="transactions a day")
    parser.add_argument("--days", type=int, default=30, help="days whose features are made")
    parser.add_argument("--history", type=int, default=38, help="days before them")
    parser.add_argument("--memory", type=int, default=3072, help="MiB of a worker")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    days = [DAY + timedelta(days=number) for number in range(options.days)]
    if options.way:
        one_way(options.way, options.folder, days, options.memory)
        return 0
    require_spark()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_days(folder, [DAY - timedelta(days=n) for n in range(1, options.history + 1)] + days, options.rows)
        return report({way: measured(way, folder, options) for way in WAYS}, options)


def report(found: dict[str, list[Found]], options: argparse.Namespace) -> int:
    """Prints seconds and ratios; 1 where digests differ."""
    print(f"features of {options.days} days of {options.rows:,} rows, {options.history} days of history")
    seconds = {way: statistics.median(one.seconds for one in runs) for way, runs in found.items()}
    for way, runs in found.items():
        print(f"  {way:12} {seconds[way]:8.1f} s, and {statistics.median(one.started for one in runs):.1f} s to start")
        for one in runs:
            print(f"  {'':12} {one.cores()}")
    duckdb, one, two = (seconds[way] for way in WAYS)
    print(f"  two workers against one: {one / two:.2f} times faster")
    print(f"  two workers against DuckDB: {duckdb / two:.2f} times as fast")
    same = len({json.dumps(runs[0].digests) for runs in found.values()}) == 1
    print(f"  digests of the days: {'the same' if same else 'THEY DIFFER'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
