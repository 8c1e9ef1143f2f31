"""Days on Spark are those of DuckDB to the last bit: files, digests and facts of an awkward lake with a label feed."""

import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from fraud_retraining.adapters.days.day_counts import Counter, DayCounts
from fraud_retraining.adapters.days.live_rows import scored_rows
from fraud_retraining.adapters.days.spark_counts import SparkCounter
from fraud_retraining.adapters.storage.locations import FolderLocation
from fraud_retraining.adapters.storage.spark_days import SparkDays, alike
from fraud_retraining.adapters.storage.spark_session import SparkOptions
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.monitoring.bins import category_bins, number_bins
from fraud_retraining.domain.training.fitting import ModelPolicy, fit
from fraud_retraining.domain.values.digests import ColumnDigests
from fraud_retraining.domain.values.errors import DependencyUnreachable
from fraud_retraining.orchestration.assets.monitoring import scored_on_worker
from fraud_retraining.orchestration.names import ENTITY_DAYS, ENTITY_LABEL_DAYS, FEATURES, LABELS, TRANSACTIONS
from fraud_retraining.orchestration.resources import open_engine, open_store
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.command_line import run
from fraud_retraining_tests.support.project_homes import SMALL, ProjectHome, use_home
from fraud_retraining_tests.support.spark import needs_spark

START = date(2026, 3, 1)
DAYS = [START + timedelta(days=number) for number in range(3)]
ROWS = 300
SETTINGS: dict[str, Any] = {
    "columns": {
        "transaction_id": "ID",
        "timestamp": "at",
        "amount": "Amount, EUR",
        "is_fraud": "fraud?",
        "labelled_at": None,
    },
    "entities": {
        "customer": {"column": ["bank", "card`no"], "windows_days": [1, 3], "fraud_share": True},
        "device": {"column": "device.id", "windows_days": [2], "nullable": True},
    },
    "features": {"numeric": ["risk.score"], "categorical": ["Größe `q`", "mcc", "flag", "branch"], "forbidden": []},
    "labels": {"delay_days": 2, "use": "as_known", "reach_days": 4, "columns": {"source": "source"}},
    "holdout": {"days": 1},
    "window": {"days": 2},
    "validation": {"min_rows": 10, "max_reject_share": 0.9, "max_fraud_rate": 0.9},
    "gates": {"alert_entity": "customer"},
}


def awkward(day: date, seed: int, first: int) -> pa.Table:
    """Rows of a day: missing and odd amounts, ids that come twice, times in nanoseconds up to the last of the day."""
    random = np.random.default_rng(seed)
    start = np.datetime64(day, "ns")
    times = start + random.integers(0, 86_400 * 10**9, ROWS).astype("timedelta64[ns]")
    times[0] = start + np.timedelta64(86_400 * 10**9 - 1, "ns")
    times[1] = start - np.timedelta64(1, "ns")
    amounts = np.round(random.lognormal(3, 2, ROWS), 3)
    amounts[2:8] = [np.nan, -1.0, np.inf, -0.0, 1e12, 0.1]
    ids = np.arange(first, first + ROWS)
    ids[10], ids[11] = ids[12], ids[13]
    text = [None, "", "a|b", "a\\", "ü`", "x"]
    return pa.table(
        {
            "ID": ids.astype(float),
            "at": pa.array(times, pa.timestamp("ns")),
            "Amount, EUR": pa.array([None if n == 9 else value for n, value in enumerate(amounts)]),
            "fraud?": pa.array(random.choice([0.0, 1.0, np.nan], ROWS, p=[0.85, 0.1, 0.05])),
            "branch": pa.array(random.choice([1.0, 2.0, np.nan, 2.5, 2.0**54], ROWS)),
            "bank": pa.array(random.choice(["b", "c"], ROWS)),
            "card`no": pa.array([text[n] for n in random.choice(6, ROWS, p=[0.01, 0.01, 0.3, 0.3, 0.3, 0.08])]),
            "device.id": pa.array([None if n % 3 else n % 7 for n in range(ROWS)], pa.uint64()),
            "risk.score": pa.array(random.choice([0.1, np.nan, np.inf, 1e39, -0.0], ROWS)),
            "Größe `q`": pa.array([text[n] for n in random.choice(6, ROWS)]).dictionary_encode(),
            "mcc": pa.array(random.choice([5411.0, 12345678.0, 1.5e20, 0.00012, np.nan], ROWS)),
            "flag": pa.array(random.choice([True, False], ROWS)),
            "unused": pa.array([[1]] * ROWS),
        }
    )


