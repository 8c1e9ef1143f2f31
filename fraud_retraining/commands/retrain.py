"""`fraud-retraining retrain`: one retrain."""

from datetime import datetime
from typing import Annotated

import typer

from fraud_retraining.commands.support.config import model_settings
from fraud_retraining.commands.support.failures import print_failure, reported_failures
from fraud_retraining.commands.support.options import DAY, Config, Json, Model, Verbose, day_of
from fraud_retraining.commands.support.output import out, print_json
from fraud_retraining.commands.support.progress import RichProgress
from fraud_retraining.domain.values.errors import SettingsError


def retrain(
    as_of: Annotated[datetime | None, typer.Option(formats=DAY, help="Last day that counts; else the latest.")] = None,
    trigger: Annotated[
        str, typer.Option(help="schedule, new_data, drift, performance, labels, manual or backfill.")
    ] = "manual",
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    config: Config = None,
    model: Model = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """One retrain; days that are missing or changed are ingested first."""
    with reported_failures(as_json=as_json, verbose=verbose):
        require_trigger(trigger)
        with RichProgress() as progress:
            from fraud_retraining.commands.implementation.pipeline import Pipeline

            pipeline = Pipeline(model_settings(config, model), progress, verbose=verbose)
            done = pipeline.retrain(day_of(as_of), trigger, reason)
        from fraud_retraining.commands.implementation.retrain_output import print_retrain, retrain_answer

        if as_json:
            print_json(retrain_answer(done))
        else:
            print_retrain(done, out)
        if done.error is not None:
            if not as_json:
                print_failure(done.error)
            raise typer.Exit(done.error.exit_code)


def require_trigger(name: str) -> None:
    """Refuse the name of a trigger that does not exist.

    Raises:
        SettingsError: there is no such trigger; the remedy names those there are.
    """
    from fraud_retraining.domain.retraining.triggers.registry import trigger_names

    if name not in trigger_names():
        raise SettingsError(f"there is no trigger {name!r}", remedy=f"triggers are {', '.join(trigger_names())}.")
