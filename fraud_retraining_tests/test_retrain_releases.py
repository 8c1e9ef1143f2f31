"""The candidate of a retrain: why it waits for a reviewer, and who may decide."""

import pytest

from fraud_retraining.adapters.storage.accounts import account
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.orchestration.resources import open_ledger
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.command_line import retrain, run
from fraud_retraining_tests.support.project_homes import ProjectHome


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_candidate_that_is_not_routine_waits_says_why_and_is_not_decided_by_its_requester(
    project: ProjectHome,
) -> None:
    project.configure(promotion={"mode": "earned", "reviewers": [{"name": "alice", "os_user": account()}, "bob"]})
    code, answer, _ = retrain()
    assert (code, answer["status"]) == (0, "awaiting_approval")
    for clause in ("trust is not earned yet", "its trigger is manual", "no usual range yet: 0 of 5"):
        assert clause in answer["message"]
    _, status, _ = run("status")
    assert answer["message"] in status["last_release"]
    assert not status["trust"]["approved"]

    ledger = open_ledger(load_settings())
    registered = ledger.last(EventKind.VERSION_REGISTERED)
    assert isinstance(registered.payload["facts"]["warnings"], list)
    assert registered.payload["release"]["requested_by"] == account()
    code, refused, _ = run("approve", "1")
    assert (code, refused["error"]["message"]) == (2, "alice requested version 1 and cannot approve it")
    project.configure(promotion={"mode": "earned", "reviewers": ["alice", "bob"]})
    code, approved, _ = run("approve", "1", "--by", "bob")
    assert (code, approved["state"]) == (0, "promoted")
    assert run("status")[1]["trust"]["approved"] == 1
