"""The days that a model learns from, and the days that judge it.

Here: the arithmetic of as-of day, label delay, holdout and training window, and the manifest that a window leaves. Not
here: whether the days' data is good (`domain/training/window_checks.py`) and reading it (`adapters/storage/store.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fraud_retraining.domain.labels.policy import LabelPolicy
from fraud_retraining.domain.labels.reporting_delays import ReportingDelays
from fraud_retraining.domain.values.base import ExtendedValue, Policy, Value
from fraud_retraining.domain.values.days import DayRange


class RefitPolicy(Policy):
    """A second fit of the judged recipe on window and holdout, which serves if it agrees with the judged one."""

    enabled: bool = Field(False, description="Whether a candidate that passed its gates is fitted again with them.")
    min_rank_correlation: float = Field(
        0.8, ge=-1, le=1, description="Least rank correlation of both fits' scores on days after the holdout."
    )
    max_alert_ratio: float = Field(
        2.0, ge=1, description="Most alerts of the second fit at the judged threshold, as a multiple; or as a fraction."
    )
    max_calibration_difference: float = Field(
        0.5, gt=0, description="Most that the expected frauds of both fits may differ, as a share of the judged one's."
    )


class FittedWindow(Policy):
    """What every window has."""

    refit: RefitPolicy = Field(RefitPolicy(), description="A second fit on window and holdout.")


class RollingWindow(FittedWindow):
    """The `days` days before the holdout."""

    strategy: Literal["rolling"] = "rolling"
    days: int = Field(30, ge=1, le=3660, description="Length of the training window in days.")


class ExpandingWindow(FittedWindow):
    """Every day from `start` to the holdout."""

    strategy: Literal["expanding"]
    start: date = Field(description="First day of the training window.")


class WeightedWindow(FittedWindow):
    """A rolling window whose latest days count more."""

    strategy: Literal["weighted"]
    days: int = Field(30, ge=1, le=3660, description="Length of the training window in days.")
    recent_days: int = Field(7, ge=1, description="How many of the latest training days weigh more.")
    recent_weight: float = Field(2.0, gt=0, description="Sample weight of those days; the others weigh 1.")

    @model_validator(mode="after")
    def _recent_within(self) -> Self:
        if self.recent_days > self.days:
            raise ValueError(f"recent_days ({self.recent_days}) is longer than the window ({self.days} days)")
        return self


WindowPolicy = Annotated[RollingWindow | ExpandingWindow | WeightedWindow, Field(discriminator="strategy")]


class FixedEvaluation(Policy):
    """Days that judge every model besides the holdout, and that no model may learn from."""

    start: date
    end: date

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.end < self.start:
            raise ValueError("end is before start")
        return self


class HoldoutPolicy(Policy):
    """The latest mature days, which the gates judge on."""

    days: int = Field(
        7, ge=1, le=365, description="Length of the holdout in days; by default 7, or 3 where it is judged fresh."
    )
    frauds: int | None = Field(
        None,
        ge=1,
        description="Known frauds to judge on: the holdout is then as short as holds them, from `days` to `max_days`; "
        "null keeps it at `days`.",
    )
    max_days: int = Field(14, ge=1, le=365, description="Longest holdout that `frauds` leads to.")
    fixed: FixedEvaluation | None = Field(
        None, description="Optional {start:, end:} of days that judge too; they lie before every training window."
    )
    fixed_max_age_days: int = Field(
        180, ge=1, le=3660, description="Age of the fixed days from which a check warns that they are out of date."
    )

    @model_validator(mode="after")
    def _bounds_ordered(self) -> Self:
        if self.frauds is not None and self.max_days < self.days:
            raise ValueError(f"max_days ({self.max_days}) is shorter than days ({self.days})")
        return self

    @property
    def longest(self) -> int:
        """Most days that it can have."""
        return self.days if self.frauds is None else self.max_days

    def length(self, last: date, frauds: Mapping[date, int]) -> int:
        """How many days up to `last` it has, where so many frauds of each day are known.

        >>> policy = HoldoutPolicy(days=2, frauds=10, max_days=4)
        >>> [policy.length(date(2026, 3, 4), {date(2026, 3, day): n for day in range(1, 5)}) for n in (9, 4, 1)]
        [2, 3, 4]
        """
        if self.frauds is None:
            return self.days
        known = accumulate(frauds.get(last - timedelta(days=age), 0) for age in range(self.max_days))
        enough = (days for days, found in enumerate(known, start=1) if found >= self.frauds)
        return max(self.days, next(enough, self.max_days))


class WindowDays(Value):
    """The days of one retrain: training days with their weights, holdout, and fixed evaluation days."""

    strategy: Literal["rolling", "expanding", "weighted"]
    as_of: date
    training: DayRange
    holdout: DayRange
    fixed: DayRange | None = None
    recent_from: date | None = None
    recent_weight: float = 1.0

    def weight(self, day: date) -> float:
        """Sample weight of every row of a training day."""
        return self.recent_weight if self.recent_from is not None and day >= self.recent_from else 1.0

    @property
    def needed(self) -> tuple[date, ...]:
        """Every day whose features a retrain reads, in order."""
        fixed = set(self.fixed) if self.fixed else set()
        return tuple(sorted(set(self.training) | set(self.holdout) | fixed))


def first_as_of_day(
    first_day: date, window: WindowPolicy, holdout: HoldoutPolicy, labels: LabelPolicy, missing: int = 0
) -> date:
    """The first as-of day that can be trained on a lake that begins on `first_day`.

    `missing` is how many days of its window may be absent.

    >>> policies = RollingWindow(days=30), HoldoutPolicy(days=7), LabelPolicy(delay_days=7)
    >>> print(first_as_of_day(date(2026, 1, 1), *policies))
    2026-02-13
    """
    judged = timedelta(days=labels.lag_days + holdout.longest)
    if isinstance(window, ExpandingWindow):
        return max(window.start, first_day) + judged
    return first_day + judged + timedelta(days=max(window.days - 1 - missing, 0))


def window_days(
    as_of: date, window: WindowPolicy, holdout: HoldoutPolicy, labels: LabelPolicy, judged_days: int | None = None
) -> WindowDays:
    """The days of an as-of day; the same whenever it is computed.

    Mature through M = as_of - delay, or M = as_of where labels are used as known; holdout M-H+1 .. M; a rolling window
    is the W days before the holdout. H is `judged_days`; without them the longest that the holdout can have. Fixed
    evaluation days that end after M do not judge yet: their labels are not known as of then.

    >>> found = window_days(date(2026, 3, 31), RollingWindow(days=30), HoldoutPolicy(days=7), LabelPolicy(delay_days=7))
    >>> print(found.training.start, found.training.end, found.holdout.start, found.holdout.end)
    2026-02-16 2026-03-17 2026-03-18 2026-03-24

    Raises:
        ValueError: an expanding window whose start lies at or after the holdout, or a fixed evaluation range that
            the training days touch.
    """
    judged = as_of - timedelta(days=labels.lag_days)
    held = DayRange(start=judged - timedelta(days=(judged_days or holdout.longest) - 1), end=judged)
    last = held.start - timedelta(days=1)
    recent_from, recent_weight = None, 1.0
    if isinstance(window, ExpandingWindow):
        if window.start > last:
            raise ValueError(f"the expanding window starts on {window.start}, after its last day {last} as of {as_of}")
        first = window.start
    else:
        first = last - timedelta(days=window.days - 1)
    if isinstance(window, WeightedWindow):
        recent_from = last - timedelta(days=window.recent_days - 1)
        recent_weight = window.recent_weight
    training = DayRange(start=first, end=last)
    fixed = DayRange(start=holdout.fixed.start, end=holdout.fixed.end) if holdout.fixed else None
    # A backfill of an early as-of day must not judge by labels that were unknown then.
    if fixed is not None and fixed.end > as_of - timedelta(days=labels.delay_days):
        fixed = None
    if fixed is not None and fixed.start <= training.end and training.start <= fixed.end:
        raise ValueError(
            f"the fixed evaluation days {fixed.start} to {fixed.end} overlap the training window "
            f"{training.start} to {training.end}"
        )
    return WindowDays(
        strategy=window.strategy,
        as_of=as_of,
        training=training,
        holdout=held,
        fixed=fixed,
        recent_from=recent_from,
        recent_weight=recent_weight,
    )


class WindowDay(Value):
    """One day of a manifest, pinned by digest."""

    day: date
    digest: str = Field(description="Day digest: the accepted rows.")
    features_digest: str = Field(description="Digest of the features, which also depend on the days before.")
    rows: int = Field(description="Rows whose label is known by the as-of day.")
    frauds: int
    weight: float = 1.0


class LabelsUsed(Value):
    """Which labels a window knows, where they are used as known."""

    feed: bool = Field(description="Whether labels come from a feed; otherwise transactions carry them.")
    delays: ReportingDelays | None = Field(
        None, description="Reporting delays, by which young known frauds weigh; None where there were too few frauds."
    )
    days: tuple[tuple[date, str], ...] = Field((), description="Days of the feed by the day known: day, digest.")


class TrainingWindow(ExtendedValue):
    """The manifest of a window: which days, pinned how, with how many rows and which label cut-off; no copy of rows."""

    ADDED = frozenset({"labels"})

    days: WindowDays
    label_delay_days: int
    training: tuple[WindowDay, ...]
    holdout: tuple[WindowDay, ...]
    fixed: tuple[WindowDay, ...] = ()
    history: tuple[tuple[date, str], ...] = Field(
        (), description="Earlier days that features look back on: day, digest."
    )
    missing: tuple[date, ...] = ()
    features: tuple[str, ...] = Field(description="Feature columns in the order that the model reads.")
    categorical: tuple[str, ...] = Field((), description="Those of `features` that hold categories.")
    features_policy: str = Field(description="Digest of the feature policy.")
    labels: LabelsUsed | None = Field(None, description="Labels as known; None where all labels are mature.")

    def report_weight(self, day: date) -> float:
        """How many frauds a known one of a day stands for; 1 where all are known."""
        delays = self.labels.delays if self.labels else None
        return 1.0 if delays is None else delays.weight((self.days.as_of - day).days)

    @property
    def rows(self) -> int:
        """Training rows with a known label; as known, young rows without a report are among them."""
        return sum(day.rows for day in self.training)

    @property
    def frauds(self) -> int:
        """Frauds among the training rows."""
        return sum(day.frauds for day in self.training)

    @property
    def holdout_rows(self) -> int:
        """Holdout rows with a known label."""
        return sum(day.rows for day in self.holdout)

    @property
    def holdout_frauds(self) -> int:
        """Frauds among the holdout rows."""
        return sum(day.frauds for day in self.holdout)

    @property
    def digests(self) -> dict[date, str]:
        """Day digest of every day that is used or looked back on."""
        used = (*self.training, *self.holdout, *self.fixed)
        return {**dict(self.history), **{day.day: day.digest for day in used}}


class FeatureDay(Value):
    """Facts of a day that a window needs: digests, and when its labels became known."""

    digest: str
    features_digest: str
    label_days: tuple[tuple[date | None, int, int], ...] = Field(
        description="Day on which labels became known (null: with the label delay), labelled rows, frauds."
    )
    rows: int | None = Field(
        None,
        description="All rows that were not blocked, where those without a report count as genuine; None where they "
        "count as unknown.",
    )
    reviewed_days: tuple[tuple[date | None, int, int], ...] = Field(
        (), description="As `label_days`, of rows that were blocked and that nothing stands for; they are not there."
    )

    def known(self, as_of: date) -> tuple[int, int]:
        """Rows that count and frauds among them, as known at the end of `as_of`."""
        if self.rows is not None:
            reported = [one for one in self.label_days if one[0] is not None and one[0] <= as_of]
            reviewed = [one for one in self.reviewed_days if one[0] is not None and one[0] <= as_of]
            rows = self.rows + sum(rows for _, rows, _ in reviewed)
            return rows, sum(frauds for _, _, frauds in (*reported, *reviewed))
        days = (*self.label_days, *self.reviewed_days)
        known = [(rows, frauds) for day, rows, frauds in days if day is None or day <= as_of]
        return sum(rows for rows, _ in known), sum(frauds for _, frauds in known)


@dataclass(frozen=True)
class WindowFeatures:
    """The features that a model learns: names in order, those that hold categories, and the digest of the plan."""

    names: tuple[str, ...]
    categorical: tuple[str, ...]
    policy_digest: str


def build_manifest(
    days: WindowDays,
    found: Mapping[date, FeatureDay],
    history: Mapping[date, str],
    *,
    label_delay_days: int,
    features: WindowFeatures,
    labels: LabelsUsed | None = None,
) -> TrainingWindow:
    """The manifest of `days` from what was found of each; days that were not found are named as missing."""

    def pinned(day: date, weight: float = 1.0) -> WindowDay:
        rows, frauds = found[day].known(days.as_of)
        return WindowDay(
            day=day,
            digest=found[day].digest,
            features_digest=found[day].features_digest,
            rows=rows,
            frauds=frauds,
            weight=weight,
        )

    return TrainingWindow(
        days=days,
        label_delay_days=label_delay_days,
        training=tuple(pinned(day, days.weight(day)) for day in days.training if day in found),
        holdout=tuple(pinned(day) for day in days.holdout if day in found),
        fixed=tuple(pinned(day) for day in (days.fixed or ()) if day in found),
        # Sorted, because the manifest is digested and mappings come in any order.
        history=tuple(sorted((day, digest) for day, digest in history.items() if day not in days.needed)),
        missing=tuple(day for day in days.needed if day not in found),
        features=features.names,
        categorical=features.categorical,
        features_policy=features.policy_digest,
        labels=labels,
    )
