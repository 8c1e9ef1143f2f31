"""One feature that decides alone suggests a leak, unless there is an honest reason."""

import pytest

from fraud_retraining.domain.evaluation.gates import (
    judge,
)
from fraud_retraining_tests.support.gate_evidence import POLICY, evidence, metrics


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"candidate": metrics(0.995)}, "the project makes the feature itself, from what came before"),
        ({"candidate": metrics(0.995), "columns": ("night",)}, "another feature matters more"),
        ({"columns": ("amount",)}, "the model is good, and not too good"),
    ],
)
def test_a_model_that_is_good_for_an_honest_reason_is_no_leak(changes, why):
    assert judge(POLICY, evidence(**changes)).passed, why
