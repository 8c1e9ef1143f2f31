"""One day of a user's lake made canonical: names, types, UTC, one row per transaction id, sorted, rejects apart.

Here: how lake columns are mapped and which types they may have, which rows are refused and why, and the facts that a
day leaves behind. Not here: reading files (`adapters/storage/engine.py`, `adapters/storage/lake.py`), keeping the
result (`adapters/storage/store.py`) and whether the day as a whole is good enough (`domain/data/day_checks.py`).
"""

from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import Any, NamedTuple, Self, TypeAlias, TypeVar

import ibis
import ibis.expr.datatypes as dt
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pat
from pydantic import AwareDatetime, Field, model_validator

from fraud_retraining.domain.data.identity import Spelling, samples, spellings
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.days import Day, start_of
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.domain.values.schemas import (
    AMOUNT,
    CORE_COLUMNS,
    IS_FRAUD,
    LABELLED_AT,
    TIMESTAMP,
    TRANSACTION_ID,
    ColumnName,
    ColumnPolicy,
    EntityPolicy,
    LabelValues,
    RejectReason,
)

REASON = "reason"
SURPLUS = "surplus"
DELIVERED_LABEL = "delivered_label"
_LABELS_NAMED, _LABEL_LETTERS = 5, 40
INTEGER, TEXT = "integer", "text"
JOINT, ESCAPE = "|", "\\"
_ESCAPED, _ESCAPED_JOINT = "\x01", "\x02"
LARGEST_WHOLE = 2.0**53
NO_WHOLE_KEY = -(2**63)
"""Stands for a float key that is no whole number until its row is rejected; no float stands for it."""
_PLACE, _RANK = "__place", "__rank"
_END_OF_TIME = ibis.timestamp("9999-12-31 00:00:00").cast("timestamp(6)")
_FILES_NAMED, _COLUMNS_NAMED = 3, 40

File = TypeVar("File", bound=Hashable)


class LakeMapping(Value):
    """Which column of the lake is which canonical column."""

    columns: ColumnPolicy = Field(default_factory=ColumnPolicy, description="Lake names of the canonical columns.")
    entities: dict[str, EntityPolicy] = Field(description="Whom transactions belong to: name and lake column.")
    numeric: tuple[ColumnName, ...] = Field((), description="Further numeric columns, kept under their lake names.")
    categorical: tuple[ColumnName, ...] = Field((), description="Further categories, kept under their lake names.")
    slices: tuple[ColumnName, ...] = Field((), description="Categories that only group the evaluation.")
    labels: LabelValues = Field(LabelValues(), description="How the lake writes labels; by default 1 and 0.")

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        reserved = (*CORE_COLUMNS, LABELLED_AT, REASON, SURPLUS, DELIVERED_LABEL)
        same: dict[str, list[str]] = {}
        for name in (*reserved, *self.entities, *self.numeric, *self.categories):
            same.setdefault(name.casefold(), []).append(name)
        if twice := [" and ".join(names) for names in same.values() if len(names) > 1]:
            raise ValueError(f"columns named twice (letter case is ignored) or reserved: {'; '.join(twice)}")
        return self

    @property
    def keys(self) -> dict[str, tuple[str, ...]]:
        """Canonical key columns and the lake columns of each: the transaction id and every entity."""
        return {TRANSACTION_ID: (self.columns.transaction_id,)} | {
            name: entity.parts for name, entity in self.entities.items()
        }

    @property
    def key_parts(self) -> dict[str, tuple[str, str]]:
        """The columns of keys that consist of several: entity and lake column, by a name that no other column has."""
        return {
            f"__{name}.{part}": (name, part)
            for name, entity in self.entities.items()
            if len(entity.parts) > 1
            for part in entity.parts
        }

    @property
    def required_keys(self) -> tuple[str, ...]:
        """Key columns that no row may lack."""
        return (TRANSACTION_ID, *(name for name, entity in self.entities.items() if not entity.nullable))

    def key_label(self, name: str) -> str:
        """A key as messages show it: its lake columns, and its canonical name."""
        lake = " + ".join(self.keys[name])
        return lake if lake == name else f"{lake} ({name})"

    @property
    def categories(self) -> tuple[str, ...]:
        """Categorical columns, those that only slice the evaluation last."""
        return tuple(dict.fromkeys((*self.categorical, *self.slices)))

    @property
    def lake_names(self) -> dict[str, tuple[str, ...]]:
        """Every canonical column, in canonical order, and the columns of the lake that it is made of: one, or more."""
        core = {name: (getattr(self.columns, name),) for name in CORE_COLUMNS}
        known = {LABELLED_AT: (self.columns.labelled_at,)} if self.columns.labelled_at else {}
        further = {name: (name,) for name in (*self.numeric, *self.categories)}
        return core | known | self.keys | further


