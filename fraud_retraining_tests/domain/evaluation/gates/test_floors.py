"""Floors: the message shows value, floor and distance with enough digits."""

import pytest

from fraud_retraining.domain.evaluation.gates import (
    GatePolicy,
)
from fraud_retraining_tests.support.gate_evidence import metrics, result


@pytest.mark.parametrize(
    ("value", "floor", "message"),
    [
        (0.712, 0.75, "Average precision on all 67,000 holdout rows 0.712 is below the floor 0.750 by 0.038."),
        (0.75, 0.75, "Average precision on all 67,000 holdout rows 0.750 is above the floor 0.750 by 0.000."),
        (
            0.29996,
            0.3,
            "Average precision on all 67,000 holdout rows 0.299960 is below the floor 0.300000 by 0.000040.",
        ),
    ],
)
def test_a_floor_speaks_in_a_sentence_with_enough_digits(value, floor, message):
    policy = GatePolicy(min_average_precision=floor)
    found = result("average_precision_floor", policy, candidate=metrics(average_precision=value))
    assert found.message == message
    assert found.value - found.threshold == pytest.approx(found.margin)
