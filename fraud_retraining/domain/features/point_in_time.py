"""What a model knows about a transaction at the moment it happens, and nothing from later.

Here: which features a plan has, which days they look back on, and the Ibis expressions that compute them for one day.
Not here: reading and writing days (`adapters/storage/store.py`) and what a column of the lake is called
(`domain/values/schemas.py`).

Notation: a transaction happens at time t of day D; L is the label delay; n is a window in days. "Earlier" means an
earlier timestamp, or the same timestamp and a smaller transaction_id.

- A window of 1 day is (t - 24 h, t]. A longer one is day D so far plus the whole days D-n .. D-1.
- Count, mean, maximum and the ratio of the two include the transaction itself. Its own ratio, z-score and seconds since
  the previous transaction set it against the earlier ones only.
- A transaction without the key of a nullable entity has the features of a key never seen; it is in no key's past.
- Label features end with day D-L-1, the last one whose labels may be used: a window of n days is the whole days
  D-L-n .. D-L-1, the same for every transaction of the entity on D. Days since the first and the last known fraud,
  days since the last known non-fraud, and the fraud streak (known frauds on the days after that one, and days since
  it began) look at the longest window. A label counts when it was known before day d+L+1 began, where d is the day of
  the labelled transaction.
- Label features of a plan with `labels_as_known` end with day D-1 and read every fraud that was known before D began,
  at any age of its transaction (`entity_label_days`); a transaction not known as fraud then counts as none.

Cost follows the new day: by their time of day, the last 24 hours are the part of today before t and the part of
yesterday after it, so one sort of two days serves the exact window; whole days come from `entity_days`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from itertools import groupby
from typing import Literal, NamedTuple, Self, overload

import ibis
import ibis.expr.types as ir
from pydantic import Field, model_validator

from fraud_retraining.domain.values.base import ExtendedValue, Value
from fraud_retraining.domain.values.days import Day, DayRange, start_of
from fraud_retraining.domain.values.schemas import (
    AMOUNT,
    IS_FRAUD,
    LABELLED_AT,
    TIMESTAMP,
    TRANSACTION_ID,
    ColumnName,
    EntityPolicy,
)

LAST_NIGHT_HOUR = 6
SATURDAY = 5

GRID_SHIFT = 1.5 * 2.0**42
"""Adding and taking away this number rounds an amount to a multiple of 2**-10. Sums run over such amounts, because
float64 adds them exactly up to 2**43 (their squares up to 2**33) in any order of addition: a day computed
twice is the same to the last bit."""

NO_PAST_RATIO = 1.0
NO_PAST_ZSCORE = 0.0
MAX_RATIO = 1_000.0
MAX_ZSCORE = 50.0
"""Amount ratios are cut at 1,000 and z-scores at -50 and 50, so that one odd past cannot dominate a linear model."""

MIN_RELATIVE_VARIANCE = 1e-10
"""Below this share of the mean square a past variance is rounding, and the z-score is neutral."""

LARGEST = 3e38
"""Bound of what float32 holds."""

DAY_SECONDS = 86_400
SECOND_MICROSECONDS = 1_000_000


class _Past(NamedTuple):
    """Earlier transactions of an entity, as sums."""

    count: ir.NumericValue
    total: ir.NumericValue
    squares: ir.NumericValue
    maximum: ir.NumericValue

    @property
    def mean(self) -> ir.NumericValue:
        """Mean amount; null where there are none."""
        return self.total / self.count.nullif(0)

    def __or__(self, other: "_Past") -> "_Past":
        return _Past(
            self.count + other.count,
            self.total + other.total,
            self.squares + other.squares,
            ibis.greatest(self.maximum, other.maximum),
        )


@dataclass(frozen=True)
class Seen:
    """Inputs of a feature of an entity: one row a transaction of `day`, with the history of its entity.

    `window` is the window in days, and the longest one for a feature that has none of its own.
    """

    rows: ir.Table
    entity: str
    policy: EntityPolicy
    plan: "FeaturePlan"
    day: Day
    window: int

    @cached_property
    def amount(self) -> ir.NumericValue:
        """This transaction's amount, on the grid on which amounts are summed."""
        return _gridded(self.rows[AMOUNT])

    @cached_property
    def past(self) -> _Past:
        """The entity's earlier transactions within the window; nought where there are none."""
        return self._sums("today") | self._sums("yesterday" if self.window == 1 else f"days{self.window}")

    def known(self, name: str) -> ir.Value:
        """A statistic that was joined to the row; null where there is none."""
        return self.rows[_scratch(self.entity, name)]

    def counted(self, name: str) -> ir.NumericValue:
        """The same, nought where there is none."""
        return _or_zero(self.rows, self.entity, name)

    def _sums(self, name: str) -> _Past:
        return _Past(*(self.counted(f"{name}_{field}") for field in _Past._fields))


