"""Transactions of a request, as JSON gives them in the lake's own columns, made canonical without an engine.

Here: the same meaning that `canonical.py` and `ingestion.judge` give the same values in a file of a day, value by value
in Python. Not here: parsing JSON, rules between rows (an id that comes twice, a day), and features.

A column of a file has a type, and a value of JSON brings its own. So a number without decimals is an integer, one with
decimals is a float64, and text is text, also where a lake's column of UUIDs would be read in lower case. What no type
of the column could hold, and text that a database or a file cannot keep, is a problem of the row.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import inf, nan
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fraud_retraining.domain.data.canonical import ESCAPE, JOINT, LARGEST_WHOLE, NO_WHOLE_KEY
from fraud_retraining.domain.data.lake_columns import INTEGER, TEXT
from fraud_retraining.domain.data.lake_mapping import LakeMapping
from fraud_retraining.domain.data.validation import RejectReason
from fraud_retraining.domain.values.schemas import TRANSACTION_ID

Key: TypeAlias = int | str
_Convert: TypeAlias = Callable[[Any], Any]
_Numbered: TypeAlias = Sequence[tuple[int, Mapping[str, Any]]]

_EPOCH, _EPOCH_UTC, _MICROSECOND = datetime(1970, 1, 1), datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
_FIRST, _LAST = ((moment - _EPOCH) // _MICROSECOND for moment in (datetime.min, datetime.max))
_ONE_ZERO = 0.0
"""Added to a number, it makes -0.0 to 0.0 and changes no other."""
_END_OF_INT64, _END_OF_UINT64 = 2**63, 2**64
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?(Z|[+-][0-9]{2}(:?[0-9]{2})?)?"
)
_TIME_WORDS = "a time as ISO 8601 writes it (2026-01-31T08:15:00Z)"
_NO_MOMENT = "no moment of the calendar"
_TOO_LARGE = "number beyond 64 bits"
_WORDS = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
}


class RowProblem(NamedTuple):
    """Why a row of a request is no transaction.

    Attributes:
        row: place of the row in the request, from 0.
        field: the lake's column; empty where the row is no object.
        problem: what is wrong, without the value: a `RejectReason` of the batch, or what was expected instead.
    """

    row: int
    field: str
    problem: str


class CanonicalRows(NamedTuple):
    """Canonical transactions: an entry a transaction in every column.

    Attributes:
        places: places of the transactions in the request, ascending.
        ids: transaction ids, all of them integers or all of them text.
        timestamps: datetime64[us], UTC.
        amounts: float64, finite, not negative.
        keys: by entity; None where a nullable entity has none.
        numeric: by column, float64; NaN where the lake would have null.
        categories: by column, categorical and slices; None where there is none.
    """

    places: list[int]
    ids: list[Key]
    timestamps: NDArray[np.datetime64]
    amounts: NDArray[np.float64]
    keys: dict[str, list[Key | None]]
    numeric: dict[str, NDArray[np.float64]]
    categories: dict[str, list[str | None]]


class RequestRows(NamedTuple):
    """The rows of a request that are transactions, and every problem of those that are not, by row."""

    transactions: CanonicalRows
    problems: tuple[RowProblem, ...]


class _Values(NamedTuple):
    """Columns of the same length, unless a value was refused; timestamps as microseconds since 1970."""

    keys: dict[str, list[Any]]
    timestamps: list[int]
    amounts: list[float]
    numeric: dict[str, list[float]]
    categories: dict[str, list[str | None]]


class _Refused(Exception):
    """A value that its column cannot have; the message is the problem."""


class RequestReader:
    """Reads rows of requests as a mapping says.

    Args:
        mapping: which column of the lake is which canonical column. Labels are not read.
        key_types: whether each key, and each column of a joined key, is `INTEGER` or `TEXT` in the days that were
            ingested (`DayFacts.key_types`). One that is left out is read as text.

    >>> mapping = LakeMapping.model_validate({"entities": {"customer": {"column": "CUSTOMER_ID"}}})
    >>> reader = RequestReader(mapping, {"transaction_id": INTEGER, "customer": TEXT})
    >>> good = {"TRANSACTION_ID": 1, "TX_DATETIME": "2026-01-31T09:15:00+01:00", "CUSTOMER_ID": "c7", "TX_AMOUNT": 12.5}
    >>> rows, problems = reader.read([good | {"TX_AMOUNT": -1}, good])
    >>> rows.places, rows.ids, rows.keys, str(rows.timestamps[0])
    ([1], [1], {'customer': ['c7']}, '2026-01-31T08:15:00.000000')
    >>> problems
    (RowProblem(row=0, field='TX_AMOUNT', problem='negative or not finite amount'),)
    """

    def __init__(self, mapping: LakeMapping, key_types: Mapping[str, str]) -> None:
        self._keys = {
            name: [(lake, _key_conversion(mapping, key_types, name, lake)) for lake in lakes]
            for name, lakes in mapping.keys.items()
        }
        self._timestamp, self._amount = mapping.columns.timestamp, mapping.columns.amount
        self._numeric, self._categories = mapping.numeric, mapping.categories

    def read(self, rows: Sequence[Any]) -> RequestRows:
        """Transactions and problems of the rows of a request; a row with a problem is not among the transactions.

        Args:
            rows: a dictionary a transaction, by the lake's columns, with values as `json.loads` gives them; columns
                that nothing is mapped to are ignored. Anything else is a problem too, and no error.
        """
        problems = [
            RowProblem(place, "", _expected("an object", row))
            for place, row in enumerate(rows)
            if not isinstance(row, dict)
        ]
        numbered = [(place, row) for place, row in enumerate(rows) if isinstance(row, dict)]
        values = self._values(numbered, problems)
        if problems:
            # Columns lack the refused values, so their entries no longer stand side by side: good rows are read again.
            refused = {problem.row for problem in problems}
            numbered = [(place, row) for place, row in numbered if place not in refused]
            values = self._values(numbered, [])
        once = dict.fromkeys(sorted(problems, key=lambda problem: problem.row))
        return RequestRows(_transactions([place for place, _ in numbered], values), tuple(once))

    def _values(self, rows: _Numbered, problems: list[RowProblem]) -> _Values:
        return _Values(
            {
                name: _joined([_column(rows, lake, convert, problems) for lake, convert in columns])
                for name, columns in self._keys.items()
            },
            _column(rows, self._timestamp, _microseconds, problems),
            _column(rows, self._amount, _amount, problems),
            {name: _column(rows, name, _number, problems) for name in self._numeric},
            {name: _column(rows, name, _category, problems) for name in self._categories},
        )


def _transactions(places: list[int], values: _Values) -> CanonicalRows:
    keys = values.keys
    # One array of all columns: making an array costs more than converting a value.
    numeric = np.array(list(values.numeric.values()), np.float64)
    return CanonicalRows(
        places,
        keys.pop(TRANSACTION_ID),
        np.array(values.timestamps, "datetime64[us]"),
        np.array(values.amounts, np.float64),
        keys,
        dict(zip(values.numeric, numeric, strict=True)),
        values.categories,
    )


def _column(rows: _Numbered, lake: str, convert: _Convert, problems: list[RowProblem]) -> list[Any]:
    """Values of a column, without those that are refused."""
    values = []
    for place, row in rows:
        try:
            values.append(convert(row.get(lake)))
        except _Refused as refused:
            problems.append(RowProblem(place, lake, str(refused)))
    return values


def _joined(columns: list[list[Any]]) -> list[Any]:
    """One key of several columns, as `canonical._joined_key` writes it."""
    if len(columns) == 1:
        return columns[0]
    # Where a value was refused the columns differ in length, and nothing of them is used.
    return [None if None in parts else JOINT.join(map(_escaped, parts)) for parts in zip(*columns, strict=False)]


def _escaped(part: str) -> str:
    return part.replace(ESCAPE, ESCAPE * 2).replace(JOINT, ESCAPE + JOINT)


# ---------------------------------------------------------------- keys


def _key_conversion(mapping: LakeMapping, key_types: Mapping[str, str], name: str, lake: str) -> _Convert:
    """How a column of a key is read."""
    number: _Convert = _integer_key
    known_as = name
    if len(mapping.keys[name]) > 1:
        number = _integer_part
        known_as = next(part for part, owner in mapping.key_parts.items() if owner == (name, lake))
    # Where no day says so, text: then ids can be compared, and one that is an integer is one text.
    convert = number if key_types.get(known_as, TEXT) == INTEGER else _text_key
    return _required(convert) if name in mapping.required_keys else convert


def _required(convert: _Convert) -> _Convert:
    def present(value: Any) -> Any:
        key = convert(value)
        if key is None:
            raise _Refused(str(RejectReason.NULL_KEY))
        return key

    return present


def _integer_key(value: Any) -> int | None:
    kind = type(value)
    if kind is int:
        if NO_WHOLE_KEY < value < _END_OF_INT64:
            return value
        raise _Refused(str(RejectReason.FRACTION_KEY) if value == NO_WHOLE_KEY else _TOO_LARGE)
    if value is None or (kind is float and value != value):
        return None
    if kind is not float:
        raise _Refused(_expected("an integer", value))
    # Beyond 2**53 a float cannot distinguish neighbouring integers.
    if abs(value) < LARGEST_WHOLE and value.is_integer():
        return int(value)
    raise _Refused(str(RejectReason.FRACTION_KEY))


def _text_key(value: Any) -> str | None:
    if type(value) is str:
        return _text(value) or None
    if type(value) is int:
        return _integer_text(value)
    if value is None or (type(value) is float and value != value):
        return None
    raise _Refused(_expected("text or an integer", value))


def _integer_part(value: Any) -> str | None:
    """A number as a column of a joined key: also a fraction, as a column of floats gives it."""
    if type(value) is int:
        return _integer_text(value)
    if value is None:
        return None
    if type(value) is float:
        return _float_text(value)
    raise _Refused(_expected("an integer", value))


# ---------------------------------------------------------------- time and amount


def _microseconds(value: Any) -> int:
    """A moment in UTC; text without an offset is UTC. Digits beyond microseconds are cut, as they are of a file with
    nanoseconds."""
    if value is None:
        raise _Refused(str(RejectReason.NULL_TIMESTAMP))
    # `fromisoformat` alone would take a date without a time for its midnight.
    if type(value) is not str or not _TIME.fullmatch(value):
        raise _Refused(_expected(_TIME_WORDS, value))
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise _Refused(_NO_MOMENT) from None
    found = (moment - (_EPOCH if moment.tzinfo is None else _EPOCH_UTC)) // _MICROSECOND
    # In UTC it may be before the year 1 or after 9999.
    if _FIRST <= found <= _LAST:
        return found
    raise _Refused(_NO_MOMENT)


def _amount(value: Any) -> float:
    if value is None:
        raise _Refused(str(RejectReason.NULL_AMOUNT))
    if type(value) not in (float, int):
        raise _Refused(_expected("a number", value))
    number = _as_float(value)
    if 0 <= number < inf:
        return number + _ONE_ZERO
    raise _Refused(str(RejectReason.NEGATIVE_AMOUNT))


# ---------------------------------------------------------------- further columns


def _number(value: Any) -> float:
    """A number or boolean as float64 with one zero; NaN for what is missing or not finite."""
    if value is None:
        return nan
    if type(value) not in (float, int, bool):
        raise _Refused(_expected("a number or boolean", value))
    number = _as_float(value)
    return number + _ONE_ZERO if -inf < number < inf else nan


def _category(value: Any) -> str | None:
    """Text as it is, also empty; a number or boolean as the engine writes it."""
    kind = type(value)
    if kind is str:
        return _text(value)
    if value is None:
        return None
    if kind is bool:
        return "true" if value else "false"
    if kind is int:
        return _integer_text(value)
    if kind is float:
        return _float_text(value)
    raise _Refused(_expected("text, an integer or boolean", value))


# ---------------------------------------------------------------- values


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        raise _Refused(_TOO_LARGE) from None


def _integer_text(value: int) -> str:
    if NO_WHOLE_KEY <= value < _END_OF_UINT64:
        return str(value)
    raise _Refused(_TOO_LARGE)


def _float_text(value: float) -> str | None:
    """A float as the engine writes it, a whole one without decimals; None for NaN."""
    return None if value != value else repr(value).removesuffix(".0")


def _text(value: str) -> str:
    if "\0" in value:
        raise _Refused("text with a NUL character")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _Refused("text that UTF-8 cannot hold") from None
    return value


def _expected(what: str, value: Any) -> str:
    return f"is {_WORDS.get(type(value), type(value).__name__)}; expected {what}"
