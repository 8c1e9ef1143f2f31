"""Decisions by score, and the settings that contradict themselves."""

import pytest
from pydantic import ValidationError

from fraud_retraining.domain.serving.policy import ServingPolicy

POLICY = ServingPolicy(decisions=({"name": "review", "at": 0.2}, {"name": "block", "at": 0.9}))


@pytest.mark.parametrize(
    ("score", "decision"),
    [(0.0, "accept"), (0.19999, "accept"), (0.2, "review"), (0.89, "review"), (0.9, "block"), (1.0, "block")],
)
def test_the_highest_threshold_that_is_reached_decides(score: float, decision: str):
    assert POLICY.decision(score) == decision
    assert ServingPolicy(otherwise="pass").decision(score) == "pass"


@pytest.mark.parametrize(
    "decisions",
    [
        [{"name": "block", "at": 0.9}, {"name": "block", "at": 0.5}],
        [{"name": "accept", "at": 0.9}],
        [{"name": "block", "at": 0.9}, {"name": "review", "at": 0.9}],
        [{"name": "block", "at": 0}],
        [{"name": "block", "at": 1.1}],
        [{"name": "", "at": 0.5}],
    ],
)
def test_decisions_that_no_score_could_choose_between_are_refused(decisions: list[dict[str, object]]):
    with pytest.raises(ValidationError):
        ServingPolicy.model_validate({"decisions": decisions})


def test_a_key_is_given_by_its_digest_and_never_itself():
    with pytest.raises(ValidationError):
        ServingPolicy.model_validate({"api_keys": ["my key"]})
