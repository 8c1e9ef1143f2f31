"""`fraud-retraining replay`: what other settings would have been worth on past days."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from fraud_retraining.commands.support.config import model_settings
from fraud_retraining.commands.support.failures import reported_failures
from fraud_retraining.commands.support.options import DAY, Config, Json, Model, Verbose, checked_value
from fraud_retraining.commands.support.output import out, print_json
from fraud_retraining.commands.support.progress import RichProgress


def replay(
    first: Annotated[datetime, typer.Option("--from", formats=DAY, help="First day that is served.")],
    last: Annotated[datetime, typer.Option("--to", formats=DAY, help="Last day that is served.")],
    policies: Annotated[Path, typer.Option(help="File of policies: names, and settings that each has instead.")],
    processes: Annotated[int, typer.Option(min=1, max=256, help="Processes that fit and judge.")] = 1,
    cost_per_hour: Annotated[
        float | None, typer.Option(min=0, help="Price of an hour of compute; else budget.price_per_hour.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--out", help="Where the report goes; else replay/report.html in the home.")
    ] = None,
    config: Config = None,
    model: Model = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Live through past days under several policies, and say what each would have been worth."""
    with reported_failures(as_json=as_json, verbose=verbose):
        from fraud_retraining.domain.values.days import DayRange

        days = checked_value(DayRange, start=first.date(), end=last.date())
        with RichProgress() as progress:
            from fraud_retraining.commands.implementation.replay_policies import fitting_here, policies_of
            from fraud_retraining.commands.implementation.replay_run import ReplayRequest
            from fraud_retraining.commands.implementation.replay_run import replay as replayed

            settings = model_settings(config, model)
            price = cost_per_hour if cost_per_hour is not None else settings.budget.price_per_hour or None
            request = ReplayRequest(days, policies_of(policies, fitting_here(settings)), processes, price)
            found = replayed(request, settings, progress)
        from fraud_retraining.commands.implementation.replay_output import print_replay, replay_answer, write_page

        written = write_page(found, page or settings.home / "replay" / settings.segment / "report.html")
        if as_json:
            print_json(replay_answer(found, written))
        else:
            print_replay(found, written, out)
