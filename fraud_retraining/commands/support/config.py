"""The settings that a command works with."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from fraud_retraining.domain.values.errors import SettingsError

if TYPE_CHECKING:
    from fraud_retraining.settings import Settings

NAME_ONE = "name one of them: --model NAME, or FRAUD_RETRAINING_SEGMENT."


def read_settings(config: Path | None) -> "Settings":
    """Settings from the file of `--config`, else from where the environment names them."""
    use_config(config)
    from fraud_retraining.settings import load_settings

    return load_settings(config)


def model_settings(config: Path | None, model: str | None) -> "Settings":
    """The settings of the model of `--model`; of the only one, where it is not named.

    Raises:
        SettingsError: there are several and none is named, or there is none of the name.
    """
    settings = read_settings(config)
    names = settings.model_names
    if model is None and not settings.models:
        return settings
    if model is None:
        raise SettingsError(
            f"there are {len(names)} models, and the command is about one", culprits=names, remedy=NAME_ONE
        )
    if model not in names:
        raise SettingsError(f"there is no model {model}", culprits=names, remedy=NAME_ONE)
    return settings.of_model(model)


def recorded_settings(config: Path | None, model: str | None) -> "Settings":
    """The same, and for a model that the settings no longer name, while the record has releases of it."""
    settings = read_settings(config)
    if model is not None and model not in settings.model_names:
        from fraud_retraining.orchestration.resources import open_ledger

        if model in open_ledger(settings).recorded_models():
            return settings.of_former(model)
    return model_settings(config, model)


def use_config(config: Path | None) -> None:
    """Make `--config` the settings file of this process and of every process that it starts."""
    from fraud_retraining.settings import CONFIG_VARIABLE

    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config)
