"""Metrics of one model on rows whose labels are known: overall, by slice, and of scores as probabilities.

Here: the metrics of one model and the policy of how models are measured. Not here: the rows
(`domain/evaluation/judged.py`), how sure one may be that one model beats another (`domain/evaluation/comparison.py`),
how good is good enough (`domain/evaluation/gates/`) and pictures (`orchestration/rendering.py`).

A metric that the rows cannot give (no fraud among them, scores that are not probabilities) is None, never 0.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fraud_retraining.domain.evaluation.blocked_bounds import RightOf, alert_bounds, average_precision_bounds
from fraud_retraining.domain.evaluation.judged import Categories, Floats, Integers, Judged, Mask
from fraud_retraining.domain.values.base import ExtendedValue, Policy, Value
from fraud_retraining.domain.values.schemas import (
    TRANSACTION,
    TRANSACTION_ID,
    ColumnName,
)

AMOUNT_BAND = "amount_band"
OTHER = "(other)"
CALIBRATION_BINS = 15
ACCEPTED_FPR = 0.01


class MetricsPolicy(Policy):
    """Settings of metrics and of the comparison."""

    alert_budget: int = Field(100, ge=1, le=1_000_000, description="Alerts that can be investigated a day.")
    alert_entity: str = Field(
        "customer", min_length=1, description="Entity that alerts are about and resamples draw; or transaction."
    )
    amount_bands: tuple[float, ...] = Field(
        (10.0, 50.0, 100.0, 250.0),
        max_length=20,
        description="Amounts at which a new slice begins; the first slice starts at 0, the last has no end.",
    )
    slices: tuple[ColumnName, ...] = Field((), description="Columns of the lake whose values are judged apart.")
    min_slice_frauds: int = Field(50, ge=2, description="Frauds that a slice needs to be judged.")
    max_slice_values: int = Field(30, ge=2, le=1000, description="Values of a slice column; the rarest are joined.")
    resamples: int = Field(500, ge=100, le=20_000, description="Resamples of the paired bootstrap.")
    confidence: float = Field(0.95, ge=0.5, le=0.999, description="Confidence of every interval, both sides together.")
    seed: int = Field(7, ge=0, description="Seed of the resamples.")

    @property
    def alert_column(self) -> str:
        """The canonical column whose values alerts are about."""
        return TRANSACTION_ID if self.alert_entity == TRANSACTION else self.alert_entity

    @model_validator(mode="after")
    def _ordered_bands(self) -> Self:
        if any(low >= high for low, high in pairwise((0.0, *self.amount_bands))):
            raise ValueError("amount_bands must be above 0 and increasing")
        return self

    @model_validator(mode="after")
    def _distinct_slices(self) -> Self:
        if len({AMOUNT_BAND, *self.slices}) <= len(self.slices):
            raise ValueError(f"slices names a column twice, or {AMOUNT_BAND}, which is always one")
        return self


class Curve(NamedTuple):
    """What each threshold gives, from the highest on: equal scores share one.

    For what scikit-learn does not give (recall at a false-positive rate, only thresholds that exist), and for the many
    slices, whose rows are sorted once for all; average precision is tested against scikit-learn's.
    """

    frauds: Integers | Floats
    alerts: Integers | Floats

    @classmethod
    def of(
        cls, labels: NDArray[np.int8], scores: Floats, weights: Floats | None = None, counts: Floats | None = None
    ) -> Self:
        """The curve of rows that are sorted by falling score; `weights` say how many frauds a known one stands for, and
        `counts` how many rows each stands for, none of which is 0."""
        # Equal scores share a threshold: no order among them may be credited.
        last = np.flatnonzero(np.r_[scores[1:] != scores[:-1], True])
        if weights is not None:
            alerts = last + 1 if counts is None else np.cumsum(counts)[last]
            return cls(np.cumsum(labels * weights)[last], alerts)
        return cls(np.cumsum(labels, dtype=np.int64)[last], last + 1)

    @property
    def precision(self) -> Floats:
        """Share of the alerts that are frauds. Known frauds can stand for more than there are alerts: at most 1."""
        return np.minimum(self.frauds / self.alerts, 1.0)

    @property
    def false(self) -> Floats | Integers:
        """Alerts that are no frauds, from the highest threshold on; an estimate of it never falls."""
        return np.maximum.accumulate(self.alerts - self.frauds)

    def average_precision(self) -> float:
        """Area under precision over recall, as steps."""
        return float(np.diff(self.frauds, prepend=0) @ self.precision / self.frauds[-1])


def _curve(judged: Judged) -> Curve:
    return _sorted_curve(judged, _known_ranked(judged))


def _known_ranked(judged: Judged) -> Integers:
    """Positions of the rows whose outcome is known, by falling score."""
    return judged.ranked if judged.row_weights is None else judged.ranked[judged.known[judged.ranked]]


def _sorted_curve(judged: Judged, ranked: Integers) -> Curve:
    weights = None if judged.weights is None else judged.weights[ranked]
    counts = None if judged.row_weights is None else judged.row_weights[ranked]
    return Curve.of(judged.labels[ranked], judged.scores[ranked], weights, counts)


def average_precision(judged: Judged) -> float | None:
    """Area under the precision-recall curve as a step function, by scikit-learn; None without a fraud.

    Where frauds are known in part our own curve gives it: scikit-learn has no row that stands for several frauds.
    """
    if not judged.frauds or not judged.rankable:
        return None
    if judged.weighted:
        return _curve(judged).average_precision()
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(judged.labels, judged.scores))


def roc_auc(judged: Judged) -> float | None:
    """Chance that a fraud scores above a transaction that is none, by scikit-learn; None unless both are there."""
    if not 0 < judged.frauds < judged.rows or not judged.rankable:
        return None
    if judged.weighted:
        return _partial_roc_auc(_curve(judged), judged.population - judged.expected_frauds)
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(judged.labels, judged.scores))


def _partial_roc_auc(curve: Curve, genuine: float) -> float | None:
    """Area under the curve of frauds over genuine rows, by the trapezoidal rule; None if no genuine row is expected."""
    if genuine <= 0:
        return None
    false, caught = np.r_[0, curve.alerts - curve.frauds], np.r_[0, curve.frauds]
    area = float(np.diff(false) @ (caught[1:] + caught[:-1]) / 2)
    return min(max(area / (genuine * float(caught[-1])), 0.0), 1.0)


def recall_at_fpr(judged: Judged, accepted: float = ACCEPTED_FPR) -> float | None:
    """Share of the frauds caught by the lowest threshold whose false-positive rate is at most `accepted`.

    Only thresholds that exist are operated at: nothing is interpolated between two of them.
    """
    if not 0 < judged.frauds < judged.rows or not judged.rankable:
        return None
    curve = _curve(judged)
    kept = curve.false <= accepted * (judged.population - judged.expected_frauds)
    return float(curve.frauds[kept].max(initial=0) / judged.expected_frauds)


def brier_score(judged: Judged) -> float | None:
    """Mean squared difference between score and label, by scikit-learn; None unless the scores are probabilities."""
    if not judged.probable or not judged.rows:
        return None
    if judged.weighted:
        return judged.mean(squared_losses(judged))
    from sklearn.metrics import brier_score_loss

    return float(brier_score_loss(judged.labels, judged.scores, pos_label=1))


def squared_losses(judged: Judged) -> Floats:
    """Squared difference between score and label of every row, times the rows that it stands for."""
    return judged.losses((1 - judged.scores) ** 2, judged.scores**2)


def log_losses(judged: Judged) -> Floats:
    """Logarithmic loss of every row, times the rows that it stands for.

    Scores are kept off 0 and 1 by one rounding step, as scikit-learn does.
    """
    # The same rounding step as scikit-learn, or the two would differ on scores of exactly 0 and 1.
    step = np.finfo(np.float64).eps
    kept = np.clip(judged.scores, step, 1 - step)
    return judged.losses(-np.log(kept), -np.log(1 - kept))


class DaySuspects(NamedTuple):
    """One day's entities by falling maximum score, and whether each has a fraud that day.

    `counts` say for how many entities each stands: 0 for one with a blocked row whose outcome nobody knows, else as
    many as the row of it that stands for most. That is right where the control group is drawn by entity and day; None
    where each stands for itself.

    `reports` say beside it how many frauds each one with a fraud stands for while others are not reported: as many as
    its own fraud does, of several the one that is known most surely, as a review of a blocked row is. None where
    nothing was blocked, and `Judged.day_weight` says it of all, and where every fraud is reported.
    """

    day: int
    entities: Integers
    defrauded: Mask
    counts: Floats | None = None
    reports: Floats | None = None

    @property
    def fraud_counts(self) -> Floats | None:
        """How many entities with a fraud each one with a known fraud stands for; None where it is the day's weight."""
        return self.counts if self.counts is None or self.reports is None else self.counts * self.reports


