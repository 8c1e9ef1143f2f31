"""The settings that a command works with."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fraud_retraining.settings import Settings


def read_settings(config: Path | None) -> "Settings":
    """Settings from the file of `--config`, else from where the environment names them."""
    use_config(config)
    from fraud_retraining.settings import load_settings

    return load_settings(config)


def use_config(config: Path | None) -> None:
    """Make `--config` the settings file of this process and of every process that it starts."""
    from fraud_retraining.settings import CONFIG_VARIABLE

    if config is not None:
        os.environ[CONFIG_VARIABLE] = str(config)
