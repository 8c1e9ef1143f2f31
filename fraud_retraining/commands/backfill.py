"""`fraud-retraining backfill`: retrains as of days of the past."""

from datetime import datetime
from typing import Annotated

import typer

from fraud_retraining.commands.support.config import model_settings
from fraud_retraining.commands.support.failures import reported_failures
from fraud_retraining.commands.support.options import DAY, Config, Json, Model, Verbose, checked_value
from fraud_retraining.commands.support.output import out, print_json
from fraud_retraining.commands.support.progress import RichProgress


def backfill(
    first: Annotated[datetime, typer.Option("--from", formats=DAY, help="First as-of day.")],
    last: Annotated[datetime, typer.Option("--to", formats=DAY, help="Last as-of day.")],
    every: Annotated[int, typer.Option(min=1, help="Days between as-of days.")] = 1,
    config: Config = None,
    model: Model = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Retrain as of each Nth day, in order; never promotes over a newer champion."""
    with reported_failures(as_json=as_json, verbose=verbose):
        from fraud_retraining.domain.values.days import DayRange

        days = checked_value(DayRange, start=first.date(), end=last.date())
        with RichProgress() as progress:
            from fraud_retraining.commands.implementation.pipeline import Pipeline

            done = Pipeline(model_settings(config, model), progress, verbose=verbose).backfill(days, every)
        from fraud_retraining.commands.implementation.retrain_output import print_backfill, retrain_answer

        if as_json:
            print_json({"retrains": [retrain_answer(one) for one in done]})
        else:
            print_backfill(done, out)
        raise typer.Exit(next((one.error.exit_code for one in done if one.error is not None), 0))