def daily_suspects(judged: Judged) -> Iterator[DaySuspects]:
    """Whom each day would alert about, and in which order; equal scores are ordered by entity code."""
    count = judged.entities.max(initial=-1) + 1
    for day in np.unique(judged.days):
        highest, defrauded = _entity_day(judged, judged.days == day, count)
        present = np.flatnonzero(highest > -np.inf)
        # Stable: entities of equal score keep the order of their codes, so the metric is repeatable.
        ranked = present[np.argsort(-highest[present], kind="stable")]
        if judged.row_weights is None:
            yield DaySuspects(int(day), ranked, defrauded[ranked])
            continue
        today = judged.days == day
        reports = _entity_reports(judged, today, count)
        yield DaySuspects(
            int(day),
            ranked,
            defrauded[ranked],
            _entity_counts(judged, today, count)[ranked],
            None if reports is None else reports[ranked],
        )


class DayAlerts(NamedTuple):
    """The entities that one day's alerts were about, those of them that were right, and how many both stand for.

    Where nothing was blocked, entities stand for themselves here, also while frauds are reported
    (`Judged.day_weight`).
    """

    day: int
    alerts: Integers
    right: Integers
    stands_for: float
    right_stands_for: float


def daily_alerts(judged: Judged, k: int) -> Iterator[DayAlerts]:
    """Each day the `k` entities with the highest maximum score that were not detected on an earlier day.

    An alert is right, and its entity detected, if the entity has a fraud that day.
    """
    detected = np.zeros(judged.entities.max(initial=-1) + 1, dtype=bool)
    for day in daily_suspects(judged):
        alerted = np.flatnonzero(~detected[day.entities])[:k]
        hits = alerted[day.defrauded[alerted]]
        right = day.entities[hits]
        detected[right] = True
        both = ((alerted, day.counts), (hits, day.fraud_counts))
        stand_for = [float(len(one) if counts is None else counts[one].sum()) for one, counts in both]
        yield DayAlerts(day.day, day.entities[alerted], right, *stand_for)


