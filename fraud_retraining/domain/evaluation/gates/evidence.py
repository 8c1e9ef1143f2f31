"""What the gates read: numbers about candidate and champion, measured once, that an auditor can judge again.

Here: which rows compare the two, and the numbers of a decision. Not here: how each number is computed
(`domain/evaluation/metrics.py`, `domain/evaluation/comparison.py`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from pydantic import Field

from fraud_retraining.domain.evaluation.alert_volume import AlertChange
from fraud_retraining.domain.evaluation.comparison import Comparison, NotCompared, compare
from fraud_retraining.domain.evaluation.gates.policy import GatePolicy
from fraud_retraining.domain.evaluation.judged import Floats, Judged, Mask, Pair
from fraud_retraining.domain.evaluation.metrics import Metrics, evaluate
from fraud_retraining.domain.values.base import ExtendedValue, Value

NO_CHAMPION = NotCompared(reason="there is no champion yet")


def comparable(candidate: Judged, champion: Floats, fair: Mask, *, named: str, min_frauds: int) -> Pair | NotCompared:
    """Candidate and champion on the rows that neither has learnt from, or why these cannot compare the two.

    Args:
        candidate: the candidate on every judged row.
        champion: the champion's score for each of them.
        fair: which of the rows the champion has not learnt from.
        named: the champion as a message names it, such as `champion version 3 (as of 2026-11-18)`.
        min_frauds: frauds that the compared rows need.
    """
    if not fair.any() or not candidate.known[fair].any():
        return NotCompared(reason=f"{named} has learnt from every day that judges this candidate")
    rows = candidate.where(fair)
    rival = rows.with_scores(champion[fair])
    # A champion without scores is no reason to pass or to fail the candidate.
    if not rival.rankable:
        wrong = np.count_nonzero(~np.isfinite(rival.scores))
        return NotCompared(reason=f"{named} gives scores that are not numbers for {wrong:,} of {len(rows):,} rows")
    # Few rows that stand for many say no more than few.
    enough = rows.frauds if rows.row_weights is None else min(rows.frauds, rows.effective_frauds)
    if enough < min_frauds:
        return NotCompared(
            reason=f"the {rows.rows:,} rows that {named} has not learnt from hold {_frauds(rows)}, and "
            f"gates.min_compared_frauds requires {min_frauds}"
        )
    return Pair(rows, rival)


def _frauds(rows: Judged) -> str:
    """The frauds of some rows; where not all are known yet, how many there are to be expected."""
    if not rows.estimated:
        return f"{rows.frauds} frauds"
    worth = "" if rows.row_weights is None else f" (worth {rows.effective_frauds:,.0f} of equal weight)"
    return f"{rows.frauds} known frauds{worth} ({rows.expected_frauds:,.0f} to be expected)"


class ScoreSummary(Value):
    """The candidate's scores in four numbers; minimum and maximum are those of the finite scores."""

    distinct: int
    not_finite: int
    minimum: float | None
    maximum: float | None

    @classmethod
    def of(cls, judged: Judged) -> Self:
        """Summary of the scores of all rows."""
        finite = judged.scores[np.isfinite(judged.scores)]
        return cls(
            distinct=len(np.unique(finite)),
            not_finite=len(judged) - len(finite),
            minimum=float(finite.min()) if len(finite) else None,
            maximum=float(finite.max()) if len(finite) else None,
        )


class Evidence(ExtendedValue):
    """Everything that the gates read: numbers only, so that a stored verdict can be judged again."""

    ADDED = frozenset({"alerts"})

    candidate: Metrics = Field(description="The candidate on the whole holdout.")
    candidate_compared: Metrics | None = Field(None, description="The candidate on the rows where both were judged.")
    champion: Metrics | None = Field(None, description="The champion on those rows.")
    comparison: Comparison | NotCompared | None = Field(description="None where the rows could not compare the two.")
    fixed: Comparison | NotCompared | None = Field(description="The same on the fixed evaluation days.")
    fixed_candidate: Metrics | None = Field(None, description="The candidate on all fixed evaluation days.")
    fixed_candidate_compared: Metrics | None = Field(None, description="And on those of their rows that compare.")
    fixed_champion: Metrics | None = None
    scores: ScoreSummary
    importance: dict[str, float]
    columns: tuple[str, ...] = Field((), description="Features that are columns of the lake as they came.")
    alerts: AlertChange | NotCompared | None = Field(
        None, description="Alerts of both models at each threshold; None where they were not counted."
    )

    @property
    def beside(self) -> Metrics:
        """The candidate on the rows of the champion's numbers, to be shown beside them; without any, on all rows."""
        return self.candidate_compared or self.candidate

    @property
    def fixed_beside(self) -> Metrics | None:
        """The same on the fixed evaluation days."""
        return self.fixed_candidate_compared or self.fixed_candidate

    @property
    def partly_compared(self) -> bool:
        """Whether the champion has learnt from some of the holdout, so that only the rest compares the two."""
        return self.beside.rows != self.candidate.rows


NO_FIXED_SET = NotCompared(reason="no fixed evaluation days are configured")


@dataclass(frozen=True, eq=False)
class EvaluatedRows:
    """The candidate on every row of some days, and candidate and champion on the rows that neither learned from."""

    candidate: Judged
    comparison: Pair | NotCompared


def collect_evidence(
    policy: GatePolicy,
    *,
    holdout: EvaluatedRows,
    importance: Mapping[str, float],
    columns: Collection[str] = (),
    fixed: EvaluatedRows | NotCompared = NO_FIXED_SET,
    alerts: AlertChange | NotCompared | None = None,
) -> Evidence:
    """Measure what the gates read.

    Args:
        policy: how to measure.
        holdout: every holdout row with a known label.
        importance: importance of every feature of the candidate.
        columns: those of its features that are further columns of the lake, which may hold more than they should.
        fixed: the rows of the fixed evaluation days, or why there are none.
        alerts: both models at each threshold, or why they are not compared.
    """
    measured = evaluate(holdout.candidate, policy)
    rows, fixed_comparison = (None, fixed) if isinstance(fixed, NotCompared) else (fixed.candidate, fixed.comparison)
    on_fixed = evaluate(rows, policy) if rows is not None else None
    return Evidence(
        candidate=measured,
        candidate_compared=_measured_again(holdout.candidate, measured, holdout.comparison, policy),
        champion=_champion(holdout.comparison, policy),
        comparison=_compared(holdout.comparison, policy),
        fixed=_compared(fixed_comparison, policy),
        fixed_candidate=on_fixed,
        fixed_candidate_compared=_measured_again(rows, on_fixed, fixed_comparison, policy),
        fixed_champion=_champion(fixed_comparison, policy),
        scores=ScoreSummary.of(holdout.candidate),
        importance=dict(importance),
        columns=tuple(columns),
        alerts=alerts,
    )


def _champion(comparison: Pair | NotCompared, policy: GatePolicy) -> Metrics | None:
    return evaluate(comparison.champion, policy) if isinstance(comparison, Pair) else None


def _measured_again(
    rows: Judged | None, measured: Metrics | None, comparison: Pair | NotCompared, policy: GatePolicy
) -> Metrics | None:
    """The candidate on the compared rows, which are a part of the judged rows or all of them."""
    if isinstance(comparison, NotCompared):
        return None
    whole = rows is not None and len(comparison.candidate) == len(rows)
    return measured if whole else evaluate(comparison.candidate, policy)


def _compared(comparison: Pair | NotCompared, policy: GatePolicy) -> Comparison | NotCompared | None:
    return compare(comparison, policy) if isinstance(comparison, Pair) else comparison