class _Accepted(NamedTuple):
    """The Arrow types that a kind of column may have in the lake (any of the tests), and the same in words."""

    tests: tuple[Callable[[pa.DataType], bool], ...]
    words: str


def _is_uuid(kind: pa.DataType) -> bool:
    """Whether it is Parquet's own type of UUIDs; they are read as text, in lower case with hyphens."""
    return isinstance(kind, pa.UuidType)


_TEXTS = (pat.is_string, pat.is_large_string, pat.is_string_view)
_NUMBERS = (pat.is_integer, pat.is_floating, pat.is_decimal)
_KEY = _Accepted((pat.is_integer, pat.is_floating, *_TEXTS, _is_uuid), "an integer, text or UUID")
_TIME = _Accepted((pat.is_timestamp,), "a timestamp")
_AMOUNT = _Accepted(_NUMBERS, "a number")
_LABEL = _Accepted(
    (pat.is_boolean, *_NUMBERS), "0/1 or boolean, or what labels.fraud_values and labels.genuine_values list"
)
_LISTED_LABEL = _Accepted((pat.is_boolean, *_NUMBERS, *_TEXTS), "text, a number or boolean")
_NUMBER = _Accepted((pat.is_boolean, *_NUMBERS), "a number or boolean")
_CATEGORY = _Accepted((pat.is_boolean, pat.is_integer, pat.is_floating, *_TEXTS), "text, an integer or boolean")


def _accepted(mapping: LakeMapping) -> dict[str, _Accepted]:
    label = _LISTED_LABEL if mapping.labels.frauds else _LABEL
    core = {TRANSACTION_ID: _KEY, TIMESTAMP: _TIME, AMOUNT: _AMOUNT, IS_FRAUD: label, LABELLED_AT: _TIME}
    return (
        core
        | dict.fromkeys(mapping.keys, _KEY)
        | dict.fromkeys(mapping.numeric, _NUMBER)
        | dict.fromkeys(mapping.categories, _CATEGORY)
    )


class ColumnReport(NamedTuple):
    """What the files of a day have besides what they must have."""

    ignored: tuple[str, ...]
    text_keys: frozenset[str]
    part_types: dict[str, str]


def check_columns(
    schemas: Mapping[str, pa.Schema], mapping: LakeMapping, earlier_keys: Mapping[str, str] | None = None
) -> ColumnReport:
    """Refuse a day whose files lack a column or have one of the wrong type.

    Raises:
        DataInvalid: every problem of every column and file at once.
    """
    if problems := column_problems(schemas, mapping):
        raise DataInvalid(
            "columns of the day are not as mapped",
            culprits=[*problems, *_columns_there(schemas, mapping)],
            remedy="correct the files, or map the lake's columns under `columns`, `entities` and `features`",
        )
    text_keys = {
        name
        for name, parts in mapping.keys.items()
        if TEXT in (_kinds(schemas, parts) or [(earlier_keys or {}).get(name, "")])
    }
    kinds = {part: list(_key_kinds(schemas, lake)) for part, (_, lake) in mapping.key_parts.items()}
    part_types = {part: found[0] for part, found in kinds.items() if found}
    return ColumnReport(tuple(ignored_columns(schemas, mapping)), frozenset(text_keys), part_types)