def write_awkward(project: ProjectHome) -> None:
    for number, day in enumerate(DAYS):
        table = awkward(day, number, number * (ROWS - 5))
        project.write_day(day, table.slice(0, 200))
        # A second file of the day with other types of the same columns, and rows that the first has as well.
        others = table.slice(190).set_column(
            1, "at", table["at"].slice(190).cast(pa.timestamp("us", "UTC"), safe=False)
        )
        others = others.set_column(0, "ID", others["ID"].cast(pa.int64()))
        others = others.set_column(4, "branch", pa.array([1] * len(others), pa.int32()))
        pq.write_table(others, project.day_file(day).with_name("more.parquet"))
    # A device is never named on the last day: the type of the key is for the other days to say.
    last = project.read_day(DAYS[-1])
    place = last.schema.get_field_index("device.id")
    project.write_day(DAYS[-1], last.set_column(place, "device.id", pa.nulls(len(last))))
    project.day_file(DAYS[-1]).with_name("more.parquet").unlink()


def deliver_labels(project: ProjectHome, days: list[date]) -> None:
    for day in days:
        known = datetime.combine(day, datetime.min.time(), UTC)
        ids = [n for n in range((day - START).days * (ROWS - 5) + 20) if n % 3 == 0]
        rows = [
            {"transaction_id": n, "known_at": known + timedelta(seconds=n), "is_fraud": n % 2, "source": "bank"}
            for n in [*ids, *ids[:3], -5]
        ]
        place = project.folder / "labels" / f"year={day:%Y}" / f"month={day:%m}" / f"day={day:%d}" / "labels.parquet"
        place.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), place)
        # The time of a file is part of what a day was made of.
        os.utime(place, (known.timestamp(), known.timestamp()))


def settings_of(project: ProjectHome, kind: str) -> dict[str, Any]:
    return {
        **SMALL,
        **SETTINGS,
        "lake": {"uri": str(project.lake)},
        "labels": SETTINGS["labels"] | {"uri": str(project.folder / "labels")},
        "engine": {"kind": kind, "master": "local[2]"},
    }


def made(project: ProjectHome) -> Iterator[tuple[str, date, dict[str, Any]]]:
    """Everything that the store records of the days, but for when it was made."""
    store = open_store(load_settings())
    for asset in (TRANSACTIONS, LABELS, ENTITY_DAYS, ENTITY_LABEL_DAYS, FEATURES):
        for day, record in store.partitions(asset, DAYS).items():
            kept = record.model_dump(mode="json")
            kept["facts"].pop("arrived_at", None)
            yield asset, day, kept | {"checks": store.annotation(asset, day, "checks")}


def counted() -> Iterator[tuple[str, date, DayCounts]]:
    """The rows of each day by bins of a number, of a number with missing values and of a category."""
    settings = load_settings()
    store, names = open_store(settings), ["amount", "risk.score", "Größe `q`"]
    records = store.partitions(FEATURES, DAYS)
    with open_engine(settings) as engine:
        first = pq.ParquetFile(store.paths([records[DAYS[0]]], "rows")[0]).read(columns=names)
        bins = [number_bins(name, first[name].cast(pa.float64()).to_numpy(), 4) for name in names[:2]]
        bins.append(category_bins(names[2], [("x", 1)], 1))
        objects = {day: store.objects([record], "rows") for day, record in records.items()}
        count = (
            SparkCounter(engine.spark, store.location, objects, bins).count
            if engine.spark is not None
            else Counter(engine, bins).count
        )
        for day, record in records.items():
            yield "counts", day, count(day, store.paths([record], "rows"))


