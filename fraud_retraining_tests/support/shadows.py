"""A candidate that waited beside the champion for three days."""

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np

from fraud_retraining.domain.evaluation.alert_volume import Threshold
from fraud_retraining.domain.evaluation.metrics import MetricsPolicy
from fraud_retraining.domain.monitoring.candidate_shadow import (
    CandidateShadow,
    ScoresOfTwo,
    shadow_figures,
    shadow_intervals,
)

FIRST = date(2026, 11, 5)
POLICY = MetricsPolicy(alert_budget=20, resamples=100)


def scores_of_three_days(moved: float = 0.3) -> ScoresOfTwo:
    """900 rows of 200 customers; the candidate's scores are the champion's, `moved` by noise."""
    draw, rows = np.random.default_rng(3), 900
    champion = draw.uniform(0, 1, rows) ** 4
    return ScoresOfTwo(
        days=np.repeat((FIRST - date(1970, 1, 1)).days + np.arange(3), rows // 3),
        entities=draw.integers(0, 200, rows),
        amounts=draw.uniform(5, 300, rows),
        candidate=np.clip(champion + moved * draw.uniform(-0.5, 0.5, rows), 0, 1),
        champion=champion,
    )


def candidate_shadow(names: Sequence[str] = ("block", "review"), version: int = 2) -> CandidateShadow:
    """Its figures, with thresholds of these names."""
    rows = scores_of_three_days()
    thresholds = [Threshold(name=name, at=0.8 - 0.1 * place) for place, name in enumerate(names)]
    return CandidateShadow(
        version=version,
        as_of=FIRST,
        champion_version=1,
        days=tuple(FIRST + timedelta(days=n) for n in range(3)),
        rows=len(rows.days),
        alert_entity="customer",
        intervals=shadow_intervals(rows, POLICY, thresholds),
        **vars(shadow_figures(rows, POLICY.alert_budget)),
    )