class Feature(NamedTuple):
    """A feature that is computed here: everything else follows from this row.

    `value` gives one number a transaction, never null. A windowed feature is there once a window, as `<name>_<n>d`. One
    that reads labels is there for entities with `fraud_share` and one use of labels, `mature` or `as_known`; mature
    labels look back the label delay further. It belongs to the topic `<entity>_labels`.
    """

    name: str
    value: Callable[[Seen], ir.NumericValue]
    windowed: bool = False
    labels: Literal["mature", "as_known"] | None = None


class CalendarFeature(NamedTuple):
    """A feature of the moment alone: from the timestamp and the day."""

    name: str
    value: Callable[[ir.TimestampValue, Day], ir.NumericValue]


class NamedFeature(NamedTuple):
    """A feature of one entity under its full name, with the window that it looks back on."""

    name: str
    feature: Feature
    window: int


def _mean_amount(seen: Seen) -> ir.NumericValue:
    return (seen.past.total + seen.amount) / (seen.past.count + 1)


def _max_amount(seen: Seen) -> ir.NumericValue:
    return ibis.greatest(seen.past.maximum, seen.rows[AMOUNT])


def _amount_zscore(seen: Seen) -> ir.NumericValue:
    past, mean = seen.past, seen.past.mean
    # The difference of two large sums: what is left below `rounding` is noise, not variance.
    spread = past.squares - past.total * mean
    rounding = past.squares * MIN_RELATIVE_VARIANCE
    deviation = (spread > rounding).ifelse(spread / (past.count - 1).nullif(0), None).sqrt()
    zscore = ((seen.amount - mean) / deviation).fill_null(NO_PAST_ZSCORE)
    return ibis.least(ibis.greatest(zscore, -MAX_ZSCORE), MAX_ZSCORE)


def _seconds_since_previous(seen: Seen) -> ir.NumericValue:
    """Time since the entity was last seen: today, else on an earlier day within its longest window."""
    last = ibis.coalesce(seen.known("last"), _microseconds(seen.known("last_at"), seen.day))
    return ((seen.known("clock") - last) / SECOND_MICROSECONDS).fill_null(never_seen_seconds(seen.policy))


def _fraud_share(seen: Seen) -> ir.NumericValue:
    labelled, frauds = (seen.counted(f"days{seen.window}_{name}") for name in ("labelled", "frauds"))
    return (frauds / labelled.nullif(0)).fill_null(0)


def _days_since(which: str) -> Callable[[Seen], ir.NumericValue]:
    def age(seen: Seen) -> ir.NumericValue:
        return seen.known(which).fill_null(no_label_days(seen.policy, seen.plan.label_lag_days))

    return age


CALENDAR_FEATURES = (
    CalendarFeature("hour", lambda timestamp, day: timestamp.hour()),
    CalendarFeature("weekend", lambda timestamp, day: (_date(day).day_of_week.index() >= SATURDAY).cast("int8")),
    CalendarFeature("night", lambda timestamp, day: (timestamp.hour() <= LAST_NIGHT_HOUR).cast("int8")),
)

