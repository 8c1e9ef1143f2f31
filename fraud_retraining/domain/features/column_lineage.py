"""Columns of the tables that this project makes: what each holds, and which columns it is made of.

Here: the description that a catalogue shows. Not here: the expressions that compute them
(`domain/features/point_in_time.py`, `domain/data/ingestion.py`).
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from fraud_retraining.domain.data.lake_mapping import LakeMapping
from fraud_retraining.domain.features.definitions import CALENDAR_FEATURES
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.values.schemas import AMOUNT, IS_FRAUD, LABELLED_AT, PROPENSITY, TIMESTAMP, TRANSACTION_ID

RAW, TRANSACTIONS, ENTITY_DAYS, FEATURES = (
    "raw_transactions",
    "transactions",
    "entity_days",
    "transaction_features",
)
LABELS, ENTITY_LABEL_DAYS = "labels", "entity_label_days"
ONLINE_STATE = "online_state"
SUMS = {
    "key": ("key", "the entity's key"),
    "count": ("bigint", "transactions of the day"),
    "amount_sum": ("double", "sum of their amounts"),
    "amount_sumsq": ("double", "sum of their squared amounts"),
    "amount_max": ("double", "greatest amount"),
    "last_at": ("timestamp", "time of the last one"),
    "labelled": ("bigint", "how many have a label that features may use"),
    "frauds": ("bigint", "how many of those are frauds"),
}
LABEL_SUMS = ("labelled", "frauds")
LABEL_EVENTS = {
    TRANSACTION_ID: ("key", "one row a transaction whose label changed"),
    "day": ("date", "day of the transaction"),
    "known_at": ("timestamp", "when the label became known, UTC"),
    IS_FRAUD: ("tinyint", "1 or 0 from then on"),
    "known_before": ("tinyint", "the same before that day; null while nothing was known"),
    "source": ("string", "who said so, as the feed names it"),
}
REPORTS = {
    "key": ("key", "the entity's key"),
    "day": ("date", "day of the transactions"),
    "frauds": ("bigint", "frauds that became known less those that were taken back"),
    "known_on": ("date", "day on which they did"),
}
CORE = {
    TRANSACTION_ID: ("key", "one row an id"),
    TIMESTAMP: ("timestamp", "when it happened, UTC"),
    AMOUNT: ("double", "never negative"),
    IS_FRAUD: ("tinyint", "1, 0, or null while it is unknown"),
    LABELLED_AT: ("timestamp", "when the label became known, UTC"),
    PROPENSITY: (
        "double",
        "probability that the outcome could be seen: 1, less in the control group, 0 or null where blocked",
    ),
}


class Column(NamedTuple):
    """A column as a catalogue shows it; `made_of` names tables and their columns."""

    name: str
    type: str
    description: str
    made_of: tuple[tuple[str, str], ...] = ()

    @property
    def summary(self) -> str:
        """Description and sources, in a line."""
        tables = dict.fromkeys(table for table, _ in self.made_of)
        parts = [f"{one} ({', '.join(name for table, name in self.made_of if table == one)})" for one in tables]
        return f"{self.description}; made of {' and '.join(parts)}" if parts else self.description


def table_columns(mapping: LakeMapping, plan: FeaturePlan) -> Mapping[str, tuple[Column, ...]]:
    """The columns of each table, in order."""
    labels = {LABELS: tuple(_labels(plan)), ENTITY_LABEL_DAYS: tuple(_entity_label_days(plan))}
    return {
        RAW: tuple(_raw(mapping)),
        TRANSACTIONS: tuple(_transactions(mapping)),
        **(labels if plan.labels_as_known else {}),
        ENTITY_DAYS: tuple(_entity_days(plan)),
        FEATURES: tuple(_features(plan)),
    }


def _raw(mapping: LakeMapping) -> Iterator[Column]:
    used = dict.fromkeys(column for columns in mapping.lake_names.values() for column in columns)
    for column in used:
        becomes = [name for name, columns in mapping.lake_names.items() if column in columns]
        yield Column(column, "as delivered", f"read as {', '.join(becomes)}")


def _transactions(mapping: LakeMapping) -> Iterator[Column]:
    for name, columns in mapping.lake_names.items():
        kind, description = CORE.get(name) or _further(name, mapping)
        yield Column(name, kind, description, tuple((RAW, column) for column in columns))


def _further(name: str, mapping: LakeMapping) -> tuple[str, str]:
    if name in mapping.entities:
        return "key", f"key of the {name}"
    return ("double", "numeric column") if name in mapping.numeric else ("string", "category")


def _entity_days(plan: FeaturePlan) -> Iterator[Column]:
    sources = {"key": (), "last_at": (TIMESTAMP,), "labelled": (IS_FRAUD,), "frauds": (IS_FRAUD,)}
    for entity in plan.entities:
        for name, (kind, description) in SUMS.items():
            read = sources.get(name, () if name == "count" else (AMOUNT,))
            made_of = tuple((TRANSACTIONS, column) for column in (entity, *read))
            yield Column(f"{entity}.{name}", kind, f"{entity} and day: {description}", made_of)


def _labels(plan: FeaturePlan) -> Iterator[Column]:
    sources = {TRANSACTION_ID: (TRANSACTION_ID,), "day": (TIMESTAMP,), **{name: (name,) for name in plan.entities}}
    keys = {name: ("key", f"key of the {name}") for name in plan.entities}
    for name, (kind, description) in (LABEL_EVENTS | keys).items():
        yield Column(name, kind, description, tuple((TRANSACTIONS, column) for column in sources.get(name, ())))


def _entity_label_days(plan: FeaturePlan) -> Iterator[Column]:
    sources = {"day": ("day",), "frauds": (IS_FRAUD, "known_before"), "known_on": ("known_at",)}
    for entity in (name for name, policy in plan.entities.items() if policy.fraud_share):
        for name, (kind, description) in REPORTS.items():
            made_of = tuple((LABELS, column) for column in sources.get(name, (entity,)))
            yield Column(f"{entity}.{name}", kind, f"{entity} and day: {description}", made_of)


def _features(plan: FeaturePlan) -> Iterator[Column]:
    for name in plan.columns:
        yield Column(name, *_feature_type(name, plan), _feature_sources(name, plan))


def _feature_type(name: str, plan: FeaturePlan) -> tuple[str, str]:
    if name in CORE:
        return CORE[name]
    if name in plan.entities:
        return "key", f"key of the {name}"
    meaning = plan.meanings.get(name, "only for slices of the evaluation; no feature")
    if name in (*plan.categorical, *plan.slices):
        return "string", meaning
    days = plan.horizons[name]
    return "float", meaning + (f"; looks back {days} day{'s' if days > 1 else ''}" if days else "")


def _feature_sources(name: str, plan: FeaturePlan) -> tuple[tuple[str, str], ...]:
    topic = plan.topics.get(name, "transaction")
    if name in {one.name for one in CALENDAR_FEATURES}:
        return ((TRANSACTIONS, TIMESTAMP),)
    if topic == "transaction":
        return ((TRANSACTIONS, name),)
    entity = topic if topic in plan.entities else topic.removesuffix("_labels")
    key = (TRANSACTIONS, entity)
    if topic != entity and plan.labels_as_known:
        counted = ((ENTITY_DAYS, f"{entity}.{column}") for column in ("key", "count"))
        return (key, *counted, *((ENTITY_LABEL_DAYS, f"{entity}.{column}") for column in REPORTS))
    if topic != entity:
        return (key, *((ENTITY_DAYS, f"{entity}.{column}") for column in ("key", *LABEL_SUMS)))
    sums = (column for column in SUMS if column not in LABEL_SUMS)
    return (key, (TRANSACTIONS, TIMESTAMP), (TRANSACTIONS, AMOUNT), *((ENTITY_DAYS, f"{entity}.{s}") for s in sums))
