"""A trigger is one module and its row: what a further one asks for is asked for, under its name and with its reason."""

from datetime import date

import pytest

from fraud_retraining.domain.retraining.triggers.decision import decide
from fraud_retraining.domain.retraining.triggers.registry import TRIGGERS, TriggerPolicy, trigger_names, trigger_results
from fraud_retraining.domain.retraining.triggers.values import Retrain, Skip
from fraud_retraining_tests.support.trigger_inputs import (
    LAST,
    LATE,
    DisputesPolicy,
    WithDisputes,
    WithDisputesInputs,
    disputes,
    drifting,
)

READY = date(2024, 2, 28)
ON = WithDisputes(schedule=None, disputes=DisputesPolicy(rate=0.01))


def inputs_with_disputes(disputed: float, **more: object) -> WithDisputesInputs:
    return WithDisputesInputs(now=LATE, ready={READY: "abc"}, last_as_of=LAST, disputed=disputed, **more)


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRIGGERS, "disputes", disputes)


def test_an_added_trigger_asks_for_a_retrain_under_its_name_and_with_its_reason() -> None:
    decision = decide(ON, inputs_with_disputes(0.02))
    assert isinstance(decision, Retrain)
    assert (decision.as_of, decision.inputs) == (READY, "abc")
    assert (decision.triggers, decision.reason) == (("disputes",), "disputes: 2.0% of payments")
    both = decide(ON, inputs_with_disputes(0.02, drift=drifting(0.3, 0.3)))
    assert isinstance(both, Retrain)
    assert both.triggers == ("drift", "disputes")
    assert both.reason.endswith("; disputes: 2.0% of payments")


def test_an_added_trigger_that_does_not_fire_says_why_and_one_that_is_off_says_nothing() -> None:
    alone = ON.model_copy(update={"drift": None})
    assert decide(alone, inputs_with_disputes(0.01)) == Skip(
        reason="disputes: 1.0% of payments, up to 1.0% are accepted"
    )
    off = alone.model_copy(update={"disputes": None})
    assert decide(off, inputs_with_disputes(0.02)) == Skip(reason="every trigger is off")


def test_a_trigger_whose_settings_have_no_field_is_not_taken_for_one_that_is_off() -> None:
    with pytest.raises(AttributeError, match="disputes"):
        trigger_results(TriggerPolicy(), inputs_with_disputes(0.02))


def test_the_words_for_why_a_retrain_was_requested_are_the_triggers_and_those_of_people() -> None:
    names = ("schedule", "new_data", "drift", "performance", "labels", "manual", "backfill", "disputes")
    assert trigger_names() == names