def _columns_there(schemas: Mapping[str, pa.Schema], mapping: LakeMapping) -> list[str]:
    """For columns that are missing: the nearest names in the files that lack them, and all names there."""
    wanted = [lake for parts in mapping.lake_names.values() for lake in parts]
    missing = [lake for lake in dict.fromkeys(wanted) if any(lake not in schema.names for schema in schemas.values())]
    if not missing:
        return []
    lacking = [schema.names for schema in schemas.values() if not set(missing) <= set(schema.names)]
    there = sorted({name for names in lacking for name in names})
    free = {name.casefold(): name for name in reversed(there) if name not in wanted}
    near = {lake: get_close_matches(lake.casefold(), free, n=1, cutoff=0.5) for lake in missing}
    hints = [f"{free[found[0]]} is nearest to {lake}" for lake, found in near.items() if found]
    more = f" and {len(there) - _COLUMNS_NAMED} more" if len(there) > _COLUMNS_NAMED else ""
    return [*hints, f"columns that are there: {', '.join(there[:_COLUMNS_NAMED])}{more}"]


def column_problems(schemas: Mapping[str, pa.Schema], mapping: LakeMapping) -> list[str]:
    """Every reason why the columns of a day's files (name: schema) cannot be used; added columns are no reason."""
    problems: list[str] = []
    for name, accepted in _accepted(mapping).items():
        for lake in mapping.lake_names.get(name, ()):
            label = lake if lake == name else f"{lake} ({name})"
            problems += [f"{label} {problem}" for problem in _problems_of(schemas, lake, accepted)]
    for name, parts in mapping.keys.items():
        for lake in parts:
            problems += [f"{lake} ({name}) {problem}" for problem in _key_problems(schemas, lake)]
    return problems


def _problems_of(schemas: Mapping[str, pa.Schema], lake: str, accepted: _Accepted) -> list[str]:
    missing = [file for file, schema in schemas.items() if lake not in schema.names]
    wrong: dict[str, list[str]] = {}
    ambiguous = []
    for file, schema in schemas.items():
        if sum(column.casefold() == lake.casefold() for column in schema.names) > 1:
            ambiguous.append(file)
        elif lake in schema.names and not _accepts(accepted, schema.field(lake).type):
            wrong.setdefault(str(schema.field(lake).type), []).append(file)
    problems = [f"is missing{_where(missing, schemas)}"] if missing else []
    problems += [f"appears twice{_where(ambiguous, schemas)}"] if ambiguous else []
    return problems + [
        f"is {kind}{_where(files, schemas)}; expected {accepted.words}" for kind, files in sorted(wrong.items())
    ]


def _accepts(accepted: _Accepted, kind: pa.DataType) -> bool:
    """An all-null column has no type of its own and fits everything; its rows are judged one by one."""
    return pat.is_null(kind) or any(test(_value_type(kind)) for test in accepted.tests)


def _key_problems(schemas: Mapping[str, pa.Schema], lake: str) -> list[str]:
    kinds = _key_kinds(schemas, lake)
    if len(kinds) > 1:
        mixed = [f"{kind}{_where(files, schemas)}" for kind, files in sorted(kinds.items())]
        return [f"is {' and '.join(mixed)}; expected one of them"]
    return []


def _kinds(schemas: Mapping[str, pa.Schema], parts: Sequence[str]) -> list[str]:
    """The types that a key has in the files of a day; one of several columns is always text."""
    return [TEXT] if len(parts) > 1 else list(_key_kinds(schemas, parts[0]))


def _key_kinds(schemas: Mapping[str, pa.Schema], lake: str) -> dict[str, list[str]]:
    kinds: dict[str, list[str]] = {}
    for file, schema in schemas.items():
        if lake in schema.names and (kind := _key_kind(schema.field(lake).type)) is not None:
            kinds.setdefault(kind, []).append(file)
    return kinds


