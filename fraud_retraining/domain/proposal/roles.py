"""Which column is what: guesses from names and counts, and what only a person can say.

Here: the candidates of each role, and the questions where they are none or several. Not here: what fits the volumes
(`volumes.py`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Literal, NamedTuple

from pydantic import Field

from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.proposal.facts import ISO, TEXT, ColumnFacts
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.domain.values.names import INSIDE, column_problem, feature_problem
from fraud_retraining.domain.values.schemas import (
    CORE_COLUMNS,
    LABELLED_AT,
    TRANSACTION,
    EntityPolicy,
    reads_like_blocking,
)

TimeUnit = Literal["seconds", "milliseconds", "microseconds", "nanoseconds", "minutes", "hours", "days"]
UNIT_SECONDS: dict[TimeUnit, float] = {
    "seconds": 1,
    "milliseconds": 1e-3,
    "microseconds": 1e-6,
    "nanoseconds": 1e-9,
    "minutes": 60,
    "hours": 3600,
    "days": 86400,
}
ROW_NUMBER = "ROW_NUMBER"
"""Name of the column that is added where no column names a transaction."""
FOLDERS = ("year", "month", "day")
"""Names of the folders of a lake; columns of these names cannot stand in its files."""
EPOCH_FROM, EPOCH_TO = 946_684_800, 4_102_444_800
"""Seconds of 2000-01-01 and 2100-01-01: a whole number between them may be seconds since 1970."""
MOST_CATEGORIES, MOST_FEATURES = 50, 60
LEAST_KEYS = 10
"""Fewer values than this are a category and no key."""
LEAST_RETURNS = 3
"""Rows of each value, on average, from which a column of any name may be a key."""

_FRAUD = ("fraud", "fraudulent", "chargeback", "bad", "y", "yes", "true", "t", "1", "positive")
_GENUINE = ("legit", "legitimate", "genuine", "good", "normal", "ok", "n", "no", "false", "f", "0", "negative")
_ENTITIES: tuple[tuple[str, str, bool], ...] = (
    ("customer", r"cust(omer)?|client|user|person|name_?orig|sender|payer|cardholder", False),
    ("card", r"card|pan|cc_?num", False),
    ("account", r"acc(oun)?t|iban", False),
    ("device", r"device|fingerprint|imei", True),
    ("email", r"e_?mail", True),
    ("ip", r"ip(_?addr(ess)?)?", True),
    ("terminal", r"terminal|pos(_?id)?|atm", True),
    ("merchant", r"merchant|shop|store|seller|mcht", True),
    ("receiver", r"name_?dest|receiver|beneficiary|payee|recipient", True),
)
"""Name of the entity, words in names of its column, and whether frauds of others say something about it."""


class Choices(Value):
    """What was said about the columns, by option or answer; None where nothing was."""

    transaction_id: str | None = None
    time: str | None = None
    amount: str | None = None
    label: str | None = None
    label_time: str | None = None
    fraud_values: tuple[str, ...] = ()
    entities: Mapping[str, str] = Field({}, description="Entity and its column; empty: as guessed.")
    time_unit: TimeUnit | None = None
    time_origin: date | None = None
    time_format: str | None = None
    feed_id: str | None = None
    feed_label: str | None = Field(None, description="Column of the label feed; `none`: each of its rows is a fraud.")
    feed_known_at: str | None = None
    feed_source: str | None = None
    athena_day: str | None = Field(None, description="SQL of a row's UTC day, where the lake is a table of Athena.")
    athena_modified: str | None = Field(None, description="SQL aggregate of when a day of the table was written last.")


class Question(NamedTuple):
    """What only a person can say: a field of `Choices`, what is asked, and the answers that are possible."""

    field: str
    asks: str
    candidates: tuple[str, ...]

    @property
    def option(self) -> str:
        """The option of the command line that answers it."""
        return f"--{_OPTIONS.get(self.field, self.field)}"


_OPTIONS = {
    "transaction_id": "transaction-id-column",
    "time": "time-column",
    "amount": "amount-column",
    "label": "label-column",
    "label_time": "label-time-column",
    "fraud_values": "fraud-value",
    "time_unit": "time-unit",
    "time_origin": "time-origin",
    "time_format": "time-format",
    "feed_id": "feed-id-column",
    "feed_label": "feed-label-column",
    "feed_known_at": "feed-known-at-column",
    "feed_source": "feed-source-column",
    "athena_day": "athena-day",
    "athena_modified": "athena-modified",
}


class Undecided(SettingsError):
    """Questions about the columns that nothing has answered."""

    def __init__(self, questions: Sequence[Question]) -> None:
        super().__init__(
            "the columns do not say everything that is needed",
            culprits=[f"{one.asks}: {one.option} {' | '.join(one.candidates) or 'NAME'}" for one in questions],
            remedy="answer with the options that are named, or run it in a terminal, where it asks.",
        )
        self.questions = tuple(questions)


class Entity(NamedTuple):
    """An entity: its name and column, and whether frauds of others say something about it."""

    name: str
    column: ColumnFacts
    fraud_share: bool


class Roles(NamedTuple):
    """What each column is; `reasons` says of each setting why.

    `time_reading` is "" for a timestamp, a format, `ISO`, or a unit; `origin` is what a unit counts from, None: 1970.
    `label` is None where a label feed says what was fraud.
    """

    transaction_id: ColumnFacts | None
    time: ColumnFacts
    time_reading: str
    origin: date | None
    amount: ColumnFacts
    label: ColumnFacts | None
    label_time: ColumnFacts | None
    fraud_values: tuple[str, ...]
    genuine_values: tuple[str, ...]
    entities: tuple[Entity, ...]
    numeric: tuple[ColumnFacts, ...]
    categorical: tuple[ColumnFacts, ...]
    forbidden: tuple[ColumnFacts, ...]
    left_out: tuple[tuple[ColumnFacts, str], ...]
    recurring: tuple[ColumnFacts, ...] = ()
    """Where there is no entity: columns whose values come back as those of a key do, whatever they are called."""
    decision: ColumnFacts | None = None
    propensity: ColumnFacts | None = None

    @property
    def blocking(self) -> tuple[str, ...]:
        """Values of the decision that stop a transaction, by their words."""
        return _blocking(self.decision) if self.decision is not None else ()


def plain_name(name: str) -> str:
    """A name in small letters with underscores between its words.

    >>> plain_name("isFraud"), plain_name("TX_DATETIME"), plain_name("nameOrig"), plain_name("Tx Amount")
    ('is_fraud', 'tx_datetime', 'name_orig', 'tx_amount')
    """
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"[^a-z0-9]+", "_", split.lower()).strip("_")


def decide_roles(columns: Sequence[ColumnFacts], choices: Choices, *, is_file: bool, has_feed: bool = False) -> Roles:
    """What each column is.

    Args:
        columns: facts of every column.
        choices: what was said about them.
        is_file: whether it is a file, whose times are converted and which may lack an id; a lake is used as it is.
        has_feed: whether labels come from a feed, so that the rows need none, and those that they have are no features.

    Raises:
        Undecided: something cannot be told; every question at once.
        SettingsError: what was said names no column, or one that cannot be it.
    """
    asked: list[Question] = []
    pick = _Picker(columns, choices, asked)
    own_labels: tuple[ColumnFacts, ...] = ()
    if has_feed:
        _require_no_label(choices)
        own_labels = pick.labels_of_rows()
    label_time = pick.named("label_time") or _label_time(columns)
    time = pick.time(label_time)
    reading, origin = pick.time_reading(time, is_file=is_file)
    label = None if has_feed else pick.label()
    amount = pick.amount(label, time, *own_labels)
    # A row's number is no name that a feed could know.
    identity = pick.transaction_id(time, label, amount, needed=has_feed or not is_file)
    fraud_values, genuine_values = pick.label_values(label)
    if asked or time is None or amount is None or (label is None and not has_feed):
        raise Undecided(asked)
    if has_feed:
        label_time = None
    decision = _decision(columns)
    propensity = _propensity(columns) if decision is not None else None
    named = (identity, time, amount, label, label_time, decision, propensity)
    core = [one.name for one in named if one is not None]
    entities = pick.entities(core)
    keys = {entity.column.name for entity in entities}
    unused_labels = {one.name for one in own_labels} - {*core, *keys}
    rest = [one for one in columns if one.name not in core and one.name not in keys and one.name not in unused_labels]
    numeric, categorical, forbidden, left_out = _features(rest, entities)
    forbidden += tuple(one for one in own_labels if one.name in unused_labels)
    return Roles(
        identity, time, reading, origin, amount, label, label_time, fraud_values, genuine_values, entities,
        numeric, categorical, forbidden, left_out, () if entities else tuple(filter(_recurs, rest)),
        decision, propensity,
    )  # fmt: skip


def _require_no_label(choices: Choices) -> None:
    """Raise SettingsError where a column of the rows was said to hold what a feed says."""
    said = [Question(field, "", ()).option for field in ("label", "label_time") if getattr(choices, field) is not None]
    if said:
        raise SettingsError(
            f"{' and '.join(said)}: with --labels no column of the rows says what was fraud, but the feed does",
            remedy="name the feed's columns (--feed-label-column, --feed-known-at-column), or leave out --labels.",
        )


def pinned(choices: Choices, roles: Roles) -> Choices:
    """The choices with the core columns that were found, so that further facts decide about the others alone."""
    core = {"transaction_id": roles.transaction_id, "time": roles.time, "amount": roles.amount, "label": roles.label}
    core["label_time"] = roles.label_time
    return choices.model_copy(update={field: one.name for field, one in core.items() if one is not None})


def counted_columns(columns: Sequence[ColumnFacts], roles: Roles) -> tuple[str, ...]:
    """Columns that counts of days rest on, and those whose names speak of an entity: what is read of many days."""
    core = (roles.transaction_id, roles.time, roles.amount, roles.label, roles.label_time, roles.decision)
    named = [one.name for one in core if one is not None]
    keys = [entity.column.name for entity in roles.entities]
    keys += [one.name for one in columns if one.kind in ("integer", "text") and _entity_of(one.name)[0]]
    return tuple(dict.fromkeys([*named, *keys]))


class _Picker:
    """The candidates of each role; questions are collected where there is not exactly one."""

    def __init__(self, columns: Sequence[ColumnFacts], choices: Choices, asked: list[Question]) -> None:
        self._columns = {one.name: one for one in columns}
        self._choices = choices
        self._asked = asked

    def named(self, field: str) -> ColumnFacts | None:
        """The column that was said to be it.

        Raises:
            SettingsError: there is no such column.
        """
        name = getattr(self._choices, field)
        if name is None:
            return None
        if name not in self._columns:
            option = Question(field, "", ()).option
            raise SettingsError(
                f"{option} names {name}, and there is no such column",
                culprits=[f"columns: {', '.join(self._columns)}"],
                remedy="name one of them.",
            )
        return self._columns[name]

    def best(
        self, field: str, asks: str, scored: Mapping[str, int], fallback: Sequence[str] = ()
    ) -> ColumnFacts | None:
        """The column of the greatest score; where several have it, or none has any, a question."""
        greatest = max(scored.values(), default=0)
        ranked = [name for name, score in scored.items() if score and score == greatest]
        if len(ranked) == 1:
            return self._columns[ranked[0]]
        self._asked.append(Question(field, asks, tuple(ranked or fallback)[:12]))
        return None

    def time(self, label_time: ColumnFacts | None) -> ColumnFacts | None:
        if (said := self.named("time")) is not None:
            return said
        usable = [
            one
            for one in self._columns.values()
            if one.known
            and one != label_time
            and (one.kind == "time" or (one.kind in ("integer", "number") and _is_time_name(one.name)))
        ]
        # A column of times is believed before a number whose name only sounds like one.
        times = [one for one in usable if one.kind == "time"] or usable
        # A name that says nothing is less than one that fits, and more than one that speaks of another time.
        scores = {one.name: 2 * _score(one.name, _TIME_NAMES, ()) or 1 for one in times if not _is_other_time(one.name)}
        fallback = [one.name for one in self._columns.values() if one.kind in ("time", "integer", "number", "text")]
        return self.best("time", "which column says when a transaction took place", scores, fallback)

    def time_reading(self, time: ColumnFacts | None, *, is_file: bool) -> tuple[str, date | None]:
        if time is None:
            return "", None
        unit, form, origin = self._choices.time_unit, self._choices.time_format, self._choices.time_origin
        if time.kind in ("integer", "number"):
            if not is_file:
                raise SettingsError(
                    f"{time.name} holds numbers, and the time of a lake's rows has to be a timestamp",
                    remedy="write a lake with timestamps: init --transactions FILE does, from one CSV or Parquet file.",
                )
            guess = unit or (_epoch_unit(time) if origin is None else None)
            if guess is None:
                self._asked.append(
                    Question("time_unit", f"{time.name} counts from a start: in which unit", tuple(UNIT_SECONDS))
                )
            if origin is None and (guess is None or _epoch_unit(time) != guess):
                self._asked.append(
                    Question("time_origin", f"{time.name} counts from a start: from which day", ("YYYY-MM-DD",))
                )
            return guess or "", origin
        if form is not None:
            return form, None
        forms = [reading for reading in time.readings if reading != TEXT]
        if len(forms) > 1 and ISO not in forms:
            self._asked.append(Question("time_format", f"{time.name} may be read in two ways", tuple(forms)))
        if time.kind == "text":
            self._asked.append(
                Question(
                    "time_format", f"{time.name} has times that no known format fits (as of strptime)", ("FORMAT",)
                )
            )
        return forms[0] if forms else "", None

    def label(self) -> ColumnFacts | None:
        if (said := self.named("label")) is not None:
            return said
        two = [one for one in self._columns.values() if _may_be_label(one)]
        scores = {one.name: _score(one.name, _LABEL_NAMES, _OTHER_LABELS) for one in two}
        return self.best("label", "which column says whether it was fraud", scores, [one.name for one in two])

    def labels_of_rows(self) -> tuple[ColumnFacts, ...]:
        """Columns of which one would be the label if no feed said it."""
        usable = (one for one in self._columns.values() if one.kind == "boolean" or one.values)
        return tuple(one for one in usable if _score(one.name, _LABEL_NAMES, ()) and _may_be_label(one))

    def amount(self, *taken: ColumnFacts | None) -> ColumnFacts | None:
        if (said := self.named("amount")) is not None:
            if said.kind not in ("integer", "number"):
                raise SettingsError(
                    f"--amount-column names {said.name}, whose values are not all numbers",
                    culprits=[said.words],
                    remedy="correct the values, or name a column of numbers.",
                )
            return said
        numbers = [
            one
            for one in self._columns.values()
            if one.kind in ("integer", "number") and one.known and one not in taken
        ]
        scores = {one.name: _score(one.name, _AMOUNT_NAMES, _OTHER_AMOUNTS) for one in numbers}
        return self.best(
            "amount", "which column holds the amount", scores, [one.name for one in numbers if not one.unique]
        )

    def transaction_id(self, *taken: ColumnFacts | None, needed: bool) -> ColumnFacts | None:
        if (said := self.named("transaction_id")) is not None:
            return said
        free = [
            one
            for one in self._columns.values()
            if one.kind in ("integer", "text") and not one.missing and one not in taken
        ]
        scores = {one.name: _score(one.name, _ID_NAMES, ()) * one.unique for one in free}
        if not needed and not any(scores.values()):
            return None
        unique = [one.name for one in free if one.unique]
        return self.best("transaction_id", "which column names a transaction", scores, unique)

    def label_values(self, label: ColumnFacts | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        if label is None or label.kind == "boolean" or is_binary(label):
            return (), ()
        said = self._choices.fraud_values or tuple(filter(is_fraud_word, label.values))
        genuine = tuple(one for one in label.values if one not in said)
        if not said or not genuine:
            self._asked.append(Question("fraud_values", f"which value of {label.name} is a fraud", label.values))
        return said, genuine

    def entities(self, core: Sequence[str]) -> tuple[Entity, ...]:
        if self._choices.entities:
            found = []
            for name, column in self._choices.entities.items():
                if column not in self._columns:
                    raise SettingsError(
                        f"--entity {name}={column}: there is no such column",
                        culprits=[f"columns: {', '.join(self._columns)}"],
                        remedy="name one of them.",
                    )
                share = next((share for known, _, share in _ENTITIES if known == name), True)
                found.append(Entity(name, self._columns[column], share))
            return tuple(found)
        entities: dict[str, Entity] = {}
        for one in self._columns.values():
            if one.name in core or not _is_key(one):
                continue
            name, share = _entity_of(one.name)
            if name and name not in entities and not column_problem(one.name):
                entities[name] = Entity(name, one, share)
        order = [name for name, _, _ in _ENTITIES]
        return tuple(sorted(entities.values(), key=lambda one: order.index(one.name) if one.name in order else 99))


_TIME_NAMES = (
    r"(tx|trans|transaction|event|payment|purchase|booking|order)_?(date_?time|time_?stamp|time|ts|date)",
    r"time_?stamp|date_?time|created_?at|occurred_?at|created|ts|trans_date_trans_time",
    r"time|date|step",
)
_OTHER_TIMES = (r"label|fraud|charge_?back|report|known|updat|settl|ingest|load|birth|dob|expir|open|first|last",)
_LABEL_TIMES = (r"(label|labell?ed|fraud|charge_?back|report(ed)?|known|dispute)_?.*(at|time|date|ts|timestamp)",)
_DECISION_NAMES = (r"(tx_?|auth(orization)?_?|risk_?|fraud_?)?(decision|action|disposition|response|result)",)
_PROPENSITY_NAMES = (r"(tx_?|decision_?)?propensity(_?score)?",)
_LABEL_NAMES = (
    r"(is_?|tx_?|transaction_?)?(fraud|fraudulent|charge_?back)(_?(label|flag|ind|indicator))?",
    r"label|class|target|y",
    r".*(fraud|charge_?back).*",
)
_OTHER_LABELS = (r"flagged|scenario|reason|score|pred|type|rule",)
_AMOUNT_NAMES = (
    r"(tx_?|trans_?|transaction_?|payment_?|purchase_?)?(amount|amt)(_?(eur|usd|gbp|chf|cents?|local))?",
    r"(tx_?|transaction_?)?(value|price|sum|total|betrag|montant)",
    r".*(amount|amt|price).*",
)
_OTHER_AMOUNTS = (r"avg|mean|max|min|limit|balance|count|num|ratio|std",)
_ID_NAMES = (
    r"(tx|trans|transaction|payment|event|order|booking)_?(id|key|uuid|number|no|num|ref(erence)?)",
    r"id|uuid|guid|ref(erence)?|index|unnamed_0",
)


def _score(name: str, better: Sequence[str], never: Sequence[str]) -> int:
    """How well a name fits: 3, 2, 1, by the first pattern that it matches as a whole; 0 where it does not."""
    plain = plain_name(name)
    if any(re.search(pattern, plain) for pattern in never):
        return 0
    return next((len(better) - place for place, one in enumerate(better) if re.fullmatch(one, plain)), 0)


def _is_other_time(name: str) -> bool:
    return any(re.search(pattern, plain_name(name)) for pattern in _OTHER_TIMES)


def _is_time_name(name: str) -> bool:
    return bool(_score(name, _TIME_NAMES, _OTHER_TIMES))


def _label_time(columns: Sequence[ColumnFacts]) -> ColumnFacts | None:
    found = [one for one in columns if one.kind == "time" and _score(one.name, _LABEL_TIMES, ())]
    return found[0] if len(found) == 1 else None


def _blocking(column: ColumnFacts) -> tuple[str, ...]:
    return tuple(value for value in column.values if reads_like_blocking(value))


def _decision(columns: Sequence[ColumnFacts]) -> ColumnFacts | None:
    """The column that says what production did: by its name, and by a value that is a word for blocking."""
    found = [one for one in columns if one.kind == "text" and _score(one.name, _DECISION_NAMES, ()) and _blocking(one)]
    return found[0] if len(found) == 1 else None


def _propensity(columns: Sequence[ColumnFacts]) -> ColumnFacts | None:
    found = [one for one in columns if one.kind in ("number", "integer") and _score(one.name, _PROPENSITY_NAMES, ())]
    return found[0] if len(found) == 1 and 0 <= float(found[0].least) <= float(found[0].most) <= 1 else None


def _epoch_unit(column: ColumnFacts) -> TimeUnit | None:
    """The unit in which all of a column lies between 2000 and 2100, counted from 1970."""
    least, most = float(column.least), float(column.most)
    units: tuple[TimeUnit, ...] = ("seconds", "milliseconds", "microseconds", "nanoseconds")
    fitting = [one for one in units if EPOCH_FROM <= least * UNIT_SECONDS[one] <= most * UNIT_SECONDS[one] <= EPOCH_TO]
    return fitting[0] if fitting else None


def is_fraud_word(value: str) -> bool:
    """Whether a value of a label is a usual word for a fraud."""
    return value.strip().lower() in _FRAUD


def is_binary(column: ColumnFacts) -> bool:
    """Whether its values are nought and one, or one of them."""
    try:
        return column.kind in ("integer", "number") and {float(value) for value in column.values} <= {0.0, 1.0}
    except ValueError:
        return False


def _may_be_label(one: ColumnFacts) -> bool:
    return bool(one.known and (one.kind == "boolean" or (one.values and len(one.values) <= 3 and _is_label(one))))


def _is_label(column: ColumnFacts) -> bool:
    return is_binary(column) or any(value.strip().lower() in (*_FRAUD, *_GENUINE) for value in column.values)


def _is_key(column: ColumnFacts) -> bool:
    # A key that every row has anew joins nothing.
    return column.kind in ("integer", "text") and LEAST_KEYS <= column.distinct < 0.9 * column.known


def _recurs(column: ColumnFacts) -> bool:
    """Whether each of many values comes back several times."""
    often = column.distinct * LEAST_RETURNS <= column.known
    return column.kind in ("integer", "text") and column.distinct > MOST_CATEGORIES and often


def _entity_of(name: str) -> tuple[str, bool]:
    """The entity that a column's name speaks of; no name where it speaks of none."""
    plain = plain_name(name)
    for entity, words, share in _ENTITIES:
        if re.fullmatch(rf"((tx|trans)_)?({words})(_?(id|key|number|num|no|hash|token|code|ref|[0-9]))?", plain):
            return entity, share
    ending = re.fullmatch(r"([a-z][a-z0-9_]*?)_(id|key|hash|token)", plain)
    reserved = {*CORE_COLUMNS, LABELLED_AT, TRANSACTION, *INSIDE}
    return (ending[1], True) if ending and ending[1] not in reserved else ("", False)