ENTITY_FEATURES = (
    Feature("count", lambda seen: seen.past.count + 1, windowed=True),
    Feature("mean_amount", lambda seen: ibis.least(_mean_amount(seen), LARGEST), windowed=True),
    Feature("max_amount", lambda seen: ibis.least(_max_amount(seen), LARGEST), windowed=True),
    Feature(
        "max_ratio",
        lambda seen: (_gridded(_max_amount(seen)) / _mean_amount(seen).nullif(0)).fill_null(NO_PAST_RATIO),
        windowed=True,
    ),
    Feature(
        "amount_ratio",
        lambda seen: ibis.least((seen.amount / seen.past.mean.nullif(0)).fill_null(NO_PAST_RATIO), MAX_RATIO),
        windowed=True,
    ),
    Feature("amount_zscore", _amount_zscore, windowed=True),
    Feature("seconds_since_previous", _seconds_since_previous),
    Feature("fraud_share", _fraud_share, windowed=True, labels="mature"),
    Feature("labelled_count", lambda seen: seen.counted(f"days{seen.window}_labelled"), windowed=True, labels="mature"),
    Feature("known_fraud_share", _fraud_share, windowed=True, labels="as_known"),
    Feature("known_frauds", lambda seen: seen.counted(f"days{seen.window}_frauds"), windowed=True, labels="as_known"),
    Feature("days_since_first_fraud", _days_since("first_fraud"), labels="mature"),
    Feature("days_since_last_fraud", _days_since("last_fraud"), labels="mature"),
    Feature("days_since_last_nonfraud", _days_since("last_nonfraud"), labels="mature"),
    Feature("days_since_fraud_streak_began", _days_since("fraud_streak_began"), labels="mature"),
    Feature("fraud_streak", lambda seen: seen.counted("fraud_streak"), labels="mature"),
    Feature("days_since_first_known_fraud", _days_since("first_fraud"), labels="as_known"),
    Feature("days_since_last_known_fraud", _days_since("last_fraud"), labels="as_known"),
    Feature("days_since_last_unreported", _days_since("last_nonfraud"), labels="as_known"),
    Feature("days_since_known_fraud_streak_began", _days_since("fraud_streak_began"), labels="as_known"),
    Feature("known_fraud_streak", lambda seen: seen.counted("fraud_streak"), labels="as_known"),
    Feature("days_since_fraud_became_known", _days_since("last_report"), labels="as_known"),
)
"""Every feature of an entity, in the order that a model reads them: one row each, and nothing else to change. Labels as
known have names of their own: a model that learnt from mature labels is never given the others in their place."""


def entity_features(entity: str, policy: EntityPolicy, *, labels_as_known: bool = False) -> Iterator[NamedFeature]:
    """The features of an entity under their names, in order; windowed ones that stand together go window by window."""
    use = "as_known" if labels_as_known else "mature"
    wanted = [
        feature
        for feature in ENTITY_FEATURES
        if feature.labels is None or (policy.fraud_share and feature.labels == use)
    ]
    for windowed, together in groupby(wanted, key=lambda feature: feature.windowed):
        features = list(together)
        if windowed:
            for window in policy.windows_days:
                yield from (NamedFeature(f"{entity}_{one.name}_{window}d", one, window) for one in features)
        else:
            yield from (NamedFeature(f"{entity}_{one.name}", one, max(policy.windows_days)) for one in features)


class Lookback(Value):
    """The earlier days that the features of one day need."""

    yesterday: date = Field(description="Day whose transactions complete the last 24 hours.")
    entity_days: dict[str, DayRange] = Field(description="By entity: the days whose statistics are read.")


