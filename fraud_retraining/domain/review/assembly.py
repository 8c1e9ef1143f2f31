"""Assembly of a review report from judged rows and fitted models.

Here: every measurement of the report that the gates do not need. Not here: the report's values
(`domain/review/report.py`) and the sample of rows (`domain/review/row_sample.py`).

Everything that compares the models is measured on the rows that neither was trained on. Expensive measurements use a
sample; the report says on how many rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from fraud_retraining.domain.evaluation.comparison import Comparison
from fraud_retraining.domain.evaluation.explanation import Explanation, explain
from fraud_retraining.domain.evaluation.gates import Evidence, NotCompared
from fraud_retraining.domain.evaluation.judged import MISSING, Floats, Judged
from fraud_retraining.domain.evaluation.metric_intervals import Drawn, MetricIntervals, curve, draw, metric_intervals
from fraud_retraining.domain.evaluation.metrics import Metrics, MetricsPolicy, daily_alerts
from fraud_retraining.domain.monitoring.drift import DriftReport, population_stability_index
from fraud_retraining.domain.review.report import (
    QUANTILES,
    AlertDay,
    Disagreement,
    Effects,
    FeatureReview,
    MatureDay,
    ReviewReport,
    ScoreCounts,
    ScoreReview,
    SliceReview,
    Use,
)
from fraud_retraining.domain.review.row_sample import CANDIDATE, CHAMPION, RowSample
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.training.windows import TrainingWindow, WindowDay
from fraud_retraining.domain.values.schemas import AMOUNT, IS_FRAUD, TIMESTAMP, TRANSACTION_ID

REASONS = 3
SCORE_BINS = 30
LOWEST_SCORE = 1e-6
SHIFT_BINS = 10
EPOCH = date(1970, 1, 1)


class ReviewSubject(NamedTuple):
    """The candidate that a report is about, and the version that served when it was judged."""

    as_of: date
    fingerprint: str
    champion_version: int | None
    """The version that served, also where no row could compare the two."""


class ReviewedModel(NamedTuple):
    """A model under review and its judged rows."""

    rows: Judged
    model: FittedModel

    @property
    def gains(self) -> dict[str, float]:
        """Share of the gain by feature."""
        return self.model.importance()


@dataclass(frozen=True)
class ReviewedModels:
    """Candidate and champion on the same rows; without rows that compare them, the candidate on the whole holdout."""

    candidate: ReviewedModel
    champion: ReviewedModel | None
    sample: RowSample
    """Sample of those rows, and the rows on which the scores differ most."""
    fixed: Sequence[Judged] = ()
    """Both models on the comparable rows of the fixed evaluation days; else the candidate on all of them."""

    @property
    def sides(self) -> tuple[ReviewedModel, ...]:
        """The candidate, then the champion if there is one."""
        return (self.candidate,) if self.champion is None else (self.candidate, self.champion)


class ReviewContext(NamedTuple):
    """Facts about the data that a reviewer sees beside the models."""

    maturity: Iterable[MatureDay]
    drift: DriftReport | None = None
    """The latest report under the champion; the review report says so where there is none."""


def assemble_review_report(
    subject: ReviewSubject, models: ReviewedModels, evidence: Evidence, policy: MetricsPolicy, context: ReviewContext
) -> ReviewReport:
    """Return the review report of a candidate.

    Args:
        subject: the candidate and the version that served.
        models: both models with their judged rows.
        evidence: the measurements that the gates read.
        policy: alert budget, confidence and seed.
        context: label maturity and drift.
    """
    rows, champion = models.candidate.rows, models.champion
    drawn = draw(*(side.rows for side in models.sides), alert_budget=policy.alert_budget, seed=policy.seed)
    curves = [curve(one, policy.confidence) for one in drawn] or [()]
    measured = (evidence.beside, evidence.champion)[: len(models.sides)]
    sample = models.sample.rows
    explained = [explain(side.model, sample, seed=policy.seed) if sample else None for side in models.sides]
    first, last = _range(rows)
    return ReviewReport(
        as_of=subject.as_of,
        fingerprint=subject.fingerprint,
        champion_version=subject.champion_version,
        not_compared=evidence.comparison.reason if isinstance(evidence.comparison, NotCompared) else "",
        first_day=first,
        last_day=last,
        rows=rows.rows,
        frauds=rows.frauds,
        confidence=policy.confidence,
        curve=curves[0],
        champion_curve=curves[1] if len(curves) > 1 else (),
        intervals=_intervals(drawn, measured, evidence.comparison, policy.confidence),
        fixed_intervals=_fixed_intervals(models.fixed, evidence, policy),
        alert_budget=policy.alert_budget,
        alert_entity=policy.alert_entity,
        alerts=_alerts([side.rows for side in models.sides], policy.alert_budget),
        scores=_scores(rows, champion.rows if champion else None),
        calibration=evidence.beside.calibration,
        champion_calibration=evidence.champion.calibration if evidence.champion else None,
        effects=_effects(sample, explained),
        features=_features(models, explained),
        slices=_slices(evidence),
        maturity=tuple(context.maturity),
        drift=context.drift,
        disagreements=_disagreements(models, policy.alert_column),
    )


def _fixed_intervals(fixed: Sequence[Judged], evidence: Evidence, policy: MetricsPolicy) -> dict[str, MetricIntervals]:
    if not fixed:
        return {}
    measured = (evidence.fixed_beside, evidence.fixed_champion)[: len(fixed)]
    drawn = draw(*fixed, alert_budget=policy.alert_budget, seed=policy.seed)
    return _intervals(drawn, measured, evidence.fixed, policy.confidence)


def _intervals(
    drawn: Sequence[Drawn],
    measured: Sequence[Metrics | None],
    comparison: Comparison | NotCompared | None,
    confidence: float,
) -> dict[str, MetricIntervals]:
    """The intervals, with those of average precision that the gate judged: one difference has one interval."""
    known = metric_intervals(drawn, [one.values if one else {} for one in measured], confidence)
    if not isinstance(comparison, Comparison):
        return known
    judged = MetricIntervals(
        candidate=comparison.candidate, champion=comparison.champion, difference=comparison.difference
    )
    return {**known, "average_precision": judged}


def label_maturity(window: TrainingWindow, accepted: Mapping[date, int]) -> tuple[MatureDay, ...]:
    """Labels of each day of a window as known on its as-of day, with the accepted rows of the day."""
    uses: tuple[tuple[Use, tuple[WindowDay, ...]], ...] = (
        ("training", window.training),
        ("holdout", window.holdout),
        ("fixed", window.fixed),
    )
    return tuple(
        MatureDay(
            day=one.day,
            use=use,
            age_days=(window.days.as_of - one.day).days,
            rows=accepted.get(one.day),
            labelled=one.rows,
            frauds=one.frauds,
        )
        for use, days in uses
        for one in days
    )


def _range(judged: Judged) -> tuple[date, date]:
    return _day(judged.days.min()), _day(judged.days.max())


def _day(number: int) -> date:
    return EPOCH + timedelta(days=int(number))


def _alerts(sides: Sequence[Judged], budget: int) -> tuple[AlertDay, ...]:
    """Alerts of every day; none where scores are no numbers."""
    if not all(side.rankable for side in sides):
        return ()
    return tuple(
        AlertDay(
            day=_day(days[0].day),
            candidate=len(days[0].right),
            champion=len(days[1].right) if len(days) > 1 else None,
            same=len(np.intersect1d(days[0].alerts, days[1].alerts)) if len(days) > 1 else None,
        )
        for days in zip(*(daily_alerts(side, budget) for side in sides), strict=True)
    )


def _scores(candidate: Judged, champion: Judged | None) -> ScoreReview:
    edges = np.geomspace(LOWEST_SCORE, 1, SCORE_BINS + 1)
    if champion is None or not candidate.rankable:
        return ScoreReview(edges=tuple(edges), candidate=_counted(candidate, edges))
    return ScoreReview(
        edges=tuple(edges),
        candidate=_counted(candidate, edges),
        champion=_counted(champion, edges),
        stability_index=stability_index(candidate.scores, champion.scores),
        distance=kolmogorov_distance(_rising(candidate), _rising(champion)),
    )


def _rising(judged: Judged) -> Floats:
    return judged.scores[judged.ranked[::-1]]


def _counted(judged: Judged, edges: Floats) -> ScoreCounts:
    known = np.isfinite(judged.scores)
    scores, labels = np.clip(judged.scores[known], edges[0], edges[-1]), judged.labels[known]
    frauds, others = (np.histogram(scores[labels == label], edges)[0] for label in (1, 0))
    levels = np.quantile(judged.scores[known], QUANTILES) if known.any() else np.zeros(0)
    return ScoreCounts(frauds=tuple(frauds.tolist()), others=tuple(others.tolist()), quantiles=tuple(levels.tolist()))


def stability_index(candidate: Floats, champion: Floats, bins: int = SHIFT_BINS) -> float:
    """Population stability index over bins that hold equally many of the champion's scores; equal scores share one."""
    edges = np.unique(np.quantile(champion, np.arange(1, bins) / bins))
    after, before = (
        np.bincount(np.searchsorted(edges, scores, side="right"), minlength=len(edges) + 1).tolist()
        for scores in (candidate, champion)
    )
    return population_stability_index(before, after)


