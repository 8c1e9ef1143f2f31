"""`fraud-retraining import-champion`: an existing production model becomes the first champion."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from fraud_retraining.commands.support.config import model_settings
from fraud_retraining.commands.support.decisions import open_decisions
from fraud_retraining.commands.support.failures import print_failure, reported_failures
from fraud_retraining.commands.support.options import DAY, By, Config, Json, Reason, Segment, Verbose, day_of
from fraud_retraining.commands.support.output import out, print_json
from fraud_retraining.commands.support.progress import RichProgress


def import_champion(
    model: Annotated[
        str,
        typer.Option(help="File (ONNX, or native of XGBoost, LightGBM, CatBoost), MLflow folder, or models:/NAME/N."),
    ],
    trained_through: Annotated[
        datetime, typer.Option(formats=DAY, help="Last day that it has learnt from; it is judged on later ones only.")
    ],
    reason: Reason,
    by: By = None,
    format: Annotated[
        str | None, typer.Option(help="mlflow, onnx, xgboost, lightgbm or catboost; else as the name says.")
    ] = None,
    columns: Annotated[
        Path | None, typer.Option(help="YAML file: the model's columns in order, and what they are called here.")
    ] = None,
    sha256: Annotated[
        str | None, typer.Option(help="SHA-256 of the model file; has to be named for an address of MLflow.")
    ] = None,
    as_of: Annotated[datetime | None, typer.Option(formats=DAY, help="Last day that counts; else the latest.")] = None,
    config: Config = None,
    segment: Segment = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """An existing model becomes the first champion: judged by the gates, approved by you, then the one to beat."""
    with reported_failures(as_json=as_json, verbose=verbose):
        from fraud_retraining.commands.implementation.champion_import import ChampionImport, Claim

        claim = Claim(
            source=model,
            format=format,
            columns=columns,
            trained_through=trained_through.date(),
            reason=reason,
            sha256=sha256,
        )
        with RichProgress() as progress:
            settings, decisions = model_settings(config, segment), open_decisions(by, config, segment)
            importing = ChampionImport(settings, progress, decisions, verbose=verbose)
            done = importing.run(claim, day_of(as_of))
        from fraud_retraining.commands.implementation.champion_import import import_answer, print_import

        if as_json:
            print_json(import_answer(done))
        else:
            print_import(done, out)
        if done.retrained is not None and done.retrained.error is not None:
            if not as_json:
                print_failure(done.retrained.error)
            raise typer.Exit(done.retrained.error.exit_code)
