"""Files of models in MLflow's artifact store, never opened before their digest is the recorded one.

Here: downloading and verifying. Not here: what the files hold (`model_artifact.py`) and which version they belong to
(`versions.py`).
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from fraud_retraining.adapters.mlflow.model_artifact import fitted_model, odd_files, read_files, verified
from fraud_retraining.adapters.mlflow.runs import Runs, TrainedRun
from fraud_retraining.adapters.mlflow.tags import ARTIFACT_REMOVED
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.values.errors import IntegrityError

IMPORTANCE = "feature_importance.json"


class Artifacts(Runs):
    """The files of the models that runs have trained."""

    def load(self, run_id: str, *, expected_digest: str) -> FittedModel:
        """The model of a run, opened after its digest was verified."""
        return fitted_model(self._read_artifact(self.run(run_id).model_id, expected_digest, f"run {run_id}"))

    def importance(self, run: TrainedRun) -> dict[str, float]:
        """Importance by feature, from the verified model; from the run's document once its artifact was removed."""
        if ARTIFACT_REMOVED in run.tags:
            return self._document(run.run_id, IMPORTANCE)
        return self.load(run.run_id, expected_digest=run.artifact_digest).importance()

    def _read_artifact(self, model_id: str, expected: str, what: str = "the model") -> dict[str, bytes]:
        location = self._find(
            f"find the artifact of {what}", lambda: self._client.get_logged_model(model_id).artifact_location
        )
        return self._read_location(location, expected, what)

    def _read_location(self, location: str | None, expected: str, what: str) -> dict[str, bytes]:
        if location is None:
            raise gone(what)
        with TemporaryDirectory(prefix="fraud-model-") as scratch:
            return verified(read_files(self._fetch(location, Path(scratch), what)), expected, what)

    def _fetch(self, location: str, scratch: Path, what: str) -> Path:
        from mlflow.artifacts import download_artifacts, list_artifacts

        self._require_plain_files(location, what)
        with self._call(f"list the artifact of {what}"):
            listed = list_artifacts(artifact_uri=location, tracking_uri=self.tracking_uri)
        if not listed:
            raise gone(what)
        with self._call(f"download the artifact of {what}"):
            return Path(
                download_artifacts(
                    artifact_uri=location,
                    dst_path=str(scratch),
                    tracking_uri=self.tracking_uri,
                    registry_uri=self.tracking_uri,
                )
            )

    def _require_plain_files(self, location: str, what: str) -> None:
        """Refuses an artifact on this disk that holds links, pipes or devices, before anything of it is copied."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
        from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
        from mlflow.store.artifact.models_artifact_repo import ModelsArtifactRepository

        with self._call(f"find the artifact of {what}"):
            place = get_artifact_repository(location, self.tracking_uri, self.tracking_uri)
            # An address of the registry stands for the place at which the files lie.
            place = place.repo if isinstance(place, ModelsArtifactRepository) else place
        if isinstance(place, LocalArtifactRepository) and (odd := odd_files(Path(place.artifact_dir))):
            raise IntegrityError(
                f"The artifact of {what} holds more than plain files; it was not opened.",
                culprits=odd,
                remedy="Roll back to another version, and find out who changed the artifact store.",
            )


def gone(what: str, why: str = " any more") -> IntegrityError:
    """The error of an artifact whose files are not there."""
    return IntegrityError(
        f"The artifact of {what} is not there{why}.", remedy="Roll back to another version, or train again."
    )
