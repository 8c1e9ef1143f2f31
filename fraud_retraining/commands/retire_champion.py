"""`fraud-retraining retire-champion`: a champion that MLflow has lost is taken out of service."""

from fraud_retraining.commands.support.decisions import open_decisions
from fraud_retraining.commands.support.failures import reported_failures
from fraud_retraining.commands.support.options import By, Config, Json, Model, Reason
from fraud_retraining.commands.support.output import out, print_json


def retire_champion(
    reason: Reason, by: By = None, config: Config = None, model: Model = None, as_json: Json = False
) -> None:
    """Take a champion that MLflow has lost out of service; the next candidate starts over and waits for a human."""
    with reported_failures(as_json=as_json):
        release = open_decisions(by, config, model, former=True).retire_champion(reason)
        if as_json:
            print_json(release.model_dump(mode="json"))
        else:
            out.print(f"Version {release.version} is retired; no version serves. The next candidate waits for a human.")
