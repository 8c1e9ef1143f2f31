"""Lakes as other people have them, from the files to a promoted model: keys that are missing, labels as words, a table.

The numbers are random, and too few to say anything; what is shown is that every row finds its way and its neighbours.
"""

import shutil
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from fraud_retraining.orchestration.resources import open_store
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.athena_server import athena_server
from fraud_retraining_tests.support.command_line import run
from fraud_retraining_tests.support.project_homes import AS_OF, ProjectHome

START = date(2024, 3, 1)
DAYS = 12
ROWS = 400
NOBODY = START + timedelta(days=6)
"""A day on which no row has a device: its column is of no type."""


def payments(day: date) -> pd.DataFrame:
    """A day as pandas leaves it: integers of which some are missing are floats, and a few amounts are NaN."""
    random = np.random.default_rng(day.toordinal())
    fraud = random.random(ROWS) < 0.06
    frame = pd.DataFrame(
        {
            "id": [f"p{day:%d}-{n}" for n in range(ROWS)],
            "created_at": pd.Timestamp(day) + pd.to_timedelta(np.sort(random.integers(0, 86_400, ROWS)), unit="s"),
            "card1": random.integers(0, 60, ROWS),
            "addr1": np.where(random.random(ROWS) < 0.2, np.nan, random.integers(100, 120, ROWS)),
            "device": [f"d{n}" if n < 8 else None for n in random.integers(0, 40, ROWS)],
            "amount": np.round(random.gamma(2, 25, ROWS) + fraud * random.gamma(4, 60, ROWS), 2),
            "distance": np.where(random.random(ROWS) < 0.3, np.nan, random.random(ROWS)),
            "state": np.where(fraud, "Fraud", "legit"),
        }
    )
    frame.loc[:2, "state"] = ["Fraud", "Fraud", None]
    frame.loc[5, "amount"] = np.nan
    return frame


def delivered(lake: Path, day: date) -> None:
    """With NaN as a value, and statistics that leave it out."""
    frame = payments(day)
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for name in ("addr1", "amount", "distance"):
        values = pa.array(frame[name].to_numpy(), from_pandas=False)
        table = table.set_column(table.schema.get_field_index(name), name, values)
    if day == NOBODY:
        table = table.set_column(table.schema.get_field_index("device"), "device", pa.nulls(ROWS))
    path = lake / f"year={day:%Y}" / f"month={day:%m}" / f"day={day:%d}" / "part.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(table, path)


SETTINGS: dict[str, Any] = {
    "columns": {"transaction_id": "id", "timestamp": "created_at", "amount": "amount", "is_fraud": "state"},
    "features": {"numeric": ["distance"], "categorical": ["card1"]},
    "labels": {"delay_days": 1, "fraud_values": ["fraud"], "genuine_values": ["legit"]},
    "window": {"strategy": "rolling", "days": 4},
    "holdout": {"days": 2},
    "validation": {"min_rows": 100, "min_holdout_frauds": 2, "max_fraud_rate": 0.5, "max_reject_share": 0.01},
    "model": {"params": {"n_estimators": 20}},
    "gates": {
        "min_average_precision": 0.01,
        "min_roc_auc": 0.01,
        "max_regression": 0.9,
        "max_unproven_regression": 0.9,
        "resamples": 100,
        "max_calibration_error": 50,
        "max_importance": 1.0,
        "max_plausible_average_precision": 1,
    },
    "promotion": {"mode": "auto"},
}
KEYS = {
    "card": {"column": "card1", "windows_days": [1, 2]},
    "holder": {"column": ["card1", "addr1"], "nullable": True, "windows_days": [1, 2]},
    "device_key": {"column": "device", "nullable": True, "windows_days": [1, 3], "fraud_share": True},
}