def card_precision_at_k(judged: Judged, k: int) -> float | None:
    """Mean over the days of the share of `k` daily alerts that are right, an alert being about an entity.

    As published with the Fraud Detection Handbook (chapter 4, "Precision top-k metrics"): detected entities are no
    longer counted on later days. The divisor is `k` also on a day with fewer than `k` entities, as in the published
    code: an alert that was not needed is not a success. Where frauds are known in part, a right alert of a day counts
    as often as a known fraud of it does, and a day at most as if all its alerts were right.

    Where rows were blocked, the alerts are those about all rows. Which share of them is right is estimated on all days
    together from those whose outcome is known, each as often as it stands for others.
    """
    if not judged.rows or not judged.rankable:
        return None
    if judged.row_weights is not None:
        return _estimated_card_precision(judged, k)
    shares = [min(len(day.right) / k * judged.day_weight(day.day), 1.0) for day in daily_alerts(judged, k)]
    return float(np.mean(shares))


def _estimated_card_precision(judged: Judged, k: int) -> float | None:
    days = list(daily_alerts(judged, k))
    known = sum(day.stands_for for day in days)
    if not known:
        return None
    right = sum(day.right_stands_for for day in days)
    return min(right / known, 1.0) * sum(len(day.alerts) for day in days) / (k * len(days))


def _entity_counts(judged: Judged, today: Mask, entities: int) -> Floats:
    """How many entities each one stands for on a day (`DaySuspects`)."""
    counts = np.zeros(entities)
    np.maximum.at(counts, judged.entities[today], judged.counts[today])
    counts[judged.entities[today & ~judged.known]] = 0.0
    return counts


