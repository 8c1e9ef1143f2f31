"""The connection to MLflow: one client, bounded waiting, and every failure as one type without secrets.

Here: how MLflow is called. Not here: what is read and written (the other modules beside this one).
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from fraud_retraining.domain.alerts.classification import causes
from fraud_retraining.domain.values.errors import DependencyUnreachable
from fraud_retraining.domain.values.redaction import redact

ATTEMPTS = 3
BACKOFF_SECONDS = 3.0

Found = TypeVar("Found")


@contextmanager
def mlflow_call(uri: str, what: str) -> Iterator[None]:
    """Raise every failure of MLflow as one type that names the action, with no password anywhere in its chain.

    MLflow puts the address with its password into its errors, and Dagster writes down every cause of a failure.
    """
    try:
        yield
    except _failures() as error:
        for cause in causes(error):
            _blank(cause)
        raise DependencyUnreachable(
            f"MLflow at {redact(uri)} could not {what}.",
            culprits=[str(error)[:500]],
            remedy="Check that the tracking server and its artifact store run and can be reached, then run again; "
            "nothing is lost.",
        ) from error


def _blank(error: BaseException) -> None:
    error.args = tuple(redact(said) if isinstance(said, str) else said for said in error.args)
    if isinstance(message := vars(error).get("message"), str):
        vars(error)["message"] = redact(message)


class MlflowConnection:
    """MLflow at one tracking URI, one experiment and one registered model."""

    def __init__(
        self,
        tracking_uri: str,
        experiment: str,
        model_name: str,
        *,
        artifact_root: Path | str | None = None,
        timeout_seconds: float = 30.0,
    ) -> None:
        """Nothing is requested yet.

        Args:
            tracking_uri: any MLflow tracking URI; its server is the model registry too.
            experiment: name of the experiment.
            model_name: name of the registered model.
            artifact_root: where a new experiment keeps its artifacts; a tracking server (http) decides for itself.
            timeout_seconds: after which a server that does not answer one question is given up, retries included.
        """
        self.tracking_uri = tracking_uri
        self.experiment = experiment
        self.model_name = model_name
        self._artifact_root = artifact_root
        self._timeout = timeout_seconds

    @cached_property
    def _client(self) -> Any:
        limit_waiting(self._timeout)
        import mlflow

        # Some calls inside MLflow go to the server that the process is set to, by default a new ./mlflow.db.
        mlflow.set_tracking_uri(self.tracking_uri)
        with _alone(self.tracking_uri):
            return mlflow.MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)

    @contextmanager
    def _call(self, what: str) -> Iterator[None]:
        with mlflow_call(self.tracking_uri, what):
            yield

    def _find(self, what: str, request: Callable[[], Found]) -> Found | None:
        """Return the answer, or None where MLflow itself says that there is no such thing."""
        from mlflow.exceptions import MlflowException

        with self._call(what):
            try:
                return request()
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return None

    def _create(self, what: str, create: Callable[[], Any]) -> None:
        """Create what another process may be creating at the same time."""
        from mlflow.exceptions import MlflowException

        with self._call(what):
            try:
                create()
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise


def limit_waiting(seconds: float) -> None:
    """Bound how long this process waits for MLflow: as shipped, a dead server holds a caller for many minutes.

    A request is made `ATTEMPTS` times; a server's "Retry-After" is not obeyed beyond that. Set in the
    environment, so that it holds for dagster-mlflow's calls too.
    """
    per_attempt = max(1, int((seconds - BACKOFF_SECONDS) / ATTEMPTS))
    os.environ.update(
        MLFLOW_HTTP_REQUEST_TIMEOUT=str(per_attempt),
        # MLflow counts repetitions, without the first request.
        MLFLOW_HTTP_REQUEST_MAX_RETRIES=str(ATTEMPTS - 1),
        MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR="1",
        MLFLOW_HTTP_REQUEST_BACKOFF_JITTER="0.5",
        MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER="false",
        MLFLOW_UV_AUTO_DETECT="false",
        MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false",
        MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT="true",
        MLFLOW_DISABLE_TELEMETRY="true",
    )
    from mlflow.store.db import utils as database

    # MLflow tries a database that it cannot open with pauses of 0.1, 0.3, 0.7, ... s: as shipped a minute and more.
    database.MAX_RETRY_COUNT = max(1, (int(10 * seconds) // 2).bit_length() - 1)


@contextmanager
def _alone(tracking_uri: str) -> Iterator[None]:
    """One process at a time, for a store in a file: the first one makes its tables, and MLflow takes no lock."""
    from sqlalchemy.engine import make_url

    file = make_url(tracking_uri).database if tracking_uri.startswith("sqlite:") else None
    if file is None or not Path(file).parent.is_dir():
        yield
        return
    folder = os.open(Path(file).parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _failures() -> tuple[type[Exception], ...]:
    """What MLflow and the stores behind it raise when they do not answer."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return (MlflowException, OSError, SQLAlchemyError, Boto3Error, BotoCoreError, ClientError)


def all_pages(request: Callable[[str | None], Any]) -> list[Any]:
    """Return all that MLflow lists, from every page."""
    page = request(None)
    found = list(page)
    while page.token:
        page = request(page.token)
        found += page
    return found
