"""`fraud-retraining dev`: Dagster's webserver and daemon and MLflow, on this machine."""

from typing import Annotated

import typer

from fraud_retraining.commands.support.config import use_config
from fraud_retraining.commands.support.failures import reported_failures
from fraud_retraining.commands.support.options import Config
from fraud_retraining.commands.support.output import err
from fraud_retraining.commands.support.progress import RichProgress


def dev(
    port: Annotated[int, typer.Option(help="Port of the Dagster UI; the next free one if it is taken.")] = 3000,
    mlflow_port: Annotated[int, typer.Option(help="Port of the MLflow UI; the next free one if it is taken.")] = 5000,
    seconds_per_day: Annotated[float, typer.Option(min=5, help="How often a day arrives in the growing lake.")] = 60,
    config: Config = None,
) -> None:
    """Start Dagster's webserver and daemon and MLflow: on your lake if the settings name one, else on a growing one."""
    with reported_failures(as_json=False):
        from fraud_retraining.commands.implementation import development_servers as servers

        use_config(config)
        settings = servers.own_lake()
        live = None if settings else seconds_per_day
        settings = settings or servers.live_settings(servers.demo_home())
        with RichProgress() as progress:
            code = servers.run(settings, progress, err, port=port, mlflow_port=mlflow_port, live=live)
        raise typer.Exit(code)
