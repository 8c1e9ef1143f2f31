"""Thresholds of days and windows that contradict each other are refused."""

import pytest
from pydantic import ValidationError

from fraud_retraining.domain.data.validation import ValidationPolicy


def test_bounds_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="min_fraud_rate is above max_fraud_rate"):
        ValidationPolicy(min_fraud_rate=0.2, max_fraud_rate=0.1)
