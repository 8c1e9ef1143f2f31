"""A day that would not fit in memory is refused before any of it is read, and raising the limit is enough to go on."""

from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.orchestration.assets.ingestion import DayInput, LakeToStore, refresh_transactions
from fraud_retraining.orchestration.names import (
    TRANSACTIONS,
)
from fraud_retraining.orchestration.resources import open_lake, open_store
from fraud_retraining.orchestration.state.inventory import (
    Inventory,
)
from fraud_retraining.settings import Settings, load_settings
from fraud_retraining.simulation import lake_path

NOON = datetime(2024, 3, 1, 12)
DAY = NOON.date()
ROWS, GROUPS = 1_000_000, 8
PEAK, FORGET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def settings_of(folder: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> Settings:
    (folder / "retraining.yaml").write_text(
        yaml.safe_dump({"lake": {"uri": str(folder / "lake"), "limits": {"max_file_rows": most}}})
    )
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(folder / "home"))
    return load_settings(folder / "retraining.yaml")


def deliver_equal_rows(folder: Path) -> Path:
    """Eight million rows in a few hundred kilobytes."""
    row = {
        "TRANSACTION_ID": 1,
        "TX_DATETIME": NOON,
        "CUSTOMER_ID": 1,
        "TERMINAL_ID": 1,
        "TX_AMOUNT": 1.0,
        "TX_FRAUD": 0,
    }
    columns = {name: pa.repeat(pa.scalar(value), ROWS) for name, value in row.items()}
    file = folder / "lake" / lake_path(DAY)
    file.parent.mkdir(parents=True)
    table = pa.table(columns)
    with pq.ParquetWriter(file, table.schema, compression="zstd") as writer:
        for _ in range(GROUPS):
            writer.write_table(table)
    return file


def peak_megabytes() -> float:
    line = next(line for line in PEAK.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


@pytest.mark.skipif(not FORGET_PEAK.exists(), reason="the system does not tell a process its peak of memory")
def test_a_file_of_too_many_rows_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(tmp_path, monkeypatch, ROWS * GROUPS - 1)
    file = deliver_equal_rows(tmp_path)
    assert file.stat().st_size < 300_000
    lake, store = open_lake(settings), open_store(settings)
    arrived = lake.days()
    inventory = Inventory(store, settings, arrived, made=(TRANSACTIONS,))
    with Engine(temp_directory=tmp_path / "spill") as engine:
        FORGET_PEAK.write_text("5")
        before = peak_megabytes()
        with pytest.raises(DataInvalid) as refused:
            way = LakeToStore(settings.mapping, lake, store, engine)
            refresh_transactions(DayInput(DAY, arrived[DAY], {}), inventory, way)
        assert peak_megabytes() - before < 40
    assert refused.value.culprits == (f"{lake_path(DAY)} has 8,000,000 rows, and a file may have 7,999,999",)
    inventory.refuse(DAY, arrived[DAY], str(refused.value))
    assert inventory.refusal(DAY, arrived[DAY]) is not None
    raised = settings_of(tmp_path, monkeypatch, ROWS * GROUPS)
    assert Inventory(store, raised, arrived, made=(TRANSACTIONS,)).refusal(DAY, arrived[DAY]) is None
