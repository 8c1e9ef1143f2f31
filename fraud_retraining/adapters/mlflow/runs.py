"""Runs of MLflow: the experiment, what a run says, and the documents in it.

Here: parameters, metrics, tags and documents of runs. Not here: models (`logged_models.py`) and their files
(`artifacts.py`). The tag `artifact_digest` of a run is written last, after the upload was read back, so a run without
it holds no model.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fraud_retraining.adapters.mlflow.connection import MlflowConnection, all_pages
from fraud_retraining.adapters.mlflow.tags import (
    ARTIFACT_DIGEST,
    ARTIFACT_REMOVED,
    ENDED_WHY,
    FINGERPRINT,
    LOGGED_MODEL,
    NOTE,
)
from fraud_retraining.domain.values.errors import DependencyUnreachable, IntegrityError

# MLflow's server takes at most 100 parameters and 100 tags in one request.
BATCH = 100
EXPERIMENT_NOTE = (
    "Runs of the unattended retraining pipeline (`fraud_retraining`). A run is one trained model; its name is the "
    "as-of day and the trigger, its description the reason. A retrain that finds its model trained makes no run."
)


@dataclass(frozen=True)
class TrainedRun:
    """A run whose model was uploaded completely."""

    run_id: str
    model_id: str
    fingerprint: str
    artifact_digest: str
    tags: dict[str, str]


@dataclass(frozen=True)
class RunSummary:
    """A run of the experiment that was not deleted."""

    run_id: str
    started_at: datetime
    tags: dict[str, str]

    @property
    def holds_artifact(self) -> bool:
        """Whether a model was uploaded completely and is still there."""
        return ARTIFACT_DIGEST in self.tags and ARTIFACT_REMOVED not in self.tags


class Runs(MlflowConnection):
    """The runs of the experiment."""

    def ensure_experiment(self) -> str:
        """Id of the experiment, which is created when missing."""
        what = f"open the experiment {self.experiment}"
        with self._call(what):
            known = self._client.get_experiment_by_name(self.experiment)
        if known is None:
            self._create(what, self._create_experiment)
            with self._call(what):
                known = self._client.get_experiment_by_name(self.experiment)
        # MLflow finds a deleted experiment by its name, and refuses each run in it with another message.
        if known is None or known.lifecycle_stage != "active":
            raise DependencyUnreachable(
                f"The experiment {self.experiment} was deleted in MLflow.",
                remedy="Restore it there, or name another one under mlflow.experiment.",
            )
        return str(known.experiment_id)

    def _create_experiment(self) -> None:
        self._client.create_experiment(self.experiment, self._artifact_location(), tags={NOTE: EXPERIMENT_NOTE})

    def _artifact_location(self) -> str | None:
        if self._artifact_root is None or self.tracking_uri.startswith("http"):
            return None
        root = self._artifact_root
        return Path(root).absolute().as_uri() if isinstance(root, Path) or "://" not in root else root

    def start_run(self, name: str, tags: Mapping[str, str] | None = None) -> str:
        """Id of a new run; for callers outside Dagster, whose runs dagster-mlflow starts."""
        experiment = self.ensure_experiment()
        with self._call("start a run"):
            return str(self._client.create_run(experiment, tags=dict(tags or {}), run_name=name).info.run_id)

    def run(self, run_id: str) -> TrainedRun:
        """A run that holds a model.

        Raises:
            IntegrityError: there is no such run, or its upload was never completed.
        """
        run = self._find(f"read run {run_id}", lambda: self._client.get_run(run_id))
        if run is None or ARTIFACT_DIGEST not in run.data.tags:
            raise IntegrityError(
                f"Run {run_id} {'is not in MLflow' if run is None else 'holds no completely uploaded model'}.",
                remedy="Delete its version in MLflow, if there is one, and materialize fraud_model of that day again.",
            )
        return trained_run(run)

    def runs(self) -> list[RunSummary]:
        """Every run of the experiment that was not deleted."""
        return self._runs_where("")

    def open_runs(self) -> list[RunSummary]:
        """The runs of the experiment that were begun and not ended."""
        return self._runs_where("attributes.status = 'RUNNING'")

    def _runs_where(self, query: str) -> list[RunSummary]:
        experiment = self.ensure_experiment()
        with self._call("list the runs"):
            found = all_pages(lambda token: self._client.search_runs([experiment], query, page_token=token))
        return [
            RunSummary(run.info.run_id, datetime.fromtimestamp(run.info.start_time / 1000, UTC), dict(run.data.tags))
            for run in found
        ]

    def end_run(self, run_id: str, status: str, why: str) -> None:
        """End a run that another process left open; a tag says why, before the status does."""
        self.log_numbers(run_id, tags={ENDED_WHY: why})
        with self._call(f"end run {run_id}"):
            self._client.set_terminated(run_id, status=status)

    def log_numbers(
        self,
        run_id: str,
        *,
        params: Mapping[str, Any] | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Parameters, metrics and tags into a run; metrics that are not finite are left out."""
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        # MLflow stores infinity as the largest number, and NaN as 0 with a mark: neither is a measurement.
        finite = {name: value for name, value in (metrics or {}).items() if abs(value) < float("inf")}
        measured = [Metric(_metric_name(name), float(value), now, 0) for name, value in finite.items()]
        given = [Param(name, str(value)) for name, value in (params or {}).items()]
        labels = [RunTag(name, value) for name, value in (tags or {}).items()]
        with self._call("record numbers of a run"):
            for first in range(0, max(len(measured), len(given), len(labels)), BATCH):
                part = slice(first, first + BATCH)
                self._client.log_batch(run_id, metrics=measured[part], params=given[part], tags=labels[part])

    def log_document(self, run_id: str, name: str, document: Mapping[str, Any]) -> None:
        """A JSON document into the artifacts of a run."""
        with self._call(f"upload {name}"):
            self._client.log_text(run_id, json.dumps(document, indent=1, default=str), name)

    def log_page(self, run_id: str, name: str, html: str) -> None:
        """A page into the artifacts of a run, in place of the one of that name."""
        with self._call(f"upload {name}"):
            self._client.log_text(run_id, html, name)

    def read_document(self, run_id: str, name: str) -> bytes | None:
        """A document from the artifacts of a run; None means that the run has none of that name."""
        with TemporaryDirectory() as scratch, self._call(f"download {name}"):
            # Listed first: a download that fails says as little of a missing file as of a store that is down.
            if name not in {listed.path for listed in self._client.list_artifacts(run_id)}:
                return None
            return Path(self._client.download_artifacts(run_id, name, scratch)).read_bytes()

    def _document(self, run_id: str, name: str) -> Any:
        with TemporaryDirectory() as scratch, self._call(f"read {name}"):
            return json.loads(Path(self._client.download_artifacts(run_id, name, scratch)).read_text())


def trained_run(run: Any) -> TrainedRun:
    """Return a run of MLflow's client that holds a completely uploaded model."""
    tags = dict(run.data.tags)
    return TrainedRun(run.info.run_id, tags[LOGGED_MODEL], tags[FINGERPRINT], tags[ARTIFACT_DIGEST], tags)


def _metric_name(name: str) -> str:
    """MLflow allows letters, digits and a few signs in a metric's name."""
    return "".join(letter if letter.isalnum() or letter in "_-. /:" else "_" for letter in name)
