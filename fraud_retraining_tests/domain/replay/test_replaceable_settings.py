"""Policies of a replay: what may be replaced, and messages that name the policy and the key."""

import pytest

from fraud_retraining.domain.replay.replaceable_settings import NEVER, PRESENT, laid_over, read_policies
from fraud_retraining.domain.values.errors import SettingsError


def test_present_settings_and_never_retrain_are_always_there() -> None:
    given = {"monthly": {"triggers": {"schedule": {"every_hours": 720}}}, "as they are": None}
    names = [one.name for one in read_policies(given, "policies.yaml")]
    assert names == [PRESENT.name, NEVER.name, "monthly", "as they are"]


@pytest.mark.parametrize(
    ("given", "culprit"),
    [
        ({"monthly": {"cadence": 30}}, "monthly: cadence: is no setting that a replay can change"),
        ({"a": {"labels": {"delay_days": 3}}}, "a: labels.delay_days: is no setting that a replay can change"),
        ({"a": {"triggers": {"poll_seconds": 5}}}, "a: triggers.poll_seconds: is no setting that a replay can change"),
        ({"a": {"model": 3}}, "a: model: holds 3, not estimator, params, downsample"),
        ({"a": [1]}, "a: holds [1], not settings"),
        ({"never retrain": {}}, "never retrain: this name is that of a policy of every replay"),
        ({7: {}}, "7: a policy has a name"),
    ],
)
def test_a_policy_that_cannot_be_replayed_is_named_with_its_key(given: object, culprit: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_policies(given, "policies.yaml")
    assert culprit in refused.value.culprits


@pytest.mark.parametrize("given", [None, {}, [], "monthly"])
def test_a_file_without_policies_is_refused(given: object) -> None:
    with pytest.raises(SettingsError, match=r"policies.yaml holds no policies"):
        read_policies(given, "policies.yaml")


def test_another_strategy_replaces_the_whole_window() -> None:
    base = {"window": {"strategy": "rolling", "days": 30}, "model": {"params": {"a": 1}}}
    expanding = {"window": {"strategy": "expanding", "start": "2026-01-01"}, "model": {"params": {"b": 2}}}
    assert laid_over(base, expanding) == {"window": expanding["window"], "model": {"params": {"a": 1, "b": 2}}}


def test_null_turns_a_trigger_off() -> None:
    assert laid_over({"triggers": {"drift": {"threshold": 0.2}}}, {"triggers": {"drift": None}}) == {
        "triggers": {"drift": None}
    }