def _key_kind(kind: pa.DataType) -> str | None:
    """Integer keys stay integers, also as floats, which pandas makes of integers of which some are missing; unsigned
    64-bit keys, which would not fit, become text."""
    kind = _value_type(kind)
    if pat.is_integer(kind) or pat.is_floating(kind):
        return TEXT if pat.is_uint64(kind) else INTEGER
    return TEXT if any(test(kind) for test in (*_TEXTS, _is_uuid)) else None


def _value_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pat.is_dictionary(kind) else kind


def _where(files: Sequence[str], among: Collection[str]) -> str:
    if len(files) == len(among):
        return ""
    more = f" and {len(files) - _FILES_NAMED} more" if len(files) > _FILES_NAMED else ""
    return f" in {', '.join(files[:_FILES_NAMED])}{more}"


def ignored_columns(schemas: Mapping[str, pa.Schema], mapping: LakeMapping) -> list[str]:
    """Columns of the lake that nothing is mapped to."""
    mapped = {lake for parts in mapping.lake_names.values() for lake in parts}
    return sorted({name for schema in schemas.values() for name in schema.names} - mapped)


def same_shape(schemas: Mapping[File, pa.Schema]) -> list[list[File]]:
    """Files grouped by their columns and types, so that each group can be read as one."""
    groups: dict[frozenset[tuple[str, str]], list[File]] = {}
    for file, schema in schemas.items():
        groups.setdefault(frozenset((column.name, str(column.type)) for column in schema), []).append(file)
    return list(groups.values())


def canonical(raw: ibis.Table, mapping: LakeMapping, text_keys: Collection[str] = ()) -> ibis.Table:
    """Lake columns under canonical names and types; the label stays a number, because it may be anything yet.

    Where the mapping lists labels, `delivered_label` holds the label as it came, and a listed one is 1 or 0. Text keys
    that are empty become null; numbers that are not finite become null; zero has one sign. `text_keys`
    are keys that are text in other files of the day.
    """
    columns = {name: [raw[lake] for lake in parts] for name, parts in mapping.lake_names.items()}
    convert: dict[str, Callable[[ibis.Column], ibis.Value]] = {
        TIMESTAMP: _time,
        AMOUNT: lambda column: _one_zero(_typed(column, "float64")),
        IS_FRAUD: _label,
        LABELLED_AT: _time,
    }
    convert |= {name: _text_key if name in text_keys else _key for name in mapping.keys}
    convert |= dict.fromkeys(mapping.numeric, _number) | dict.fromkeys(mapping.categories, _category)
    selected = {
        name: convert[name](parts[0]) if len(parts) == 1 else _joined_key(parts) for name, parts in columns.items()
    }
    if mapping.labels.frauds:
        text = _delivered_label(columns[IS_FRAUD][0])
        selected |= {IS_FRAUD: _listed_label(text, mapping.labels), DELIVERED_LABEL: text}
    return raw.select(*(value.name(name) for name, value in selected.items()))


def _typed(column: ibis.Column, kind: str) -> ibis.Value:
    """The column as `kind`; a column without values has no type that could be cast."""
    source = column.type()
    if source.is_null() or (isinstance(source, dt.Unknown) and "NULL" in str(source.raw_type)):
        return ibis.null(kind)
    return column if source == dt.dtype(kind) else column.cast(kind)


def _time(column: ibis.Column) -> ibis.Value:
    return _typed(column, "timestamp(6)")


def _key(column: ibis.Column) -> ibis.Value:
    source = column.type()
    if source.is_floating():
        return _whole_key(column)
    return (
        _text_key(column) if source.is_string() or source.is_uint64() or source.is_uuid() else _typed(column, "int64")
    )


def _whole_key(column: ibis.Column) -> ibis.Value:
    """A float that stands for an integer; what does not is `NO_WHOLE_KEY`, and NaN is missing."""
    number = _known_number(column)
    rounded = (number.abs() < LARGEST_WHOLE).ifelse(number, 0.0).cast("int64")
    return number.isnull().ifelse(
        ibis.null("int64"), (rounded.cast("float64") == number).ifelse(rounded, ibis.literal(NO_WHOLE_KEY, "int64"))
    )


