"""The Dagster instance that the command line shares with the web server and the daemon.

Here: finding its `dagster.yaml`, and failures of the machine under it. Not here: the runs on it.
"""

import errno
import importlib
import os
import sqlite3
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData

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


Revisions = dict[str, tuple[str | None, str | None]]


def storage_revisions() -> Revisions | None:
    """The schema's revision of each of Dagster's stores, and that of the installed Dagster; None where none is there.

    Nothing is made: opening the instance would make the storage.

    Raises:
        SettingsError: there is no `dagster.yaml`.
    """
    os.environ[HOME_VARIABLE] = str(home_folder())
    stored = InstanceRef.from_dir(str(config_folder())).storage_data
    if stored is None:
        return None
    config = yaml.safe_load(stored.config_yaml) or {}
    if issubclass(_class_of(stored), DagsterSqliteStorage):
        if not (Path(_text(config["base_dir"])) / "history" / "runs.db").is_file():
            return None
    else:
        # Other storages make their tables when they are opened, unless this says not to.
        stored = stored._replace(config_yaml=yaml.safe_dump({**config, "should_autocreate_tables": False}))
    storage: Any = stored.rehydrate(as_type=_class_of(stored))
    stores = {"runs": storage.run_storage, "events": storage.event_log_storage, "schedules": storage.schedule_storage}
    found = {name: store.alembic_version() for name, store in stores.items()}
    known = {name: version for name, version in found.items() if version is not None}
    return None if all(there is None for there, _ in known.values()) else known


def _class_of(stored: ConfigurableClassData) -> type:
    found: type = getattr(importlib.import_module(stored.module_name), stored.class_name)
    return found


def _text(value: str | dict[str, str]) -> str:
    """A text of `dagster.yaml`, or of the environment variable that it names."""
    return value if isinstance(value, str) else os.environ[value["env"]]
