"""Digests: of a table's values, of a policy, and of everything that determines a model.

Here: what is part of each digest and how it is made stable. Not here: where digests are kept and compared
(`adapters/store.py`, `adapters/registry.py`) and reading the source code that a fingerprint names.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat
from pydantic import BaseModel, Field, JsonValue
from pydantic_core import to_jsonable_python

from fraud_retraining.domain.schemas import Policy
from fraud_retraining.domain.windows import TrainingWindow


def table_digest(table: pa.Table) -> str:
    """SHA-256 over column names, types and values, in the order of rows and columns.

    Equal values give an equal digest however they are cut into chunks, whatever lies in the slots of nulls, which
    NaN it is, and whether text is stored plain, large or as a dictionary. A null differs from every value.
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
        whole = hashlib.sha256(f"{self.rows} rows\n".encode())
        for name in self.columns if names is None else names:
            whole.update(json.dumps([name, *self.columns[name]]).encode())
        return whole.hexdigest()


def _column_digest(column: pa.ChunkedArray) -> str:
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
        integers = chunk.view(f"int{chunk.type.bit_width}")
        return _Content(integers.fill_null(0).to_numpy(), none)
    return _varying(chunk)


def _one_nan(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    nan = np.isnan(values)
    return np.where(nan, values.dtype.type("nan"), values) if nan.any() else values


def _varying(chunk: pa.Array) -> _Content:
    """Text, bytes, and what is exact as text: values one after the other, and the length of each."""
    large = chunk.cast(pa.large_binary() if _is_bytes(chunk.type) else pa.large_string())
    packed = large.fill_null(b"" if _is_bytes(chunk.type) else "")
    _, offsets, data = packed.buffers()
    ends = np.frombuffer(offsets, np.int64)[packed.offset : packed.offset + len(packed) + 1]
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

    Raises:
        ValueError: a value that is not finite, which JSON cannot tell apart reliably.
    """
    plain = to_jsonable_python(_ordered(value))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _ordered(value: Any) -> Any:
    """Sets, which have no order, as sorted lists; everything else as it is."""
    if isinstance(value, BaseModel):
        return _ordered(value.model_dump())
    if isinstance(value, Mapping):
        return {key: _ordered(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((_ordered(item) for item in value), key=repr)
    if isinstance(value, (list, tuple)):
        return [_ordered(item) for item in value]
    return value


class DayPin(Policy):
    """A day as a model used it."""

    day: date
    digest: str
    features_digest: str | None = Field(None, description="Absent for days that features only look back on.")
    weight: float = 1.0


class Fingerprint(Policy):
    """Everything that determines a model and its verdict; two models with one fingerprint are the same model."""

    as_of: date = Field(description="Also the cut-off of labels that say when they became known.")
    label_delay_days: int
    training: tuple[DayPin, ...]
    holdout: tuple[DayPin, ...]
    fixed: tuple[DayPin, ...] = ()
    history: tuple[DayPin, ...] = ()
    features: tuple[str, ...] = Field(description="Feature columns in the order that the model reads.")
    categorical: tuple[str, ...] = ()
    features_policy: str
    model: dict[str, JsonValue] = Field(description="Estimator, parameters, seed and whatever else steers the fit.")
    code: str = Field(description="Digest of the versions of the code that computes features and fits.")
    libraries: dict[str, str] = Field(description="Versions of the libraries that the fit depends on.")

    @property
    def digest(self) -> str:
        """The fingerprint in 64 characters."""
        return digest(self)

    @property
    def days(self) -> dict[date, DayPin]:
        """Every day that was used, in order."""
        pins = {pin.day: pin for pin in (*self.history, *self.fixed, *self.holdout, *self.training)}
        return dict(sorted(pins.items()))

    def role(self, day: date) -> str:
        """What a day was used for; the first of these when for several."""
        roles = ("training", "holdout", "fixed", "history")
        return next(name for name in roles if any(pin.day == day for pin in getattr(self, name)))


def fingerprint(window: TrainingWindow, *, model: BaseModel, code: str, libraries: Mapping[str, str]) -> Fingerprint:
    """The fingerprint of the model that `model` gives on `window`."""

    def pins(days: Iterable[Any]) -> tuple[DayPin, ...]:
        return tuple(DayPin(**day.model_dump(include=set(DayPin.model_fields))) for day in days)

    return Fingerprint(
        as_of=window.days.as_of,
        label_delay_days=window.label_delay_days,
        training=pins(window.training),
        holdout=pins(window.holdout),
        fixed=pins(window.fixed),
        history=tuple(DayPin(day=day, digest=day_digest) for day, day_digest in window.history),
        features=window.features,
        categorical=window.categorical,
        features_policy=window.features_policy,
        model=model.model_dump(mode="json"),
        code=code,
        libraries=dict(sorted(libraries.items())),
    )


def changes(before: Fingerprint, after: Fingerprint) -> list[str]:
    """What made a fingerprint another one, in words: days that changed, came or went, and everything else by name."""
    told = _changed_days(before, after)
    for name in ("as_of", "label_delay_days", "features", "categorical", "features_policy", "code"):
        if getattr(before, name) != getattr(after, name):
            told.append(f"{name.replace('_', ' ')} changed")
    for name in ("model", "libraries"):
        told += [f"{name} {change}" for change in _changed_keys(getattr(before, name), getattr(after, name))]
    return told


def _changed_days(before: Fingerprint, after: Fingerprint) -> list[str]:
    old, new = before.days, after.days
    both = [day for day in old if day in new]
    told = [f"day {day} changed" for day in both if old[day].digest != new[day].digest]
    told += [f"day {day} is new" for day in new if day not in old]
    told += [f"day {day} is no longer used" for day in old if day not in new]
    counted = {
        "features": sum(_other_features(old[day], new[day]) for day in both),
        "weights": sum(old[day].weight != new[day].weight for day in both),
        "roles": sum(before.role(day) != after.role(day) for day in both),
    }
    return told + [f"{what} of {count} days changed" for what, count in counted.items() if count]


def _other_features(before: DayPin, after: DayPin) -> bool:
    """Whether both used the day's features, and those were others; a day that is only looked back on has none."""
    return (
        None not in (before.features_digest, after.features_digest) and before.features_digest != after.features_digest
    )


def _changed_keys(before: Mapping[str, JsonValue], after: Mapping[str, JsonValue]) -> list[str]:
    return [
        f"{key}: {before.get(key)} -> {after.get(key)}"
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]
