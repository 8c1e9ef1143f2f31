"""Drift of a day against the days that the champion was trained on.

Here: the profile of a training window, two measures of distance between counts, and the report of a day. Not here: bins
and counting (`domain/monitoring/bins.py`) and whether to retrain (`domain/retraining/triggers/`).

No two days are alike. So each feature's distance is set against `usual`, the distance that nine in ten of the
reference's own days stay below: the excess is its drift. A feature whose weekends differ from its weekdays thus does
not drift every Saturday, and one that never moved is judged from zero.

Of many features, some are over any threshold every day. Three rules keep the report of a wide lake honest. `usual` is
what the greatest of so many calm features keeps under, not what one does. Drift counts where the features that drifted
carry a part of the model. And where some few keys, such as one busy terminal, are all of a feature's distance, it is
those keys that changed and not the world.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fraud_retraining.domain.evaluation.ageing import Aged, expected_live
from fraud_retraining.domain.evaluation.alert_recall import AlertRecall
from fraud_retraining.domain.evaluation.judged import Judged
from fraud_retraining.domain.features.definitions import CALENDAR_FEATURES
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.monitoring.bins import Bins, number_bins, number_counts
from fraud_retraining.domain.retraining.triggers.drift import DriftDay
from fraud_retraining.domain.training.windows import WindowDay
from fraud_retraining.domain.values.base import ExtendedValue, Policy, Value
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.interval import Interval

Statistic = Literal["psi", "jensen_shannon"]
Counts = tuple[int, ...]
GroupName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]

SCORE, SCORES, FRAUD_RATE = "score", "scores", "fraud_rate"
MISSING_MISCOUNTED = (
    "has missing numbers, which the version of the project that measured the champion's window did not count as "
    "missing; judged again once a newer model is champion"
)
FLOOR = 1e-4
"""Least share that the index sees in a bin: a bin that one of two samples never fills would make it infinite."""

USUAL_SHARE = 0.9
FALSE_DAYS = 0.05
"""Share of calm days on which the greatest of all the features may go beyond its usual distance."""

NOISE_DEVIATIONS = 2.0
HEAVY_SHARE = 0.01
MOST_HEAVY_ROWS = 0.5
"""Keys with more than that share of a day's rows are heavy; together they are left out up to that much of the day."""


class DriftPolicy(Policy):
    """How days are compared with what the champion has learnt from. The threshold is that of `triggers.drift`."""

    statistic: Statistic = Field(
        "psi", description="Measure that the threshold is about: psi (0 to infinity) or jensen_shannon (0 to 1)."
    )
    bins: int = Field(10, ge=2, le=100, description="Bins of a number, of equal weight in the training window.")
    categories: int = Field(30, ge=1, le=1000, description="Most frequent categories that have a bin of their own.")
    left_out: dict[str, str] = Field(
        dict.fromkeys(
            (one.name for one in CALENDAR_FEATURES), "follows the calendar: a single day never holds all of it"
        ),
        description="Features that are not judged, each with the reason.",
    )
    groups: dict[GroupName, tuple[str, ...]] = Field(
        {}, description="Features by group, where they shall not be grouped by what they are about."
    )
    min_reference_days: int = Field(
        3, ge=2, le=366, description="Training days with a full look-back that a feature needs to be judged."
    )
    min_importance: float = Field(
        0.02,
        ge=0,
        lt=1,
        description="Share of the model's importance that drifted features need to hold together for a day to count.",
    )
    sample_rows: int = Field(
        100_000, ge=1000, le=10_000_000, description="Rows of the training window that the bins are chosen by."
    )
    max_fraud_rate_factor: float = Field(
        1.5, gt=1, le=100, description="Factor by which the fraud rate of a mature day may differ, beyond its noise."
    )

    @model_validator(mode="after")
    def _one_group_each(self) -> "DriftPolicy":
        named = [name for names in self.groups.values() for name in names]
        if twice := sorted({name for name in named if named.count(name) > 1}):
            raise ValueError(f"in two groups: {', '.join(twice)}")
        if reserved := sorted({SCORES, FRAUD_RATE} & set(self.groups)):
            raise ValueError(f"{', '.join(reserved)} is a group that the project makes itself")
        return self

    def judged(self, plan: FeaturePlan) -> tuple[str, ...]:
        """The features that are judged, in the model's order."""
        return tuple(name for name in plan.names if name not in self.left_out)

    def grouped(self, plan: FeaturePlan) -> dict[str, str]:
        """The group of each feature: the one that names it, else what it is about."""
        named = {name: group for group, names in self.groups.items() for name in names}
        return {**plan.topics, **named}

    def group_names(self, plan: FeaturePlan) -> tuple[str, ...]:
        """Every group of a report, in the model's order; the scores and the fraud rate last."""
        grouped = self.grouped(plan)
        return (*dict.fromkeys(grouped[name] for name in self.judged(plan)), SCORES, FRAUD_RATE)

    def unknown(self, plan: FeaturePlan) -> list[str]:
        """Features that the policy names and the plan does not give."""
        named = {*self.left_out, *(name for names in self.groups.values() for name in names)}
        return sorted(named - set(plan.names))


