"""`fraud-retraining reject`: rejection of a waiting version."""

from fraud_retraining.commands.support.decisions import open_decisions, print_decision
from fraud_retraining.commands.support.failures import reported_failures
from fraud_retraining.commands.support.options import By, Config, Json, Model, Reason, Version


def reject(
    version: Version,
    reason: Reason,
    by: By = None,
    config: Config = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Reject a waiting version: the champion stays."""
    with reported_failures(as_json=as_json):
        print_decision(open_decisions(by, config, model, former=True).reject(version, reason), as_json=as_json)
