"""A lake, a home and a settings file of a test's own, and the small pipeline that most tests run."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from fraud_retraining.simulation import lake_path

START = date(2024, 2, 1)


DAYS = 26


AS_OF = START + timedelta(days=22)
LOOKED_BACK_ON = AS_OF - timedelta(days=4)
"""The first day that features of the day after `AS_OF` look back on, by the settings below."""


SMALL: dict[str, Any] = {
    "entities": {
        "customer": {"column": "CUSTOMER_ID", "windows_days": [1, 3]},
        "terminal": {"column": "TERMINAL_ID", "windows_days": [1, 3], "fraud_share": True},
    },
    "labels": {"delay_days": 2},
    "window": {"strategy": "rolling", "days": 8},
    "holdout": {"days": 4},
    "validation": {"min_rows": 5000},
    "retries": {"delay_seconds": 0.1},
    "model": {"params": {"n_estimators": 25, "max_bin": 256, "max_depth": 4, "learning_rate": 0.2}},
    "gates": {"min_average_precision": 0.05, "min_roc_auc": 0.5, "max_calibration_error": 5, "resamples": 100},
}
"""A pipeline that fits in seconds: a short memory, a short window, a small model, floors that it passes."""


@dataclass
class ProjectHome:
    """A lake, a home and a settings file of one test's own."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def lake(self) -> Path:
        return self.folder / "lake"

    @property
    def config(self) -> Path:
        return self.folder / "retraining.yaml"

    def day_file(self, day: date) -> Path:
        return self.lake / lake_path(day)

    def configure(self, **changes: Any) -> None:
        self.config.write_text(yaml.safe_dump(merged({**SMALL, "lake": {"uri": str(self.lake)}}, changes)))

    def read_day(self, day: date) -> pa.Table:
        return pq.ParquetFile(self.day_file(day)).read()

    def write_day(self, day: date, table: pa.Table) -> None:
        self.day_file(day).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, self.day_file(day))


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` laid over it, section by section."""
    out = dict(base)
    for key, value in changes.items():
        out[key] = (
            merged(out[key], value) if isinstance(value, Mapping) and isinstance(out.get(key), Mapping) else value
        )
    return out


def use_home(project: ProjectHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the process a user of this project: its home, its settings, nothing else of the environment."""
    import os

    for name in list(os.environ):
        if name.startswith(("FRAUD_RETRAINING_", "DAGSTER_HOME", "SLACK_", "PAGERDUTY_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(project.home))
    monkeypatch.setenv("FRAUD_RETRAINING_CONFIG", str(project.config))