@pytest.mark.slow
@pytest.mark.timeout(900)
@needs_spark
def test_spark_makes_the_days_of_duckdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: dict[str, list[Any]] = {}
    first = ProjectHome(tmp_path)
    write_awkward(first)
    for kind in ("duckdb", "spark"):
        project = ProjectHome(tmp_path)
        shutil.rmtree(project.home, ignore_errors=True)
        shutil.rmtree(project.folder / "labels", ignore_errors=True)
        project.config.write_text(yaml.safe_dump(settings_of(project, kind)))
        use_home(project, monkeypatch)
        deliver_labels(project, DAYS[:1])
        code, answer, err = run("ingest", "--from", str(DAYS[0]), "--to", str(DAYS[1]))
        assert code == 0, f"{answer} {err}"
        # Late labels: days that are there already are made again, and days after them follow.
        deliver_labels(project, DAYS[1:])
        code, answer, err = run("ingest", "--from", str(DAYS[1]), "--to", str(DAYS[2]))
        assert code == 0, f"{answer} {err}"
        found[kind] = [*made(project), *counted()]
    assert [one[:2] for one in found["spark"]] == [one[:2] for one in found["duckdb"]]
    assert len(found["duckdb"]) == 6 * len(DAYS)
    for spark, duckdb in zip(found["spark"], found["duckdb"], strict=True):
        assert spark == duckdb


def test_days_whose_keys_differ_in_type_are_no_one_query() -> None:
    number, text = pa.schema([("key", pa.int64())]), pa.schema([("key", pa.string())])
    shapes = {DAYS[0]: {"a": number}, DAYS[1]: {"a": number, "b": text}, DAYS[2]: {"a": text}}
    assert [days for days, _ in alike(shapes)] == [DAYS[:2], DAYS[2:3]]
    assert alike(shapes)[0][1] == {"a": number, "b": text}


def _scores_are_the_same(spark: SparkDays, folder: Path) -> None:
    random, day = np.random.default_rng(0), DAYS[0]
    rows = pa.table({"transaction_id": np.arange(500), "amount": random.gamma(2, 50, 500)})
    rows = rows.append_column("is_fraud", pa.array((rows["amount"].to_numpy() > 120).astype(np.int8)))
    model = fit(ModelPolicy(params={"n_estimators": 5}), ("amount",), (), lambda: iter(rows.to_batches()))
    store = Store(FolderLocation(folder / "store"), folder / "scratch")
    record = store.write(FEATURES, day, {"rows": rows}, digest="", inputs={}, facts={})
    work = partial(scored_on_worker, store=store, model=model.files())
    (part,) = spark.spread([(day, store.objects([record], "rows")[0])], work)
    here = scored_rows(model, store.paths([record], "rows")[0])
    assert part.columns == ColumnDigests.of(here)
    assert part.file.rows == 500


@pytest.mark.slow
@pytest.mark.timeout(600)
@needs_spark
def test_what_dies_is_an_outage_and_the_next_attempt_starts_anew(tmp_path: Path) -> None:
    spark = SparkDays(SparkOptions("local[2]", {}, tmp_path))
    try:
        assert spark.spread([1, 2], str) == ["1", "2"]
        with pytest.raises(DependencyUnreachable, match="gave the work up"):
            spark.spread([signal.SIGKILL], signal.raise_signal)
        java = spark._session.sparkContext._gateway.proc
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: (sleep(2), java.kill()))
            with pytest.raises(DependencyUnreachable, match="Java process ended"):
                spark.spread([30], sleep)
        assert spark.spread([3], str) == ["3"]
        _scores_are_the_same(spark, tmp_path)
    finally:
        spark.close()
