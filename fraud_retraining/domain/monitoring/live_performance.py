"""Live performance: the scores that served, against labels that are mature.

Here: the metrics of a day and of the last days together, and what a trigger reads of them. Not here: metrics
(`domain/evaluation/metrics.py`), which version scored which day (`orchestration/state/monitoring.py`) and when it
has decayed (`domain/retraining/triggers/`).

One day has few frauds, and its average precision varies with them. So a day's report also judges the week that ends
with it: that is the number to act on. With a retrain every other day and labels that take a week, no mature week
belongs to the present champion, and most belong to several. So the service is judged, across champions: each version on
the days that it served against what its own holdout promised, weighted by the frauds of those days.
"""

import math
from collections.abc import Sequence
from datetime import date
from typing import TypeVar

from pydantic import Field

from fraud_retraining.domain.evaluation.judged import Judged
from fraud_retraining.domain.evaluation.metric_intervals import draw, metric_intervals
from fraud_retraining.domain.evaluation.metrics import MetricsPolicy, SelectedRows, evaluate
from fraud_retraining.domain.labels.reporting_delays import ReportingDelays
from fraud_retraining.domain.retraining.triggers.performance import LivePerformance
from fraud_retraining.domain.values.base import ExtendedValue, Value
from fraud_retraining.domain.values.interval import Interval

RECENT_DAYS = 7


class Live(ExtendedValue):
    """Metrics of one model over some days that it served."""

    ADDED = frozenset({"selected"})

    first: date
    last: date
    rows: int = Field(description="Rows whose label was known when the last day became mature.")
    frauds: int
    values: dict[str, float | None] = Field(description="Every metric under its name; None where it is not defined.")
    intervals: dict[str, Interval] = Field(description="Of the metrics that have one, on other customers.")
    selected: SelectedRows | None = Field(None, description="What is unknown, where some of the rows were blocked.")

    @property
    def average_precision(self) -> Interval | None:
        """Average precision with its interval; None where there is no fraud."""
        return self.intervals.get("average_precision")


class ServedPart(Value):
    """The days of a week that one version served, beside what its holdout promised."""

    version: int
    as_of: date
    days: tuple[date, ...]
    rows: int
    frauds: int
    average_precision: float | None = Field(None, description="On those days; None where they have no fraud.")
    promised: Interval | None = Field(None, description="What its holdout lets expect of days as old as these.")
    promised_rows: int = Field(0, description="Rows of that holdout.")


class PerformanceReport(ExtendedValue):
    """Live performance of a day: on labels as known, where they are used so, and again once they are mature."""

    ADDED = frozenset({"delays"})

    day: date
    version: int = Field(description="The version that scored the day: the champion of the time.")
    fingerprint: str
    known_by: date = Field(description="As-of day whose knowledge of labels this rests on.")
    today: Live
    recent: Live = Field(description="The week that ends with the day, by the scores that served it.")
    parts: tuple[ServedPart, ...] = Field((), description="The same week by version, in the order of their days.")
    holdout: Interval | None = Field(None, description="What the holdout of the day's version lets expect.")
    delays: ReportingDelays | None = Field(
        None, description="Reporting delays, by which known frauds weigh; None where labels are mature."
    )

    @property
    def is_mature(self) -> bool:
        """Whether it rests on mature labels."""
        return self.delays is None

    @property
    def live_performance(self) -> LivePerformance | None:
        """The report as a decision about a retrain reads it; None where the days have no fraud."""
        reached = self.recent.average_precision
        if reached is None:
            return None
        found = service_level(self.recent, reached, self.parts)
        compared = found.compared if self.is_mature else f"labels as known by {self.known_by}; {found.compared}"
        if self.recent.selected is not None:
            compared += f"; {self.recent.selected.summary.removesuffix('.')}"
        return found.model_copy(update={"compared": compared})


def service_level(week: Live, reached: Interval, parts: Sequence[ServedPart]) -> LivePerformance:
    """A week of the service beside what its versions promised, each weighted by the frauds of the days that it served.

    Scores of different versions are not ranked against each other: the value is the mean of the parts. Its interval is
    as wide as that of the whole week, which resamples customers across all the days. Where the holdout of a version is
    not known, value and promise are of the other days alone, and the interval is wider by as much as these have fewer
    frauds. The holdouts of neighbouring versions share most of their days, so their intervals are averaged, not
    narrowed.
    """
    judged = [one for one in parts if one.average_precision is not None]
    known = [one for one in judged if one.promised is not None]
    compared = known or judged
    value = _weighted([(one.average_precision or 0.0, one.frauds) for one in compared], reached.value)
    wider = math.sqrt(week.frauds / frauds) if (frauds := sum(one.frauds for one in compared)) else 1.0
    promised = [(one.promised, one.frauds) for one in known if one.promised is not None]
    return LivePerformance(
        first=week.first,
        last=week.last,
        value=value,
        low=max(0.0, value - wider * (reached.value - reached.low)),
        high=min(1.0, value + wider * (reached.high - reached.value)),
        holdout_value=_weighted([(one.value, frauds) for one, frauds in promised], None),
        holdout_low=_weighted([(one.low, frauds) for one, frauds in promised], None),
        compared=_compared(week, compared, known),
    )


Otherwise = TypeVar("Otherwise", float, None)


def _weighted(values: Sequence[tuple[float, int]], otherwise: Otherwise) -> float | Otherwise:
    total = sum(weight for _, weight in values)
    return sum(value * weight for value, weight in values) / total if total else otherwise


def _compared(week: Live, compared: Sequence[ServedPart], known: Sequence[ServedPart]) -> str:
    """Whose days and rows the numbers are of, and what the promise rests on."""
    days = sum(len(one.days) for one in compared)
    rows, frauds = (sum(getattr(one, name) for one in compared) for name in ("rows", "frauds"))
    if not compared:
        return f"{week.rows:,} rows, {week.frauds:,} frauds"
    served = f"{days} days, {rows:,} rows, {frauds:,} frauds, served by {_versions(compared)}"
    if not known:
        return f"{served}; no version's holdout is known"
    least, most = min(one.promised_rows for one in known), max(one.promised_rows for one in known)
    return (
        f"{served}; holdouts of {least:,} rows"
        if least == most
        else f"{served}; holdouts of {least:,} to {most:,} rows"
    )


def _versions(parts: Sequence[ServedPart]) -> str:
    """The versions with their as-of days, and how many days old each was at most when it served."""
    described = [
        f"{one.version} (as of {one.as_of}, up to {(max(one.days) - one.as_of).days} days old)" for one in parts
    ]
    return f"version{'' if len(described) == 1 else 's'} {', '.join(described)}"


def measure(judged: Judged, days: Sequence[date], policy: MetricsPolicy) -> Live:
    """The metrics of some days together."""
    metrics = evaluate(judged, policy)
    drawn = draw(judged, alert_budget=policy.alert_budget, resamples=policy.resamples, seed=policy.seed)
    intervals = metric_intervals(drawn, [metrics.values], policy.confidence)
    return Live(
        first=days[0],
        last=days[-1],
        rows=metrics.rows,
        frauds=metrics.frauds,
        values=metrics.values,
        intervals={name: found.candidate for name, found in intervals.items()},
        selected=metrics.selected,
    )
