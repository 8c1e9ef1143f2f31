"""A value with its confidence interval.

Not here: how it is computed (`domain/evaluation/comparison.py`, `domain/evaluation/metric_intervals.py`).
"""

from pydantic import Field

from fraud_retraining.domain.values.base import Value


class Interval(Value):
    """A value with the confidence interval from resampling."""

    value: float
    low: float
    high: float
    deviation: float = Field(description="Standard deviation over the resamples.")
