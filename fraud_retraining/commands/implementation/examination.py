"""The checks of `doctor` in the order of its table.

Here: which checks there are, with settings or without. Not here: the checks (`machine_checks.py`,
`dependency_checks.py`) and running them (`diagnosis.py`).
"""

import importlib
from functools import partial
from pathlib import Path

from fraud_retraining.commands.implementation.dependency_checks import dagster_checks, dependency_checks
from fraud_retraining.commands.implementation.diagnosis import Check, Diagnosis, diagnose, failed, ok
from fraud_retraining.commands.implementation.machine_checks import gpu_checks, machine_checks, spark_checks
from fraud_retraining.commands.support.config import read_settings
from fraud_retraining.domain.data.segments import SHARED
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.settings import settings_source


def examine(config: Path | None, seconds: float) -> Diagnosis:
    """Run every check; without settings, those that need none.

    Args:
        config: the settings file of `--config`.
        seconds: longest that one check may take.
    """
    try:
        settings = read_settings(config)
    except SettingsError as error:
        checks = [Check("settings", partial(failed, error)), *machine_checks(), *dagster_checks()]
    else:
        checks = [Check("settings", lambda: ok(f"from {settings_source(config)}")), *machine_checks()]
        checks += [
            *gpu_checks(settings),
            *spark_checks(settings),
            *dependency_checks(settings, seconds),
            *dagster_checks((SHARED, *settings.model_names) if settings.models else ("",)),
        ]
    # Outside of the limits: on a busy machine importing alone may take longer.
    for heavy in ("mlflow.store.db.utils", "pyarrow.parquet"):
        importlib.import_module(heavy)
    return diagnose(checks, seconds)
