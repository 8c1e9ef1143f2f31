"""The features of a transaction, each written once.

Here: one row a feature, with its arithmetic over what is known of the transaction and of its entities' past. The same
row is evaluated over the days of a lake as Ibis expressions (`point_in_time.py`), over a batch that is scored as arrays
(`arrays.py`), and over a single transaction as plain numbers (`row_program.py`). Not here: which of them a model reads
(`plan.py`), and the statistics themselves.

What the windows hold, and which labels count, stands in `point_in_time.py`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any, Literal, NamedTuple, TypeAlias

import ibis.expr.types as ir
import numpy as np

from fraud_retraining.domain.features.arrays import Numbers, coalesce, greatest, least
from fraud_retraining.domain.features.row_program import Recorded
from fraud_retraining.domain.values.schemas import AMOUNT, EntityPolicy

LAST_NIGHT_HOUR = 6
SATURDAY = 5

GRID_SHIFT = 1.5 * 2.0**42
"""Adding and taking away this number rounds an amount to a multiple of 2**-10. Sums run over such amounts, because
float64 adds them exactly up to 2**43 in any order of addition: a day computed twice is the same to the last bit."""

SQUARES_SHIFT = 1.5 * 2.0**65
"""Adding and taking away this number rounds a square to a multiple of 2**13. Squares are summed in two parts: float64
adds these multiples exactly up to 2**66, and what is left of each square, at most 2**12, over a million squares."""

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


def gridded(amount: Numbers) -> Numbers:
    """Amounts on the grid on which they are summed."""
    return (amount + GRID_SHIFT) - GRID_SHIFT


def in_two_parts(square: Numbers) -> tuple[Numbers, Numbers]:
    """A square, or a sum of them, as two numbers that add up to it exactly; each is summed for itself."""
    high = (square + SQUARES_SHIFT) - SQUARES_SHIFT
    return high, square - high


def passed_through(number: Numbers) -> Numbers:
    """A numeric column of the lake as a feature: float32, null where it is beyond what float32 holds."""
    # In the cast it would become infinite, and a fit refuses infinite values.
    return (number.abs() <= LARGEST).ifelse(number, None).cast("float32")


def column_of(entity: str, name: str) -> str:
    """The column in which a statistic of an entity stands beside a transaction."""
    return f"__{entity}_{name}"


def never_seen_seconds(policy: EntityPolicy) -> int:
    """Seconds since the previous transaction when none is in sight: more than any gap that can be seen."""
    return (max(policy.windows_days) + 1) * DAY_SECONDS


def no_label_days(policy: EntityPolicy, label_lag_days: int) -> int:
    """Days since a known fraud, or non-fraud, when none is in sight: more than any age that can be seen."""
    return label_lag_days + max(policy.windows_days) + 1


Rows: TypeAlias = "ir.Table | Mapping[str, Numbers]"
Moment: TypeAlias = "ir.TimestampScalar | np.datetime64 | Recorded"


class Past(NamedTuple):
    """Earlier transactions of an entity, as sums."""

    count: Numbers
    total: Numbers
    squares: Numbers
    maximum: Numbers

    @property
    def mean(self) -> Numbers:
        """Mean amount; null where there are none."""
        return self.total / self.count.nullif(0)

    def __or__(self, other: "Past") -> "Past":
        return Past(
            self.count + other.count,
            self.total + other.total,
            self.squares + other.squares,
            greatest(self.maximum, other.maximum),
        )


@dataclass(frozen=True)
class Seen:
    """Inputs of a feature of an entity: one row a transaction of `day`, with the history of its entity.

    `rows` has the transaction's own columns and, by `column_of`, the statistics of its entity: an Ibis table for a day,
    arrays for a batch that is scored, or numbers that are recorded. `begins` is the first moment of the day. `window`
    is the window in days, and the longest one for a feature that has none of its own.
    """

    rows: Rows
    entity: str
    policy: EntityPolicy
    label_lag_days: int
    begins: Moment
    window: int

    @cached_property
    def amount(self) -> Numbers:
        """This transaction's amount, on the grid on which amounts are summed."""
        return gridded(self.rows[AMOUNT])

    @cached_property
    def past(self) -> Past:
        """The entity's earlier transactions within the window; nought where there are none."""
        return self._sums("today") | self._sums("yesterday" if self.window == 1 else f"days{self.window}")

    def known(self, name: str) -> Any:
        """A statistic that was joined to the row; null where there is none."""
        return self.rows[column_of(self.entity, name)]

    def counted(self, name: str) -> Numbers:
        """The same, nought where there is none."""
        return self.known(name).fill_null(0)

    def _sums(self, name: str) -> Past:
        return Past(*(self.counted(f"{name}_{field}") for field in Past._fields))


