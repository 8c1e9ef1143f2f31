"""Days of a lake that has the simulator's columns, as the Fraud Detection Handbook's data have, beside simulated."""

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fraud_retraining.simulation import lake_path


def given_days(lake: Path, start: date, days: int) -> Iterator[tuple[date, pa.Table]]:
    """The last `days` days of a lake that begin on the weekday of `start`, moved there by whole weeks."""
    files = {_day_of(file.relative_to(lake)): file for file in lake.glob(f"year=*/month=*/day=*/{_name(start)}")}
    first = max(files) - timedelta(days=days - 1)
    first -= timedelta(days=(first - start).days % 7)
    for number in range(days):
        yield start + timedelta(days=number), _moved(files[first + timedelta(days=number)], start - first)


def days_as_given(lake: Path) -> Iterator[tuple[date, pa.Table]]:
    """The days of a lake on their own dates, in order."""
    for file in sorted(lake.glob(f"year=*/month=*/day=*/{_name(date.min)}")):
        yield _day_of(file.relative_to(lake)), _moved(file, timedelta())


def _moved(file: Path, by: timedelta) -> pa.Table:
    """A day with its times, in microseconds, moved."""
    table = pq.ParquetFile(file).read()
    times = pc.add(table["TX_DATETIME"].cast(pa.timestamp("us")), pa.scalar(by, pa.duration("us")))
    return table.set_column(table.schema.get_field_index("TX_DATETIME"), "TX_DATETIME", times)


def _name(day: date) -> str:
    return Path(lake_path(day)).name


def _day_of(file: Path) -> date:
    return date(*(int(part.partition("=")[2]) for part in file.parts[-4:-1]))