def _text_key(column: ibis.Column) -> ibis.Value:
    return _text(column).nullif("")


def _joined_key(parts: Sequence[ibis.Column]) -> ibis.Value:
    """Several columns as one key; different parts never give the same text, and one that is missing misses the key."""
    texts = [_text_key(part).replace(ESCAPE, ESCAPE * 2).replace(JOINT, ESCAPE + JOINT) for part in parts]
    missing = ibis.or_(*(text.isnull() for text in texts))
    return missing.ifelse(ibis.null("string"), ibis.literal(JOINT).join(texts))


def split_keys(joined: pa.Array, count: int) -> list[pa.Array]:
    """Joined keys as the columns that they were made of."""
    marked = pc.replace_substring(joined, ESCAPE * 2, _ESCAPED)
    marked = pc.replace_substring(marked, ESCAPE + JOINT, _ESCAPED_JOINT)
    parts = pc.split_pattern(marked, JOINT)
    columns = [pc.list_element(parts, number) for number in range(count)]
    return [
        pc.replace_substring(pc.replace_substring(column, _ESCAPED_JOINT, JOINT), _ESCAPED, ESCAPE)
        for column in columns
    ]


def _text(column: ibis.Column) -> ibis.Value:
    """Text; of a float that stands for an integer without decimals, and null of NaN."""
    if column.type().is_floating():
        return _known_number(column).cast("string").re_replace(r"\.0$", "")
    return _typed(column, "string")


_category = _text


def _known_number(column: ibis.Column) -> ibis.Value:
    number = _typed(column, "float64")
    return number.isnan().ifelse(ibis.null("float64"), number)


def _label(column: ibis.Column) -> ibis.Value:
    number = _typed(column.cast("int8") if column.type().is_boolean() else column, "float64")
    return number.isnan().ifelse(ibis.null("float64"), number) if column.type().is_floating() else number


def _delivered_label(column: ibis.Column) -> ibis.Value:
    """The label as text, null where it is missing or blank; a whole number without decimals."""
    return _text(_typed(column, "float64") if column.type().is_decimal() else column).strip().nullif("")


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


def classify(raw: ibis.Table, mapping: LakeMapping, day: Day) -> ibis.Table:
    """Canonical columns, `reason` (null: accepted) and `surplus` (a further copy of the same row, to be dropped)."""
    return settle_duplicates(judge(canonical(raw, mapping), mapping, day))


def judge(rows: ibis.Table, mapping: LakeMapping, day: Day) -> ibis.Table:
    """Canonical rows and the first rule that each breaks on its own; duplicates are not looked for."""
    start = start_of(day)
    amount, time, label = rows[AMOUNT], rows[TIMESTAMP], rows[IS_FRAUD]
    rules = (
        *((rows[name].isnull(), null_key(mapping, name)) for name in mapping.required_keys),
        *((rows[name] == NO_WHOLE_KEY, fraction_key(mapping, name)) for name in mapping.keys if _is_whole(rows[name])),
        (time.isnull(), RejectReason.NULL_TIMESTAMP),
        (amount.isnull(), RejectReason.NULL_AMOUNT),
        ((amount < 0) | amount.isnan() | amount.isinf(), RejectReason.NEGATIVE_AMOUNT),
        (label.notin([0.0, 1.0]), RejectReason.INVALID_LABEL),
        (_unlisted(rows), RejectReason.UNLISTED_LABEL),
        ((time < start) | (time >= start + ibis.interval(days=1)), RejectReason.OUTSIDE_DAY),
    )
    reason = ibis.cases(*((broken, str(why)) for broken, why in rules), else_=ibis.null("string"))
    return rows.mutate(**{REASON: reason})


def null_key(mapping: LakeMapping, name: str) -> str:
    """The reason of a row that lacks a key, with the columns that it should be in."""
    return f"{RejectReason.NULL_KEY} {mapping.key_label(name)}"


def fraction_key(mapping: LakeMapping, name: str) -> str:
    """The reason of a row whose key is a float that no integer is equal to, with its column."""
    return f"{RejectReason.FRACTION_KEY} {mapping.key_label(name)}"


