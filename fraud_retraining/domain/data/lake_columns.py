"""Which types the columns of delivered files may have, and what is wrong with those of a day.

Here: Arrow schemas against a mapping. Not here: reading schemas (`adapters/storage/engine.py`) and rows
(`domain/data/ingestion.py`).
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.types as pat

from fraud_retraining.domain.data.lake_mapping import LakeMapping
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.domain.values.schemas import AMOUNT, IS_FRAUD, LABELLED_AT, PROPENSITY, TIMESTAMP, TRANSACTION_ID

INTEGER, TEXT = "integer", "text"
_FILES_NAMED, _COLUMNS_NAMED = 3, 40

File = TypeVar("File", bound=Hashable)


class AcceptedTypes(NamedTuple):
    """The Arrow types that a kind of column may have in the lake (any of the tests), and the same in words."""

    tests: tuple[Callable[[pa.DataType], bool], ...]
    words: str


def _is_uuid(kind: pa.DataType) -> bool:
    """Whether it is Parquet's own type of UUIDs; they are read as text, in lower case with hyphens."""
    return isinstance(kind, pa.UuidType)


_TEXTS = (pat.is_string, pat.is_large_string, pat.is_string_view)
_NUMBERS = (pat.is_integer, pat.is_floating, pat.is_decimal)
KEY_TYPES = AcceptedTypes((pat.is_integer, pat.is_floating, *_TEXTS, _is_uuid), "an integer, text or UUID")
TIME_TYPES = AcceptedTypes((pat.is_timestamp,), "a timestamp")
_AMOUNT = AcceptedTypes(_NUMBERS, "a number")
LABEL_TYPES = AcceptedTypes(
    (pat.is_boolean, *_NUMBERS), "0/1 or boolean, or what labels.fraud_values and labels.genuine_values list"
)
LISTED_LABEL_TYPES = AcceptedTypes((pat.is_boolean, *_NUMBERS, *_TEXTS), "text, a number or boolean")
_NUMBER = AcceptedTypes((pat.is_boolean, *_NUMBERS), "a number or boolean")
_DECISION = AcceptedTypes((pat.is_boolean, pat.is_integer, pat.is_floating, *_TEXTS), "text, an integer or boolean")
_PROPENSITY = AcceptedTypes(_NUMBERS, "a number")
_CATEGORY = AcceptedTypes((pat.is_boolean, pat.is_integer, pat.is_floating, *_TEXTS), "text, an integer or boolean")


def _accepted_types(mapping: LakeMapping) -> dict[str, AcceptedTypes]:
    label = LISTED_LABEL_TYPES if mapping.labels.frauds else LABEL_TYPES
    core = {TRANSACTION_ID: KEY_TYPES, TIMESTAMP: TIME_TYPES, AMOUNT: _AMOUNT, IS_FRAUD: label, LABELLED_AT: TIME_TYPES}
    return (
        core
        | dict.fromkeys(mapping.keys, KEY_TYPES)
        | dict.fromkeys(mapping.numeric, _NUMBER)
        | dict.fromkeys(mapping.categories, _CATEGORY)
    )


class ColumnReport(NamedTuple):
    """What the files of a day have besides what they must have.

    Attributes:
        ignored: columns that nothing is mapped to.
        text_keys: keys that are text in one of the files.
        part_types: whether each column of joined keys is integer or text.
        unusable: by column that single models alone ask for, why the day has none that could be used.
        columns_there: the names that are there instead; empty where none is missing.
    """

    ignored: tuple[str, ...]
    text_keys: frozenset[str]
    part_types: dict[str, str]
    unusable: dict[str, str]
    columns_there: tuple[str, ...]


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
            culprits=[*problems, *_required_there(schemas, mapping)],
            remedy="correct the files, or map the lake's columns under `columns`, `entities` and `features`",
        )
    unusable = unusable_columns(schemas, mapping)
    text_keys = {
        name
        for name, parts in mapping.keys.items()
        if TEXT in (_kinds(schemas, parts) or [(earlier_keys or {}).get(name, "")])
    }
    kinds = {part: list(key_kinds(schemas, lake)) for part, (_, lake) in mapping.key_parts.items()}
    part_types = {part: found[0] for part, found in kinds.items() if found}
    return ColumnReport(
        tuple(ignored_columns(schemas, mapping)),
        frozenset(text_keys),
        part_types,
        unusable,
        tuple(columns_there(schemas, unusable)),
    )


def _required(mapping: LakeMapping) -> list[str]:
    """Columns of the lake without which a day is refused."""
    names = mapping.lake_names.items()
    return [lake for name, parts in names if name not in mapping.asked_by for lake in parts]


def columns_there(schemas: Mapping[str, pa.Schema], looked_for: Iterable[str]) -> list[str]:
    """Where one of some columns is missing, the names in the files that lack it, as a line of a message."""
    there = _names_beside(schemas, _missing(schemas, looked_for))
    more = f" and {len(there) - _COLUMNS_NAMED} more" if len(there) > _COLUMNS_NAMED else ""
    return [f"columns that are there: {', '.join(there[:_COLUMNS_NAMED])}{more}"] if there else []