class FeaturePlan(ExtendedValue):
    """Which features a model reads; fixes their names and order."""

    ADDED = frozenset({"labels_as_known"})

    entities: dict[str, EntityPolicy] = Field(description="Entities whose behaviour is a feature, by canonical name.")
    numeric: tuple[ColumnName, ...] = Field((), description="Numeric columns of the lake that pass through.")
    categorical: tuple[ColumnName, ...] = Field((), description="Categorical columns of the lake that pass through.")
    slices: tuple[ColumnName, ...] = Field((), description="Further columns kept for slices; not features.")
    label_delay_days: int = Field(7, ge=0, le=365, description="Days until a label is trustworthy.")
    labelled_at: bool = Field(False, description="Whether transactions say when their label became known.")
    labels_as_known: bool = Field(False, description="Whether label features read each label from when it was known.")

    @model_validator(mode="after")
    def _distinct_columns(self) -> Self:
        nameless = [one for one in (*CALENDAR_FEATURES, *ENTITY_FEATURES) if not one.name.isidentifier()]
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
        own = (one.name for _, one in self._entity_features())
        return (AMOUNT, *(one.name for one in CALENDAR_FEATURES), *own, *self.numeric, *self.categorical)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of `transaction_features`: id, time, entities, label, features."""
        labelled_at = (LABELLED_AT,) if self.labelled_at else ()
        slices = tuple(name for name in self.slices if name not in self.categorical)
        return (TRANSACTION_ID, TIMESTAMP, *self.entities, IS_FRAUD, *labelled_at, *slices, *self.names)

    @property
    def topics(self) -> dict[str, str]:
        """Topic of each feature: the transaction itself, an entity, or an entity's labels."""
        about = {
            one.name: f"{entity}_labels" if one.feature.labels else entity for entity, one in self._entity_features()
        }
        return {name: about.get(name, "transaction") for name in self.names}

    @property
    def horizons(self) -> dict[str, int]:
        """How many days each feature looks back on: a lake that is younger cannot give it in full."""
        own = {
            one.name: one.window + (self.label_lag_days if one.feature.labels else 0)
            for _, one in self._entity_features()
        }
        return {name: own.get(name, 0) for name in self.names}

    @property
    def label_lag_days(self) -> int:
        """Latest days whose transactions label features leave out: the label delay, or none as known."""
        return 0 if self.labels_as_known else self.label_delay_days

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
        return _before(day, self.label_lag_days + 1)

    def lookback(self, day: date) -> Lookback:
        """The earlier days that the features of `day` need."""
        return Lookback(
            yesterday=_before(day, 1),
            entity_days={
                entity: DayRange(start=self._first_day(day, policy), end=_before(day, 1))
                for entity, policy in self.entities.items()
            },
        )

    def _first_day(self, day: date, policy: EntityPolicy) -> date:
        return _before(day, max(policy.windows_days) + (self.label_lag_days if policy.fraud_share else 0))

    def _entity_features(self) -> Iterator[tuple[str, NamedFeature]]:
        for entity, policy in self.entities.items():
            for one in entity_features(entity, policy, labels_as_known=self.labels_as_known):
                yield entity, one


def never_seen_seconds(policy: EntityPolicy) -> int:
    """Seconds since the previous transaction when none is in sight: more than any gap that can be seen."""
    return (max(policy.windows_days) + 1) * DAY_SECONDS


def no_label_days(policy: EntityPolicy, label_lag_days: int) -> int:
    """Days since a known fraud, or non-fraud, when none is in sight: more than any age that can be seen."""
    return label_lag_days + max(policy.windows_days) + 1


def entity_days(transactions: ir.Table, entity: str, plan: FeaturePlan, day: Day) -> ir.Table:
    """Statistics of each key of `entity` on `day`: count, sums, maximum, last time, labels that features may use."""
    transactions = _with_key(transactions, entity, plan)
    rows = transactions.select(
        key=transactions[entity],
        timestamp=transactions[TIMESTAMP],
        amount=transactions[AMOUNT],
        gridded=_gridded(transactions[AMOUNT]),
        label=_known_label(transactions, plan, day),
    )
    return rows.group_by("key").agg(
        count=rows.count(),
        # Parallel sums of float64 depend on the order of the rows, unless every partial sum is exact.
        amount_sum=rows.gridded.sum(),
        amount_sumsq=(rows.gridded * rows.gridded).sum(),
        amount_max=rows.amount.max(),
        last_at=rows.timestamp.max(),
        labelled=rows.label.count(),
        frauds=rows.label.sum().fill_null(0),
    )


