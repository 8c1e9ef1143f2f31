"""What would change if a waiting candidate served: its scores beside the champion's on the latest days.

Here: which days those are, and the figures of two models on rows that need no label, with their intervals. Not here:
scoring the days (`orchestration/assets/promotion_watch.py`), and whether the candidate is better
(`domain/evaluation/`).

Intervals are those of every comparison: percentile intervals of a bootstrap over the entities that alerts are about,
paired, so that what both models have in common cancels. The alerts of a day are drawn, not chosen anew: a resample
keeps the thresholds of the rows as they are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import ClassVar

import numpy as np
from pydantic import Field

from fraud_retraining.domain.evaluation.agreement import rank_correlation
from fraud_retraining.domain.evaluation.alert_volume import Threshold
from fraud_retraining.domain.evaluation.judged import Floats, Integers, Mask
from fraud_retraining.domain.evaluation.metrics import MetricsPolicy
from fraud_retraining.domain.evaluation.resampled_totals import drawn_totals, interval_of, ratio_of
from fraud_retraining.domain.values.base import ExtendedValue, Value
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.interval import Interval
from fraud_retraining.domain.values.plain_tables import Grid, grid, number, span

SHADOW_DAYS = 7
"""The latest days that are scored by both."""


class ShadowedCandidate(Value):
    """A candidate that waits for a reviewer, and the champion that it would replace."""

    version: int
    as_of: date
    fingerprint: str
    champion_version: int
    learnt: tuple[DayRange, ...] = Field(description="Days that either of the two has learnt from.")
    thresholds: tuple[Threshold, ...] = Field((), description="Those that its verdict counted alerts at.")

    def fair_days(self, latest: date) -> tuple[date, ...]:
        """The last days up to one that neither version has learnt from, oldest first."""
        days = [latest - timedelta(days=n) for n in reversed(range(SHADOW_DAYS))]
        return tuple(day for day in days if not any(day in learnt for learnt in self.learnt))


class ShadowDayAlerts(Value):
    """Alerts of a day under both, and the interval of the difference."""

    day: date
    candidate: int
    champion: int
    difference: Interval


class ShadowThreshold(Value):
    """Alerts at a threshold under both, day by day."""

    name: str
    at: float | None = Field(description="The least score; None: that of the champion's last alert of each day.")
    days: tuple[ShadowDayAlerts, ...]
    ratio: Interval | None = Field(description="Candidate's over champion's; None where the champion has no alert.")

    @property
    def line(self) -> str:
        """Alerts a day at the threshold, in a line."""
        candidate, champion = self.per_day
        start = f"{self.name} from {self.at:.4g} on" if self.at is not None else self.name
        said = f"{start}: {candidate:,.1f} alerts a day against the champion's {champion:,.1f}"
        if self.ratio is None:
            return said
        return f"{said}, {self.ratio.value - 1:+.1%} ({self.ratio.low - 1:+.1%} to {self.ratio.high - 1:+.1%})"

    @property
    def per_day(self) -> tuple[float, float]:
        """Mean alerts a day of the candidate and of the champion."""
        count = len(self.days)
        return sum(day.candidate for day in self.days) / count, sum(day.champion for day in self.days) / count


class ShadowIntervals(Value):
    """How sure the figures of a shadow are, and alerts by threshold and day."""

    confidence: float
    other_alerts: Interval
    alert_ratio: Interval
    money: Interval = Field(description="Expected fraud in the alerts a day, candidate's less champion's.")
    thresholds: tuple[ShadowThreshold, ...]


class CandidateShadow(ExtendedValue):
    """A waiting candidate beside the champion on the latest rows; of alerts, each day by itself."""

    ADDED: ClassVar[frozenset[str]] = frozenset({"intervals"})

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
    intervals: ShadowIntervals | None = Field(None, description="None in a record from before they were measured.")

    @property
    def summary(self) -> str:
        """What would change, in a sentence."""
        first, last = self.days[0], self.days[-1]
        over = f"{first} to {last}" if first != last else f"{first}"
        if self.other_alerts is None or self.candidate_money is None or self.champion_money is None:
            return f"On {self.rows:,} rows of {over} the two cannot be compared: scores that are not numbers."
        correlation = "not known" if self.rank_correlation is None else f"{self.rank_correlation:.3f}"
        found = self.intervals
        others = f" ({span(found.other_alerts, '.0%')})" if found else ""
        ratio = f" ({span(found.alert_ratio, '.2f')})" if found else ""
        money = f", difference {found.money.value:+,.0f} ({span(found.money, '+,.0f')})" if found else ""
        return (
            f"On {self.rows:,} rows of {over}, against version {self.champion_version}: "
            f"{self.other_alerts:.0%}{others} of the {self.alerts:,.0f} daily alerts would be about others "
            f"({self.alert_entity}); at the champion's threshold {self.alert_ratio or 0:.2f}{ratio} times the alerts; "
            f"expected fraud in the alerts {self.candidate_money:,.0f} a day (champion: {self.champion_money:,.0f}"
            f"{money}), each by its own scores; rank correlation {correlation}."
        )

    @property
    def lines(self) -> tuple[str, ...]:
        """The alerts at each threshold, in a line each."""
        return tuple(one.line for one in self.intervals.thresholds) if self.intervals else ()


def shadow_grid(shadow: CandidateShadow) -> Grid | None:
    """Alerts of each shadow day under both at each threshold; None in a record from before they were counted."""
    if shadow.intervals is None:
        return None
    columns = ("threshold", "from score", "day", "candidate's alerts", "champion's", "difference", "interval")
    rows = (
        (
            one.name,
            number(one.at),
            day.day.isoformat(),
            day.candidate,
            day.champion,
            f"{day.candidate - day.champion:+,d}",
            span(day.difference, "+,.0f"),
        )
        for one in shadow.intervals.thresholds
        for day in one.days
    )
    note = (
        f"{'; '.join(shadow.lines)}. Days that neither version has learnt from, labelled or not, by scores as they are "
        f"served; intervals of {shadow.intervals.confidence:.0%}, {shadow.alert_entity}s drawn in pairs."
    )
    return grid("shadow", "Alerts while it waited", columns, rows, note)


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

    @property
    def dates(self) -> tuple[date, ...]:
        """The days that have rows, oldest first."""
        return tuple(date(1970, 1, 1) + timedelta(days=int(number)) for number in np.unique(self.days))


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
    """One day: alerts, champion's alerts that are not the candidate's, both volumes, and expected fraud in both.

    `alerted` are the entities that each model alerts on, `reached` those at or above the champion's last alert, of the
    candidate and of the champion; `rows` are the places of the day's rows.
    """

    alerts: int
    others: int
    volumes: tuple[int, int]
    money: tuple[float, float]
    rows: Integers
    alerted: tuple[Integers, Integers]
    reached: tuple[Integers, Integers]


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


WITHIN_BUDGET = "daily alerts"
"""What the champion's last alert of each day is called as a threshold."""


