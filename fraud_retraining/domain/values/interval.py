"""A value with the range that it may well have been in.

Here: the value. Not here: how it is found (`domain/evaluation/comparison.py`, `domain/evaluation/uncertainty.py`).
"""

from pydantic import Field

from fraud_retraining.domain.values.base import Value


class Interval(Value):
    """A value with the interval that resampling gives it."""

    value: float
    low: float
    high: float
    deviation: float = Field(description="Standard deviation over the resamples.")
