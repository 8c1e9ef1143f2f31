"""An asset is read from the one place that holds it, and the shared place stays as it is."""

from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraud_retraining.adapters.storage.layered_store import LayeredStore
from fraud_retraining.adapters.storage.locations import FolderLocation
from fraud_retraining.adapters.storage.store import Partition, Store

DAY = date(2024, 2, 29)


def store_in(folder: Path) -> Store:
    return Store(FolderLocation(folder), folder.parent / "scratch")


def write(store: Store, asset: str, value: int) -> Partition:
    return store.write(asset, DAY, {"rows": pa.table({"n": [value]})}, digest=f"{value}", inputs={}, facts={})


def test_own_assets_come_from_the_layer_and_the_others_from_the_shared_store(tmp_path: Path) -> None:
    shared, layer = store_in(tmp_path / "shared"), store_in(tmp_path / "layer")
    write(shared, "transactions", 1)
    write(shared, "features", 2)
    both = LayeredStore(shared, layer, ["features"])
    assert (both.partitions("features", [DAY]), both.readable("features", [DAY])) == ({}, {})
    write(both, "features", 3)
    both.annotate("features", DAY, "note", {"n": 4})
    both.write_document("features", "key", b"5")
    records = [both.partition(asset, DAY) for asset in ("features", "transactions", "features")]
    paths = both.paths([one for one in records if one is not None], "rows")
    assert [pq.read_table(path)["n"].to_pylist() for path in paths] == [[3], [1], [3]]
    assert (both.annotation("features", DAY, "note"), both.read_document("features", "key")) == ({"n": 4}, b"5")
    assert (shared.annotation("features", DAY, "note"), shared.read_document("features", "key")) == (None, None)
    found = shared.partition("features", DAY)
    assert found is not None
    assert found.digest == "2"
    assert both.location is shared.location


def test_nothing_is_written_to_the_shared_store(tmp_path: Path) -> None:
    both = LayeredStore(store_in(tmp_path / "shared"), store_in(tmp_path / "layer"), ["features"])
    with pytest.raises(ValueError, match="transactions is shared"):
        write(both, "transactions", 1)
    with pytest.raises(ValueError, match="transactions is shared"):
        both.annotate("transactions", DAY, "note", {})
    with pytest.raises(ValueError, match="transactions is shared"):
        both.write_document("transactions", "key", b"")
    assert not (tmp_path / "shared").exists()


def test_what_reads_or_writes_a_place_is_sent_to_one_of_the_two() -> None:
    """An inherited method would look for a place that a layered store does not have."""
    by_the_others = {"partitions", "readable"}
    public = {name for name, found in vars(Store).items() if not name.startswith("_") and not isinstance(found, str)}
    assert public - by_the_others <= set(vars(LayeredStore))
