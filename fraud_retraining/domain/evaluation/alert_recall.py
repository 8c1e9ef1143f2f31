"""Frauds inside and outside of the alert budget: what a model's alerts catch, day by day.

Here: the count on judged rows. Not here: what a trigger makes of it (`domain/retraining/triggers/labels.py`).
"""

from typing import ClassVar

import numpy as np
from pydantic import Field

from fraud_retraining.domain.evaluation.judged import Judged
from fraud_retraining.domain.evaluation.metrics import MetricsPolicy, daily_suspects
from fraud_retraining.domain.values.base import ExtendedValue


class AlertRecall(ExtendedValue):
    """Entities with a known fraud, each once a day, and how many of them no alert of their day was about."""

    ADDED: ClassVar[frozenset[str]] = frozenset({"missed_share_of_known"})

    budget: int = Field(description="Alerts a day.")
    entity: str = Field(description="What an alert is about.")
    frauds: int = Field(description="Entities with a known fraud.")
    missed: int = Field(description="Those outside of the budget.")
    missed_share: float | None = Field(
        description="Share that is missed; frauds of days that are known in part, and of the control group, count by "
        "their weight. None without."
    )
    missed_share_of_known: float | None = Field(
        None,
        description="The same with every fraud counted for itself, whatever of the blocked transactions it stands for; "
        "None where that is the same.",
    )

    @property
    def promise(self) -> float | None:
        """The share of known frauds that is to be missed of other days, where known ones are counted."""
        return self.missed_share if self.missed_share_of_known is None else self.missed_share_of_known


def alert_recall(judged: Judged, policy: MetricsPolicy) -> AlertRecall | None:
    """What the highest scores of each day miss, up to the alert budget; None where scores cannot be ranked.

    Each day counts by itself: an entity that was found on an earlier day is alerted again.
    """
    if not judged.rankable:
        return None
    frauds, missed, weighted, weighted_missed, known, known_missed = 0, 0, 0.0, 0.0, 0.0, 0.0
    for day in daily_suspects(judged):
        outside = slice(policy.alert_budget, None)
        frauds, missed = frauds + int(day.defrauded.sum()), missed + int(day.defrauded[outside].sum())
        # A blocked fraud that was reviewed stands for itself, whatever is not reported yet of its day.
        weight = judged.day_weight(day.day) if day.reports is None else 1.0
        each = day.defrauded.astype(np.float64) if day.reports is None else day.defrauded * day.reports
        known += weight * float(each.sum())
        known_missed += weight * float(each[outside].sum())
        stand_for = each if day.counts is None else each * day.counts
        weighted += weight * float(stand_for.sum())
        weighted_missed += weight * float(stand_for[outside].sum())
    return AlertRecall(
        budget=policy.alert_budget,
        entity=policy.alert_entity,
        frauds=frauds,
        missed=missed,
        missed_share=weighted_missed / weighted if weighted else None,
        missed_share_of_known=known_missed / known if known and judged.row_weights is not None else None,
    )