class Feature(NamedTuple):
    """A feature that is computed here: everything else follows from this row.

    `meaning` says in words what it is; `{entity}` and `{window}` stand for the entity and its window in words. `value`
    gives one number a transaction, never null. A windowed feature is there once a window, as `<name>_<n>d`. One
    that reads labels is there for entities with `fraud_share` and one use of labels, `mature` or `as_known`; mature
    labels look back the label delay further. It belongs to the topic `<entity>_labels`.
    """

    name: str
    meaning: str
    value: Callable[[Seen], Numbers]
    windowed: bool = False
    labels: Literal["mature", "as_known"] | None = None


class CalendarFeature(NamedTuple):
    """A feature of the moment alone: from the timestamp."""

    name: str
    meaning: str
    value: Callable[[Any], Numbers]


class _WindowWords(NamedTuple):
    """A window in words: of one day, and of more."""

    one: str
    more: str


_WINDOW_WORDS = {
    None: _WindowWords("the last 24 hours", "the last {days} days"),
    "mature": _WindowWords("the last day with mature labels", "the last {days} days with mature labels"),
    "as_known": _WindowWords("the day before", "the {days} days before"),
}


class NamedFeature(NamedTuple):
    """A feature of one entity under its full name, with the window that it looks back on."""

    name: str
    feature: Feature
    window: int
    entity: str

    @property
    def meaning(self) -> str:
        """What it is, in words."""
        words = _WINDOW_WORDS[self.feature.labels]
        window = (words.one if self.window == 1 else words.more).format(days=self.window)
        return self.feature.meaning.format(entity=self.entity.replace("_", " "), window=window)


def _mean_amount(seen: Seen) -> Numbers:
    return (seen.past.total + seen.amount) / (seen.past.count + 1)


def _max_amount(seen: Seen) -> Numbers:
    return greatest(seen.past.maximum, seen.rows[AMOUNT])


def _amount_zscore(seen: Seen) -> Numbers:
    past, mean = seen.past, seen.past.mean
    # The difference of two large sums: what is left below `rounding` is noise, not variance.
    spread = past.squares - past.total * mean
    rounding = past.squares * MIN_RELATIVE_VARIANCE
    deviation = (spread > rounding).ifelse(spread / (past.count - 1).nullif(0), None).sqrt()
    zscore = ((seen.amount - mean) / deviation).fill_null(NO_PAST_ZSCORE)
    return least(greatest(zscore, -MAX_ZSCORE), MAX_ZSCORE)


def _seconds_since_previous(seen: Seen) -> Numbers:
    """Time since the entity was last seen: today, else on an earlier day within its longest window."""
    last = coalesce(seen.known("last"), seen.known("last_at").delta(seen.begins, unit="microsecond"))
    return ((seen.known("clock") - last) / SECOND_MICROSECONDS).fill_null(never_seen_seconds(seen.policy))


def _fraud_share(seen: Seen) -> Numbers:
    labelled, frauds = (seen.counted(f"days{seen.window}_{name}") for name in ("labelled", "frauds"))
    return (frauds / labelled.nullif(0)).fill_null(0)


def _days_since(which: str) -> Callable[[Seen], Numbers]:
    def age(seen: Seen) -> Numbers:
        return seen.known(which).fill_null(no_label_days(seen.policy, seen.label_lag_days))

    return age


CALENDAR_FEATURES = (
    CalendarFeature("hour", "hour of the day, UTC", lambda timestamp: timestamp.hour()),
    CalendarFeature(
        "weekend",
        "whether it is Saturday or Sunday, UTC",
        lambda timestamp: (timestamp.day_of_week.index() >= SATURDAY).cast("int8"),
    ),
    CalendarFeature(
        "night",
        f"whether it is before {LAST_NIGHT_HOUR + 1}:00, UTC",
        lambda timestamp: (timestamp.hour() <= LAST_NIGHT_HOUR).cast("int8"),
    ),
)

