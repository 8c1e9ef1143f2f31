"""Segments: which transactions one of several models is for, and which settings it has of its own.

Here: the condition on columns, the rows that fulfil it, and which sections of the settings a model may replace. Not
here: laying them over the settings (`settings.py`), and the days of a segment (`adapters/storage/model_store.py`).
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Annotated, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    TypeAdapter,
    model_validator,
)

from fraud_retraining.domain.values.base import Policy
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.domain.values.schemas import ColumnName

VALIDATION_KEYS = (
    "min_rows",
    "min_fraud_rate",
    "max_fraud_rate",
    "max_missing_days",
    "min_holdout_frauds",
)
"""What a model may say of its windows; the checks of a day are of all transactions, whoever learns from them."""
MODEL_KEYS = ("estimator", "params", "seed", "downsample", "threads", "trainer", "trainer_workers")
"""Name and condition of a model stand beside its sections."""

SHARED = "shared"
"""The name of what is recorded of days that several models have in common."""

SegmentName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,59}$")]


class NumberRange(Policy):
    """Numbers from a bound on, below another one, or both."""

    at_least: float | None = Field(None, allow_inf_nan=False, description="Least number that belongs to it.")
    below: float | None = Field(None, allow_inf_nan=False, description="Least number that belongs to it no more.")

    @model_validator(mode="after")
    def _some_number(self) -> Self:
        if self.at_least is None and self.below is None:
            raise ValueError("a range needs at_least, below, or both")
        if self.at_least is not None and self.below is not None and self.at_least >= self.below:
            raise ValueError(f"no number is at least {self.at_least:g} and below {self.below:g}")
        return self


def _listed(value: Any) -> Any:
    """One value as a list of it; a range and a list stay.

    Raises:
        ValueError: a truth value: in YAML the country NO is one, unless it stands in quotes.
    """
    found = value if isinstance(value, Mapping | list | tuple | NumberRange) else (value,)
    if any(isinstance(one, bool) for one in found):
        raise ValueError("holds a truth value; write a text such as 'NO' or 'true' in quotes")
    return found


Values = tuple[int | float | str | None, ...]
Condition = Annotated[
    Annotated[Values, Tag("values")] | Annotated[NumberRange, Tag("range")],
    Discriminator(lambda given: "range" if isinstance(given, Mapping | NumberRange) else "values"),
    BeforeValidator(_listed),
]
Where = dict[ColumnName, Condition]
"""By column the values or the range that a transaction must have; all of them together."""


def _checked(where: Where) -> Where:
    if problems := list(condition_problems(where)):
        raise ValueError("; ".join(problems))
    return where


CheckedWhere = Annotated[Where, AfterValidator(_checked)]
"""Conditions of settings: those without a meaning are refused."""
_WHERE: TypeAdapter[Where] = TypeAdapter(Where)


def condition_problems(where: Where) -> Iterator[str]:
    """What is wrong with the values of conditions: none, a truth value, or a number that is none."""
    for column, condition in where.items():
        if isinstance(condition, NumberRange):
            continue
        if not condition:
            yield f"{column}: a list of values that holds none takes no transaction"
        if any(isinstance(value, float) and not math.isfinite(value) for value in condition):
            yield f"{column}: holds a number that is none"


class SegmentPolicy(Policy):
    """One of several models: its name, the transactions that it is for, and its own settings.

    A section replaces the keys that it names in the section of that name; the other keys stay.
    """

    name: SegmentName = Field(
        description="Name of the registered model, first part of the keys of its assets, folder in the store."
    )
    where: CheckedWhere = Field(
        {}, description="Values, lists of values or ranges by column of the lake; {} for all rows."
    )
    window: dict[str, Any] | None = Field(None, description="Its own keys of `window`.")
    holdout: dict[str, Any] | None = Field(None, description="Its own keys of `holdout`.")
    judging: str | None = Field(None, description="Its own `judging`.")
    validation: dict[str, Any] | None = Field(None, description=f"Its own {', '.join(VALIDATION_KEYS)}.")
    model: dict[str, Any] | None = Field(None, description=f"Its own {', '.join(MODEL_KEYS)}.")
    gates: dict[str, Any] | None = Field(None, description="Its own keys of `gates`.")
    scores: dict[str, Any] | None = Field(None, description="Its own keys of `scores`.")
    promotion: dict[str, Any] | None = Field(None, description="Its own keys of `promotion`.")
    drift: dict[str, Any] | None = Field(None, description="Its own keys of `drift`.")
    triggers: dict[str, Any] | None = Field(None, description="Its own keys of `triggers`.")
    serving: dict[str, Any] | None = Field(None, description="Its own keys of `serving`.")
    budget: dict[str, Any] | None = Field(None, description="Its own keys of `budget`.")
    retention: dict[str, Any] | None = Field(None, description="Its own keys of `retention`.")
    alerts: dict[str, Any] | None = Field(None, description="Its own keys of `alerts`.")

    @model_validator(mode="before")
    @classmethod
    def _shared_sections(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            foreign = sorted(str(key) for key in given if key not in cls.model_fields)
            if foreign:
                named = f"{given.get('name', 'a model without name')}: {', '.join(foreign)}"
                raise ValueError(f"{named}: all models share it; a model has {', '.join(cls.sections())}")
        return given

    @model_validator(mode="after")
    def _own_keys(self) -> Self:
        for section, keys in (("validation", VALIDATION_KEYS), ("model", MODEL_KEYS)):
            foreign = sorted(set(getattr(self, section) or ()) - set(keys))
            if foreign:
                named = f"{self.name}: {section}.{foreign[0]}"
                raise ValueError(f"{named}: no model has its own; there are {', '.join(keys)}")
        return self

    @classmethod
    def sections(cls) -> tuple[str, ...]:
        """Sections that a model may have of its own."""
        return tuple(name for name in cls.model_fields if name not in ("name", "where"))

    @property
    def overrides(self) -> dict[str, Any]:
        """Its own settings by section."""
        given = {name: getattr(self, name) for name in self.sections()}
        return {name: value for name, value in given.items() if value is not None}


def taken(rows: pa.Table | pa.RecordBatch, where: Where) -> pa.Array:
    """Whether each row fulfils every condition, as booleans without nulls.

    A missing value fulfils a condition that lists null, and no other one. Numbers are compared as numbers, everything
    else by its text.

    >>> rows = pa.table({"country": ["DE", "FR", None], "amount": [5.0, 50.0, 500.0]})
    >>> taken(rows, {"country": ("FR", None), "amount": NumberRange(below=100)}).to_pylist()
    [False, True, False]

    Raises:
        DataInvalid: the rows lack a column, or a range is about a column without numbers.
    """
    kept = pa.array(np.ones(rows.num_rows, dtype=np.bool_))
    for found in fulfilled(rows, where).values():
        kept = pc.and_(kept, found)
    return kept


def fulfilled(rows: pa.Table | pa.RecordBatch, where: Where) -> dict[str, pa.Array]:
    """By column, whether each row fulfils its condition, as booleans without nulls; errors as of `taken`."""
    missing = [name for name in where if name not in rows.schema.names]
    if missing:
        raise DataInvalid(
            "a segment is made of columns that the day was stored without",
            culprits=missing,
            remedy="ingest the day again: its columns follow from the settings.",
        )
    return {name: _fulfils(name, rows.column(name), condition) for name, condition in where.items()}


def _fulfils(name: str, column: pa.Array | pa.ChunkedArray, condition: Values | NumberRange) -> pa.Array:
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pat.is_decimal(whole.type):
        whole = pc.cast(whole, pa.float64())
    return _in_range(name, whole, condition) if isinstance(condition, NumberRange) else _among(whole, condition)


def _in_range(name: str, column: pa.Array, wanted: NumberRange) -> pa.Array:
    if not _is_number(column):
        raise DataInvalid(f"{name} holds no numbers, so no range of it can be a segment", culprits=[str(column.type)])
    # A long integer is compared as the nearest float, as the bound is one.
    numbers, found = pc.cast(column, pa.float64(), safe=False), pc.is_valid(column)
    if wanted.at_least is not None:
        found = pc.and_(found, pc.fill_null(pc.greater_equal(numbers, wanted.at_least), False))
    if wanted.below is not None:
        found = pc.and_(found, pc.fill_null(pc.less(numbers, wanted.below), False))
    return found


def _among(column: pa.Array, values: Values) -> pa.Array:
    named = [value for value in values if value is not None]
    # Not a number is a missing one, and equals nothing.
    missing = pc.is_null(column, nan_is_null=_is_number(column))
    numbers = [number for value in named if (number := number_of(value)) is not None]
    if pat.is_integer(column.type):
        # As integers: of two long keys that differ in the last digit, a float has one.
        least, most = _limits(column.type)
        whole = [int(number) for number in numbers if number == int(number) and least <= number <= most]
        found = pc.is_in(column, value_set=pa.array(whole, column.type))
    elif _is_number(column):
        floats = [found for number in numbers if (found := _exact_float(number)) is not None]
        found = pc.is_in(pc.cast(column, pa.float64()), value_set=pa.array(floats, pa.float64()))
    else:
        texts = pa.array([str(value) for value in named], pa.string())
        found = pc.is_in(pc.cast(column, pa.string()), value_set=texts)
    return pc.or_(found, missing) if None in values else pc.and_(found, pc.invert(missing))


def _limits(kind: pa.DataType) -> tuple[int, int]:
    """Least and largest integer of a type; a number beyond them equals none of its values."""
    if pat.is_unsigned_integer(kind):
        return 0, 2**kind.bit_width - 1
    return -(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1


def _exact_float(number: int | float) -> float | None:
    """The float that a number is; None where no float is that number."""
    try:
        return float(number) if float(number) == number else None
    except OverflowError:
        return None


def number_of(value: int | float | str) -> int | float | None:
    """The number that a value is; None of a text that is none, or no finite one."""
    try:
        return value if isinstance(value, int) else int(value) if isinstance(value, str) else float(value)
    except ValueError:
        pass
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _is_number(column: pa.Array) -> bool:
    return pat.is_integer(column.type) or pat.is_floating(column.type)


def summary(where: Where) -> str:
    """A condition in words.

    >>> summary({"country": ("DE", None), "amount": NumberRange(at_least=10, below=100)})
    'country is DE or missing, and amount is from 10 to below 100'
    """
    return ", and ".join(_words(name, condition) for name, condition in where.items()) or "every transaction"


def recorded_summary(model: Mapping[str, Any]) -> str:
    """The condition of a model as its fingerprint has it, in words; empty where it is for every transaction.

    >>> recorded_summary({"where": {"country": ["DE"]}}), recorded_summary({"seed": 7})
    ('country is DE', '')
    """
    where = _WHERE.validate_python(model.get("where") or {})
    return summary(where) if where else ""


def _words(name: str, condition: Values | NumberRange) -> str:
    if not isinstance(condition, NumberRange):
        return f"{name} is {' or '.join('missing' if value is None else str(value) for value in condition)}"
    low, high = condition.at_least, condition.below
    if low is None:
        return f"{name} is below {high:g}"
    return f"{name} is from {low:g}" + ("" if high is None else f" to below {high:g}")


def untold(day: date, asked: Mapping[str, str], facts: Mapping[str, Any]) -> DataInvalid | None:
    """Why a model cannot tell its rows of a day: the day lacks a column that the model alone asks for. None if it can.

    Args:
        day: the day.
        asked: by column that the model asks for, the setting that does.
        facts: what the day was like when it was ingested (`DayFacts`).
    """
    unusable: Mapping[str, str] = facts.get("unusable_columns", {})
    lacking = {name: setting for name, setting in asked.items() if name in unusable}
    if not lacking:
        return None
    settings = " and ".join(dict.fromkeys(lacking.values()))
    remedy = f"correct {settings} (days are then made again, once), or have the column delivered; other models go on."
    return DataInvalid(
        f"{day} lacks what {settings} asks for",
        culprits=[*(f"{name} {unusable[name]}" for name in lacking), *facts.get("columns_there", ())],
        remedy=remedy,
    )


def columns_of(models: Iterable[SegmentPolicy]) -> tuple[str, ...]:
    """Every column that a condition is about, once, in order."""
    return tuple(dict.fromkeys(name for model in models for name in model.where))