def _entity_reports(judged: Judged, today: Mask, entities: int) -> Floats | None:
    """How many frauds the own one of each entity stands for on a day (`DaySuspects`); 1 of an entity without."""
    if judged.report_weights is None:
        return None
    reports = np.full(entities, np.inf)
    fraud = today & (judged.labels == 1)
    np.minimum.at(reports, judged.entities[fraud], judged.report_weights[fraud])
    return np.where(np.isfinite(reports), reports, 1.0)


def _entity_day(judged: Judged, today: Mask, entities: int) -> tuple[Floats, Mask]:
    """Each entity's highest score of the day, -inf for one without a row, and whether it was defrauded."""
    highest = np.full(entities, -np.inf)
    # An entity has several rows a day: assignment by index would keep the last one, not the highest.
    np.maximum.at(highest, judged.entities[today], judged.scores[today])
    defrauded = np.zeros(entities, dtype=bool)
    defrauded[judged.entities[today & (judged.labels == 1)]] = True
    return highest, defrauded


class CalibrationBin(Value):
    """Rows of similar score: how many frauds were expected, and how many there were."""

    rows: int
    expected: float = Field(description="Sum of the scores: the frauds that the model expects.")
    observed: int | float = Field(description="Frauds; those of days that are known in part counted by their weight.")
    chance: float = Field(description="Difference of the two that a perfectly calibrated model shows on average.")


class Calibration(Value):
    """How far scores can be read as probabilities."""

    bins: tuple[CalibrationBin, ...]
    error: float = Field(description="Expected calibration error.")
    chance: float = Field(description="The error that a perfectly calibrated model shows on rows like these.")


def calibration(judged: Judged, bins: int = CALIBRATION_BINS) -> Calibration | None:
    """Expected calibration error over `bins` bins of equal *expected fraud*; None unless the scores are probabilities.

    The error is the mean over the rows of |mean score - fraud rate| of their bin. Equal-width bins leave all but a
    few rows of a rare event in one bin; equal-mass bins (Nixon et al. 2019, "Measuring Calibration in Deep Learning",
    arXiv:1904.01685) are better, but with rows as the mass nearly every fraud shares the last one. So the mass is the
    sum of the scores: each bin holds the same number of frauds if the model is right. Equal scores share a bin.
    A binned error is above 0 even for a perfect model (Roelofs et al. 2022, "Mitigating Bias in Calibration Error
    Estimation", arXiv:2012.08668): `chance` is that part, the mean absolute deviation of a normal variable with the
    bin's variance. Of a fraud that is known with probability 1/w and then counts w times, the variance is s (w - s) for
    a score s; without weights that is s (1 - s). A row that stands for c rows adds c times to the sums, and c squared
    times to the variance.
    """
    if not judged.probable or not judged.rows:
        return None
    bin_ = calibration_bin(judged, bins)
    known = 1.0 if judged.report_weights is None else judged.report_weights
    variances = judged.scores * (known - judged.scores)
    if judged.row_weights is None:
        rows = np.bincount(bin_)
    else:
        rows = np.bincount(bin_, weights=judged.known).astype(int)
        variances = variances * judged.row_weights**2
    counts: Floats | float = 1.0 if judged.row_weights is None else judged.row_weights
    expected = np.bincount(bin_, weights=judged.scores * counts)
    observed = np.bincount(bin_, weights=judged.labels * known * counts)
    chance = np.sqrt(2 / np.pi * np.bincount(bin_, weights=variances))
    return Calibration(
        bins=tuple(
            CalibrationBin(rows=r, expected=e, observed=int(o) if judged.weights is None else o, chance=c)
            for r, e, o, c in np.column_stack([rows, expected, observed, chance])[rows > 0].tolist()
        ),
        error=float(np.abs(expected - observed).sum() / judged.population),
        chance=float(chance.sum() / judged.population),
    )


def calibration_bin(judged: Judged, bins: int = CALIBRATION_BINS) -> Integers:
    """The bin of each row, rising with its score."""
    rising = judged.ranked[::-1]
    scores = judged.scores[rising]
    mass = np.cumsum(scores if judged.row_weights is None else scores * judged.row_weights[rising])
    edges = np.unique(scores[np.searchsorted(mass, mass[-1] * np.arange(1, bins) / bins)])
    ends = np.searchsorted(scores, edges, side="right")
    bin_ = np.empty(len(scores), dtype=np.int64)
    bin_[rising] = np.repeat(np.arange(len(edges) + 1), np.diff(ends, prepend=0, append=len(scores)))
    return bin_