ENTITY_FEATURES = (
    Feature(
        "count",
        "transactions of the {entity} in {window}, with this one",
        lambda seen: seen.past.count + 1,
        windowed=True,
    ),
    Feature(
        "mean_amount",
        "mean amount of the {entity} in {window}, with this transaction",
        lambda seen: least(_mean_amount(seen), LARGEST),
        windowed=True,
    ),
    Feature(
        "max_amount",
        "greatest amount of the {entity} in {window}, with this transaction",
        lambda seen: least(_max_amount(seen), LARGEST),
        windowed=True,
    ),
    Feature(
        "max_ratio",
        "greatest amount relative to the mean of the {entity} in {window}, with this transaction",
        lambda seen: (gridded(_max_amount(seen)) / _mean_amount(seen).nullif(0)).fill_null(NO_PAST_RATIO),
        windowed=True,
    ),
    Feature(
        "amount_ratio",
        "amount relative to the {entity}'s earlier mean in {window}",
        lambda seen: least((seen.amount / seen.past.mean.nullif(0)).fill_null(NO_PAST_RATIO), MAX_RATIO),
        windowed=True,
    ),
    Feature(
        "amount_zscore",
        "amount in standard deviations from the {entity}'s earlier mean in {window}",
        _amount_zscore,
        windowed=True,
    ),
    Feature("seconds_since_previous", "seconds since the {entity}'s previous transaction", _seconds_since_previous),
    Feature(
        "fraud_share",
        "share of frauds among the {entity}'s labelled transactions in {window}",
        _fraud_share,
        windowed=True,
        labels="mature",
    ),
    Feature(
        "labelled_count",
        "labelled transactions of the {entity} in {window}",
        lambda seen: seen.counted(f"days{seen.window}_labelled"),
        windowed=True,
        labels="mature",
    ),
    Feature(
        "known_fraud_share",
        "share of known frauds among the {entity}'s transactions in {window}",
        _fraud_share,
        windowed=True,
        labels="as_known",
    ),
    Feature(
        "known_frauds",
        "known frauds of the {entity} in {window}",
        lambda seen: seen.counted(f"days{seen.window}_frauds"),
        windowed=True,
        labels="as_known",
    ),
    Feature(
        "days_since_first_fraud",
        "days since the first fraud of the {entity} in {window}",
        _days_since("first_fraud"),
        labels="mature",
    ),
    Feature(
        "days_since_last_fraud",
        "days since the last fraud of the {entity} in {window}",
        _days_since("last_fraud"),
        labels="mature",
    ),
    Feature(
        "days_since_last_nonfraud",
        "days since the last non-fraud of the {entity} in {window}",
        _days_since("last_nonfraud"),
        labels="mature",
    ),
    Feature(
        "days_since_fraud_streak_began",
        "days since the first fraud of the {entity} after the last non-fraud in {window}",
        _days_since("fraud_streak_began"),
        labels="mature",
    ),
    Feature(
        "fraud_streak",
        "frauds of the {entity} after the last non-fraud in {window}",
        lambda seen: seen.counted("fraud_streak"),
        labels="mature",
    ),
    Feature(
        "days_since_first_known_fraud",
        "days since the first known fraud of the {entity} in {window}",
        _days_since("first_fraud"),
        labels="as_known",
    ),
    Feature(
        "days_since_last_known_fraud",
        "days since the last known fraud of the {entity} in {window}",
        _days_since("last_fraud"),
        labels="as_known",
    ),
    Feature(
        "days_since_last_unreported",
        "days since the last transaction of the {entity} not known as fraud in {window}",
        _days_since("last_nonfraud"),
        labels="as_known",
    ),
    Feature(
        "days_since_known_fraud_streak_began",
        "days since the first known fraud of the {entity} after the last transaction not known as fraud in {window}",
        _days_since("fraud_streak_began"),
        labels="as_known",
    ),
    Feature(
        "known_fraud_streak",
        "known frauds of the {entity} after the last transaction not known as fraud in {window}",
        lambda seen: seen.counted("fraud_streak"),
        labels="as_known",
    ),
    Feature(
        "days_since_fraud_became_known",
        "days since a fraud of the {entity} in {window} last became known",
        _days_since("last_report"),
        labels="as_known",
    ),
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
                yield from (NamedFeature(f"{entity}_{one.name}_{window}d", one, window, entity) for one in features)
        else:
            longest = max(policy.windows_days)
            yield from (NamedFeature(f"{entity}_{one.name}", one, longest, entity) for one in features)
