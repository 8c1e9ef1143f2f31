"""`fraud-retraining approve`: approval of a waiting version."""

from fraud_retraining.commands.support.decisions import open_decisions, print_decision
from fraud_retraining.commands.support.failures import reported_failures
from fraud_retraining.commands.support.options import By, Config, Json, Model, Reason, Version


def approve(
    version: Version,
    by: By = None,
    reason: Reason = "",
    config: Config = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Approve a waiting version: it becomes champion."""
    with reported_failures(as_json=as_json):
        print_decision(open_decisions(by, config, model).approve(version, reason), as_json=as_json)