class SliceMetrics(Value):
    """One model on the rows that share a value."""

    slice: str = Field(description="Column.")
    value: str
    rows: int
    frauds: int
    log_loss: float | None
    average_precision: float | None = Field(None, description="None with fewer frauds than the policy requires.")


def amount_bands(amounts: Floats, edges: Sequence[float]) -> Categories:
    """Amounts as bands: under the first edge, from each edge up to the next, from the last edge on.

    >>> bands = amount_bands(np.array([5.0, 10.0, 99.0]), (10, 50))
    >>> [bands.names[code] for code in bands.codes]
    ['under 10', '10 to 50', '50 and over']
    """
    if not edges:
        return Categories(np.zeros(len(amounts), dtype=np.int64), ("any",))
    names = (
        f"under {edges[0]:g}",
        *(f"{low:g} to {high:g}" for low, high in pairwise(edges)),
        f"{edges[-1]:g} and over",
    )
    return Categories(np.searchsorted(np.asarray(edges), amounts, side="right"), names)


def sliced(judged: Judged, policy: MetricsPolicy) -> dict[str, Categories]:
    """Every way in which the rows are sliced: amount bands, then the slice columns with their rare values together."""
    columns = {name: _most_frequent(column, policy.max_slice_values) for name, column in judged.slices.items()}
    return {AMOUNT_BAND: amount_bands(judged.amounts, policy.amount_bands), **columns}


def slice_masks(judged: Judged, policy: MetricsPolicy) -> Iterator[tuple[str, str, Mask]]:
    """Column, value and rows of every slice that has rows."""
    for name, column in sliced(judged, policy).items():
        for code in np.unique(column.codes):
            yield name, column.names[code], column.codes == code


def _most_frequent(column: Categories, most: int) -> Categories:
    rows = np.bincount(column.codes, minlength=len(column.names))
    if np.count_nonzero(rows) <= most:
        return column
    # One place is left for the rest together. Sorted again, so that codes stay in the order of the names.
    kept = np.sort(np.argsort(-rows, kind="stable")[: most - 1])
    code = np.full(len(column.names), len(kept))
    code[kept] = np.arange(len(kept))
    return Categories(code[column.codes], (*(column.names[i] for i in kept), OTHER))


class SelectedRows(ExtendedValue):
    """What is known, and what is not, of rows of which some were blocked."""

    ADDED: ClassVar[frozenset[str]] = frozenset({"awaits_reports", "bounds", "amount_caught"})

    rows: int = Field(description="All rows, blocked ones too.")
    unknown: int = Field(description="Blocked rows whose outcome nobody knows.")
    stands_for: float = Field(description="Rows that those with a known outcome stand for.")
    effective_frauds: float = Field(description="Frauds of equal weight that would say as much as the known ones.")
    naive: dict[str, float | None] = Field(description="The metrics if every unknown row were taken for genuine.")
    alerts: int = Field(description="Rows with the highest scores, as many as the alert budget of all days.")
    precision: tuple[float, float] = Field(description="Least and most of these that can be frauds, as a share.")
    recall: tuple[float, float] | None = Field(
        description="Least and most share of all frauds that can be among them; None where there may be none."
    )
    awaits_reports: bool = Field(
        False, description="Whether frauds are not reported yet, so that both bounds count known ones by their weight."
    )

    bounds: dict[str, tuple[float, float]] = Field(
        {},
        description="Least and most that metrics can be on all rows, by name; of average precision and Card Precision.",
    )
    amount_caught: tuple[float, float] | None = Field(
        None, description="Least and most amount a day of the frauds of entities that daily alerts are right about."
    )

    @property
    def corrected(self) -> bool:
        """Whether a control group stands for blocked rows: then the metrics hold for all rows, and not their bounds."""
        return self.represented >= 1

    @property
    def represented(self) -> float:
        """How many of the blocked rows the control group stands for; 0 where there is none."""
        return max(self.stands_for - (self.rows - self.unknown), 0.0)

    @property
    def summary(self) -> str:
        """What the metrics rest on, in a sentence or two."""
        seen = f"{self.unknown:,} of {self.rows:,} rows were blocked and are unknown"
        if self.corrected:
            return (
                f"{seen}; a control group stands for {self.represented:,.0f} of them by inverse propensity, and the "
                f"known frauds say as much as {self.effective_frauds:,.0f} of equal weight."
            )
        found = f"between {self.precision[0]:.0%} and {self.precision[1]:.0%} are frauds"
        if self.recall is not None:
            found += f", between {self.recall[0]:.0%} and {self.recall[1]:.0%} of all"
        found += "".join(
            f"; {name.replace('_', ' ')} of all rows from {two[0]:.3f} to {two[1]:.3f}"
            for name, two in self.bounds.items()
        )
        if self.amount_caught is not None:
            low, high = self.amount_caught
            found += f"; frauds of {low:,.0f} to {high:,.0f} a day caught"
        if self.awaits_reports:
            found += ", if frauds that are not reported yet score like those that are"
        return (
            f"{seen}, and no control group stands for them: the metrics hold for the other rows alone. Of the "
            f"{self.alerts:,} highest scores {found}; more cannot be known."
        )


