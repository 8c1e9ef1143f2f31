"""How a reviewer's pack is made from judged rows and fitted models.

Here: what is kept of the rows that stream by while they are scored, and every measurement of the pack that the gates
do not need. Not here: the pack's values (`domain/review/report.py`).

Everything that compares the models is measured on the rows that neither has learnt from. What is costly is measured
on a sample; the pack says on how many rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from fraud_retraining.domain.evaluation.comparison import Comparison
from fraud_retraining.domain.evaluation.explanation import Explanation, explain
from fraud_retraining.domain.evaluation.gates import Evidence, NotCompared
from fraud_retraining.domain.evaluation.judged import MISSING, Floats, Judged
from fraud_retraining.domain.evaluation.metrics import Metrics, MetricsPolicy, daily_alerts
from fraud_retraining.domain.evaluation.uncertainty import Drawn, MetricIntervals, curve, draw, metric_intervals
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
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.training.windows import TrainingWindow, WindowDay
from fraud_retraining.domain.values.schemas import AMOUNT, IS_FRAUD, TIMESTAMP, TRANSACTION_ID

SAMPLE_ROWS = 1000
DISAGREEMENTS = 20
REASONS = 3
SCORE_BINS = 30
LOWEST_SCORE = 1e-6
SHIFT_BINS = 10
EPOCH = date(1970, 1, 1)
CANDIDATE, CHAMPION = "candidate_score", "champion_score"


class Watch:
    """Keeps, of batches that are scored one after the other, a sample and the rows on which two models differ most.

    The sample is every n-th row, so it has every day and hour in proportion; which rows these are depends on their
    order alone.
    """

    def __init__(self, rows: int, sample: int = SAMPLE_ROWS, most: int = DISAGREEMENTS) -> None:
        self._step = max(1, -(-rows // sample))
        self._most = most
        self._seen = 0
        self._sample: list[pa.Table] = []
        self._differing: list[pa.Table] = []

    def see(self, batch: pa.RecordBatch, candidate: Floats, champion: Floats | None) -> None:
        """A batch with both models' scores for it."""
        table = pa.Table.from_batches([batch])
        first = -self._seen % self._step
        self._seen += len(table)
        self._sample.append(table.take(np.arange(first, len(table), self._step)))
        if champion is not None:
            scored = table.append_column(CANDIDATE, pa.array(candidate)).append_column(CHAMPION, pa.array(champion))
            self._differing = [_most_differing([*self._differing, scored], self._most)]

    @property
    def sample(self) -> pa.Table | None:
        """The sample; none before a batch was seen."""
        return pa.concat_tables(self._sample) if self._sample else None

    @property
    def differing(self) -> pa.Table | None:
        """The rows on which the models differ most, with both scores; none without a champion."""
        return self._differing[0] if self._differing else None


def _most_differing(tables: Sequence[pa.Table], most: int) -> pa.Table:
    """Greatest difference first; equal ones in the order of their rows."""
    whole = pa.concat_tables(tables)
    apart = -np.abs(whole[CANDIDATE].to_numpy() - whole[CHAMPION].to_numpy())
    nearest = (
        np.argpartition(apart, min(most, len(apart)) - 1)[: most + 1] if len(apart) > most else np.arange(len(apart))
    )
    bound = apart[nearest].max() if len(nearest) else 0.0
    kept = np.flatnonzero(apart <= bound)
    return whole.take(kept[np.argsort(apart[kept], kind="stable")][:most])


class Reviewed(NamedTuple):
    """A model under review: its rows, and itself."""

    rows: Judged
    model: FittedModel

    @property
    def gains(self) -> dict[str, float]:
        """Share of the gain by feature."""
        return self.model.importance()


def review(
    *,
    as_of: date,
    fingerprint: str,
    policy: MetricsPolicy,
    evidence: Evidence,
    candidate: Reviewed,
    champion: Reviewed | None,
    champion_version: int | None,
    watch: Watch,
    maturity: Iterable[MatureDay],
    drift: DriftReport | None = None,
    fixed: Sequence[Judged] = (),
) -> ReviewReport:
    """The pack of a candidate.

    Args:
        as_of: the as-of day.
        fingerprint: the candidate's.
        policy: budget, confidence and seed.
        evidence: what the gates read.
        candidate: on the rows that both were judged on, or on the whole holdout.
        champion: on those rows; none where there is none to compare with.
        champion_version: the version that served, even if no row could compare the two.
        watch: what it kept of those rows.
        maturity: the labels of the window's days.
        drift: the latest day's report under the champion; where there is none, the pack says so.
        fixed: candidate and champion on the fixed evaluation days' rows that compare them, else the candidate on all.
    """
    sides = [candidate, *([champion] if champion else [])]
    drawn = draw(*(side.rows for side in sides), alert_budget=policy.alert_budget, seed=policy.seed)
    curves = [curve(one, policy.confidence) for one in drawn] or [()]
    measured = (evidence.beside, evidence.champion)[: len(sides)]
    explained = [explain(side.model, watch.sample, seed=policy.seed) if watch.sample else None for side in sides]
    first, last = _range(candidate.rows)
    return ReviewReport(
        as_of=as_of,
        fingerprint=fingerprint,
        champion_version=champion_version,
        not_compared=evidence.comparison.reason if isinstance(evidence.comparison, NotCompared) else "",
        first_day=first,
        last_day=last,
        rows=len(candidate.rows),
        frauds=candidate.rows.frauds,
        confidence=policy.confidence,
        curve=curves[0],
        champion_curve=curves[1] if len(curves) > 1 else (),
        intervals=_intervals(drawn, measured, evidence.comparison, policy.confidence),
        fixed_intervals=_fixed_intervals(fixed, evidence, policy),
        alert_budget=policy.alert_budget,
        alert_entity=policy.alert_entity,
        alerts=_alerts([side.rows for side in sides], policy.alert_budget),
        scores=_scores(candidate.rows, champion.rows if champion else None),
        calibration=evidence.beside.calibration,
        champion_calibration=evidence.champion.calibration if evidence.champion else None,
        effects=_method(watch, explained),
        features=_features(candidate, champion, explained),
        slices=_slices(evidence),
        maturity=tuple(maturity),
        drift=drift,
        disagreements=_disagreements(watch.differing, candidate, champion, policy.alert_column),
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


def maturity(window: TrainingWindow, accepted: Mapping[date, int]) -> tuple[MatureDay, ...]:
    """The labels of a window's days as its as-of day knows them, beside the rows that were accepted on each."""
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


def _method(watch: Watch, explained: Sequence[Explanation | None]) -> Effects:
    methods = [one.method if one else None for one in explained]
    return Effects(
        rows=watch.sample.num_rows if watch.sample is not None else 0,
        candidate=methods[0],
        champion=methods[1] if len(methods) > 1 else None,
    )


def _features(
    candidate: Reviewed, champion: Reviewed | None, explained: Sequence[Explanation | None]
) -> tuple[FeatureReview, ...]:
    """Every feature of both models, those first that matter most in either."""
    gains = [candidate.gains, champion.gains if champion else {}]
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


def _disagreements(
    rows: pa.Table | None, candidate: Reviewed, champion: Reviewed | None, entity: str
) -> tuple[Disagreement, ...]:
    if rows is None or champion is None or not len(rows):
        return ()
    columns = {name: rows[name].to_pylist() for name in (TRANSACTION_ID, TIMESTAMP, entity, AMOUNT, IS_FRAUD)}
    scores = rows[CANDIDATE].to_pylist(), rows[CHAMPION].to_pylist()
    reasons = _reasons(explain(candidate.model, rows), explain(champion.model, rows))
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
