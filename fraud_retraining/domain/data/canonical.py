"""Columns of a lake as canonical values: one type each, one spelling of what is equal, null for what is missing.

Here: how a value is converted. Not here: which rows are refused (`domain/data/ingestion.py`).
"""

from collections.abc import Callable, Collection, Sequence
from enum import IntEnum

import ibis
import ibis.expr.datatypes as dt
import pyarrow as pa
import pyarrow.compute as pc

from fraud_retraining.domain.data.lake_mapping import DELIVERED_DECISION, DELIVERED_LABEL, LakeMapping
from fraud_retraining.domain.values.schemas import (
    AMOUNT,
    IS_FRAUD,
    LABELLED_AT,
    PROPENSITY,
    TIMESTAMP,
    BlockedPolicy,
    LabelValues,
)

JOINT, ESCAPE = "|", "\\"
_ESCAPED, _ESCAPED_JOINT = "\x01", "\x02"
LARGEST_WHOLE = 2.0**53
NO_WHOLE_KEY = -(2**63)
"""Stands for a float key that is no whole number until its row is rejected; no float stands for it."""


class DecisionFault(IntEnum):
    """Stands for a propensity until its row is rejected."""

    NO_DECISION = -1
    NO_PROPENSITY = -2
    NO_PROBABILITY = -3
    SURELY_BLOCKED = -4


def canonical(
    raw: ibis.Table,
    mapping: LakeMapping,
    text_keys: Collection[str] = (),
    *,
    unusable: Collection[str] = (),
    keep: Sequence[str] = (),
) -> ibis.Table:
    """Lake columns under canonical names and types; the label stays a number, because it may be anything yet.

    Where it names decisions, `delivered_decision` holds them in small letters, until the day's facts count them.
    Where the mapping lists labels, `delivered_label` holds the label as it came, and a listed one is 1 or 0. Text keys
    that are empty become null; numbers that are not finite become null; zero has one sign. `text_keys`
    are keys that are text in other files of the day. Without a label column (a lake beside a label feed) every label is
    null. `unusable` are categories that the day has not: they are null in every row. `keep` are columns that stay
    beside them as they are.
    """
    columns = {
        name: [] if name in unusable else [raw[lake] for lake in parts] for name, parts in mapping.lake_names.items()
    }
    convert: dict[str, Callable[[ibis.Column], ibis.Value]] = {
        TIMESTAMP: canonical_time,
        AMOUNT: lambda column: _one_zero(_typed(column, "float64")),
        IS_FRAUD: _label,
        LABELLED_AT: canonical_time,
    }
    convert |= {name: canonical_text_key if name in text_keys else canonical_key for name in mapping.keys}
    convert |= dict.fromkeys(mapping.numeric, _number) | dict.fromkeys(mapping.categories, _category)
    observed = columns.pop(PROPENSITY, None)
    place = list(mapping.lake_names).index(PROPENSITY) if observed else 0
    selected = {name: _value(convert[name], parts) for name, parts in columns.items()}
    if observed and mapping.blocked is not None:
        named = list(selected.items())
        found = (PROPENSITY, canonical_propensity(observed[0], *observed[1:], policy=mapping.blocked))
        selected = dict([*named[:place], found, *named[place:]])
        selected |= {DELIVERED_DECISION: _delivered_decision(observed[0])}
    if IS_FRAUD not in columns:
        place = list(selected).index(AMOUNT) + 1
        named = list(selected.items())
        selected = dict([*named[:place], (IS_FRAUD, ibis.null("float64")), *named[place:]])
    elif mapping.labels.frauds:
        text = _delivered_label(columns[IS_FRAUD][0])
        selected |= {IS_FRAUD: _listed_label(text, mapping.labels), DELIVERED_LABEL: text}
    return raw.select(*(value.name(name) for name, value in selected.items()), *keep)


def _value(convert: Callable[[ibis.Column], ibis.Value], parts: Sequence[ibis.Column]) -> ibis.Value:
    """A canonical column of the columns of the lake that it is made of; null of none."""
    if not parts:
        return ibis.null("string")
    return convert(parts[0]) if len(parts) == 1 else _joined_key(parts)


def _typed(column: ibis.Column, kind: str) -> ibis.Value:
    """The column as `kind`; a column without values has no type that could be cast."""
    source = column.type()
    # DuckDB gives a Parquet column of nulls the type "NULL", which Ibis does not know.
    if source.is_null() or (isinstance(source, dt.Unknown) and "NULL" in str(source.raw_type)):
        return ibis.null(kind)
    return column if source == dt.dtype(kind) else column.cast(kind)


def canonical_time(column: ibis.Column) -> ibis.Value:
    """A timestamp as microseconds in UTC."""
    return _typed(column, "timestamp(6)")


def canonical_key(column: ibis.Column) -> ibis.Value:
    """A key as int64 or text; what is no whole number is `NO_WHOLE_KEY`."""
    source = column.type()
    if source.is_floating():
        return _whole_key(column)
    # An unsigned key of 64 bits may be larger than any int64.
    as_text = source.is_string() or source.is_uint64() or source.is_uuid()
    return canonical_text_key(column) if as_text else _typed(column, "int64")


