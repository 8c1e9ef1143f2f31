"""What is refused: reasons for which a row is no transaction, and thresholds of a day and of a window.

Not here: the rules that read them (`ingestion.py` and `day_checks.py` beside this module,
`domain/training/window_checks.py`).
"""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from fraud_retraining.domain.values.base import Policy


class ValidationPolicy(Policy):
    """Thresholds that a day and a window must meet before a model is trained on them."""

    min_rows: int = Field(50_000, ge=1, description="Least labelled rows of the training window.")
    min_fraud_rate: float = Field(0.001, ge=0, le=1, description="Least fraud rate of the training window.")
    max_fraud_rate: float = Field(0.10, ge=0, le=1, description="Greatest fraud rate of the training window.")
    max_day_fraud_rate: float = Field(0.5, ge=0, le=1, description="Greatest fraud rate of one day.")
    min_day_rows: int = Field(1, ge=0, description="Least accepted rows of one day.")
    min_row_count_ratio: float = Field(0.2, ge=0, le=1, description="Least rows of a day against the trailing median.")
    max_row_count_ratio: float = Field(5.0, ge=1, description="Most rows of a day against the trailing median.")
    trailing_days: int = Field(14, ge=1, le=90, description="Days that the trailing median looks back.")
    max_missing_days: int = Field(0, ge=0, description="Days of window and holdout that may be absent.")
    max_reject_share: float = Field(0.001, ge=0, le=1, description="Most rows of a day that may be rejected.")
    min_holdout_frauds: int = Field(20, ge=1, description="Least frauds in the holdout that a verdict may rest on.")
    max_arrival_hours: float = Field(
        72,
        gt=0,
        description="Hours after a day's end by which its files should be there; later is a warning, one a delivery.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_fraud_rate > self.max_fraud_rate:
            raise ValueError("min_fraud_rate is above max_fraud_rate")
        return self


class RejectReason(StrEnum):
    """Why a row of the lake is not a transaction. A row that breaks several rules has the first reason."""

    NULL_KEY = "null key"
    FRACTION_KEY = "key not a whole number"
    NULL_TIMESTAMP = "null timestamp"
    NULL_AMOUNT = "null amount"
    NEGATIVE_AMOUNT = "negative or not finite amount"
    INVALID_LABEL = "label not 0/1"
    UNLISTED_LABEL = "label in neither list"
    OUTSIDE_DAY = "timestamp outside its day"
    NULL_DECISION = "decision missing"
    NULL_PROPENSITY = "let through, propensity missing"
    INVALID_PROPENSITY = "propensity not in (0, 1]"
    SURELY_BLOCKED = "blocked, though its propensity is 1"
    DUPLICATE_ID = "duplicate id, and another copy says more"
