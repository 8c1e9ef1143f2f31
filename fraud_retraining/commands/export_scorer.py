"""`fraud-retraining export-scorer`: the scorer as a model that MLflow's own server takes."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fraud_retraining.commands.support.config import model_settings
from fraud_retraining.commands.support.failures import reported_failures
from fraud_retraining.commands.support.options import Config, Json, Model
from fraud_retraining.commands.support.output import out, print_json
from fraud_retraining.domain.values.errors import Conflict

if TYPE_CHECKING:
    from fraud_retraining.settings import Settings

CODE = "fraud_retraining.commands.implementation.mlflow_scorer"


def export_scorer(
    folder: Annotated[Path, typer.Option("--out", help="Folder to write; must not be there yet.")],
    config: Config = None,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Write a model for `mlflow models serve`: raw transactions in, the champion's answers out."""
    with reported_failures(as_json=as_json):
        _write(model_settings(config, model), config, folder)
        if as_json:
            print_json({"written": str(folder)})
        else:
            out.print(f"mlflow models serve --env-manager local -m {folder}", markup=False, soft_wrap=True)


def _write(settings: "Settings", config: Path | None, folder: Path) -> None:
    """Write the model's folder.

    Raises:
        Conflict: it is there already.
    """
    import mlflow.pyfunc

    from fraud_retraining.adapters.mlflow.environment import library_versions
    from fraud_retraining.settings import config_path

    if folder.exists():
        raise Conflict(f"{folder} is there already", remedy="name a folder that is not, or remove it.")
    source, code = config_path(config), find_spec(CODE)
    assert code is not None and code.origin is not None
    mlflow.pyfunc.save_model(
        path=str(folder),
        # A path: MLflow then keeps source code. It would pickle an object.
        python_model=code.origin,
        model_config={
            "settings": str(source.resolve()) if source else None,
            "model": settings.segment or None,
            "home": str(settings.home.resolve()),
        },
        pip_requirements=[f"{name}=={version}" for name, version in library_versions(("mlflow",)).items()],
    )