def _whole_key(column: ibis.Column) -> ibis.Value:
    """A float that stands for an integer; what does not is `NO_WHOLE_KEY`, and NaN is missing."""
    number = _known_number(column)
    # Beyond 2**53 a float cannot distinguish neighbouring integers: such a key would join strangers.
    rounded = (number.abs() < LARGEST_WHOLE).ifelse(number, 0.0).cast("int64")
    return number.isnull().ifelse(
        ibis.null("int64"), (rounded.cast("float64") == number).ifelse(rounded, ibis.literal(NO_WHOLE_KEY, "int64"))
    )


def canonical_text_key(column: ibis.Column) -> ibis.Value:
    """A key as text; null where it is empty."""
    return canonical_text(column).nullif("")


def _joined_key(parts: Sequence[ibis.Column]) -> ibis.Value:
    """Several columns as one key; different parts never give the same text, and one that is missing misses the key."""
    # Escaped, so that ("a|b", "c") and ("a", "b|c") stay two keys.
    texts = [canonical_text_key(part).replace(ESCAPE, ESCAPE * 2).replace(JOINT, ESCAPE + JOINT) for part in parts]
    # Half a key is no key: rows of different parties would share it.
    missing = ibis.or_(*(text.isnull() for text in texts))
    return missing.ifelse(ibis.null("string"), ibis.literal(JOINT).join(texts))


def split_keys(joined: pa.Array, count: int) -> list[pa.Array]:
    """Joined keys as the columns that they were made of."""
    # Escapes are marked by control characters first, or an escaped separator would be split at.
    marked = pc.replace_substring(joined, ESCAPE * 2, _ESCAPED)
    marked = pc.replace_substring(marked, ESCAPE + JOINT, _ESCAPED_JOINT)
    parts = pc.split_pattern(marked, JOINT)
    columns = [pc.list_element(parts, number) for number in range(count)]
    return [
        pc.replace_substring(pc.replace_substring(column, _ESCAPED_JOINT, JOINT), _ESCAPED, ESCAPE)
        for column in columns
    ]


def canonical_text(column: ibis.Column) -> ibis.Value:
    """Text; of a float that stands for an integer without decimals, and null of NaN."""
    if column.type().is_floating():
        return _known_number(column).cast("string").re_replace(r"\.0$", "")
    return _typed(column, "string")


_category = canonical_text


def _known_number(column: ibis.Column) -> ibis.Value:
    number = _typed(column, "float64")
    return number.isnan().ifelse(ibis.null("float64"), number)


def canonical_label(column: ibis.Column, labels: LabelValues) -> ibis.Value:
    """A label as float64: 1 fraud, 0 not, null where it is missing or in no list; else the number that came."""
    return _listed_label(_delivered_label(column), labels) if labels.frauds else _label(column)


def canonical_propensity(
    decision: ibis.Column, propensity: ibis.Column | None = None, *, policy: BlockedPolicy
) -> ibis.Value:
    """Probability, as float64, with which the outcome of a transaction could be seen (`schemas.PROPENSITY`).

    Of a transaction that was let through it is what the lake says, or the share of the control group, at least
    1 / `max_weight`. Of one that was blocked it is 0 where the control group stands for it, and null where it could
    never have been let through. What cannot be is a `DecisionFault`.
    """
    text = _delivered_decision(decision)
    blocked = text.isin(policy.blocking)
    least = 1 / policy.max_weight
    if propensity is None:
        share = policy.control_share
        stands = ibis.null("float64") if share is None else ibis.literal(0.0)
        control = text.isin(policy.letting_through) if share is not None else ibis.literal(False)
        seen = control.ifelse(ibis.literal(max(share or 1.0, least)), 1.0)
        return ibis.cases((text.isnull(), float(DecisionFault.NO_DECISION)), (blocked, stands), else_=seen)
    number = _known_number(propensity)
    # Beyond [0, 1] for every row: a blocked one whose propensity is nonsense says that the column is another.
    outside = (number < 0) | (number > 1) | ((number == 0) & ~blocked)
    return ibis.cases(
        (text.isnull(), float(DecisionFault.NO_DECISION)),
        (outside, float(DecisionFault.NO_PROBABILITY)),
        (blocked & (number == 1), float(DecisionFault.SURELY_BLOCKED)),
        (blocked & (number == 0), ibis.null("float64")),
        (blocked, 0.0),
        (number.isnull(), float(DecisionFault.NO_PROPENSITY)),
        else_=ibis.greatest(number, least),
    )


def _label(column: ibis.Column) -> ibis.Value:
    number = _typed(column.cast("int8") if column.type().is_boolean() else column, "float64")
    return number.isnan().ifelse(ibis.null("float64"), number) if column.type().is_floating() else number


def _delivered_label(column: ibis.Column) -> ibis.Value:
    """The label as text, null where it is missing or blank; a whole number without decimals."""
    return canonical_text(_typed(column, "float64") if column.type().is_decimal() else column).strip().nullif("")


def _delivered_decision(column: ibis.Column) -> ibis.Value:
    return _delivered_label(column).lower()


def _listed_label(text: ibis.Value, labels: LabelValues) -> ibis.Value:
    spelt = text.lower()
    return ibis.cases((spelt.isin(labels.frauds), 1.0), (spelt.isin(labels.genuine), 0.0), else_=ibis.null("float64"))


def _number(column: ibis.Column) -> ibis.Value:
    number = _typed(column, "float64")
    if column.type().is_floating():
        number = (number.isnan() | number.isinf()).ifelse(ibis.null("float64"), number)
    return _one_zero(number)


def _one_zero(number: ibis.Value) -> ibis.Value:
    return (number == ibis.literal(0.0)).ifelse(0.0, number)
