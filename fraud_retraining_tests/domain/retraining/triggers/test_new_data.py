"""How many new rows ask for a retrain."""

import pytest

from fraud_retraining.domain.retraining.triggers.decision import (
    decide,
)
from fraud_retraining.domain.retraining.triggers.new_data import NewDataTriggerPolicy
from fraud_retraining.domain.retraining.triggers.registry import TriggerPolicy
from fraud_retraining.domain.retraining.triggers.values import (
    Retrain,
)
from fraud_retraining_tests.support.trigger_inputs import known


@pytest.mark.parametrize(("rows", "fires"), [(999, False), (1000, True), (5000, True)])
def test_new_data_fires_at_its_number_of_rows(rows: int, fires: bool) -> None:
    policy = TriggerPolicy(schedule=None, drift=None, new_data=NewDataTriggerPolicy(rows=1000))
    decision = decide(policy, known(new_rows=rows))
    assert isinstance(decision, Retrain) is fires
    assert f"{rows:,}" in decision.reason
