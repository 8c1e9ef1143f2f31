"""Decisions by score, and the settings that contradict themselves."""

import pytest
from pydantic import ValidationError

from fraud_retraining.domain.serving.policy import ServingPolicy
from fraud_retraining.domain.values.errors import SettingsError

POLICY = ServingPolicy(decisions=({"name": "review", "at": 0.2}, {"name": "block", "at": 0.9}))


@pytest.mark.parametrize(
    ("score", "decision"),
    [(0.0, "accept"), (0.19999, "accept"), (0.2, "review"), (0.89, "review"), (0.9, "block"), (1.0, "block")],
)
def test_the_highest_threshold_that_is_reached_decides(score: float, decision: str):
    assert POLICY.decision(score, POLICY.thresholds({})) == decision
    assert ServingPolicy(otherwise="pass").decision(score, {}) == "pass"


@pytest.mark.parametrize(
    "decisions",
    [
        [{"name": "block", "at": 0.9}, {"name": "block", "at": 0.5}],
        [{"name": "accept", "at": 0.9}],
        [{"name": "block", "at": 0.9}, {"name": "review", "at": 0.9}],
        [{"name": "block", "at": 0}],
        [{"name": "block", "at": 1.1}],
        [{"name": "", "at": 0.5}],
        [{"name": "block"}],
        [{"name": "block", "at": 0.5, "alerts_per_day": 10}],
        [{"name": "block", "alerts_per_day": 10}, {"name": "review", "alerts_per_day": 10}],
        [{"name": "block", "alerts_per_day": 0}],
        [{"name": "block", "at": 0.5, "costs": {}}],
        [{"name": "block", "costs": {"alert": -1}}],
        [{"name": "block", "costs": {}}, {"name": "review", "costs": {}}],
    ],
)
def test_decisions_that_no_score_could_choose_between_are_refused(decisions: list[dict[str, object]]):
    with pytest.raises(ValidationError):
        ServingPolicy.model_validate({"decisions": decisions})


def test_a_decision_with_alerts_a_day_begins_where_a_release_says():
    policy = ServingPolicy(decisions=({"name": "review", "alerts_per_day": 100}, {"name": "block", "at": 0.9}))
    by_alerts, other = "100 alerts a day", "50 alerts a day"
    found = policy.thresholds({("review", by_alerts): 0.3, ("review", other): 0.5, ("hold", by_alerts): 0.1})
    assert found == {"review": 0.3, "block": 0.9}
    assert [policy.decision(score, found) for score in (0.29, 0.3, 0.95)] == ["accept", "review", "block"]
    with pytest.raises(SettingsError, match="review"):
        policy.thresholds({("review", other): 0.5})
    assert policy.chooses and not POLICY.chooses


def test_a_key_is_given_by_its_digest_and_never_itself():
    with pytest.raises(ValidationError):
        ServingPolicy.model_validate({"api_keys": ["my key"]})


@pytest.mark.parametrize("url", ["redis://cache", "rediss://scorer@cache.example:6380/3", "redis://[::1]:6379/0"])
def test_a_redis_is_named_by_its_address(url: str):
    assert ServingPolicy(state_store="redis", redis_url=url).redis_url == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (None, "needs redis_url"),
        ("redis://:hunter2@cache/0", "REDIS_PASSWORD"),
        ("redis://user:hunter2@cache/0", "REDIS_PASSWORD"),
        ("redis://user:hunter2/hunter2@cache/0", "has to be"),
        ("redis://cache/0?password=hunter2", "has to be"),
        ("redis://cache:70000/0", "has to be"),
        ("redis://[::1/0", "has to be"),
        ("redis://cache/hunter2", "has to be"),
        ("http://cache/0", "has to be"),
        ("cache:6379", "has to be"),
    ],
)
def test_an_address_that_cannot_be_used_or_holds_a_password_is_refused_without_it(url: str | None, why: str):
    with pytest.raises(ValidationError, match=why) as refused:
        ServingPolicy(state_store="redis", redis_url=url)
    assert "hunter2" not in refused.value.errors()[0]["msg"]