def kolmogorov_distance(candidate: Floats, champion: Floats) -> float:
    """Greatest difference of the distribution functions of two samples that are sorted."""

    def beyond(scores: Floats) -> float:
        first, second = (np.searchsorted(side, scores, side="right") / len(side) for side in (candidate, champion))
        return float(np.abs(first - second).max())

    return max(beyond(candidate), beyond(champion))


def _effects(sample: pa.Table | None, explained: Sequence[Explanation | None]) -> Effects:
    methods = [one.method if one else None for one in explained]
    return Effects(
        rows=sample.num_rows if sample is not None else 0,
        candidate=methods[0],
        champion=methods[1] if len(methods) > 1 else None,
    )


def _features(models: ReviewedModels, explained: Sequence[Explanation | None]) -> tuple[FeatureReview, ...]:
    """Every feature of both models, the greatest effect in either of them first."""
    gains = [*(side.gains for side in models.sides), {}][:2]
    effects = [*(one.shares if one else {} for one in explained), {}][:2]
    found = [
        FeatureReview(
            name=name,
            gain=gains[0].get(name),
            champion_gain=gains[1].get(name),
            effect=effects[0].get(name),
            champion_effect=effects[1].get(name),
        )
        for name in dict.fromkeys([*gains[0], *gains[1]])
    ]
    return tuple(sorted(found, key=lambda one: (-max(one.effect or 0, one.champion_effect or 0), one.name)))