def _reasons(mapping: LakeMapping) -> list[str]:
    """Every reason, in the order in which rows are filed under them."""
    keys = [null_key(mapping, name) for name in mapping.required_keys]
    fractions = [fraction_key(mapping, name) for name in mapping.keys]
    named = (RejectReason.NULL_KEY, RejectReason.FRACTION_KEY)
    return [*keys, *fractions, *(str(reason) for reason in RejectReason if reason not in named)]


def _is_whole(key: ibis.Column) -> bool:
    return bool(key.type().is_integer())


def _unlisted(rows: ibis.Table) -> ibis.Value:
    """Whether a label came that no list of the mapping holds."""
    if DELIVERED_LABEL not in rows.columns:
        return ibis.literal(False)
    return rows[DELIVERED_LABEL].notnull() & rows[IS_FRAUD].isnull()


def settle_duplicates(judged: ibis.Table) -> ibis.Table:
    """One row per transaction id: the copy that says most stays, others are rejected, exact copies are surplus.

    Says most: unbroken before broken; a known label before an unknown one; where labels say when they became known, the
    label known last; fraud before genuine; the largest amount; the latest time; then by the other columns. So no fraud
    is lost to a copy, in any order of files and rows. A fraud that does not say when it became known counts as
    known last. Rows without an id are never copies of each other.
    """
    same_id = ibis.window(group_by=TRANSACTION_ID, order_by=[ibis.asc(REASON, nulls_first=True), *_telling(judged)])
    place, rank = ibis.row_number().over(same_id), ibis.rank().over(same_id)
    placed = judged.mutate(**{_PLACE: place, _RANK: rank})
    later = placed[REASON].isnull() & (placed[_RANK] > 0)
    return placed.mutate(
        **{
            REASON: later.ifelse(str(RejectReason.DUPLICATE_ID), placed[REASON]),
            SURPLUS: placed[TRANSACTION_ID].notnull() & (placed[_PLACE] > placed[_RANK]),
        }
    ).drop(_PLACE, _RANK)


def _telling(rows: ibis.Table) -> list[ibis.Value]:
    """How rows of one transaction are ordered, the one that says most first; only equal contents have equal places."""
    label = rows[IS_FRAUD]
    order = [ibis.asc(label.isnull())]
    if LABELLED_AT in rows.columns:
        no_time = (label == 1).ifelse(_END_OF_TIME, None)
        order.append(ibis.desc(ibis.coalesce(rows[LABELLED_AT], no_time), nulls_first=False))
    most = (IS_FRAUD, AMOUNT, TIMESTAMP)
    order += [ibis.desc(rows[name], nulls_first=False) for name in most]
    other = [name for name in rows.columns if name not in (TRANSACTION_ID, REASON, DELIVERED_LABEL, *most)]
    return order + [ibis.asc(name, nulls_first=False) for name in other]


class Arrival(Value):
    """What arrived for a day: how many files, in which version, and when; and files that were not read."""

    files: int = Field(ge=0)
    unread_files: tuple[str, ...] = ()
    source_version: str
    arrived_at: AwareDatetime | None = None


