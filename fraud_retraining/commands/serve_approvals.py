"""`fraud-retraining serve-approvals`: the web app in which reviewers read and decide releases."""

from typing import Annotated

import typer

from fraud_retraining.commands.support.config import model_settings
from fraud_retraining.commands.support.failures import reported_failures
from fraud_retraining.commands.support.options import Config, Model
from fraud_retraining.commands.support.output import err


def serve_approvals(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8080,
    config: Config = None,
    model: Model = None,
) -> None:
    """Serve the page of releases and Slack's clicks."""
    with reported_failures(as_json=False):
        from fraud_retraining.commands.implementation import approvals_server

        settings = model_settings(config, model)
        message = f"http://{host}:{port}/releases; {approvals_server.decision_ways(settings)}"
        err.print(message, highlight=False, markup=False, soft_wrap=True)
        approvals_server.serve(settings, host, port)
