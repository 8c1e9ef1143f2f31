"""`fraud-retraining resume`: the end of a pause of automatic promotion or retraining."""

from typing import Annotated

import typer

from fraud_retraining.commands.support.decisions import open_decisions
from fraud_retraining.commands.support.failures import reported_failures
from fraud_retraining.commands.support.options import By, Config, Json, Model, Reason
from fraud_retraining.commands.support.output import out, print_json


def resume(
    reason: Reason,
    promotion: Annotated[bool, typer.Option("--promotion", help="Only automatic promotion.")] = False,
    retraining: Annotated[bool, typer.Option("--retraining", help="Only automatic retraining.")] = False,
    by: By = None,
    config: Config = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Let what was paused go on: automatic promotion after a rollback, retraining after repeated failures."""
    with reported_failures(as_json=as_json):
        from fraud_retraining.domain.retraining.pauses import Automation

        flags = {Automation.PROMOTION: promotion, Automation.RETRAINING: retraining}
        subjects = [subject for subject, given in flags.items() if given]
        ended = open_decisions(by, config, model).resume(subjects, reason)
        if as_json:
            print_json({"resumed": [pause.model_dump(mode="json") for pause in ended]})
            return
        if not ended:
            out.print("nothing is paused", highlight=False)
        for pause in ended:
            out.print(f"automatic {pause.subject} goes on; it was {pause.summary}", highlight=False)
