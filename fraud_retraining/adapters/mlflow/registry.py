"""MLflow as the pipeline uses it: runs with their models, versions of the registered model, and its aliases.

Here: the one class that callers use, and what needs runs and versions together. Its parts are beside it:
`connection.py`, `runs.py`, `artifacts.py`, `logged_models.py`, `versions.py`, `aliases.py`, `chain_head_tags.py`. Not
here: whether a version may serve (`domain/releases/lifecycle.py`) and who decided (`adapters/ledger/ledger.py`).

Two rules hold in all parts. "There is nothing" is said only when MLflow answered that there is nothing; any other
failure is `DependencyUnreachable`, within the timeout. And nothing is opened before its digest is the recorded one.
"""

from collections.abc import Collection
from datetime import datetime

from fraud_retraining.adapters.mlflow.aliases import Aliases
from fraud_retraining.adapters.mlflow.chain_head_tags import HeadTags
from fraud_retraining.adapters.mlflow.logged_models import LoggedModels
from fraud_retraining.adapters.mlflow.runs import TrainedRun, trained_run
from fraud_retraining.adapters.mlflow.tags import ARTIFACT_DIGEST, ARTIFACT_REMOVED, FINGERPRINT, REFIT_OF
from fraud_retraining.domain.audit.stored_state import require_recorded


class Registry(LoggedModels, Aliases, HeadTags):
    """MLflow at one tracking URI, one experiment and one registered model."""

    def find_run(self, fingerprint: str, recorded: Collection[str] | None = None) -> TrainedRun | None:
        """The run that trained this fingerprint and uploaded it completely: the registered one, else the oldest.

        Where a second fit was registered in place of the judged one, it is the run of the judged one.

        `recorded` are the digests that the ledger knows for it: a run with another digest was not made by this
        pipeline, also when its tags say so, and is passed over; a version with another digest is refused.

        Raises:
            RecordAltered: the registered version's run is not the one that was recorded.
        """
        version = self.version_by_fingerprint(fingerprint)
        run = self.run(version.run_id) if version is not None else None
        if version is not None and run is not None and run.tags.get(REFIT_OF) != fingerprint:
            if recorded is not None:
                require_recorded(
                    f"run {run.run_id} of version {version.version}",
                    {ARTIFACT_DIGEST: run.artifact_digest},
                    {} if run.artifact_digest in recorded else {ARTIFACT_DIGEST: ", ".join(recorded) or "none"},
                )
            return run
        experiment = self.ensure_experiment()
        with self._call("search for a run by its fingerprint"):
            runs = self._client.search_runs(
                [experiment], f"tags.{FINGERPRINT} = '{fingerprint}'", order_by=["attributes.start_time ASC"]
            )
        complete = [run for run in runs if ARTIFACT_DIGEST in run.data.tags and ARTIFACT_REMOVED not in run.data.tags]
        ours = [run for run in complete if recorded is None or run.data.tags[ARTIFACT_DIGEST] in recorded]
        return trained_run(ours[0]) if ours else None

    def remove_artifact(self, run_id: str, at: datetime) -> None:
        """Delete the model of a run. The run, its documents, its version and their tags stay, and say since when."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        run = self.run(run_id)
        with self._call(f"remove the artifact of run {run_id}"):
            location = self._client.get_logged_model(run.model_id).artifact_location
            get_artifact_repository(location, tracking_uri=self.tracking_uri).delete_artifacts()
        removed = {ARTIFACT_REMOVED: at.isoformat(timespec="seconds")}
        self.log_numbers(run_id, tags=removed)
        for version in self.versions_of(run.tags.get(REFIT_OF, run.fingerprint)):
            if version.run_id == run_id:
                self.set_version_tags(version.version, removed)

    def remove_run(self, run_id: str, at: datetime) -> None:
        """Delete the model of a run, if it holds one, and mark the run as deleted, for MLflow's garbage collection."""
        run = self._find(f"read run {run_id}", lambda: self._client.get_run(run_id))
        if run is not None and ARTIFACT_DIGEST in run.data.tags and ARTIFACT_REMOVED not in run.data.tags:
            self.remove_artifact(run_id, at)
        with self._call(f"delete run {run_id}"):
            self._client.delete_run(run_id)
