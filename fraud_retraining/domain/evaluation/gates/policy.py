"""The settings of the gates: how good is good enough, and which gates only warn."""

from typing import Literal

from pydantic import Field

from fraud_retraining.domain.evaluation.metrics import MetricsPolicy

Severity = Literal["error", "warn"]
Advisory = Literal["no_slice_regression", "calibration", "score_contract"]
"""Gates that the settings may turn into warnings; every other gate stops a release that fails it."""


class GatePolicy(MetricsPolicy):
    """How good is good enough."""

    min_average_precision: float = Field(0.3, ge=0, le=1, description="Floor of the average precision on the holdout.")
    min_roc_auc: float = Field(0.7, ge=0, le=1, description="Floor of the ROC AUC on the holdout.")
    max_regression: float = Field(
        0.01, ge=0, le=1, description="Average precision that a candidate may lose against the champion."
    )
    max_unproven_regression: float = Field(
        0.05, ge=0, le=1, description="Loss that fails even if chance could explain it; never less than max_regression."
    )
    min_compared_frauds: int = Field(
        20, ge=1, description="Frauds that the compared rows need; with fewer, candidate and champion are not compared."
    )
    max_slice_regression: float = Field(
        0.05, ge=0, le=1, description="Average precision that a candidate may lose in one slice."
    )
    max_calibration_error: float = Field(
        0.5, gt=0, le=100, description="Expected calibration error beyond chance, as a multiple of the fraud rate."
    )
    min_distinct_scores: int = Field(10, ge=2, le=10_000, description="Different scores that a model must give.")
    max_importance: float = Field(
        0.95, gt=0, le=1, description="Share of the importance that one feature may have; more suggests a leak."
    )
    max_plausible_average_precision: float = Field(
        0.99,
        gt=0,
        le=1,
        description="Average precision beyond which a column of the lake that matters most counts as a leak; 1: never.",
    )
    max_alert_change: float = Field(
        0.1, ge=0, le=100, description="Share by which alerts at a threshold may differ from the champion's."
    )
    max_slice_alert_change: float = Field(
        0.1, ge=0, le=100, description="The same in one slice, beyond what chance explains among all slices."
    )
    min_alerts: int = Field(
        50, ge=1, description="Alerts of one of the models that a threshold needs to be judged, overall or in a slice."
    )
    advisory: tuple[Advisory, ...] = Field((), description="Gates that only warn.")
