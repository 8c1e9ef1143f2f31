"""Trained models and their evaluation, logged into MLflow runs.

Here: uploading a model with everything that explains it. Not here: registering it (`versions.py`) and building its
folder (`model_artifact.py`).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from fraud_retraining.adapters.mlflow.artifacts import IMPORTANCE, Artifacts
from fraud_retraining.adapters.mlflow.model_artifact import MODEL, built, read_files
from fraud_retraining.adapters.mlflow.runs import TrainedRun
from fraud_retraining.adapters.mlflow.tags import ARTIFACT_DIGEST, FINGERPRINT, LOGGED_MODEL
from fraud_retraining.domain.data.segments import recorded_summary
from fraud_retraining.domain.training.fingerprint import Fingerprint
from fraud_retraining.domain.training.scoring import FittedModel, files_digest
from fraud_retraining.domain.training.windows import TrainingWindow, WindowDay
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.schemas import IS_FRAUD

# As many characters as the columns of MLflow's database have.
DATASET_DIGEST_LENGTH = 36
DATASET_NAME_LENGTH = 500
FEATURES = "transaction_features"


@dataclass(frozen=True)
class TrainingSource:
    """What a model was trained from: its window, everything that determines it, and where the window's days lie."""

    window: TrainingWindow
    fingerprint: Fingerprint
    rows_uri: str = FEATURES


class LoggedModels(Artifacts):
    """Models that runs of the experiment have trained."""

    def log_model(
        self,
        run_id: str,
        model: FittedModel,
        source: TrainingSource,
        *,
        example: pa.Table,
        tags: Mapping[str, str],
        fingerprint: str | None = None,
        on_built: Callable[[str], object] = str,
    ) -> TrainedRun:
        """Put a fitted model with everything that explains it into a run.

        The run is addressed by its id: it may be the active one, as dagster-mlflow's is, or any other. No row of the
        window goes into MLflow. `fingerprint` is that of the artifact where more determines it than the fit, as a score
        mapping does; None: that of the source. `on_built` gets the artifact's digest before the upload begins, for the
        record: an upload whose process ends is recognised by it.
        """
        self._describe_training(run_id, model, tags, source)
        with self._call("record the datasets of a run"):
            self._client.log_inputs(run_id, datasets=_datasets(source))
        model_id, artifact_digest = self._upload(run_id, model, example, on_built)
        # The digest is written last, after the upload was read back: until then the run counts as untrained.
        self.log_numbers(
            run_id,
            tags={
                FINGERPRINT: fingerprint or source.fingerprint.digest,
                LOGGED_MODEL: model_id,
                ARTIFACT_DIGEST: artifact_digest,
            },
        )
        return self.run(run_id)

    def log_imported(
        self,
        run_id: str,
        model: FittedModel,
        determined_by: Fingerprint,
        *,
        example: pa.Table,
        on_built: Callable[[str], object] = str,
    ) -> TrainedRun:
        """Put a model that was made elsewhere into a run, as `log_model` does with one that was fitted here."""
        self.log_document(run_id, "fingerprint.json", determined_by.model_dump(mode="json"))
        self.log_document(run_id, IMPORTANCE, model.importance())
        model_id, artifact_digest = self._upload(run_id, model, example, on_built)
        # Last, as there: until then the run counts as holding no model.
        tags = {FINGERPRINT: determined_by.digest, LOGGED_MODEL: model_id, ARTIFACT_DIGEST: artifact_digest}
        self.log_numbers(run_id, params={"estimator": model.estimator}, tags=tags)
        return self.run(run_id)

    def _describe_training(
        self, run_id: str, model: FittedModel, tags: Mapping[str, str], source: TrainingSource
    ) -> None:
        window = source.window
        self.log_numbers(
            run_id,
            params={"estimator": model.estimator, "seed": model.seed, **model.params},
            metrics={
                "training_rows": window.rows,
                "training_frauds": window.frauds,
                "fitted_rows": model.facts["rows"],
            },
            tags=tags,
        )
        self.log_document(run_id, "training_window.json", window.model_dump(mode="json"))
        self.log_document(run_id, "fingerprint.json", source.fingerprint.model_dump(mode="json"))
        self.log_document(run_id, IMPORTANCE, model.importance())

    def _upload(
        self, run_id: str, model: FittedModel, example: pa.Table, on_built: Callable[[str], object]
    ) -> tuple[str, str]:
        """Id of the logged model and digest of its artifact, which was read back and is as it was written."""
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        with self._call("upload a model"):
            run = self._client.get_run(run_id)
            logged = self._client.create_logged_model(
                run.info.experiment_id,
                name=MODEL,
                source_run_id=run_id,
                params={name: str(value) for name, value in model.params.items()},
                model_type="classifier",
            )
            self._client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
            identity = {"run_id": run_id, "model_id": logged.model_id, "artifact_path": logged.artifact_location}
            with built(model, example, model_uuid=logged.model_id, **identity) as folder:
                artifact_digest = files_digest(read_files(folder))
                on_built(artifact_digest)
                self._client.log_model_artifacts(logged.model_id, str(folder))
            self._client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
        # Read back before the digest is recorded: an artifact store may accept an upload and lose a part of it.
        self._read_artifact(logged.model_id, artifact_digest)
        return str(logged.model_id), artifact_digest

    def record_evaluation(
        self,
        run_id: str,
        *,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        document: Mapping[str, Any],
        pictures: Mapping[str, bytes],
    ) -> None:
        """Put the evaluation into the run of the model that was judged; pictures are PNG."""
        self.log_numbers(run_id, metrics=metrics, tags=tags)
        self.log_document(run_id, "evaluation.json", document)
        with TemporaryDirectory() as scratch, self._call("upload pictures"):
            for name, picture in pictures.items():
                (Path(scratch) / f"{name}.png").write_bytes(picture)
            if pictures:
                self._client.log_artifacts(run_id, scratch, "pictures")


def _datasets(source: TrainingSource) -> list[Any]:
    """Training, holdout and fixed days as MLflow dataset inputs; digests are over day digests and segment."""
    from mlflow.entities import DatasetInput, InputTag

    window = source.window
    parts = {"training": window.training, "holdout": window.holdout, "fixed": window.fixed}
    return [
        DatasetInput(_dataset(days, source), tags=[InputTag("mlflow.data.context", context)])
        for context, days in parts.items()
        if days
    ]


def _dataset(days: Sequence[WindowDay], source: TrainingSource) -> Any:
    from mlflow.data.dataset_source_registry import resolve_dataset_source
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import Dataset

    # A day that several models share has one digest, whichever of its rows a model reads.
    days_digests, segment = [day.features_digest for day in days], recorded_summary(source.fingerprint.model)
    named = f"{FEATURES} {days[0].day} to {days[-1].day}" + (f", {segment}" if segment else "")
    described = MetaDataset(
        resolve_dataset_source(source.rows_uri),
        name=named[:DATASET_NAME_LENGTH],
        digest=digest([segment, *days_digests] if segment else days_digests)[:DATASET_DIGEST_LENGTH],
        schema=_columns(source.window),
    )
    counted = {"rows": sum(day.rows for day in days), "frauds": sum(day.frauds for day in days), "days": len(days)}
    return Dataset(**described.to_dict(), profile=json.dumps(counted))


def _columns(window: TrainingWindow) -> Any:
    """The features as the model's signature has them, and the label."""
    from mlflow.types import ColSpec, Schema

    kinds = {name: "string" if name in window.categorical else "double" for name in window.features}
    return Schema([*(ColSpec(kind, name) for name, kind in kinds.items()), ColSpec("integer", IS_FRAUD)])
