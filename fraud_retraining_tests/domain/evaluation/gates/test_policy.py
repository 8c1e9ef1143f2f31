"""Which gates the settings may turn into warnings."""

import pytest
from pydantic import ValidationError

from fraud_retraining.domain.evaluation.gates import (
    GatePolicy,
)


@pytest.mark.parametrize("gate", ["no_regression", "average_precision_floor", "feature_importance", "no_such_gate"])
def test_the_gates_that_carry_the_decision_cannot_be_made_advisory(gate):
    with pytest.raises(ValidationError):
        GatePolicy(advisory=(gate,))
