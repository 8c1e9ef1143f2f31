"""Columns of Parquet files in the types that Spark has: no value changes, and what Spark lacks becomes text."""

import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraud_retraining.adapters.storage.locations import FolderLocation
from fraud_retraining.adapters.storage.spark_files import FileRead, converted, merged, read_batches, spark_type
from fraud_retraining.domain.values.errors import DataInvalid

ID = uuid.UUID("00000000-0000-0000-0000-00000000000a")
LAST = 86_400 * 10**9 - 1


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pa.array([LAST, None], pa.timestamp("ns")), [(LAST // 1000), None]),
        (pa.array([3_600_000], pa.timestamp("ms", "Europe/Berlin")), [3_600_000_000]),
        (pa.array([2**64 - 1, None], pa.uint64()), [str(2**64 - 1), None]),
        (pa.array([255], pa.uint8()), [255]),
        (pa.array(["a", None]).dictionary_encode(), ["a", None]),
        (pa.array([ID.bytes, None], pa.uuid()), [str(ID), None]),
        (pa.array([1.5, float("nan")]), [1.5, None]),
        (pa.array([None, None]), [None, None]),
    ],
)
def test_a_column_keeps_its_values(column: pa.Array, values: list[object]) -> None:
    found = converted(column, spark_type(column.type), keep_nan=False)
    plain = found.cast(pa.int64()) if pa.types.is_timestamp(found.type) else found
    assert plain.to_pylist() == values


def test_nan_stays_where_it_is_to_stay() -> None:
    (found,) = converted(pa.array([float("nan")]), pa.float64(), keep_nan=True).to_pylist()
    assert found != found


def test_a_key_that_is_a_number_in_one_file_and_text_in_another_is_text() -> None:
    kinds = [pa.schema([("key", kind)]) for kind in (pa.int64(), pa.string(), pa.null())]
    assert merged(kinds).field("key").type == pa.string()
    assert merged([kinds[0], kinds[2]]).field("key").type == pa.int64()


def test_other_differences_are_refused() -> None:
    with pytest.raises(DataInvalid, match="key"):
        merged([pa.schema([("key", pa.bool_())]), pa.schema([("key", pa.string())])])


def test_rows_come_with_what_is_said_of_their_file(tmp_path: Path) -> None:
    for number in range(2):
        pq.write_table(pa.table({"a": [number], "unused": [0]}), tmp_path / f"{number}.parquet")
    place = FolderLocation(tmp_path)
    how = FileRead(pa.schema([("a", pa.int64()), ("absent", pa.string())]), keep_nan=False)
    read = read_batches(place, place.list(), how, lambda number: {"file": pa.scalar(number, pa.int32())})
    found = pa.Table.from_batches(read([pa.record_batch({"id": [1, 0]})]))
    assert found.to_pylist() == [{"a": 1, "absent": None, "file": 1}, {"a": 0, "absent": None, "file": 0}]