def transaction_features(
    plan: FeaturePlan,
    day: Day,
    *,
    today: ir.Table,
    yesterday: ir.Table | None,
    entity_days: Mapping[str, ir.Table],
    entity_label_days: Mapping[str, ir.Table] | None = None,
) -> ir.Table:
    """Features of every transaction of `day`, sorted by timestamp and transaction_id; columns as `plan.columns`.

    `yesterday` holds the transactions of D-1 and each table of `entity_days` the statistics of its days with the column
    `day`. Each table of `entity_label_days` holds what became known on the days before, with the column `known_on`.
    None, or an entity left out, means there are none. `day` may be an expression, such as the one value of a
    one-row table: then one compiled query serves every day.
    Our own features are float32 (amount: float64) and never null; numeric columns that pass through are null, never
    NaN, where the lake has no finite number.
    """
    rows = today
    for entity, policy in plan.entities.items():
        rows = _beside(rows, TRANSACTION_ID, _last_24_hours(plan, day, entity, today, yesterday))
        history = entity_days.get(entity)
        # An empty table of the right types, so that the first day of a lake has the same columns as any other.
        history = _no_entity_days(today, entity, plan, day) if history is None else history
        if policy.fraud_share and plan.labels_as_known:
            history = _with_known_frauds(history, (entity_label_days or {}).get(entity), policy, day)
        rows = _beside(rows, entity, _whole_days(history, entity, policy, plan, day))
    features = _own_features(rows, plan, day) | _pass_through(rows, plan)
    columns = {name: features[name] if name in features else rows[name] for name in plan.columns}
    return rows.select(*(value.name(name) for name, value in columns.items())).order_by(TIMESTAMP, TRANSACTION_ID)


_YESTERDAY, _TODAY = range(2)
"""Days that are laid over each other by time of day. At one instant today comes last: a transaction that is exactly
24 hours old is outside the window."""

_BEFORE = ibis.window(preceding=(None, 1), group_by="key", order_by=["clock", "kind", "id"])
_AFTER = ibis.window(following=(1, None), group_by="key", order_by=["clock", "kind", "id"])


def _last_24_hours(plan: FeaturePlan, day: Day, entity: str, today: ir.Table, yesterday: ir.Table | None) -> ir.Table:
    """Per transaction of today: the entity's earlier ones today, and those after this time of day yesterday."""
    today = _with_key(today, entity, plan)
    parts = [_on_clock(today, entity, _TODAY, day, amount=today[AMOUNT])]
    # Only the window of one day is exact to the moment; longer ones take whole days.
    if 1 in plan.entities[entity].windows_days and yesterday is not None:
        before = _with_key(yesterday, entity, plan)
        parts.append(_on_clock(before, entity, _YESTERDAY, _before(day, 1), amount=before[AMOUNT]))
    parts = _of_one_type(*parts)
    clock = ibis.union(*parts) if len(parts) > 1 else parts[0]
    # One sort by time of day serves today (before t) and yesterday (after t).
    columns = {"clock": clock.clock, "last": _only(clock, _TODAY, clock.clock).max().over(_BEFORE)}
    columns |= _past_sums("today", _only(clock, _TODAY, clock.amount), _BEFORE)
    columns |= _past_sums("yesterday", _only(clock, _YESTERDAY, clock.amount), _AFTER)
    return _of_today(clock, entity, "id", columns)


def _with_key(rows: ir.Table, entity: str, plan: FeaturePlan) -> ir.Table:
    """The rows that have a key. Rows without one share no history: each has the features of a key never seen."""
    return rows.filter(rows[entity].notnull()) if plan.entities[entity].nullable else rows


def _of_one_type(*tables: ir.Table) -> list[ir.Table]:
    """Tables whose keys can be compared: a day without any key does not know whether the key is text."""
    if len({table.key.type() for table in tables}) == 1:
        return list(tables)
    return [table.mutate(key=table.key.cast("string")) for table in tables]


def _on_clock(rows: ir.Table, entity: str, kind: int, day: Day, **value: ir.Value) -> ir.Table:
    """The rows of one day by their time of day."""
    return rows.select(
        id=rows[TRANSACTION_ID],
        key=rows[entity],
        kind=ibis.literal(kind, "int8"),
        clock=_microseconds(rows[TIMESTAMP], day),
        **value,
    )


def _of_today(clock: ir.Table, entity: str, key: str, columns: Mapping[str, ir.Value]) -> ir.Table:
    rows = clock.select("kind", **{key: clock.id}, **columns).filter(ibis._.kind == _TODAY)
    return rows.select(**{_scratch(entity, name): rows[name] for name in (key, *columns)})


