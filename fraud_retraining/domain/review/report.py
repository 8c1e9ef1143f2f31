"""The review report of a candidate as values, computed once, when it is judged.

Here: the report as one small document. Not here: how it is made (`domain/review/assembly.py`), how it is drawn
and laid out (`adapters/pages/pictures.py`, `adapters/pages/html.py`), and whether the candidate is good enough
(`domain/evaluation/gates/`).
"""

from datetime import date, datetime
from typing import Any, Literal

from pydantic import Field, JsonValue

from fraud_retraining.domain.evaluation.cost_curve import CostCurve
from fraud_retraining.domain.evaluation.metric_intervals import CurvePoint, MetricIntervals
from fraud_retraining.domain.evaluation.metrics import Calibration
from fraud_retraining.domain.monitoring.drift import DriftReport
from fraud_retraining.domain.training.estimators.base import ContributionMethod
from fraud_retraining.domain.values.base import ExtendedValue, Value

QUANTILES = (0.5, 0.9, 0.99, 0.999)
Use = Literal["training", "holdout", "fixed"]


class AlertDay(Value):
    """One day's alerts at the budget: how many were right, and how many of both models' are about the same entity."""

    day: date
    candidate: int
    champion: int | None = None
    same: int | None = None


class ScoreCounts(Value):
    """How often a model gave each score; a bin is named by the edges of the distribution that it belongs to."""

    frauds: tuple[int, ...]
    others: tuple[int, ...]
    quantiles: tuple[float, ...] = Field(description="Scores at `QUANTILES` of all rows.")


class ScoreReview(Value):
    """Scores of both models, and how far the candidate's have moved from the champion's."""

    edges: tuple[float, ...] = Field(description="Edges of the bins, rising; a lower score is in the first bin.")
    candidate: ScoreCounts
    champion: ScoreCounts | None = None
    stability_index: float | None = Field(None, description="Population stability index over the champion's deciles.")
    distance: float | None = Field(None, description="Kolmogorov-Smirnov: greatest distance of the two distributions.")


class FeatureReview(Value):
    """How much a feature matters: its share of the gain, and of the mean absolute effect on the sample."""

    name: str
    gain: float | None
    champion_gain: float | None = None
    effect: float | None = None
    champion_effect: float | None = None

    @property
    def shift(self) -> float | None:
        """Effect in the candidate less effect in the champion; a feature that one of them lacks has none in it."""
        if self.effect is None and self.champion_effect is None:
            return None
        return (self.effect or 0.0) - (self.champion_effect or 0.0)


class Effects(Value):
    """How effects were measured."""

    rows: int
    candidate: ContributionMethod | None
    champion: ContributionMethod | None = None


class SliceReview(Value):
    """Rows that share a value: how many, and how both models do; a difference only where there are frauds enough."""

    slice: str
    value: str
    rows: int
    frauds: int
    average_precision: float | None
    log_loss: float | None
    champion: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None


class MatureDay(Value):
    """A day's labels as the as-of day knows them."""

    day: date
    use: Use
    age_days: int = Field(description="Days from it to the as-of day.")
    rows: int | None = Field(description="Accepted rows; none where the day's record is gone.")
    labelled: int
    frauds: int


class Disagreement(Value):
    """A transaction that the two models score differently, and the features that make the difference."""

    transaction_id: str
    at: datetime
    entity: str
    amount: float
    is_fraud: bool
    candidate: float
    champion: float
    because: tuple[str, ...] = Field((), description="Features whose effects differ most; none without SHAP values.")


class ReviewReport(ExtendedValue):
    """Everything that a reviewer sees of one candidate, beside its gates."""

    ADDED = frozenset({"costs"})

    as_of: date
    fingerprint: str
    champion_version: int | None
    not_compared: str = Field("", description="Why there is no champion beside it.")
    first_day: date
    last_day: date
    rows: int
    frauds: int
    confidence: float
    curve: tuple[CurvePoint, ...]
    champion_curve: tuple[CurvePoint, ...] = ()
    intervals: dict[str, MetricIntervals]
    fixed_intervals: dict[str, MetricIntervals] = Field({}, description="Of the metrics on the fixed evaluation days.")
    alert_budget: int
    alert_entity: str
    alerts: tuple[AlertDay, ...]
    scores: ScoreReview
    calibration: Calibration | None
    champion_calibration: Calibration | None = None
    effects: Effects
    features: tuple[FeatureReview, ...]
    slices: tuple[SliceReview, ...]
    maturity: tuple[MatureDay, ...]
    costs: tuple[CostCurve, ...] = Field((), description="Of decisions whose least score costs choose.")
    drift: DriftReport | None = Field(
        None, description="The latest day's under the champion; none where there is none."
    )
    disagreements: tuple[Disagreement, ...] = ()

    def document(self) -> dict[str, JsonValue]:
        """The report as JSON, numbers with six significant digits."""
        return {name: _short(value) for name, value in self.model_dump(mode="json").items()}


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: _short(item) for name, item in value.items()}
    return [_short(item) for item in value] if isinstance(value, list) else value