# ---------------------------------------------------------------- two counts


def population_stability_index(reference: Sequence[float], day: Sequence[float]) -> float:
    """Sum over the bins of (q - p) ln(q / p): the relative entropy of two samples, in both directions together.

    Shares under `FLOOR` count as `FLOOR`. As a rule of thumb .1 is a small and .25 a large change (Siddiqi 2006,
    "Credit Risk Scorecards").
    """
    p, q = (_floored(_shares(counts)) for counts in (reference, day))
    return float(((q - p) * np.log(q / p)).sum())


def jensen_shannon_distance(reference: Sequence[float], day: Sequence[float]) -> float:
    """Root of the Jensen-Shannon divergence in bits: a metric, 0 for equal shares and 1 for samples without overlap.

    Lin 1991, "Divergence Measures Based on the Shannon Entropy". Empty bins need no floor.
    """
    from scipy.spatial.distance import jensenshannon

    distance = float(jensenshannon(_shares(reference), _shares(day), base=2))
    # of equal shares, scipy may take the root of a rounding error below 0
    return 0.0 if math.isnan(distance) else min(distance, 1.0)


MEASURES = {"psi": population_stability_index, "jensen_shannon": jensen_shannon_distance}


def _shares(counts: Sequence[float]) -> NDArray[np.float64]:
    rows = np.asarray(counts, np.float64)
    if not rows.sum() > 0:
        raise ValueError("counts without a row have no shares")
    return rows / rows.sum()


