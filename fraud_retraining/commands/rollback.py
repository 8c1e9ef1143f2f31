"""`fraud-retraining rollback`: an earlier champion again."""

from typing import Annotated

import typer

from fraud_retraining.commands.support.decisions import open_decisions, print_decision
from fraud_retraining.commands.support.failures import reported_failures
from fraud_retraining.commands.support.options import By, Config, Json, Model, Reason
from fraud_retraining.domain.releases.release import MOST_VERSION


def rollback(
    to: Annotated[int, typer.Option(min=1, max=MOST_VERSION, help="Version that was champion before.")],
    reason: Reason,
    by: By = None,
    config: Config = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Make a version that was champion before champion again; automatic promotion pauses until `resume`."""
    with reported_failures(as_json=as_json):
        print_decision(open_decisions(by, config, model).rollback(to, reason), as_json=as_json)
