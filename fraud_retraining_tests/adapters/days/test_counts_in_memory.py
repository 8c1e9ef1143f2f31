"""Counts in memory are those that the pipeline's queries give."""

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraud_retraining.adapters.days.counts_in_memory import (
    MemoryCounter,
    SizedCounter,
    memory_counts_by_day,
    sized_counts_by_day,
)
from fraud_retraining.adapters.days.day_counts import Counter, counts_by_day
from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.domain.monitoring.bins import category_bins, number_bins

DAY = date(2024, 3, 1)


@pytest.fixture
def day(tmp_path: Path) -> Path:
    """Numbers on the edges of bins, beyond them, infinite and missing; whole numbers, and categories."""
    draw = np.random.default_rng(3)
    amounts = np.round(draw.gamma(2, 10, 500), 1).astype(np.float32)
    amounts[:4] = [np.nan, np.inf, -5, 1e9]
    table = pa.table(
        {
            "timestamp": pa.array([np.datetime64("2024-03-01T10:00:00", "us")] * 500),
            "amount": pa.array(amounts, mask=np.arange(500) % 50 == 49),
            "count": pa.array(draw.integers(0, 5, 500), mask=np.arange(500) % 60 == 59),
            "channel": pa.array([*(["chip", "online", None, "atm"] * 125)]),
        }
    )
    path = tmp_path / "rows.parquet"
    pq.write_table(table, path)
    return path


def test_every_bin_has_the_same_rows_as_by_query(day: Path, tmp_path: Path) -> None:
    draw = np.random.default_rng(5)
    bins = [
        number_bins("amount", np.round(draw.gamma(2, 10, 500), 1).astype(np.float32), 10),
        number_bins("count", draw.integers(0, 4, 100).astype(np.float64), 10),
        category_bins("channel", [("chip", 3), ("online", 2)], 30),
    ]
    with Engine(memory_limit="200MB", threads=1, temp_directory=tmp_path / "spill") as engine:
        expected = Counter(engine, bins).count(DAY, [day])
        assert MemoryCounter(engine, bins).count(DAY, [day]) == expected
        assert memory_counts_by_day(engine, {DAY: day}, bins) == counts_by_day(engine, {DAY: day}, bins)
        assert MemoryCounter(engine, bins[:1]).count(DAY, [day]).counts == {"amount": expected.counts["amount"]}


@pytest.mark.parametrize("values", [0, 700, 10_000])
def test_where_a_day_is_counted_is_a_matter_of_its_size_alone(
    day: Path, tmp_path: Path, values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fraud_retraining.adapters.days.counts_in_memory.VALUES_AT_ONCE", values)
    few = tmp_path / "few.parquet"
    later = pa.array([np.datetime64("2024-03-02T10:00:00", "us")] * 200)
    pq.write_table(pq.read_table(day).slice(0, 200).set_column(0, "timestamp", later), few)
    paths = {DAY: day, date(2024, 3, 2): few}
    bins = [number_bins("amount", np.arange(50.0), 10), category_bins("channel", [("chip", 3)], 30)]
    with Engine(memory_limit="200MB", threads=1, temp_directory=tmp_path / "spill") as engine:
        assert SizedCounter(engine, bins).count(DAY, [day, few]) == Counter(engine, bins).count(DAY, [day, few])
        by_day = sized_counts_by_day(engine, paths, bins)
        assert by_day == {one: MemoryCounter(engine, bins).count(one, [path]).counts for one, path in paths.items()}