def _floored(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    raised = np.maximum(shares, FLOOR)
    return raised / raised.sum()


# ---------------------------------------------------------------- the reference


class FeatureProfile(Value):
    """Distribution of one feature on the reference days."""

    bins: Bins
    counts: Counts = Field(description="Rows of all the days in each bin.")
    days: int = Field(description="How many days were counted.")
    usual: dict[Statistic, float] = Field(
        description="Distance that nine in ten of the days keep from all the others, by measure."
    )

    def usual_of(self, statistic: Statistic, features: int) -> float:
        """Distance that a calm day keeps, where so many features are looked at.

        Distances of calm days fall off about exponentially. So if one feature keeps `usual` on `USUAL_SHARE` of its
        days, all of so many keep this multiple of it on all but `FALSE_DAYS`: 1.3 times for one, 2.3 for ten, 3.6 for
        two hundred.
        """
        return self.usual[statistic] * math.log(FALSE_DAYS / features) / math.log(1 - USUAL_SHARE)

    @classmethod
    def of(cls, bins: Bins, days: Sequence[Counts]) -> "FeatureProfile":
        """The profile of a feature from its counts on each day."""
        whole = np.asarray(days, np.int64).sum(axis=0)
        # Each day against all the others: against a whole that holds it, the distance would be too small.
        pairs = [(whole - day, day) for day in np.asarray(days, np.int64) if 0 < day.sum() < whole.sum()]
        usual = {
            name: float(np.quantile([measure(others, day) for others, day in pairs], USUAL_SHARE)) if pairs else 0.0
            for name, measure in MEASURES.items()
        }
        return cls(bins=bins, counts=tuple(whole.tolist()), days=len(days), usual=usual)


class FraudDay(Value):
    """The labels of a day that are known."""

    day: date
    rows: int
    frauds: int


class ReferenceProfile(Value):
    """Profile of a training window: a day is compared with it without reading the window again."""

    fingerprint: str = Field(description="The model that was trained on the window.")
    as_of: date
    training: DayRange
    features: tuple[FeatureProfile, ...]
    left_out: dict[str, str] = Field(description="Features without a profile, each with the reason.")
    fraud_days: tuple[FraudDay, ...]
    missing_counted: bool = Field(
        False, description="Whether missing numbers are surely in the bin of what is missing; earlier versions erred."
    )

    def miscounts(self, feature: FeatureProfile, counts: Counts) -> bool:
        """Whether a day's counts hold what this profile may have counted wrongly: a missing number."""
        return not self.missing_counted and feature.bins.categories is None and counts[-1] > 0


class HoldoutProfile(ExtendedValue):
    """Distribution of a model's scores on its holdout."""

    ADDED = frozenset({"alerts"})

    fingerprint: str
    score: FeatureProfile
    average_precision: Interval | None = Field(description="None where the holdout has no fraud.")
    aged: Aged | None = Field(None, description="What a model of the age at which models serve reached on it.")
    alerts: AlertRecall | None = Field(None, description="Frauds inside and outside of the alert budget.")

    @classmethod
    def of(cls, fingerprint: str, judged: Judged, *, bins: int, **measured: Any) -> Self:
        """The profile of a model from its scores on the holdout, which have to be numbers.

        Args:
            fingerprint: the model's.
            judged: the rows of the holdout under the model.
            bins: bins of the scores.
            measured: `average_precision`, `aged` and `alerts`, as they were measured on the same rows.
        """
        edges = number_bins(SCORE, judged.scores, bins)
        days = [number_counts(edges, judged.scores[judged.days == day]) for day in np.unique(judged.days)]
        return cls(fingerprint=fingerprint, score=FeatureProfile.of(edges, days), **measured)

    @property
    def expected_live(self) -> Interval | None:
        """The average precision that the days which it serves are held against."""
        return expected_live(self.average_precision, self.aged)


class Reference(NamedTuple):
    """Which training days a feature's profile is made of, and the features for which too few of them are fit."""

    days: dict[str, tuple[date, ...]]
    left_out: dict[str, str]


def reference_days(plan: FeaturePlan, policy: DriftPolicy, training: Sequence[date], first_day: date) -> Reference:
    """The training days on which each feature looks back on nothing before the lake's first day.

    While a lake is young, what looks back on thirty days grows by itself for thirty days. Such days are no reference.
    """
    horizons = plan.horizons
    days, left_out = {}, {name: why for name, why in policy.left_out.items() if name in horizons}
    for name in policy.judged(plan):
        full = tuple(day for day in training if day - timedelta(days=horizons[name]) >= first_day)
        if len(full) >= policy.min_reference_days:
            days[name] = full
        else:
            left_out[name] = (
                f"looks back {horizons[name]} days, and only {len(full)} training days lie that far after the first "
                f"day of the lake, {first_day}"
            )
    return Reference(days, left_out)


# ---------------------------------------------------------------- the report


class FeatureDrift(Value):
    """One feature of a day, or the champion's score, against the reference."""

    name: str
    group: str
    psi: float = Field(description="Population stability index.")
    jensen_shannon: float = Field(description="Jensen-Shannon distance.")
    usual: float = Field(description="What the reference's own days keep under, in the measure that is judged.")
    drift: float = Field(description="What the day's distance goes beyond it, in the same measure.")
    importance: float = Field(1.0, description="Share that the feature has in the model; 1 where it is not known.")
    heavy: str = Field("", description="The heavy keys without which the distance is usual, if they are why.")
    missing: float = Field(description="Share of the day's rows that have no value.")
    new: float = Field(description="Share of the day's rows outside the reference's bins.")
    newcomers: tuple[tuple[str, int], ...] = Field((), description="Categories without a bin, and their rows.")
    counts: Counts


class FraudRateDrift(Value):
    """The fraud rate of the day whose labels have just become mature, against that of the training days."""

    day: date
    rows: int
    frauds: int
    rate: float
    reference: float
    deviation: float = Field(description="Standard deviation that a day has by chance and by what days are like.")
    drift: float = Field(description="What goes beyond the noise; the policy's factor is where it is the threshold.")


class DriftReport(Value):
    """Drift report of a day under a champion."""

    day: date
    version: int = Field(description="The champion that this is about.")
    fingerprint: str
    statistic: Statistic
    threshold: float
    rows: int
    features: tuple[FeatureDrift, ...] = Field(description="The farthest first; the score is among them.")
    left_out: dict[str, str]
    groups: tuple[str, ...] = Field(description="Every group, also those without a feature that could be judged.")
    scores: str = Field(description="Why the scores were not judged, or nothing.")
    fraud_rate: FraudRateDrift | None
    no_fraud_rate: str = Field(description="Why the fraud rate was not judged, or nothing.")
    min_importance: float = Field(0.0, description="Share of the model that drifted features need to hold to count.")

    @cached_property
    def named(self) -> tuple[tuple[str, str, float], ...]:
        """Name, group and drift of everything that was judged, the farthest first."""
        found = [(one.name, one.group, one.drift) for one in self.features]
        if self.fraud_rate is not None:
            found.append((FRAUD_RATE, FRAUD_RATE, self.fraud_rate.drift))
        return tuple(sorted(found, key=lambda one: (-one[2], one[0])))

    @property
    def value(self) -> float:
        """Drift that features with `min_importance` of the model together reach, or that score or fraud rate do."""
        alone = [drift for _, group, drift in self.named if group in (SCORES, FRAUD_RATE)]
        return max([self._counted(), *alone])

    def _counted(self) -> float:
        held = 0.0
        # From the farthest on, until the features so far carry enough of the model to matter.
        ranked = sorted((one for one in self.features if one.group != SCORES), key=lambda one: -one.drift)
        for one in ranked:
            held += one.importance
            if held >= self.min_importance:
                return one.drift
        return 0.0

    @property
    def drifted_importance(self) -> float:
        """Share of the model that the features which drifted beyond the threshold hold together."""
        held = [one.importance for one in self.features if one.group != SCORES and one.drift > self.threshold]
        return min(1.0, math.fsum(held))

    def counts(self, group: str) -> bool:
        """Whether the drift of a group counts: something of it drifted, on a day that did."""
        return bool(self.over(group)) and self.value > self.threshold

    def over(self, group: str | None = None) -> tuple[str, ...]:
        """What drifted beyond the threshold, in one group or in all, the farthest first."""
        return tuple(
            name for name, where, drift in self.named if drift > self.threshold and (group is None or where == group)
        )

    def maximum(self, group: str) -> float | None:
        """The greatest drift in a group; None where nothing of it could be judged."""
        return max((drift for _, where, drift in self.named if where == group), default=None)

    @property
    def drift_day(self) -> DriftDay:
        """The report as a decision about a retrain reads it; of what drifted, the most important first."""
        weight = {one.name: one.importance for one in self.features}
        worst = sorted(self.over(), key=lambda name: -weight.get(name, 1.0))
        return DriftDay(day=self.day, value=self.value, worst=tuple(worst) if self.value > self.threshold else ())


class FeatureRole(NamedTuple):
    """Place of a feature in a report: its group, its share of the model, and how many features are judged in all."""

    group: str
    importance: float = 1.0
    features: int = 1


def feature_drift(
    profile: FeatureProfile,
    counts: Counts,
    role: FeatureRole,
    *,
    statistic: Statistic,
    newcomers: Iterable[tuple[str, int]] = (),
) -> FeatureDrift:
    """Return the drift of one feature on a day against its profile.

    Args:
        profile: the feature on the reference days.
        counts: rows of the day in each bin of the profile.
        role: group, importance, and number of features judged together.
        statistic: the measure that is judged.
        newcomers: categories without a bin, with their rows.

    Raises:
        ValueError: the day has no row, or other bins.
    """
    if len(counts) != len(profile.counts):
        raise ValueError(
            f"{profile.bins.name} has {len(profile.counts)} bins, and the day was counted in {len(counts)}"
        )
    found = {name: measure(profile.counts, counts) for name, measure in MEASURES.items()}
    usual = profile.usual_of(statistic, role.features)
    rows = sum(counts)
    outside = counts[-2] if profile.bins.categories is not None else counts[0] + counts[-2]
    return FeatureDrift(
        name=profile.bins.name,
        group=role.group,
        psi=found["psi"],
        jensen_shannon=found["jensen_shannon"],
        usual=usual,
        drift=max(0.0, found[statistic] - usual),
        importance=role.importance,
        missing=counts[-1] / rows,
        new=(outside if profile.bins.edges or profile.bins.categories is not None else 0) / rows,
        newcomers=tuple(newcomers),
        counts=counts,
    )


class HeavyKeys(NamedTuple):
    """The keys of an entity that have much of a day each, the heaviest first, and their rows."""

    entity: str
    keys: tuple[object, ...]
    rows: int

    def summary(self) -> str:
        """The entity and its first keys, in words."""
        named = ", ".join(map(str, self.keys[:3])) + (", ..." if len(self.keys) > 3 else "")
        return f"{self.entity} {named}"


def heavy_keys(entity: str, rows_by_key: Iterable[tuple[object, int]], rows: int) -> HeavyKeys | None:
    """The heavy keys among an entity's keys, as long as they are not most of the day; None where there are none."""
    kept: list[object] = []
    held = 0
    for key, count in sorted(rows_by_key, key=lambda one: (-one[1], str(one[0]))):
        # Were most of the day left out, nothing would be left to compare.
        if count <= HEAVY_SHARE * rows or held + count > MOST_HEAVY_ROWS * rows:
            break
        kept.append(key)
        held += count
    return HeavyKeys(entity, tuple(kept), held) if kept else None


def without_heavy(profile: FeatureProfile, found: FeatureDrift, rest: Counts, statistic: Statistic) -> float:
    """The drift of a feature if the rows of heavy keys, which `rest` is without, were where they fit best.

    They were somewhere in the reference too. So they go to the bins in which the other rows fall short of it, in
    proportion: what is left is what the other keys did.
    """
    free = sum(found.counts) - sum(rest)
    shares = np.asarray(profile.counts, np.float64) / sum(profile.counts)
    short = np.maximum(0.0, shares * sum(found.counts) - np.asarray(rest, np.float64))
    filled = np.asarray(rest, np.float64) + short * (free / short.sum() if short.sum() else 0.0)
    return max(0.0, MEASURES[statistic](profile.counts, filled.tolist()) - found.usual)


def excused(found: FeatureDrift, heavy: HeavyKeys, left: float) -> FeatureDrift:
    """A feature's drift when heavy keys are left out, if that is less; and which keys they are."""
    rows = sum(found.counts)
    reason = f"{heavy.summary()}: {heavy.rows / rows:.1%} of the rows; {found.drift:.3f} with them"
    return found.model_copy(update={"drift": left, "heavy": reason}) if left < found.drift else found


def fraud_rate_drift(
    reference: Sequence[FraudDay], day: FraudDay, *, factor: float, threshold: float
) -> FraudRateDrift | None:
    """A mature day's fraud rate against the training days; None where either has no label, or training no fraud.

    The noise is twice what the rate varies by from day to day, and no less than chance alone gives a day of this size.
    A day without a fraud counts as half a one.
    """
    known = [one for one in reference if one.rows]
    rows, frauds = sum(one.rows for one in known), sum(one.frauds for one in known)
    if not frauds or not day.rows:
        return None
    expected = frauds / rows
    days = [one.frauds / one.rows for one in known]
    chance = math.sqrt(expected * (1 - expected) / day.rows)
    # A few training days can vary less than chance alone makes a day of this size vary.
    deviation = max(chance, float(np.std(days, ddof=1)) if len(days) > 1 else 0.0)
    # As a ratio: half as many frauds is as far away as twice as many.
    apart = abs(math.log(max(day.frauds, 0.5) / day.rows / expected))
    return FraudRateDrift(
        day=day.day,
        rows=day.rows,
        frauds=day.frauds,
        rate=day.frauds / day.rows,
        reference=expected,
        deviation=deviation,
        drift=threshold * max(0.0, apart - NOISE_DEVIATIONS * deviation / expected) / math.log(factor),
    )


def fraud_days(days: Iterable[WindowDay]) -> tuple[FraudDay, ...]:
    """The known labels of a window's days."""
    return tuple(FraudDay(day=day.day, rows=day.rows, frauds=day.frauds) for day in days)


def left_out_reasons(report: DriftReport) -> Mapping[str, str]:
    """Everything that a report says nothing about, each with the reason."""
    more = {SCORE: report.scores, FRAUD_RATE: report.no_fraud_rate}
    return {**report.left_out, **{name: why for name, why in more.items() if why}}
