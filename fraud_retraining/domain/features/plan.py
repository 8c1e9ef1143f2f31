"""Which features a model reads, and how far they look back.

Here: the plan that follows from the settings. Not here: the features (`definitions.py`) and computing them
(`point_in_time.py`, `online.py`).
"""

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from typing import Self

from pydantic import Field, model_validator

from fraud_retraining.domain.features import definitions
from fraud_retraining.domain.features.arrays import Numbers
from fraud_retraining.domain.features.definitions import Moment, NamedFeature, Rows, Seen, entity_features
from fraud_retraining.domain.values.base import ExtendedValue, Value
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.schemas import (
    AMOUNT,
    IS_FRAUD,
    LABELLED_AT,
    PROPENSITY,
    TIMESTAMP,
    TRANSACTION_ID,
    ColumnName,
    EntityPolicy,
)


class Lookback(Value):
    """The earlier days that the features of one day need."""

    yesterday: date = Field(description="Day whose transactions complete the last 24 hours.")
    entity_days: dict[str, DayRange] = Field(description="By entity: the days whose statistics are read.")


class FeaturePlan(ExtendedValue):
    """Which features a model reads; fixes their names and order."""

    ADDED = frozenset({"labels_as_known", "propensity"})

    entities: dict[str, EntityPolicy] = Field(description="Entities whose behaviour is a feature, by canonical name.")
    numeric: tuple[ColumnName, ...] = Field((), description="Numeric columns of the lake that pass through.")
    categorical: tuple[ColumnName, ...] = Field((), description="Categorical columns of the lake that pass through.")
    slices: tuple[ColumnName, ...] = Field((), description="Further columns kept for slices; not features.")
    label_delay_days: int = Field(7, ge=0, le=365, description="Days until a label is trustworthy.")
    labelled_at: bool = Field(False, description="Whether transactions say when their label became known.")
    labels_as_known: bool = Field(False, description="Whether label features read each label from when it was known.")
    propensity: bool = Field(
        False, description="Whether transactions say with which probability they were let through."
    )

    @model_validator(mode="after")
    def _distinct_columns(self) -> Self:
        known = (*definitions.CALENDAR_FEATURES, *definitions.ENTITY_FEATURES)
        nameless = [one for one in known if not one.name.isidentifier()]
        if nameless:
            raise ValueError(f"{len(nameless)} features have no name that a column can have")
        columns = self.columns
        twice = sorted({name for name in columns if columns.count(name) > 1} - {AMOUNT})
        # The amount is a column of its own and a feature, and stands once.
        if twice or columns.count(AMOUNT) > 1:
            raise ValueError(f"feature columns named twice: {', '.join(twice or [AMOUNT])}")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Features in the order that a model reads them."""
        own = (one.name for one in self._entity_features())
        return (AMOUNT, *(one.name for one in definitions.CALENDAR_FEATURES), *own, *self.numeric, *self.categorical)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of `transaction_features`: id, time, entities, label, features."""
        known = ((LABELLED_AT, self.labelled_at), (PROPENSITY, self.propensity))
        optional = tuple(name for name, there in known if there)
        slices = tuple(name for name in self.slices if name not in self.categorical)
        return (TRANSACTION_ID, TIMESTAMP, *self.entities, IS_FRAUD, *optional, *slices, *self.names)

    @property
    def topics(self) -> dict[str, str]:
        """Topic of each feature: the transaction itself, an entity, or an entity's labels."""
        about = {
            one.name: f"{one.entity}_labels" if one.feature.labels else one.entity for one in self._entity_features()
        }
        return {name: about.get(name, "transaction") for name in self.names}

    @property
    def meanings(self) -> dict[str, str]:
        """What each feature is, in words, for those who read why a transaction has its score."""
        own = {AMOUNT: "amount of the transaction"}
        own |= {one.name: one.meaning for one in definitions.CALENDAR_FEATURES}
        own |= {one.name: one.meaning for one in self._entity_features()}
        return {name: own.get(name, f"{name} as delivered") for name in self.names}

    @property
    def horizons(self) -> dict[str, int]:
        """How many days each feature looks back on: a lake that is younger cannot give it in full."""
        own = {
            one.name: one.window + (self.label_lag_days if one.feature.labels else 0) for one in self._entity_features()
        }
        return {name: own.get(name, 0) for name in self.names}

    @property
    def label_lag_days(self) -> int:
        """Latest days whose transactions label features leave out: the label delay, or none as known."""
        return 0 if self.labels_as_known else self.label_delay_days

    def own_features(self, rows: Rows, begins: Moment) -> dict[str, Numbers]:
        """Every feature that is computed here, of the transactions of one day with the statistics of their entities.

        `rows` and `begins` as in `definitions.Seen`. The amount and the columns that pass through are not among them.
        """
        features = {one.name: one.value(rows[TIMESTAMP]) for one in definitions.CALENDAR_FEATURES}
        for entity, policy in self.entities.items():
            lag = self.label_lag_days
            seen = {days: Seen(rows, entity, policy, lag, begins, days) for days in policy.windows_days}
            own = entity_features(entity, policy, labels_as_known=self.labels_as_known)
            features |= {one.name: one.feature.value(seen[one.window]) for one in own}
        return features

    def other_label_use(self, features: Iterable[str]) -> str | None:
        """Why a model with these features has no scores under this plan, if it learnt with the other use of labels.

        None for a model whose features the plan gives, and for one that lacks others.
        """
        other = self.model_copy(update={"labels_as_known": not self.labels_as_known})
        missing = set(features) - set(self.names)
        if not missing or not missing <= set(other.names):
            return None
        before, now = ("mature labels", "as known") if self.labels_as_known else ("labels as known", "once mature")
        return (
            f"it learnt with {before}, and the present settings use labels {now} (labels.use): its label features are "
            "not made any more"
        )

    def label_day(self, day: date) -> date:
        """The latest day whose labels the features of `day` may use."""
        return _days_before(day, self.label_lag_days + 1)

    def lookback(self, day: date) -> Lookback:
        """The earlier days that the features of `day` need."""
        return Lookback(
            yesterday=_days_before(day, 1),
            entity_days={
                entity: DayRange(start=self._first_day(day, policy), end=_days_before(day, 1))
                for entity, policy in self.entities.items()
            },
        )

    def _first_day(self, day: date, policy: EntityPolicy) -> date:
        return _days_before(day, max(policy.windows_days) + (self.label_lag_days if policy.fraud_share else 0))

    def _entity_features(self) -> Iterator[NamedFeature]:
        for entity, policy in self.entities.items():
            yield from entity_features(entity, policy, labels_as_known=self.labels_as_known)


def _days_before(day: date, days: int) -> date:
    return day - timedelta(days=days)