def _missing(schemas: Mapping[str, pa.Schema], looked_for: Iterable[str]) -> list[str]:
    """Those of some columns that one of the files lacks."""
    return [name for name in dict.fromkeys(looked_for) if any(name not in one.names for one in schemas.values())]


def _names_beside(schemas: Mapping[str, pa.Schema], missing: Collection[str]) -> list[str]:
    """The names in the files that lack one of the columns."""
    lacking = [schema.names for schema in schemas.values() if not set(missing) <= set(schema.names)]
    return sorted({name for names in lacking for name in names})


def _nearest(missing: Iterable[str], there: Sequence[str]) -> dict[str, str]:
    """For each column that is missing the name that is spelt most like it, where one is."""
    spelt = {name.casefold(): name for name in reversed(there)}
    found = {name: get_close_matches(name.casefold(), spelt, n=1, cutoff=0.5) for name in missing}
    return {name: spelt[near[0]] for name, near in found.items() if near}


def _required_there(schemas: Mapping[str, pa.Schema], mapping: LakeMapping) -> list[str]:
    """For required columns that are missing: the nearest names that nothing is mapped to, and all names there."""
    mapped = {lake for parts in mapping.lake_names.values() for lake in parts}
    missing = _missing(schemas, _required(mapping))
    free = [name for name in _names_beside(schemas, missing) if name not in mapped]
    hints = [f"{near} is nearest to {name}" for name, near in _nearest(missing, free).items()]
    return [*hints, *columns_there(schemas, missing)]


def column_problems(schemas: Mapping[str, pa.Schema], mapping: LakeMapping) -> list[str]:
    """Every reason why the columns of a day's files (name: schema) cannot be used.

    Added columns are no reason, and neither are those that single models alone ask for (`unusable_columns`).
    """
    problems: list[str] = []
    for name, accepted in _accepted_types(mapping).items():
        for lake in () if name in mapping.asked_by else mapping.lake_names.get(name, ()):
            label = lake if lake == name else f"{lake} ({name})"
            problems += [f"{label} {problem}" for problem in type_problems(schemas, lake, accepted)]
    if mapping.blocked is not None:
        for lake, accepted in zip(mapping.decision_columns, (_DECISION, _PROPENSITY), strict=False):
            problems += [f"{lake} ({PROPENSITY}) {problem}" for problem in type_problems(schemas, lake, accepted)]
    for name, parts in mapping.keys.items():
        for lake in parts:
            problems += [f"{lake} ({name}) {problem}" for problem in _key_problems(schemas, lake)]
    return problems


def unusable_columns(schemas: Mapping[str, pa.Schema], mapping: LakeMapping) -> dict[str, str]:
    """By column that single models alone ask for, why a day's files (name: schema) have none that could be used.

    The day goes on without it: it is missing for the models that ask for it, and for nobody else.
    """
    accepted = _accepted_types(mapping)
    missing = _missing(schemas, mapping.asked_by)
    near = _nearest(missing, _names_beside(schemas, missing))
    found = {name: type_problems(schemas, name, accepted[name]) for name in mapping.asked_by}
    hints = {name: [f"{near[name]} is nearest"] if name in near else [] for name in found}
    return {name: "; ".join([*problems, *hints[name]]) for name, problems in found.items() if problems}


def type_problems(schemas: Mapping[str, pa.Schema], lake: str, accepted: AcceptedTypes) -> list[str]:
    """Why a column cannot be used in files (name: schema): missing, there twice, or of a type that is not accepted."""
    missing = [file for file, schema in schemas.items() if lake not in schema.names]
    wrong: dict[str, list[str]] = {}
    ambiguous = []
    for file, schema in schemas.items():
        # DuckDB matches names without regard to capitals: of two such columns it would read either.
        if sum(column.casefold() == lake.casefold() for column in schema.names) > 1:
            ambiguous.append(file)
        elif lake in schema.names and not _accepts(accepted, schema.field(lake).type):
            wrong.setdefault(str(schema.field(lake).type), []).append(file)
    problems = [f"is missing{_where(missing, schemas)}"] if missing else []
    problems += [f"appears twice{_where(ambiguous, schemas)}"] if ambiguous else []
    return problems + [
        f"is {kind}{_where(files, schemas)}; expected {accepted.words}" for kind, files in sorted(wrong.items())
    ]


def _accepts(accepted: AcceptedTypes, kind: pa.DataType) -> bool:
    """An all-null column has no type of its own and fits everything; its rows are judged one by one."""
    return pat.is_null(kind) or any(test(_value_type(kind)) for test in accepted.tests)


def _key_problems(schemas: Mapping[str, pa.Schema], lake: str) -> list[str]:
    kinds = key_kinds(schemas, lake)
    if len(kinds) > 1:
        mixed = [f"{kind}{_where(files, schemas)}" for kind, files in sorted(kinds.items())]
        return [f"is {' and '.join(mixed)}; expected one of them"]
    return []


def _kinds(schemas: Mapping[str, pa.Schema], parts: Sequence[str]) -> list[str]:
    """The types that a key has in the files of a day; one of several columns is always text."""
    return [TEXT] if len(parts) > 1 else list(key_kinds(schemas, parts[0]))


def key_kinds(schemas: Mapping[str, pa.Schema], lake: str) -> dict[str, list[str]]:
    """The kinds that a key has (`INTEGER`, `TEXT`), each with its files."""
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