@pytest.fixture
def settle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Delivers the lake and writes settings with these entities, alerts being about one of them."""
    for number in range(DAYS):
        delivered(tmp_path / "lake", START + timedelta(days=number))

    def write(entities: dict[str, Any], alert_entity: str) -> None:
        gates = SETTINGS["gates"] | {"alert_entity": alert_entity}
        values = SETTINGS | {"lake": {"uri": str(tmp_path / "lake")}, "entities": entities, "gates": gates}
        (tmp_path / "settings.yaml").write_text(yaml.safe_dump(values))

    monkeypatch.setenv("FRAUD_RETRAINING_CONFIG", str(tmp_path / "settings.yaml"))
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(tmp_path / "home"))
    return write


@pytest.mark.slow
@pytest.mark.parametrize(
    ("entities", "alert_entity"),
    [(KEYS, "device_key"), ({}, "transaction")],
    ids=["keys that are missing", "no entities"],
)
def test_a_model_is_trained_and_promoted(settle: Any, entities: dict[str, Any], alert_entity: str) -> None:
    settle(entities, alert_entity)
    code, answer, _ = run("retrain")
    assert (code, answer["status"]) == (0, "promoted"), answer
    settings = load_settings()
    store = open_store(settings)
    days = [START + timedelta(days=number) for number in range(DAYS)]
    for record in store.partitions("transactions", days).values():
        assert record.facts["rejects"] == {"negative or not finite amount": 1}
        assert record.facts["labelled"] == ROWS - 2
    record = store.partitions("transaction_features", [NOBODY + timedelta(days=1)])[NOBODY + timedelta(days=1)]
    (path,) = store.paths([record], "rows")
    table = pq.read_table(path)
    own = [name for name in settings.feature_plan.names if name not in ("distance", "card1")]
    assert {name: table[name].null_count for name in own} == dict.fromkeys(own, 0)
    assert table["distance"].null_count == int(payments(record.day)["distance"].drop(5).isna().sum())


@pytest.mark.slow
def test_a_required_key_that_is_missing_names_its_column_and_the_remedy(settle: Any) -> None:
    required = KEYS | {"device_key": KEYS["device_key"] | {"nullable": False}}
    settle(required, "card")
    code, answer, _ = run("ingest", "--from", str(START), "--to", str(START))
    assert code == 3
    assert "null key device (device_key)" in str(answer)
    assert "set nullable: true under entities.device_key" in str(answer)


@pytest.mark.slow
def test_a_table_of_athena_gives_the_days_and_labels_that_folders_give(
    project: ProjectHome, small_lake: Path, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last = AS_OF - timedelta(days=1), AS_OF
    of_folder = digests_of(first, last)
    shutil.rmtree(project.home)
    for name, value in (("AWS_ACCESS_KEY_ID", "nobody"), ("AWS_SECRET_ACCESS_KEY", "nothing")):
        monkeypatch.setenv(name, value)
    with athena_server(s3_endpoint) as (address, athena):
        athena.s3.create_bucket(Bucket="results-of-athena")
        athena.tables["payments", "transactions"] = small_lake
        table = {"database": "payments", "table": "transactions", "output": "s3://results-of-athena/queries"}
        s3 = {"endpoint": s3_endpoint, "region": "us-east-1"}
        limits = {"endpoint": address, "poll_seconds": 0.02}
        project.configure(lake={"kind": "athena", "uri": None, "s3": s3, **table, **limits})
        assert digests_of(first, last) == of_folder
        assert run("status")[1]["lake"] == "athena://payments.transactions"
        read = [one for one in athena.statements if one.startswith("UNLOAD")]
        assert not any("DATE '2024-02-01'" in one for one in read)


def digests_of(first: date, last: date) -> dict[date, str]:
    """The digests of days that were ingested."""
    code, answer, _ = run("ingest", "--from", str(first), "--to", str(last))
    assert code == 0, answer
    days = open_store(load_settings()).partitions("transactions", [first, last])
    assert set(days) == {first, last}
    return {day: record.digest for day, record in days.items()}