class Metrics(ExtendedValue):
    """One model on one set of rows."""

    ADDED = frozenset({"expected_frauds", "selected"})

    rows: int
    frauds: int
    values: dict[str, float | None] = Field(description="Every metric under its name; None where it is not defined.")
    slices: tuple[SliceMetrics, ...] = ()
    calibration: Calibration | None = None
    expected_frauds: float | None = Field(
        None,
        description="Frauds to be expected, where `frauds` are those known of days that are still reported, or of rows "
        "of which some stand for others.",
    )
    selected: SelectedRows | None = Field(None, description="What is unknown, where some of the rows were blocked.")

    @property
    def fraud_rate(self) -> float | None:
        """Share of the rows that are frauds, those that are not known yet included."""
        frauds = self.frauds if self.expected_frauds is None else self.expected_frauds
        rows = self.rows if self.selected is None else self.selected.stands_for
        return frauds / rows if rows else None

    @property
    def frauds_words(self) -> str:
        """How many of the rows are frauds, in words."""
        if self.expected_frauds is None:
            return f"{self.frauds:,}"
        return f"{self.frauds:,} known{self._worth}, {self.expected_frauds:,.0f} to be expected"

    @property
    def frauds_to_expect(self) -> str:
        """The same as a clause of a sentence; empty where all frauds are known."""
        if self.expected_frauds is None:
            return ""
        return f" with {self.frauds:,} known frauds{self._worth} ({self.expected_frauds:,.0f} to be expected)"

    @property
    def _worth(self) -> str:
        return "" if self.selected is None else f" (worth {self.selected.effective_frauds:,.0f} of equal weight)"


CALIBRATION_ERROR = "expected_calibration_error"


def card_precision_name(alert_budget: int) -> str:
    """The name of Card Precision at a budget."""
    return f"card_precision_at_{alert_budget}"


def metric_names(policy: MetricsPolicy) -> tuple[str, ...]:
    """The names of all metrics, in the order in which people read them."""
    return (
        "average_precision",
        "roc_auc",
        card_precision_name(policy.alert_budget),
        "recall_at_1pct_fpr",
        "brier_score",
        CALIBRATION_ERROR,
        "log_loss",
    )


def reading_order(name: str) -> tuple[int, str]:
    """Sorts names as `metric_names` does; a record keeps its keys in the order of the alphabet."""
    first = ("average_precision", "roc_auc", "card_precision", "recall", "brier", "expected")
    return next((place for place, start in enumerate(first) if name.startswith(start)), len(first)), name


def evaluate(judged: Judged, policy: MetricsPolicy) -> Metrics:
    """All metrics of one model on the rows, overall and by slice."""
    calibrated = calibration(judged)
    losses = log_losses(judged) if judged.probable and judged.rows else None
    return Metrics(
        rows=judged.rows,
        frauds=judged.frauds,
        values=_values(judged, policy, calibrated, losses),
        slices=tuple(_slice_metrics(judged, losses, policy)),
        calibration=calibrated,
        expected_frauds=judged.expected_frauds if judged.estimated else None,
        selected=_selected(judged, policy),
    )