Sorted = tuple[
    tuple[ColumnFacts, ...], tuple[ColumnFacts, ...], tuple[ColumnFacts, ...], tuple[tuple[ColumnFacts, str], ...]
]


def _features(rest: Sequence[ColumnFacts], entities: Sequence[Entity]) -> Sorted:
    """The other columns as numeric and categorical features, forbidden ones, and those left out with the reason."""
    keys = {one.name: EntityPolicy(column=one.column.name, fraud_share=one.fraud_share) for one in entities}
    own = (*FeaturePlan(entities=keys, label_delay_days=1).names, *CORE_COLUMNS, LABELLED_AT, TRANSACTION, *keys)
    numeric: list[ColumnFacts] = []
    categorical: list[ColumnFacts] = []
    forbidden: list[ColumnFacts] = []
    left_out: list[tuple[ColumnFacts, str]] = []
    rules: tuple[tuple[Callable[[ColumnFacts], bool], str], ...] = (
        (lambda one: one.name.lower() in FOLDERS, "the lake's folders have that name, so it is not written"),
        (lambda one: one.kind in ("empty", "other", "time"), "no type that a feature can have"),
        (lambda one: bool(feature_problem(one.name, own)), "its name cannot be that of a further feature"),
        (lambda one: _is_time_name(one.name) or bool(re.search(r"time|date|_day", plain_name(one.name))),
         "it moves with the time: every later day lies outside of what was learnt"),
        (lambda one: one.distinct <= 1, "it has one value"),
        (lambda one: one.kind == "integer" and one.unique, "nearly every row has its own value"),
        (lambda one: one.kind == "text" and one.distinct > MOST_CATEGORIES, "too many values for a category"),
    )  # fmt: skip
    for one in rest:
        if re.search(r"fraud|charge_?back|label|scenario|disput", plain_name(one.name)):
            forbidden.append(one)
        elif (why := next((words for applies, words in rules if applies(one)), "")) or _full(numeric, categorical):
            left_out.append((one, why or f"more than {MOST_FEATURES} features at first"))
        else:
            is_category = one.kind == "text" or (one.distinct <= MOST_CATEGORIES and _is_code(one))
            (categorical if is_category else numeric).append(one)
    return tuple(numeric), tuple(categorical), tuple(forbidden), tuple(left_out)


def _is_code(one: ColumnFacts) -> bool:
    """Whether whole numbers are names: their order means nothing."""
    return (
        one.kind == "integer"
        and re.search(r"(code|type|category|mcc|channel|country)$", plain_name(one.name)) is not None
    )


def _full(*features: Sequence[ColumnFacts]) -> bool:
    return sum(map(len, features)) >= MOST_FEATURES
