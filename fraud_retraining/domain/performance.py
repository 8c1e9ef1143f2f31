"""How good the champion is at what it is for: its scores of the time, against labels that have become trustworthy.

Here: the metrics of a day and of the last days together, and what a trigger reads of them. Not here: metrics
(`domain/metrics.py`) and which days a champion served (`orchestration/monitoring_state.py`).

One day has few frauds, and its average precision varies with them. So a day's report also judges the week that ends
with it, as far as the same champion served it: that is the number to act on.
"""

from collections.abc import Sequence
from datetime import date

from pydantic import Field

from fraud_retraining.domain.comparison import Interval
from fraud_retraining.domain.judged import Judged
from fraud_retraining.domain.metrics import MetricsPolicy, evaluate
from fraud_retraining.domain.schemas import Policy
from fraud_retraining.domain.triggers import LivePerformance
from fraud_retraining.domain.uncertainty import draw, metric_intervals

RECENT_DAYS = 7


class Live(Policy):
    """Metrics of one model over some days that it served."""

    first: date
    last: date
    rows: int = Field(description="Rows whose label was known when the last day became mature.")
    frauds: int
    values: dict[str, float | None] = Field(description="Every metric under its name; None where it is not defined.")
    intervals: dict[str, Interval] = Field(description="Of the metrics that have one, on other customers.")

    @property
    def average_precision(self) -> Interval | None:
        """Average precision with its interval; None where there is no fraud."""
        return self.intervals.get("average_precision")


class PerformanceReport(Policy):
    """What the champion of a day was worth, told once the day's labels are mature."""

    day: date
    version: int = Field(description="The version whose scores these are: the champion of the time.")
    fingerprint: str
    known_by: date = Field(description="As-of day whose knowledge of labels this rests on.")
    today: Live
    recent: Live = Field(description="The week that ends with the day, as far as this version served it.")
    holdout: Interval | None = Field(None, description="Average precision on its own holdout, when it was a candidate.")

    @property
    def live_performance(self) -> LivePerformance | None:
        """The report as a decision about a retrain reads it; None where the days have no fraud."""
        reached = self.recent.average_precision
        if reached is None:
            return None
        return LivePerformance(
            first=self.recent.first,
            last=self.recent.last,
            value=reached.value,
            high=reached.high,
            holdout_low=self.holdout.low if self.holdout else None,
        )


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
    )
