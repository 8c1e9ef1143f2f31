"""`fraud-retraining demo`: retrains on a simulated lake and label feed."""

from typing import Annotated

import typer

from fraud_retraining.commands.support.failures import reported_failures
from fraud_retraining.commands.support.options import Json, Verbose
from fraud_retraining.commands.support.output import err, out, print_json
from fraud_retraining.commands.support.progress import RichProgress


def demo(
    transactions_per_day: Annotated[int, typer.Option(help="Mean transactions a day.")] = 6_000,
    seed: Annotated[int, typer.Option(help="Another seed gives another lake.")] = 7,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Simulate a lake, and retrain on it every two days of a finished."""
    with reported_failures(as_json=as_json, verbose=verbose):
        from fraud_retraining.commands.implementation import demonstration

        with RichProgress() as progress:
            finished = demonstration.run_demo(progress, transactions_per_day, seed, err, verbose=verbose)
        if as_json:
            print_json(finished.answer())
        else:
            finished.print(out)