def shadow_intervals(
    rows: ScoresOfTwo, policy: MetricsPolicy, thresholds: Sequence[Threshold] = ()
) -> ShadowIntervals | None:
    """The intervals of the figures, and alerts by day at some thresholds; None where there are no figures.

    Args:
        rows: rows under both models.
        policy: alert budget, resamples, confidence and seed.
        thresholds: least scores, as they are served; without any, the champion's last alert of each day is counted at.
    """
    if not len(rows.days) or not rows.rankable:
        return None
    found, width = list(_days(rows, policy.alert_budget)), int(rows.entities.max()) + 1
    sums = np.zeros((6, width))
    for day in found:
        sums[0][day.alerted[1]] += 1
        sums[1][np.setdiff1d(day.alerted[1], day.alerted[0])] += 1
        for place, (alerted, reached, scores) in enumerate(
            zip(day.alerted, day.reached, (rows.candidate, rows.champion), strict=True)
        ):
            sums[2 + place][reached] += 1
            here = day.rows[np.isin(rows.entities[day.rows], alerted)]
            np.add.at(sums[4 + place], rows.entities[here], rows.amounts[here] * scores[here])
    alerts, others, *volumes, own, theirs = drawn_totals(np.arange(width), list(sums), policy)
    others_share, ratio = (
        ratio_of(one, against, policy.confidence) for one, against in ((others, alerts), (volumes[0], volumes[1]))
    )
    assert others_share is not None and ratio is not None, "a day with rows has an alert"
    return ShadowIntervals(
        confidence=policy.confidence,
        other_alerts=others_share,
        alert_ratio=ratio,
        money=interval_of((own - theirs) / len(found), policy.confidence),
        thresholds=tuple(_at_threshold(one, rows, policy) for one in thresholds)
        or (_within_budget(found, rows, policy),),
    )


def _at_threshold(threshold: Threshold, rows: ScoresOfTwo, policy: MetricsPolicy) -> ShadowThreshold:
    own, theirs = rows.candidate >= threshold.at, rows.champion >= threshold.at
    masks = [rows.days == number for number in np.unique(rows.days)]
    columns = [(one & today)[own | theirs] for today in masks for one in (own, theirs)]
    return _counted(threshold.name, threshold.at, rows.entities[own | theirs], columns, rows.dates, policy)


def _within_budget(found: Sequence[_Day], rows: ScoresOfTwo, policy: MetricsPolicy) -> ShadowThreshold:
    reached = [one for day in found for one in day.reached]
    entities = np.unique(np.concatenate(reached))
    columns = [np.isin(entities, one) for one in reached]
    return _counted(WITHIN_BUDGET, None, entities, columns, rows.dates, policy)


def _counted(
    name: str,
    at: float | None,
    entities: Integers,
    columns: Sequence[Mask],
    days: Sequence[date],
    policy: MetricsPolicy,
) -> ShadowThreshold:
    """A threshold whose columns say, by day and model, for whom there is an alert."""
    drawn = drawn_totals(entities, columns, policy)
    own, theirs = drawn[::2], drawn[1::2]
    return ShadowThreshold(
        name=name,
        at=at,
        days=tuple(
            ShadowDayAlerts(
                day=day,
                candidate=int(candidate[0]),
                champion=int(champion[0]),
                difference=interval_of(candidate - champion, policy.confidence),
            )
            for day, candidate, champion in zip(days, own, theirs, strict=True)
        ),
        ratio=ratio_of(own.sum(axis=0), theirs.sum(axis=0), policy.confidence),
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
            rows=np.flatnonzero(today),
            alerted=(alerted[0], alerted[1]),
            reached=(np.flatnonzero(highest[0] >= last), np.flatnonzero(highest[1] >= last)),
        )


def _highest(scores: Floats, entities: Integers, count: int) -> Floats:
    highest = np.full(count, -np.inf)
    np.maximum.at(highest, entities, scores)
    return highest