def _values(
    judged: Judged, policy: MetricsPolicy, calibrated: Calibration | None, losses: Floats | None
) -> dict[str, float | None]:
    values = (
        average_precision(judged),
        roc_auc(judged),
        card_precision_at_k(judged, policy.alert_budget),
        recall_at_fpr(judged),
        brier_score(judged),
        calibrated.error if calibrated else None,
        judged.mean(losses) if losses is not None else None,
    )
    return dict(zip(metric_names(policy), values, strict=True))


def _selected(judged: Judged, policy: MetricsPolicy) -> SelectedRows | None:
    """What is unknown of the rows, and between which bounds it lies; None where nothing was blocked.

    The bounds are what the unknown rows could be at worst and at best: each of them a fraud or genuine (Manski 1989,
    "Anatomy of the selection problem"). They rest on no control group, and are sharp. Of days that are known in part
    the frauds are estimated, as in every metric: what is not reported yet is no surely genuine row.
    """
    if judged.row_weights is None or not judged.rankable:
        return None
    genuine = judged.assuming(fraud=False)
    bounds, amounts = _bounds(judged, genuine, policy.alert_budget)
    losses = log_losses(genuine) if genuine.probable and len(genuine) else None
    alerts = min(policy.alert_budget * len(np.unique(judged.days)), len(judged))
    top = np.zeros(len(judged), dtype=bool)
    top[judged.ranked[:alerts]] = True
    fraud, unknown = judged.labels == 1, ~judged.known
    above, below = int((unknown & top).sum()), int((unknown & ~top).sum())
    reports = fraud if judged.report_weights is None else np.where(fraud, judged.report_weights, 0.0)
    # Known frauds can stand for more than there are rows that could be frauds.
    caught, missed = (min(float(reports[here].sum()), int((here & ~unknown).sum())) for here in (top, ~top))
    least = caught / (caught + missed + below) if caught + missed + below else None
    most = (caught + above) / (caught + above + missed) if caught + above + missed else None
    return SelectedRows(
        rows=len(judged),
        unknown=int(unknown.sum()),
        stands_for=judged.population,
        effective_frauds=judged.effective_frauds,
        naive=_values(genuine, policy, calibration(genuine), losses),
        alerts=alerts,
        precision=(caught / alerts, (caught + above) / alerts) if alerts else (0.0, 0.0),
        recall=(least, most) if least is not None and most is not None else None,
        awaits_reports=judged.report_weights is not None,
        bounds=bounds,
        amount_caught=amounts,
    )


def _bounds(
    judged: Judged, genuine: Judged, k: int
) -> tuple[dict[str, tuple[float, float]], tuple[float, float] | None]:
    """Bounds of the metrics, and of the amount caught, over all that unknown rows could be."""
    if not len(judged):
        return {}, None
    least, most = (
        [RightOf(day.day, day.right) for day in daily_alerts(one, k)] for one in (genuine, judged.assuming(fraud=True))
    )
    alerts = alert_bounds(judged, k, least, most)
    ranked = average_precision_bounds(judged)
    found = {"average_precision": ranked} if ranked is not None else {}
    return {**found, card_precision_name(k): alerts.card_precision}, alerts.amount_caught


def _slice_metrics(judged: Judged, losses: Floats | None, policy: MetricsPolicy) -> Iterator[SliceMetrics]:
    ranked = _known_ranked(judged)
    for name, column in sliced(judged, policy).items():
        codes = column.codes[ranked]
        rows = np.bincount(codes)
        frauds = np.bincount(codes, weights=judged.labels[ranked]).astype(int)
        loss = _mean_losses(column, judged, losses) if losses is not None else None
        for code in np.flatnonzero(rows):
            here = codes == code
            enough = judged.rankable and frauds[code] >= policy.min_slice_frauds
            yield SliceMetrics(
                slice=name,
                value=column.names[code],
                rows=int(rows[code]),
                frauds=int(frauds[code]),
                log_loss=float(loss[code]) if loss is not None else None,
                average_precision=_sorted_curve(judged, ranked[here]).average_precision() if enough else None,
            )


def _mean_losses(column: Categories, judged: Judged, losses: Floats) -> Floats:
    """The mean loss of each slice; NaN of one without rows."""
    rows = np.bincount(column.codes, judged.row_weights)
    return np.divide(np.bincount(column.codes, losses), rows, out=np.full(len(rows), np.nan), where=rows > 0)