def _past_sums(name: str, amount: ir.FloatingColumn, window: object) -> dict[str, ir.Value]:
    gridded = _gridded(amount)
    return {
        f"{name}_count": amount.count().over(window),
        f"{name}_total": gridded.sum().over(window),
        f"{name}_squares": (gridded * gridded).sum().over(window),
        f"{name}_maximum": amount.max().over(window),
    }


def _whole_days(days: ir.Table, entity: str, policy: EntityPolicy, plan: FeaturePlan, day: Day) -> ir.Table:
    """Per key: its whole earlier days, summed over each window, and when it was last seen."""
    if policy.fraud_share:
        days = _with_ages(days, policy, plan, day)
    columns = {"last_at": _within(days, day, max(policy.windows_days), "last_at").max()}
    for window in policy.windows_days:
        if window > 1:
            columns |= {
                f"days{window}_count": _within(days, day, window, "count").sum(),
                f"days{window}_total": _within(days, day, window, "amount_sum").sum(),
                f"days{window}_squares": _within(days, day, window, "amount_sumsq").sum(),
                f"days{window}_maximum": _within(days, day, window, "amount_max").max(),
            }
    if policy.fraud_share:
        columns |= _label_sums(days, policy, plan, day)
    return days.group_by(days.key.name(_scratch(entity, "key"))).agg(
        **{_scratch(entity, name): value for name, value in columns.items()}
    )


def _with_known_frauds(days: ir.Table, reports: ir.Table | None, policy: EntityPolicy, day: Day) -> ir.Table:
    """`days` with the frauds that were known before `day` began, all other transactions as known to be none, and the
    last day on which a fraud of the day became known."""
    if reports is None:
        return days.mutate(labelled=days["count"], frauds=ibis.literal(0), known_on=ibis.null("date"))
    seen = reports.filter(
        (reports.known_on < _date(day)) & (reports.day >= _date(_before(day, max(policy.windows_days))))
    )
    known = seen.group_by(report_key=seen.key, report_day=seen.day).agg(
        known_frauds=seen.frauds.sum(), last_report=(seen.frauds > 0).ifelse(seen.known_on, None).max()
    )
    left, right = days.key, known.report_key
    if left.type() != right.type():
        left, right = left.cast("string"), right.cast("string")
    # Reports of days without a transaction in sight find no row here: only frauds beside their day count.
    joined = days.left_join(known, [left == right, days.day == known.report_day])
    return joined.mutate(
        labelled=joined["count"], frauds=joined.known_frauds.fill_null(0), known_on=joined.last_report
    ).drop("report_key", "report_day", "known_frauds", "last_report")


def _with_ages(days: ir.Table, policy: EntityPolicy, plan: FeaturePlan, day: Day) -> ir.Table:
    """`days` with their age on `day`, and the age of the key's last day with a known non-fraud beside each of them."""
    ends, longest = _before(day, plan.label_lag_days), max(policy.windows_days)
    aged = days.mutate(age=_date(day).delta(days.day, unit="day"))
    genuine = _within(aged, ends, longest, "labelled") > _within(aged, ends, longest, "frauds")
    last = genuine.ifelse(aged.age, None).min().over(ibis.window(group_by="key"))
    return aged.mutate(last_nonfraud=last.fill_null(no_label_days(policy, plan.label_lag_days)))


def _label_sums(days: ir.Table, policy: EntityPolicy, plan: FeaturePlan, day: Day) -> dict[str, ir.Value]:
    """Labels of each window; how old the first and the last fraud of the longest one are, and the last non-fraud."""
    ends = _before(day, plan.label_lag_days)
    frauds = _within(days, ends, max(policy.windows_days), "frauds")
    streak = (days.age < days.last_nonfraud).ifelse(frauds, None)
    columns = {
        "first_fraud": (frauds > 0).ifelse(days.age, None).max(),
        "last_fraud": (frauds > 0).ifelse(days.age, None).min(),
        "last_nonfraud": days.last_nonfraud.min(),
        "fraud_streak_began": (streak > 0).ifelse(days.age, None).max(),
        "fraud_streak": streak.sum(),
    }
    if plan.labels_as_known:
        reported = _date(day).delta(days.known_on, unit="day")
        columns["last_report"] = (frauds > 0).ifelse(reported, None).min()
    for window in policy.windows_days:
        columns |= {
            f"days{window}_labelled": _within(days, ends, window, "labelled").sum(),
            f"days{window}_frauds": _within(days, ends, window, "frauds").sum(),
        }
    return columns


