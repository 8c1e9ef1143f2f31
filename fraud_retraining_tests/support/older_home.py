"""A home that an older version of the project has made: kept beside the tests, and how it was made.

`python -m fraud_retraining_tests.support.older_home` makes it anew with the code as it is. That is only to be done
where homes of before are meant not to be understood any more.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

from fraud_retraining.simulation import SimulationPolicy, Simulator
from fraud_retraining_tests.support.project_homes import ProjectHome

ARCHIVE = Path(__file__).with_name("older_home.tar.xz")
MADE_AT = Path("/tmp/fraud-retraining-older-home")
START, DAYS = date(2024, 3, 1), 13
WRITTEN_AT = 1_710_000_000
"""A whole second: an archive keeps no less, and a file with another time is read anew."""
FIRST_AS_OF, AS_OF = START + timedelta(days=10), START + timedelta(days=12)
TINY = {
    "entities": {"customer": {"column": "CUSTOMER_ID", "windows_days": [1, 2], "fraud_share": True}},
    "labels": {"delay_days": 1},
    "window": {"strategy": "rolling", "days": 4},
    "holdout": {"days": 3},
    "validation": {"min_rows": 100, "max_fraud_rate": 0.5},
    "model": {"params": {"n_estimators": 10, "max_bin": 32, "max_depth": 3, "learning_rate": 0.3}},
    "gates": {"max_regression": 0.9, "min_average_precision": 0.01, "max_calibration_error": 5, "resamples": 100},
    "promotion": {"mode": "auto"},
}


def older_home(folder: Path) -> ProjectHome:
    """The older home, unpacked at another path than it was made at."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    project = ProjectHome(folder)
    settings = project.config.read_text()
    project.config.write_text(settings.replace(str(MADE_AT), str(folder)))
    _move_artifacts(project.home / "mlflow.db", str(MADE_AT), str(folder))
    return project


def _move_artifacts(database: Path, before: str, after: str) -> None:
    """MLflow records whole paths."""
    columns_with_paths = {
        "experiments": ["artifact_location"],
        "runs": ["artifact_uri"],
        "logged_models": ["artifact_location"],
        "model_versions": ["source", "storage_location"],
    }
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, columns in columns_with_paths.items():
            for column in columns:
                connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (before, after))


def write_lake(project: ProjectHome) -> None:
    """The tiny lake that it was made from."""
    policy = SimulationPolicy(start=START, days=DAYS, transactions_per_day=200, seed=5, fraud_rate=0.05)
    for day, table in Simulator(policy):
        project.write_day(day, table)
        os.utime(project.day_file(day), (WRITTEN_AT, WRITTEN_AT))


def make() -> None:
    """Simulates a tiny lake, retrains as of two days and packs lake, home and settings."""
    shutil.rmtree(MADE_AT, ignore_errors=True)
    project = ProjectHome(MADE_AT)
    write_lake(project)
    project.configure(**TINY)
    here = {"FRAUD_RETRAINING_HOME": str(project.home), "FRAUD_RETRAINING_CONFIG": str(project.config)}
    for as_of in (FIRST_AS_OF, AS_OF):
        command = [sys.executable, "-m", "fraud_retraining.cli", "retrain", "--as-of", str(as_of), "--json"]
        subprocess.run(command, check=True, env={**os.environ, **here})
    with tarfile.open(ARCHIVE, "w:xz", preset=9) as archive:
        archive.add(MADE_AT, ".", filter=_without_owner)
    shutil.rmtree(MADE_AT)


def _without_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    make()
