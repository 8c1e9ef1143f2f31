"""The Dagster instance that the command line shares with the web server and the daemon.

Here: finding its `dagster.yaml`, and failures of the machine under it. Not here: the runs on it.
"""

import errno
import os
import sqlite3
from pathlib import Path

import dagster as dg

import fraud_retraining
from fraud_retraining.adapters.storage.private_files import private_folder
from fraud_retraining.domain.alerts.classification import causes
from fraud_retraining.domain.values.errors import DependencyUnreachable, SettingsError
from fraud_retraining.settings import HOME_VARIABLE, home_folder

CONFIG = "dagster.yaml"
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
OUT_OF_MEMORY = ("bad_alloc", "can't start new thread")
"""Messages of XGBoost, and of Python's threads, when memory has run out."""


def config_folder() -> Path:
    """The folder of `dagster.yaml`: DAGSTER_HOME, else the project's checkout.

    Raises:
        SettingsError: neither has one.
    """
    named = os.environ.get("DAGSTER_HOME")
    folder = Path(named) if named else Path(fraud_retraining.__file__).parents[1]
    if not (folder / CONFIG).is_file():
        raise SettingsError(
            f"there is no {CONFIG} in {folder}", remedy="set DAGSTER_HOME to the folder that holds the project's one."
        )
    return folder


def storage_failure(error: BaseException) -> DependencyUnreachable | None:
    """A failure of Dagster's or MLflow's own storage under the home folder, with its remedy; None for other errors."""
    for cause in causes(error):
        # SQLite reports a full disk as an operational error without a number of the system.
        full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or isinstance(cause, sqlite3.OperationalError) or _closed_home(cause):
            return DependencyUnreachable(
                f"the storage under {home_folder()} cannot be written or read",
                culprits=[cause],
                remedy="free disk space under FRAUD_RETRAINING_HOME and look at its permissions, then run again; "
                "the champion stays.",
            )
    return None


def _closed_home(error: BaseException) -> bool:
    """Whether the home folder cannot be created, or a file in it not be written."""
    if not isinstance(error, OSError) or not isinstance(error.filename, str):
        return False
    home, place = home_folder(), Path(error.filename)
    return place == home or (error.errno in CLOSED and (place in home.parents or place.is_relative_to(home)))


def memory_failure(error: BaseException) -> DependencyUnreachable | None:
    """A lack of memory in any library, with its remedy; None for other errors."""
    for cause in causes(error):
        if isinstance(cause, MemoryError) or any(words in str(cause) for words in OUT_OF_MEMORY):
            return DependencyUnreachable(
                "there is not enough memory",
                culprits=[f"{type(cause).__name__}: {cause}"],
                remedy="give the machine more, or reduce the demand: window.days, model.params.max_bin, "
                "engine.memory_limit; then run again. The champion stays.",
            )
    return None


def machine_failure(error: BaseException) -> DependencyUnreachable | None:
    """A failure of this machine, its disk or its memory, with its remedy; None for any other failure."""
    return storage_failure(error) or memory_failure(error)


def open_instance() -> dg.DagsterInstance:
    """The instance whose state lies under the home folder."""
    home = home_folder()
    private_folder(home)
    # `dagster.yaml` reads the home from the environment.
    os.environ[HOME_VARIABLE] = str(home)
    return dg.DagsterInstance.from_config(str(config_folder()))
