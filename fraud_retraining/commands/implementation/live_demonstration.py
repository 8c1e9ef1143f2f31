"""The end of the demo: the transactions of a day are scored one after the other before the lake has the day.

Here: sending a day's raw transactions to the real server, and what it said of them. Not here: the retrains
(`demonstration.py`) and scoring (`services/live_scoring.py`).
"""

import json
import urllib.request
from datetime import date
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from fraud_retraining.adapters.storage.lake import Lake
from fraud_retraining.commands.implementation.scores_server import serving
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.settings import Settings

AT_ONCE = 250
"""Transactions of one request."""


class ServedDay(NamedTuple):
    """What a scorer answered of a day."""

    day: date
    served: int
    version: int
    riskiest: dict[str, Any]
    """The answer with the highest score, with its reasons."""

    def answer(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return {"day": self.day, "served": self.served, "model_version": self.version, "riskiest": self.riskiest}

    def summary(self) -> str:
        """The riskiest transaction and its reasons, in a line."""
        reasons = "; ".join(f"{one['meaning']}: {_number(one['value'])}" for one in self.riskiest["reasons"])
        return (
            f"Served live on {self.day} by version {self.version}: {self.served:,} transactions. The riskiest, "
            f"{self.riskiest['transaction_id']}, got {self.riskiest['score']:.3f} for these reasons: {reasons}."
        )


def serve_day(settings: Settings, lake: Lake, day: date) -> ServedDay:
    """Send a day's transactions, in order of time, to a scorer on this machine; the day need not be ingested."""
    rows = _raw_rows(settings, lake, day)
    riskiest: dict[str, Any] = {"score": -1.0}
    with serving(settings) as address:
        for first in range(0, len(rows), AT_ONCE):
            found = _ask(f"{address}/score/batch?reasons=false", {"transactions": rows[first : first + AT_ONCE]})
            riskiest = max([riskiest, *found["scores"]], key=lambda one: one["score"])
        chosen = next(row for row in rows if row[settings.columns.transaction_id] == riskiest["transaction_id"])
        explained = _ask(f"{address}/score?reasons=true", chosen)
    return ServedDay(day, len(rows), explained["model_version"], explained)


def _raw_rows(settings: Settings, lake: Lake, day: date) -> list[dict[str, Any]]:
    """The rows of a day of the lake as a payment service would send them: without labels, in order of time."""
    files = lake.days(DayRange(start=day, end=day))[day]
    columns = dict.fromkeys(column for parts in settings.mapping.lake_names.values() for column in parts)
    columns.pop(settings.columns.is_fraud or "", None)
    tables = [pq.ParquetFile(path).read() for path in lake.fetch(files).paths]
    rows = [
        row for table in tables for row in table.select([c for c in columns if c in table.column_names]).to_pylist()
    ]
    time = settings.columns.timestamp
    rows.sort(key=lambda row: row[time])
    return [{**row, time: row[time].isoformat()} for row in rows]


def _ask(url: str, body: Any) -> dict[str, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def _number(value: float | str | None) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