def _no_entity_days(today: ir.Table, entity: str, plan: FeaturePlan, day: Day) -> ir.Table:
    empty = today.filter(ibis.literal(False))
    return entity_days(empty, entity, plan, day).mutate(day=_date(day))


def _beside(rows: ir.Table, column: str, values: ir.Table) -> ir.Table:
    """`rows` with an entity's values, of which the first is the key, beside them; null where there are none."""
    left, right = rows[column], values[values.columns[0]]
    if left.type() != right.type():
        # A day without any key has no type of the key; a join of unlike types would fail.
        left, right = left.cast("string"), right.cast("string")
    return rows.left_join(values, left == right)


def _own_features(rows: ir.Table, plan: FeaturePlan, day: Day) -> dict[str, ir.Value]:
    """Everything computed here, as float32: trees and drift need no more, and a window is read at half the size."""
    features: dict[str, ir.Value] = {one.name: one.value(rows[TIMESTAMP], day) for one in CALENDAR_FEATURES}
    for entity, policy in plan.entities.items():
        seen = {window: Seen(rows, entity, policy, plan, day, window) for window in policy.windows_days}
        own = entity_features(entity, policy, labels_as_known=plan.labels_as_known)
        features |= {one.name: one.feature.value(seen[one.window]) for one in own}
    return {name: value.cast("float32") for name, value in features.items()}


def _pass_through(rows: ir.Table, plan: FeaturePlan) -> dict[str, ir.Value]:
    numeric = {}
    for name in plan.numeric:
        # A number beyond float32 would become infinite in the cast, and a fit refuses infinite values.
        finite = (rows[name].abs() <= LARGEST).ifelse(rows[name], None)
        numeric[name] = finite.cast("float32")
    return numeric | {name: rows[name].cast("string") for name in (*plan.slices, *plan.categorical)}


def _known_label(rows: ir.Table, plan: FeaturePlan, day: Day) -> ir.Value:
    """The label of a transaction of `day`, null unless it was known before the first day that may use it began; a label
    that does not say when it became known is known with the label delay."""
    label = rows[IS_FRAUD].cast("int8")
    if not plan.labelled_at:
        return label
    known_at = rows[LABELLED_AT]
    known = known_at.isnull() | (known_at < start_of(_before(day, -plan.label_delay_days - 1)))
    return known.ifelse(label, None)


def _gridded(amount: ir.NumericValue) -> ir.NumericValue:
    return (amount + GRID_SHIFT) - GRID_SHIFT


def _only(clock: ir.Table, kind: int, value: ir.Column) -> ir.Column:
    return (clock.kind == kind).ifelse(value, None)


def _or_zero(rows: ir.Table, entity: str, name: str) -> ir.NumericValue:
    return rows[_scratch(entity, name)].fill_null(0)


def _within(days: ir.Table, day: Day, window: int, column: str) -> ir.Column:
    """A statistic where its day lies within the `window` whole days before `day`, else null; counts as float64, whose
    sum is exact and takes half the time of the engine's 128-bit integers."""
    within = (days.day >= _date(_before(day, window))) & (days.day < _date(day))
    # DuckDB sums integers in 128 bits, which takes twice the time.
    value = days[column].cast("float64") if days[column].type().is_integer() else days[column]
    return within.ifelse(value, None)


def _microseconds(timestamp: ir.TimestampValue, day: Day) -> ir.IntegerValue:
    return timestamp.delta(start_of(day), unit="microsecond")


def _date(day: Day) -> ir.DateScalar:
    return ibis.literal(day) if isinstance(day, date) else day


@overload
def _before(day: date, days: int) -> date: ...


@overload
def _before(day: ir.DateScalar, days: int) -> ir.DateScalar: ...


def _before(day: Day, days: int) -> Day:
    if isinstance(day, date):
        return day - timedelta(days=days)
    return (day - ibis.interval(days=days)).cast("date")


def _scratch(entity: str, name: str) -> str:
    return f"__{entity}_{name}"
