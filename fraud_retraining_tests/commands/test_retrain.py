"""The trigger that `retrain` is given."""

import pytest

from fraud_retraining.commands.retrain import require_trigger
from fraud_retraining.domain.retraining.triggers.registry import trigger_names
from fraud_retraining.domain.values.errors import SettingsError


@pytest.mark.parametrize("name", trigger_names())
def test_every_trigger_is_accepted(name: str) -> None:
    require_trigger(name)


@pytest.mark.parametrize("name", ["", "Drift", "boredom"])
def test_a_trigger_that_does_not_exist_is_refused_with_the_names_of_those_that_do(name: str) -> None:
    with pytest.raises(SettingsError) as refused:
        require_trigger(name)
    assert all(known in refused.value.remedy for known in trigger_names())
