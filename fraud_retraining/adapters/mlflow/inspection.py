"""A look at MLflow's store that makes and migrates nothing.

Here: the revision of a store in a database, and whether a server answers. Not here: MLflow at work (`registry.py`).
"""

from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from fraud_retraining.adapters.mlflow.connection import limit_waiting, mlflow_call
from fraud_retraining.adapters.storage.sqlite_files import first_value

REVISION = "SELECT version_num FROM alembic_version"
SERVER = ("http", "https")


class StoreSeen(NamedTuple):
    """Revision of a store in a database, None where it has no tables yet; and that of the installed MLflow."""

    revision: str | None
    wanted: str


def inspect_database(uri: str) -> StoreSeen | None:
    """The store behind a database URI; None where its file is not there yet.

    Raises:
        DependencyUnreachable: it does not answer.
    """
    from mlflow.store.db.utils import _get_latest_schema_revision

    wanted = _get_latest_schema_revision()
    url = sa.make_url(uri)
    if url.get_backend_name() == "sqlite":
        file = Path(str(url.database))
        return StoreSeen(first_value(file, REVISION), wanted) if file.exists() else None
    engine = sa.create_engine(url, poolclass=NullPool, hide_parameters=True)
    with mlflow_call(uri, "read the revision of its database"), engine.connect() as connection:
        there = sa.inspect(connection).has_table("alembic_version")
        return StoreSeen(connection.exec_driver_sql(REVISION).scalar() if there else None, wanted)


def ask_server(uri: str, timeout_seconds: float) -> int:
    """How many experiments a server shows to this account: none, or at least one.

    Raises:
        DependencyUnreachable: it does not answer, or refuses.
    """
    limit_waiting(timeout_seconds)
    import mlflow

    with mlflow_call(uri, "list experiments"):
        return len(mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1))


def folder_of(uri: str) -> Path:
    """The folder of a store that is kept in files."""
    return Path(unquote(urlsplit(uri).path)) if uri.startswith("file:") else Path(uri)
