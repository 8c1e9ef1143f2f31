"""The request for an approval leads to the registry's version and carries the command that answers."""

import json
import shlex

import pytest

from fraud_retraining.domain.alerts.notices import LinkPolicy
from fraud_retraining.domain.release_messages.request import (
    approve_command,
    registry_address,
    request_links,
    request_text,
)
from fraud_retraining.domain.release_messages.slack_request import request_message
from fraud_retraining_tests.domain.review.test_first_screen import a_history
from fraud_retraining_tests.support.gate_evidence import alert_changes, threshold_alerts
from fraud_retraining_tests.support.reviews import review_report

LINKS = LinkPolicy(mlflow="https://mlflow.example/", releases="https://fraud.example/releases")
REGISTRY = "https://mlflow.example/#/models/fraud_detector/versions/4"


def test_the_text_says_what_the_page_says_and_how_to_answer():
    text = request_text(a_history(), review_report(), LINKS)
    for part in (
        "fraud_detector: version 4 as of 2026-11-14 waits for a decision",
        "Better than the champion. Version 1 serves. Average precision differs by +0.0773",
        "average precision: 0.8927, champion 0.8154, difference +0.0773 (",
        f"{len(a_history().gates)} of {len(a_history().gates)} gates passed.",
        "Page of the version: https://fraud.example/releases/4",
        f"Registry: {REGISTRY}",
        'Approve: fraud-retraining approve 4 --by YOUR-NAME --reason "..."',
        'Reject: fraud-retraining reject 4 --by YOUR-NAME --reason "..."',
    ):
        assert part in text, part


def test_slack_has_the_registry_and_the_command():
    shown = json.dumps(request_message(a_history(), review_report(), LINKS))
    assert f"<{REGISTRY}|" in shown and "fraud-retraining approve 4 --by" in shown


def test_without_addresses_the_request_still_has_its_commands():
    assert request_links(a_history().release, LinkPolicy()) == ()
    assert "fraud-retraining approve 4" in request_text(a_history(), None, LinkPolicy())
    assert request_message(a_history(), None, LinkPolicy())["blocks"]


def test_a_model_and_a_name_of_any_kind_make_an_address_and_a_command():
    odd = a_history().release.model_copy(update={"model": "merchant's fraud/2"})
    assert registry_address(odd, LINKS) == "https://mlflow.example/#/models/merchant%27s%20fraud%2F2/versions/4"
    assert shlex.split(approve_command(4, "o'neill; rm -rf"))[4] == "o'neill; rm -rf"


@pytest.mark.parametrize("count", [1, 8, 9, 21])
def test_slack_has_a_line_for_every_threshold(count: int):
    history = a_history()
    assert history.evaluation is not None
    counted = alert_changes(*(threshold_alerts(name=f"decision {place:02}") for place in range(count)))
    evidence = history.evaluation.evidence.model_copy(update={"alerts": counted})
    judged = history.evaluation.model_copy(update={"evidence": evidence})
    shown = json.dumps(request_message(history.model_copy(update={"evaluation": judged}), None, LINKS))
    assert [f"decision {place:02} from" in shown for place in range(count)] == [True] * count
    assert "+0.0% (-4.0% to +4.0%)" in shown
