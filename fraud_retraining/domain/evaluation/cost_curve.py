"""What a decision costs at each score, and the score at which it costs the least.

Here: missed frauds, alerts and disturbed customers at every score of some judged rows. Not here: the costs
(`domain/serving/policy.py`) and the picture (`adapters/pages/pictures.py`).
"""

from typing import NamedTuple

import numpy as np
from pydantic import Field

from fraud_retraining.domain.evaluation.judged import Floats, Judged
from fraud_retraining.domain.serving.policy import CostPolicy
from fraud_retraining.domain.values.base import Value

POINTS = 120


class CostPoint(Value):
    """Costs a day of taking the decision from a score on."""

    at: float
    alerts: float = Field(description="Transactions a day that reach it.")
    missed: float = Field(description="Cost of frauds below it.")
    alerting: float = Field(description="Cost of the alerts.")
    disturbed: float = Field(description="Cost of genuine customers with an alert.")

    @property
    def total(self) -> float:
        """All costs together."""
        return self.missed + self.alerting + self.disturbed


class CostCurve(Value):
    """The costs of a decision over its least score, from the highest score on."""

    name: str
    days: int = Field(description="Judged days that it was measured on.")
    alerts_per_day: int | None = Field(None, description="Most alerts a day that are allowed; None: any number.")
    points: tuple[CostPoint, ...] = Field(min_length=1)
    chosen: CostPoint = Field(description="The cheapest of those that give no more alerts than are allowed.")

    @property
    def at(self) -> float:
        """The least score that was chosen."""
        return self.chosen.at


class _Steps(NamedTuple):
    """Every score at which costs change, falling, with what has gathered above it; one entry a score."""

    at: Floats
    alerts: Floats
    stopped: Floats
    disturbed: Floats


def cost_curve(name: str, costs: CostPolicy, judged: Judged) -> CostCurve | None:
    """The costs of a decision at every score; None without a known fraud.

    A known fraud counts as often as there are frauds of its age, and a row of the control group as often as it stands
    for others; alerts are counted on all rows, blocked ones too. The first point is the score 1, which next to nothing
    reaches. Of equally cheap scores the highest is chosen; where even the highest gives too many alerts, that one.
    """
    if not judged.frauds or not judged.rankable:
        return None
    steps, days = _steps(judged), len(np.unique(judged.days))
    weights = judged.counts if judged.weights is None else judged.weights
    whole = float((judged.amounts * weights)[judged.labels == 1].sum())
    missed = costs.missed * (whole - steps.stopped) / days
    alerting, disturbed = costs.alert * steps.alerts / days, costs.disturbed * steps.disturbed / days
    most = np.inf if costs.alerts_per_day is None else costs.alerts_per_day * days
    allowed = np.count_nonzero(steps.alerts <= most)
    best = int((missed + alerting + disturbed)[: max(allowed, 1)].argmin())

    def point(place: int) -> CostPoint:
        return CostPoint(
            at=float(steps.at[place]),
            alerts=float(steps.alerts[place]) / days,
            missed=float(missed[place]),
            alerting=float(alerting[place]),
            disturbed=float(disturbed[place]),
        )

    shown = {0, best, len(steps.at) - 1}
    shown |= set((np.geomspace(1, len(steps.at), POINTS).astype(int) - 1).tolist())
    return CostCurve(
        name=name,
        days=days,
        alerts_per_day=costs.alerts_per_day,
        points=tuple(point(place) for place in sorted(shown)),
        chosen=point(best),
    )


def _steps(judged: Judged) -> _Steps:
    order = np.argsort(-judged.scores, kind="stable")
    scores, fraud = judged.scores[order], judged.labels[order] == 1
    weights = judged.counts if judged.weights is None else judged.weights
    amounts = np.where(fraud, (judged.amounts * weights)[order], 0.0)
    genuine, stand_for = judged.labels[order] == 0, judged.counts[order]
    # The first genuine row of a customer's day, from the highest score down, is the one that disturbs.
    keys = np.column_stack([judged.customers[order], judged.days[order]])[genuine]
    _, first = np.unique(keys, axis=0, return_index=True)
    disturbing = np.zeros(len(scores))
    places = np.flatnonzero(genuine)[first]
    disturbing[places] = stand_for[places]
    last = np.flatnonzero(np.append(np.diff(scores) != 0, True))
    at, alerts = scores[last], (last + 1).astype(np.float64)
    stopped, disturbed = np.cumsum(amounts)[last], np.cumsum(disturbing)[last]
    if at[0] < 1:
        at, alerts, stopped, disturbed = (
            np.append(begin, one) for begin, one in ((1.0, at), (0.0, alerts), (0.0, stopped), (0.0, disturbed))
        )
    return _Steps(at, alerts, stopped, disturbed)