def _slices(evidence: Evidence) -> tuple[SliceReview, ...]:
    comparison = evidence.comparison if isinstance(evidence.comparison, Comparison) else None
    compared = {(one.slice, one.value): one for one in comparison.slices} if comparison else {}
    return tuple(
        SliceReview(
            **one.model_dump(),
            **(
                {
                    "champion": other.champion,
                    "difference": other.difference.value,
                    "low": other.difference.low,
                    "high": other.difference.high,
                }
                if (other := compared.get((one.slice, one.value)))
                else {}
            ),
        )
        for one in evidence.beside.slices
    )


def _disagreements(models: ReviewedModels, entity: str) -> tuple[Disagreement, ...]:
    rows, champion = models.sample.disagreements, models.champion
    if rows is None or champion is None or not len(rows):
        return ()
    columns = {name: rows[name].to_pylist() for name in (TRANSACTION_ID, TIMESTAMP, entity, AMOUNT, IS_FRAUD)}
    scores = rows[CANDIDATE].to_pylist(), rows[CHAMPION].to_pylist()
    reasons = _reasons(explain(models.candidate.model, rows), explain(champion.model, rows))
    return tuple(
        Disagreement(
            transaction_id=str(columns[TRANSACTION_ID][row]),
            at=columns[TIMESTAMP][row],
            entity=MISSING if columns[entity][row] is None else str(columns[entity][row]),
            amount=columns[AMOUNT][row],
            is_fraud=bool(columns[IS_FRAUD][row]),
            candidate=scores[0][row],
            champion=scores[1][row],
            because=reasons[row] if reasons else (),
        )
        for row in range(len(rows))
    )


def _reasons(candidate: Explanation, champion: Explanation) -> list[tuple[str, ...]]:
    """The features whose effects on a row differ most between the models; nothing where effects explain no row."""
    if not (candidate.of_rows and champion.of_rows):
        return []
    names = list(dict.fromkeys([*candidate.features, *champion.features]))
    apart = np.zeros((len(candidate.effects), len(names)))
    for sign, side in ((1, candidate), (-1, champion)):
        apart[:, [names.index(name) for name in side.features]] += sign * side.effects
    return [tuple(names[position] for position in np.argsort(-np.abs(row), kind="stable")[:REASONS]) for row in apart]