class DayFacts(Value):
    """What a day was like when it was ingested."""

    rows: int = Field(description="Accepted rows.")
    labelled: int = Field(description="Accepted rows whose label is known.")
    frauds: int
    rejects: dict[str, int] = Field(description="Rejected rows by reason.")
    duplicates_dropped: int = Field(description="Surplus copies of identical rows; neither accepted nor rejected.")
    min_timestamp: datetime | None = None
    max_timestamp: datetime | None = None
    min_amount: float | None = None
    mean_amount: float | None = None
    max_amount: float | None = None
    nulls: dict[str, int] = Field(description="Missing values of the columns that may miss them.")
    unlisted_labels: dict[str, int] = Field(
        {}, description="The most frequent labels that no list of the settings holds, and their rows."
    )
    key_types: dict[str, str] = Field(description="Whether each key is integer or text; empty where no row says so.")
    spellings: dict[str, Spelling] = Field({}, description="How text keys and categories are written.")
    samples: dict[str, str] = Field({}, description="Which values they have, and in which form, as hashes.")
    ignored_columns: tuple[str, ...] = ()
    unread_files: tuple[str, ...] = Field((), description="Files of the day's folder that are not Parquet.")
    files: int
    source_version: str
    arrived_at: AwareDatetime | None = None

    @property
    def rejected(self) -> int:
        """Rejected rows, for any reason."""
        return sum(self.rejects.values())

    @property
    def reject_share(self) -> float:
        """Rejected rows among accepted and rejected."""
        judged = self.rows + self.rejected
        return self.rejected / judged if judged else 0.0

    @property
    def fraud_rate(self) -> float | None:
        """Frauds among the labelled rows; None where no label is known."""
        return self.frauds / self.labelled if self.labelled else None


class Ingested(NamedTuple):
    """A day's accepted rows, sorted by time and id; its rejects with their reason; and its facts."""

    accepted: pa.Table
    rejects: pa.Table
    facts: DayFacts


DayShape: TypeAlias = Callable[[ibis.Table, LakeMapping, Day], ibis.Table]
"""A query over the canonical rows of a day."""

DayQuery: TypeAlias = Callable[[DayShape], pa.Table]
"""Runs a query over the canonical rows of one day."""


def ingest(
    query: DayQuery,
    mapping: LakeMapping,
    *,
    arrival: Arrival,
    ignored: Sequence[str] = (),
    part_types: Mapping[str, str] | None = None,
) -> Ingested:
    """Split canonical rows (`canonical`) of a day into accepted and rejected; every row is counted once.

    `ignored` and `part_types` describe the columns of the files (`ColumnReport`).

    The result depends on the rows alone: not on their order, their files or the engine's threads.
    """
    table, dropped = _judged_table(query)
    reason = table[REASON]
    if reason.null_count == len(table):
        accepted, rejects = table, table.slice(0, 0)
    else:
        accepted, rejects = table.filter(pc.is_null(reason)), table.filter(pc.is_valid(reason))
    accepted = accepted.drop_columns([name for name in (REASON, DELIVERED_LABEL) if name in table.column_names])
    accepted = _in_order(_with_label(accepted.combine_chunks()))
    rejects = _sorted_rejects(rejects)
    delivery = _Delivery(arrival, tuple(ignored), part_types or {}, dropped)
    return Ingested(accepted, rejects, _facts(accepted, rejects, mapping, delivery))


def _judged_table(query: DayQuery) -> tuple[pa.Table, int]:
    """Judged rows without surplus copies; looking for duplicates costs only a day that has some."""
    table = query(judge)
    if not _repeats(table[TRANSACTION_ID]):
        return table, 0
    kept = query(settle)
    return kept, len(table) - len(kept)


def settle(rows: ibis.Table, mapping: LakeMapping, day: Day) -> ibis.Table:
    """Judged rows with their duplicates settled and without surplus copies."""
    return settle_duplicates(judge(rows, mapping, day)).filter(lambda row: ~row[SURPLUS]).drop(SURPLUS)


def _repeats(ids: pa.ChunkedArray) -> bool:
    present = ids.drop_null()
    if not pat.is_integer(ids.type):
        return bool(pc.count_distinct(present).as_py() < len(present))
    values = present.to_numpy()
    if _rising(values):
        return False
    values = np.sort(values)
    return not _rising(values)


def _rising(values: np.ndarray[Any, Any]) -> bool:
    return bool((values[1:] > values[:-1]).all())


def _in_order(accepted: pa.Table) -> pa.Table:
    """Accepted rows by time and id; a day that was delivered so is not sorted again."""
    if _is_in_order(accepted[TIMESTAMP].to_numpy(), accepted[TRANSACTION_ID]):
        return accepted
    return accepted.take(pc.sort_indices(accepted, [(TIMESTAMP, "ascending"), (TRANSACTION_ID, "ascending")]))


