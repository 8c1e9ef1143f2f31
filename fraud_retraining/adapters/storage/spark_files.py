"""Parquet files as Spark's workers read them: fetched like everywhere else, in types that Spark has.

Here: what runs on a worker between a file and Spark's rows. Not here: queries (`adapters/storage/spark_days.py`). Files
are read by Arrow and not by Spark's own reader: that one refuses nanoseconds, UUIDs, unsigned 64-bit numbers and some
encodings, and knows of S3 only what Hadoop's libraries bring.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as pat

from fraud_retraining.adapters.storage.locations import LocalFiles, ObjectInfo
from fraud_retraining.domain.values.errors import DataInvalid

ROWS_AT_ONCE = 65_536
NANOSECONDS = 1000

Batches = Iterable[pa.RecordBatch]


class Place(Protocol):
    """Where files are: what a location and the place of a lake have in common. It goes to the workers by pickle."""

    def fetch(self, objects: Sequence[ObjectInfo]) -> LocalFiles:
        """Local readable files with exactly the bytes of `objects`, in their order."""


class FileRead(NamedTuple):
    """How a file is read: its columns in the types that Spark gets, and whether NaN stays NaN or is read as null."""

    schema: pa.Schema
    keep_nan: bool


def spark_type(kind: pa.DataType) -> pa.DataType:
    """The type of a column once it is read; values stay what they are.

    >>> spark_type(pa.timestamp("ns", "UTC")), spark_type(pa.uint8())
    (TimestampType(timestamp[us]), DataType(int16))
    """
    if pat.is_dictionary(kind):
        return spark_type(kind.value_type)
    if pat.is_timestamp(kind):
        return pa.timestamp("us")
    if pat.is_decimal(kind):
        return pa.decimal128(kind.precision, kind.scale) if kind.precision <= pa.decimal128(1).bit_width else kind
    if isinstance(kind, pa.UuidType) or pat.is_uint64(kind) or pat.is_large_string(kind) or pat.is_string_view(kind):
        # Spark has no unsigned numbers: as text a key of 64 bits is what it becomes anyway.
        return pa.string()
    wider = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.float16(): pa.float32()}
    return wider.get(kind, kind)


def merged(schemas: Sequence[pa.Schema], columns: Sequence[str] | None = None) -> pa.Schema:
    """One schema for several files, as Spark reads them; a key may be a number in one and text in another.

    Raises:
        DataInvalid: files whose columns differ in another way.
    """
    names = columns if columns is not None else list(dict.fromkeys(name for one in schemas for name in one.names))
    fields = []
    for name in names:
        kinds = {spark_type(one.field(name).type) for one in schemas if name in one.names}
        fields.append(pa.field(name, _one_kind(name, kinds - {pa.null()}) if kinds - {pa.null()} else pa.null()))
    return pa.schema(fields)


def _one_kind(name: str, kinds: set[pa.DataType]) -> pa.DataType:
    if len(kinds) == 1:
        return next(iter(kinds))
    if all(pat.is_integer(kind) for kind in kinds):
        return pa.int64()
    if all(pat.is_integer(kind) or pat.is_string(kind) for kind in kinds):
        return pa.string()
    if all(pat.is_integer(kind) or pat.is_floating(kind) for kind in kinds):
        return pa.float64()
    raise DataInvalid(f"files differ in the type of {name}", culprits=sorted(map(str, kinds)))


def read_batches(
    place: Place, files: Sequence[ObjectInfo], how: FileRead, added: Callable[[int], Mapping[str, pa.Scalar]]
) -> Callable[[Batches], Batches]:
    """What a worker runs: gets numbers of files, gives their rows, with further columns that `added` says by number."""

    def read(numbers: Batches) -> Batches:
        for batch in numbers:
            for number in batch.column(0).to_pylist():
                (path,) = place.fetch([files[number]])
                with pq.ParquetFile(path) as file:
                    there = set(file.schema_arrow.names)
                    wanted = [name for name in how.schema.names if name in there]
                    for rows in file.iter_batches(ROWS_AT_ONCE, columns=wanted, use_threads=False):
                        yield _as_spark_reads(rows, how, added(number))

    return read


def _as_spark_reads(rows: pa.RecordBatch, how: FileRead, added: Mapping[str, pa.Scalar]) -> pa.RecordBatch:
    columns = {
        field.name: converted(rows.column(field.name), field.type, keep_nan=how.keep_nan)
        if field.name in rows.schema.names
        else pa.nulls(rows.num_rows, field.type)
        for field in how.schema
    }
    columns |= {name: pa.repeat(value, rows.num_rows) for name, value in added.items()}
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def converted(column: pa.Array, kind: pa.DataType, *, keep_nan: bool) -> pa.Array:
    """A column in the type that Spark gets. Nanoseconds are cut, never rounded, so that a day keeps its last moment."""
    if pat.is_dictionary(column.type):
        column = column.dictionary_decode()
    if isinstance(column.type, pa.UuidType):
        column = pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())
    if pat.is_timestamp(column.type):
        return _microseconds(column)
    if pat.is_float16(column.type):
        column = pa.array(
            column.to_numpy(zero_copy_only=False).astype(np.float32), mask=column.is_null().to_numpy(False)
        )
    if pat.is_floating(column.type) and not keep_nan:
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    return column if column.type == kind else column.cast(kind)


def _microseconds(column: pa.Array) -> pa.Array:
    if column.type.unit == "ns":
        # Whole division and no cast, which refuses what it would have to cut.
        return pc.divide(column.cast(pa.int64()), NANOSECONDS).cast(pa.timestamp("us"))
    return column.cast(pa.timestamp("us", column.type.tz)).cast(pa.timestamp("us"))
