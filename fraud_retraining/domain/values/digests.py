"""Digests of values: of a table's rows, of anything that can be written as JSON.

Equal values have one digest, on every machine. Not here: what determines a model (`domain/training/fingerprint.py`).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat
from pydantic import BaseModel
from pydantic_core import to_jsonable_python


def table_digest(table: pa.Table) -> str:
    """SHA-256 over column names, types and values, in the order of rows and columns.

    The digest does not depend on how columns are cut into chunks, on the bytes in the slots of nulls, on the kind of
    NaN, or on whether text is stored plain, large or as a dictionary. A null differs from every value.

    >>> table_digest(pa.table({"a": [1]})) == table_digest(pa.table({"a": pa.chunked_array([[1], []])}))
    True
    """
    return ColumnDigests.of(table).table()


class ColumnDigests(NamedTuple):
    """The columns of a table, each digested once, from which the digest of any selection of them follows."""

    rows: int
    columns: dict[str, tuple[str, str]]

    @classmethod
    def of(cls, table: pa.Table) -> Self:
        """Type and digest of every column."""
        named = zip(table.schema, table.columns, strict=True)
        return cls(table.num_rows, {field.name: (_type_name(field.type), _column_digest(c)) for field, c in named})

    def table(self, names: Iterable[str] | None = None) -> str:
        """`table_digest` of the table, or of these columns of it in this order."""
        # The number of rows is digested too: columns that hold nulls only have no bytes.
        whole = hashlib.sha256(f"{self.rows} rows\n".encode())
        for name in self.columns if names is None else names:
            whole.update(json.dumps([name, *self.columns[name]]).encode())
        return whole.hexdigest()


def _column_digest(column: pa.ChunkedArray) -> str:
    # Three digests: without the lengths, ["ab", "c"] and ["a", "bc"] would be the same bytes.
    nulls, lengths, values = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
    for chunk in column.chunks:
        if column.null_count:
            nulls.update(pc.is_null(chunk).cast(pa.uint8()).to_numpy().data)
        content = _content(chunk)
        lengths.update(content.lengths.data)
        values.update(content.values.data)
    return hashlib.sha256(nulls.digest() + lengths.digest() + values.digest()).hexdigest()


class _Content(NamedTuple):
    """A chunk as plain bytes, nulls as zero or nothing; `lengths` where values differ in length."""

    values: np.ndarray[Any, Any]
    lengths: np.ndarray[Any, Any]


def _content(chunk: pa.Array) -> _Content:
    none = np.empty(0, np.uint8)
    if pat.is_dictionary(chunk.type):
        return _content(chunk.dictionary_decode())
    if pat.is_null(chunk.type):
        return _Content(none, none)
    if pat.is_boolean(chunk.type):
        return _Content(chunk.cast(pa.uint8()).fill_null(0).to_numpy(), none)
    if pat.is_floating(chunk.type):
        return _Content(_one_nan(chunk.fill_null(np.zeros(1, chunk.type.to_pandas_dtype())[0]).to_numpy()), none)
    if pat.is_primitive(chunk.type):
        # A view keeps the bits of times and dates: a cast could change their unit.
        integers = chunk.view(f"int{chunk.type.bit_width}")
        return _Content(integers.fill_null(0).to_numpy(), none)
    return _varying(chunk)


def _one_nan(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    # There are many bit patterns of NaN, and engines write different ones.
    nan = np.isnan(values)
    return np.where(nan, values.dtype.type("nan"), values) if nan.any() else values


def _varying(chunk: pa.Array) -> _Content:
    """Text, bytes, and types whose text is exact: values one after the other, and the length of each."""
    large = chunk.cast(pa.large_binary() if _is_bytes(chunk.type) else pa.large_string())
    reported = large.fill_null(b"" if _is_bytes(chunk.type) else "")
    _, offsets, data = reported.buffers()
    ends = np.frombuffer(offsets, np.int64)[reported.offset : reported.offset + len(reported) + 1]
    content = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return _Content(content[ends[0] : ends[-1]] if len(ends) else content[:0], np.diff(ends))


def _is_bytes(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pat.is_binary, pat.is_large_binary, pat.is_binary_view))


def _type_name(kind: pa.DataType) -> str:
    kind = kind.value_type if pat.is_dictionary(kind) else kind
    if pat.is_string(kind) or pat.is_large_string(kind) or pat.is_string_view(kind):
        return "string"
    return "binary" if _is_bytes(kind) else str(kind)


def digest(value: Any) -> str:
    """SHA-256 over canonical JSON: of a policy, a manifest, or anything made of plain values.

    >>> digest({"b": 1, "a": {2, 1}}) == digest({"a": [1, 2], "b": 1})
    True

    Raises:
        ValueError: a number that is not finite; JSON has no single form for it.
    """
    plain = to_jsonable_python(_ordered(value))
    # Stored fingerprints depend on these very bytes: no option may change.
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _ordered(value: Any) -> Any:
    """Sets, which have no order, as sorted lists; everything else as it is."""
    if isinstance(value, BaseModel):
        return _ordered(value.model_dump())
    if isinstance(value, Mapping):
        return {key: _ordered(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        # By their text: elements may be of types that have no order.
        return sorted((_ordered(item) for item in value), key=repr)
    if isinstance(value, (list, tuple)):
        return [_ordered(item) for item in value]
    return value
