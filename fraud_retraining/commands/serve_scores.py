"""`fraud-retraining serve-scores`: the web app that scores live transactions."""

from typing import Annotated

import typer

from fraud_retraining.commands.support.config import model_settings
from fraud_retraining.commands.support.failures import reported_failures
from fraud_retraining.commands.support.options import Config, Model
from fraud_retraining.commands.support.output import err


def serve_scores(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: any that is free.")] = 8090,
    processes: Annotated[int, typer.Option(min=1, max=256, help="Processes; several need a shared Redis.")] = 1,
    config: Config = None,
    model: Model = None,
) -> None:
    """Score live transactions with the champion, its features computed here."""
    with reported_failures(as_json=False):
        from fraud_retraining.commands.implementation import scores_server

        def listening(address: str) -> None:
            err.print(f"{address}/score", highlight=False, markup=False, soft_wrap=True)

        scores_server.serve(model_settings(config, model), host, port, listening, processes)
