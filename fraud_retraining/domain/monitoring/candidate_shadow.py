"""What would change if a waiting candidate served: its scores beside the champion's on the latest days.

Here: which days those are, and the figures of two models on rows that need no label. Not here: scoring the days
(`orchestration/assets/promotion_watch.py`), and whether the candidate is better (`domain/evaluation/`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from pydantic import Field

from fraud_retraining.domain.evaluation.agreement import rank_correlation
from fraud_retraining.domain.evaluation.judged import Floats, Integers
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.days import DayRange

SHADOW_DAYS = 7
"""The latest days that are scored by both."""


class ShadowedCandidate(Value):
    """A candidate that waits for a reviewer, and the champion that it would replace."""

    version: int
    as_of: date
    fingerprint: str
    champion_version: int
    learnt: tuple[DayRange, ...] = Field(description="Days that either of the two has learnt from.")

    def fair_days(self, latest: date) -> tuple[date, ...]:
        """The last days up to one that neither version has learnt from, oldest first."""
        days = [latest - timedelta(days=n) for n in reversed(range(SHADOW_DAYS))]
        return tuple(day for day in days if not any(day in learnt for learnt in self.learnt))


class CandidateShadow(Value):
    """A waiting candidate beside the champion on the latest rows; of alerts, each day by itself."""

    version: int
    as_of: date
    champion_version: int
    days: tuple[date, ...] = Field(min_length=1, description="Days that neither version has learnt from.")
    rows: int
    rank_correlation: float | None = Field(description="Spearman's; None where a model gives all rows one score.")
    alerts: float = Field(description="Alerts a day within the budget (gates.alert_budget).")
    alert_entity: str
    other_alerts: float | None = Field(description="Share of the champion's alerts that the candidate does not give.")
    alert_ratio: float | None = Field(
        description="Entities at or above the champion's last alert of the day, as a multiple of the champion's."
    )
    candidate_money: float | None = Field(description="Expected fraud in its alerts a day, by its own scores.")
    champion_money: float | None = Field(description="The same of the champion, by the champion's scores.")

    @property
    def summary(self) -> str:
        """What would change, in a sentence."""
        first, last = self.days[0], self.days[-1]
        over = f"{first} to {last}" if first != last else f"{first}"
        if self.other_alerts is None or self.candidate_money is None or self.champion_money is None:
            return f"On {self.rows:,} rows of {over} the two cannot be compared: scores that are not numbers."
        correlation = "not known" if self.rank_correlation is None else f"{self.rank_correlation:.3f}"
        return (
            f"On {self.rows:,} rows of {over}, against version {self.champion_version}: {self.other_alerts:.0%} of the "
            f"{self.alerts:,.0f} daily alerts would be about others ({self.alert_entity}); at the champion's threshold "
            f"{self.alert_ratio or 0:.2f} times the alerts; expected fraud in the alerts {self.candidate_money:,.0f} a "
            f"day (champion: {self.champion_money:,.0f}), each by its own scores; rank correlation {correlation}."
        )


@dataclass(frozen=True, eq=False)
class ScoresOfTwo:
    """Rows under two models, one entry a row; days since 1970-01-01, entities as codes from 0 on."""

    days: Integers
    entities: Integers
    amounts: Floats
    candidate: Floats
    champion: Floats

    @property
    def rankable(self) -> bool:
        """Whether every score is a number."""
        return bool(np.isfinite(self.candidate).all() and np.isfinite(self.champion).all())


@dataclass(frozen=True)
class ShadowFigures:
    """Figures of two models on the same rows; None where scores are not numbers, or there are no rows."""

    rank_correlation: float | None = None
    alerts: float = 0.0
    other_alerts: float | None = None
    alert_ratio: float | None = None
    candidate_money: float | None = None
    champion_money: float | None = None


@dataclass(frozen=True)
class _Day:
    """One day: alerts, champion's alerts that are not the candidate's, both volumes, and expected fraud in both."""

    alerts: int
    others: int
    volumes: tuple[int, int]
    money: tuple[float, float]


def shadow_figures(rows: ScoresOfTwo, budget: int) -> ShadowFigures:
    """What would change on these rows with `budget` alerts a day, an alert being about an entity."""
    if not len(rows.days) or not rows.rankable:
        return ShadowFigures()
    days = list(_days(rows, budget))
    alerts = sum(day.alerts for day in days)
    candidate, champion = (sum(day.volumes[place] for day in days) for place in (0, 1))
    money = [sum(day.money[place] for day in days) / len(days) for place in (0, 1)]
    return ShadowFigures(
        rank_correlation=rank_correlation(rows.candidate, rows.champion),
        alerts=alerts / len(days),
        other_alerts=sum(day.others for day in days) / alerts,
        alert_ratio=candidate / champion,
        candidate_money=money[0],
        champion_money=money[1],
    )


def _days(rows: ScoresOfTwo, budget: int) -> Iterator[_Day]:
    count = int(rows.entities.max()) + 1
    for day in np.unique(rows.days):
        today = rows.days == day
        entities, amounts = rows.entities[today], rows.amounts[today]
        scores = rows.candidate[today], rows.champion[today]
        highest = [_highest(one, entities, count) for one in scores]
        present = np.flatnonzero(highest[1] > -np.inf)
        # Stable: entities of equal score keep the order of their codes, as in the metrics of alerts.
        alerted = [present[np.argsort(-one[present], kind="stable")][:budget] for one in highest]
        last = highest[1][alerted[1][-1]]
        money = [
            float((amounts * one)[np.isin(entities, chosen)].sum()) for one, chosen in zip(scores, alerted, strict=True)
        ]
        yield _Day(
            alerts=len(alerted[1]),
            others=len(np.setdiff1d(alerted[1], alerted[0])),
            volumes=(int((highest[0] >= last).sum()), int((highest[1] >= last).sum())),
            money=(money[0], money[1]),
        )


def _highest(scores: Floats, entities: Integers, count: int) -> Floats:
    highest = np.full(count, -np.inf)
    np.maximum.at(highest, entities, scores)
    return highest