def _is_in_order(times: np.ndarray[Any, Any], ids: pa.ChunkedArray) -> bool:
    if (times[1:] < times[:-1]).any():
        return False
    tied = np.flatnonzero(times[1:] == times[:-1])
    return bool(pc.all(pc.less(ids.take(tied), ids.take(tied + 1)), min_count=0).as_py())


def _with_label(accepted: pa.Table) -> pa.Table:
    at = accepted.schema.get_field_index(IS_FRAUD)
    return accepted.set_column(at, IS_FRAUD, accepted[IS_FRAUD].cast(pa.int8()))


def _sorted_rejects(rejects: pa.Table) -> pa.Table:
    ordered = rejects.select([REASON, *(name for name in rejects.column_names if name != REASON)])
    return ordered.sort_by([(name, "ascending") for name in ordered.column_names])


class _Delivery(NamedTuple):
    """Facts of a delivery beside its accepted and rejected rows."""

    arrival: Arrival
    ignored: tuple[str, ...]
    part_types: Mapping[str, str]
    dropped: int


def _facts(accepted: pa.Table, rejects: pa.Table, mapping: LakeMapping, delivery: _Delivery) -> DayFacts:
    times, labels = accepted[TIMESTAMP], accepted[IS_FRAUD]
    amounts = accepted[AMOUNT].to_numpy()
    optional = [name for name in accepted.column_names if name not in (TIMESTAMP, AMOUNT, *mapping.required_keys)]
    reasons = {item["values"]: item["counts"] for item in pc.value_counts(rejects[REASON]).to_pylist()}
    some = len(accepted) > 0
    key_types = {
        name: INTEGER if pat.is_integer(accepted[name].type) else TEXT
        for name in mapping.keys
        if accepted[name].null_count < len(accepted)
    }
    key_types |= {part: kind for part, kind in delivery.part_types.items() if mapping.key_parts[part][0] in key_types}
    texts = _shared_texts(accepted, mapping)
    return DayFacts(
        rows=len(accepted),
        labelled=len(labels) - labels.null_count,
        frauds=pc.sum(labels).as_py() or 0,
        rejects={reason: reasons[reason] for reason in _reasons(mapping) if reason in reasons},
        duplicates_dropped=delivery.dropped,
        min_timestamp=times[0].as_py() if some else None,
        max_timestamp=times[-1].as_py() if some else None,
        min_amount=float(amounts.min()) if some else None,
        mean_amount=float(amounts.mean()) if some else None,
        max_amount=float(amounts.max()) if some else None,
        nulls={name: accepted[name].null_count for name in optional},
        unlisted_labels=_unlisted_labels(rejects),
        key_types=key_types if some else {},
        spellings=spellings(texts),
        samples=samples(texts),
        ignored_columns=delivery.ignored,
        **delivery.arrival.model_dump(),
    )


def _shared_texts(accepted: pa.Table, mapping: LakeMapping) -> dict[str, pa.Array]:
    """The distinct values of text that days share: of keys, of each column of joined keys, and of categories."""
    names = [name for name in (*mapping.entities, *mapping.categories) if pat.is_string(accepted[name].type)]
    found = {name: pc.unique(accepted[name].drop_null()) for name in names}
    for name, entity in mapping.entities.items():
        if len(entity.parts) > 1:
            parts = [part for part, (whose, _) in mapping.key_parts.items() if whose == name]
            columns = split_keys(found.pop(name), len(parts))
            found |= {part: pc.unique(column) for part, column in zip(parts, columns, strict=True)}
    return found


def _unlisted_labels(rejects: pa.Table) -> dict[str, int]:
    if DELIVERED_LABEL not in rejects.column_names:
        return {}
    labels = rejects.filter(pc.equal(rejects[REASON], str(RejectReason.UNLISTED_LABEL)))[DELIVERED_LABEL]
    counts = {item["values"]: item["counts"] for item in pc.value_counts(labels).to_pylist()}
    most = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:_LABELS_NAMED]
    return {label[:_LABEL_LETTERS]: rows for label, rows in most}
