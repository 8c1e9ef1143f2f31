"""MLflow: runs with their artifacts, versions of the registered model, and the aliases `candidate` and `champion`.

Here: everything that is read from and written to MLflow's tracking server and model registry. Not here: whether a
version may serve (`domain/releases/lifecycle.py`), who decided (`adapters/ledger/ledger.py`), and the artifact's inside
(`adapters/mlflow/model_artifact.py`).

Two rules hold everywhere. "There is nothing" is said only when MLflow answered that there is nothing; any other failure
is `DependencyUnreachable`, within the timeout. And nothing is opened before its digest is the recorded one: the tag
`artifact_digest` of a run is written last, after the upload was read back, so a run without it holds no model.

MLflow has no compare-and-set for aliases: `compare_and_set_champion` reads, compares, sets and reads again. Who moves
the alias in the milliseconds between that first read and the set is overwritten unseen; the ledger's lock keeps other
processes of this pipeline out, so only a human at that very moment can be.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pyarrow as pa

from fraud_retraining.adapters.mlflow.model_artifact import MODEL, built, fitted_model, odd_files, read_files, verified
from fraud_retraining.domain.alerts.classification import causes
from fraud_retraining.domain.audit.record_checks import require_recorded
from fraud_retraining.domain.ledger.events import Head
from fraud_retraining.domain.training.fingerprint import Fingerprint
from fraud_retraining.domain.training.scoring import FittedModel, files_digest
from fraud_retraining.domain.training.windows import TrainingWindow, WindowDay
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import Conflict, DependencyUnreachable, IntegrityError
from fraud_retraining.domain.values.redaction import redact
from fraud_retraining.domain.values.schemas import IS_FRAUD

IMPORTANCE = "feature_importance.json"
CHAMPION, CANDIDATE = "champion", "candidate"
FINGERPRINT, ARTIFACT_DIGEST, LOGGED_MODEL = "fingerprint", "artifact_digest", "logged_model"
AS_OF, TRAINED_ON = "as_of", "trained_on"
LEDGER_HEAD = "ledger_head"
ARTIFACT_REMOVED, DAGSTER_RUN, ENDED_WHY = "artifact_removed", "dagster_run_id", "ended_because"
ATTEMPTS = 3
BACKOFF_SECONDS = 3.0
BATCH = 100
DATASET_DIGEST_LENGTH = 36
FEATURES = "transaction_features"
AUTOMATED, NOTE, RUN_NAME = "automated_retrain", "mlflow.note.content", "mlflow.runName"
RELEASE_STATUS = "release_status"
EXPERIMENT_NOTE = (
    "Runs of the unattended retraining pipeline (`fraud_retraining`). A run is one trained model; its name is the "
    "as-of day and the trigger, its description the reason. A retrain that finds its model trained makes no run."
)
MODEL_NOTE = (
    "A fraud model, retrained and judged by the pipeline `fraud_retraining`. The alias `champion` is the version that "
    "serves, `candidate` the one under decision; the pipeline moves both and records every decision in its ledger, so "
    "do not move them by hand: approve, reject and roll back with `fraud-retraining`. Each version's description is "
    "its model card."
)

Answer = TypeVar("Answer")


@contextmanager
def asking_mlflow(uri: str, what: str) -> Iterator[None]:
    """Every failure to get an answer, under one type that says what was asked, with no password anywhere in its chain.

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


@dataclass(frozen=True)
class ModelVersion:
    """A version of the registered model, as the registry describes it."""

    version: int
    run_id: str
    tags: dict[str, str]
    aliases: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Digest of everything that determines the model."""
        return self._tag(FINGERPRINT)

    @property
    def artifact_digest(self) -> str:
        """Digest of the artifact as it was registered."""
        return self._tag(ARTIFACT_DIGEST)

    @property
    def as_of(self) -> date:
        """The as-of day that the model was trained for."""
        return date.fromisoformat(self._tag(AS_OF))

    @property
    def trained_on(self) -> DayRange:
        """The days that the model has learnt from, and must not be judged on."""
        first, last = self._tag(TRAINED_ON).split("/")
        return DayRange(start=date.fromisoformat(first), end=date.fromisoformat(last))

    def _tag(self, name: str) -> str:
        if name not in self.tags:
            raise IntegrityError(
                f"Version {self.version} of the registered model has no tag {name}.",
                remedy="It was not registered by this pipeline; move the alias to a version that was.",
            )
        return self.tags[name]


class Registry:
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
        """Nothing is asked yet.

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

    # ------------------------------------------------------------ asking MLflow

    @cached_property
    def _client(self) -> Any:
        limit_waiting(self._timeout)
        import mlflow

        # Some calls inside MLflow ask whichever server the process is set to, by default a new ./mlflow.db.
        mlflow.set_tracking_uri(self.tracking_uri)
        with _alone(self.tracking_uri):
            return mlflow.MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        with asking_mlflow(self.tracking_uri, what):
            yield

    def _found(self, what: str, ask: Callable[[], Answer]) -> Answer | None:
        """The answer, or None where MLflow itself says that there is no such thing."""
        from mlflow.exceptions import MlflowException

        with self._asking(what):
            try:
                return ask()
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                return None

    # ------------------------------------------------------------ runs

    def ensure_experiment(self) -> str:
        """Id of the experiment, which is created when missing."""
        what = f"open the experiment {self.experiment}"
        with self._asking(what):
            known = self._client.get_experiment_by_name(self.experiment)
        if known is None:
            self._create(what, self._create_experiment)
            with self._asking(what):
                known = self._client.get_experiment_by_name(self.experiment)
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

    def _create(self, what: str, create: Callable[[], Any]) -> None:
        """Create what somebody else may be creating at the same time."""
        from mlflow.exceptions import MlflowException

        with self._asking(what):
            try:
                create()
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise

    def start_run(self, name: str, tags: Mapping[str, str] | None = None) -> str:
        """Id of a new run; for callers outside Dagster, whose runs dagster-mlflow starts."""
        experiment = self.ensure_experiment()
        with self._asking("start a run"):
            return str(self._client.create_run(experiment, tags=dict(tags or {}), run_name=name).info.run_id)

    def find_run(self, fingerprint: str, recorded: Collection[str] | None = None) -> TrainedRun | None:
        """The run that trained this fingerprint and uploaded it completely: the registered one, else the oldest.

        `recorded` are the digests that the ledger knows for it: a run with another digest was not made by this
        pipeline, whatever its tags say, and is passed over; a version with another digest is refused.

        Raises:
            RecordAltered: the registered version's run is not the one that was recorded.
        """
        version = self.version_by_fingerprint(fingerprint)
        if version is not None:
            run = self.run(version.run_id)
            if recorded is not None:
                require_recorded(
                    f"run {run.run_id} of version {version.version}",
                    {ARTIFACT_DIGEST: run.artifact_digest},
                    {} if run.artifact_digest in recorded else {ARTIFACT_DIGEST: ", ".join(recorded) or "none"},
                )
            return run
        experiment = self.ensure_experiment()
        with self._asking("search for a run by its fingerprint"):
            runs = self._client.search_runs(
                [experiment], f"tags.{FINGERPRINT} = '{fingerprint}'", order_by=["attributes.start_time ASC"]
            )
        complete = [run for run in runs if ARTIFACT_DIGEST in run.data.tags and ARTIFACT_REMOVED not in run.data.tags]
        ours = [run for run in complete if recorded is None or run.data.tags[ARTIFACT_DIGEST] in recorded]
        return _trained_run(ours[0]) if ours else None

    def run(self, run_id: str) -> TrainedRun:
        """A run that holds a model.

        Raises:
            IntegrityError: there is no such run, or its upload was never completed.
        """
        run = self._found(f"read run {run_id}", lambda: self._client.get_run(run_id))
        if run is None or ARTIFACT_DIGEST not in run.data.tags:
            raise IntegrityError(
                f"Run {run_id} {'is not in MLflow' if run is None else 'holds no completely uploaded model'}.",
                remedy="Delete its version in MLflow, if there is one, and materialize fraud_model of that day again.",
            )
        return _trained_run(run)

    def log_model(
        self,
        run_id: str,
        model: FittedModel,
        *,
        example: pa.Table,
        tags: Mapping[str, str],
        window: TrainingWindow,
        fingerprint: Fingerprint,
        rows_uri: str = FEATURES,
        on_built: Callable[[str], object] = str,
    ) -> TrainedRun:
        """Put a fitted model with everything that explains it into a run.

        The run is addressed by its id: it may be the active one, as dagster-mlflow's is, or any other. The digest is
        written last, after the upload was read back; until then the run counts as untrained. `rows_uri` is where the
        days of the window lie; no row of them goes into MLflow. `on_built` hears the artifact's digest before the
        upload begins, for the record: an upload whose process ends is known again by it.
        """
        self._describe_training(run_id, model, tags, window, fingerprint)
        with self._asking("record the datasets of a run"):
            self._client.log_inputs(run_id, datasets=_datasets(window, rows_uri))
        model_id, artifact_digest = self._upload(run_id, model, example, on_built)
        self.log_numbers(
            run_id, tags={FINGERPRINT: fingerprint.digest, LOGGED_MODEL: model_id, ARTIFACT_DIGEST: artifact_digest}
        )
        return self.run(run_id)

    def _describe_training(
        self,
        run_id: str,
        model: FittedModel,
        tags: Mapping[str, str],
        window: TrainingWindow,
        fingerprint: Fingerprint,
    ) -> None:
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
        self.log_document(run_id, "fingerprint.json", fingerprint.model_dump(mode="json"))
        self.log_document(run_id, IMPORTANCE, model.importance())

    def _upload(
        self, run_id: str, model: FittedModel, example: pa.Table, on_built: Callable[[str], object]
    ) -> tuple[str, str]:
        """Id of the logged model and digest of its artifact, which was read back and is as it was written."""
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        with self._asking("upload a model"):
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
        self._read_artifact(logged.model_id, artifact_digest)
        return str(logged.model_id), artifact_digest

    def importance(self, run: TrainedRun) -> dict[str, float]:
        """Importance by feature, from the verified model; from the run's document once its artifact was removed."""
        if ARTIFACT_REMOVED in run.tags:
            return self._document(run.run_id, IMPORTANCE)
        return self.load(run.run_id, expected_digest=run.artifact_digest).importance()

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
        with TemporaryDirectory() as scratch, self._asking("upload pictures"):
            for name, picture in pictures.items():
                (Path(scratch) / f"{name}.png").write_bytes(picture)
            if pictures:
                self._client.log_artifacts(run_id, scratch, "pictures")

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
        finite = {name: value for name, value in (metrics or {}).items() if abs(value) < float("inf")}
        measured = [Metric(_metric_name(name), float(value), now, 0) for name, value in finite.items()]
        given = [Param(name, str(value)) for name, value in (params or {}).items()]
        labels = [RunTag(name, value) for name, value in (tags or {}).items()]
        with self._asking("record numbers of a run"):
            for first in range(0, max(len(measured), len(given), len(labels)), BATCH):
                part = slice(first, first + BATCH)
                self._client.log_batch(run_id, metrics=measured[part], params=given[part], tags=labels[part])

    def log_document(self, run_id: str, name: str, document: Mapping[str, Any]) -> None:
        """A JSON document into the artifacts of a run."""
        with self._asking(f"upload {name}"):
            self._client.log_text(run_id, json.dumps(document, indent=1, default=str), name)

    def read_document(self, run_id: str, name: str) -> bytes | None:
        """A document from the artifacts of a run; None means that the run has none of that name."""
        with TemporaryDirectory() as scratch, self._asking(f"download {name}"):
            if name not in {listed.path for listed in self._client.list_artifacts(run_id)}:
                return None
            return Path(self._client.download_artifacts(run_id, name, scratch)).read_bytes()

    def _document(self, run_id: str, name: str) -> Any:
        with TemporaryDirectory() as scratch, self._asking(f"read {name}"):
            return json.loads(Path(self._client.download_artifacts(run_id, name, scratch)).read_text())

    def log_page(self, run_id: str, name: str, html: str) -> None:
        """A page into the artifacts of a run, in place of the one of that name."""
        with self._asking(f"upload {name}"):
            self._client.log_text(run_id, html, name)

    # ------------------------------------------------------------ versions

    def version(self, number: int) -> ModelVersion:
        """One version.

        Raises:
            IntegrityError: the registry has no such version (any more).
        """
        found = self._found(
            f"read version {number}", lambda: self._client.get_model_version(self.model_name, str(number))
        )
        if found is None:
            raise IntegrityError(
                f"The registry has no version {number} of {self.model_name}.",
                remedy="Roll back to a version that exists, or train again.",
            )
        return _version(found)

    def has_version(self, number: int, fingerprint: str) -> bool:
        """Whether MLflow has this version, and under this fingerprint; one of another model of that name is not it."""
        found = self._found(
            f"read version {number}", lambda: self._client.get_model_version(self.model_name, str(number))
        )
        return found is not None and _version(found).tags.get(FINGERPRINT) == fingerprint

    def pin_head(self, head: Head) -> None:
        """Keep a head of the ledger's chain with the registered model, where whoever writes to the ledger does not.

        Before the first version there is no registered model, and nothing is kept.
        """
        told = f"{head.seq}:{head.hash}"
        self._found(
            "keep the ledger's head",
            lambda: self._client.set_registered_model_tag(self.model_name, LEDGER_HEAD, told),
        )

    def keeps_older_head_than(self, head: Head) -> bool:
        """Whether the registered model has an older head, or none: MLflow was down, or the process ended before it.

        What is no head there is left for `pinned_heads` to complain of.
        """
        model = self._found("read the ledger's head", lambda: self._client.get_registered_model(self.model_name))
        if model is None:
            return False
        seq = str(model.tags.get(LEDGER_HEAD, "0:")).partition(":")[0]
        return seq.isdecimal() and int(seq) < head.seq

    def pinned_heads(self) -> list[Head]:
        """The heads of the ledger's chain that MLflow keeps: with the registered model, and every promoted version.

        Raises:
            IntegrityError: a tag is no head.
        """
        model = self._found("read the ledger's head", lambda: self._client.get_registered_model(self.model_name))
        told = [version.tags[LEDGER_HEAD] for version in self.versions() if LEDGER_HEAD in version.tags]
        told += [model.tags[LEDGER_HEAD]] if model is not None and LEDGER_HEAD in model.tags else []
        return [_head(text) for text in told]

    def versions(self) -> list[ModelVersion]:
        """Every version that the registry has, the oldest first."""
        model = self._found("list the aliases", lambda: self._client.get_registered_model(self.model_name))
        named: dict[int, tuple[str, ...]] = {}
        for alias, number in model.aliases.items() if model is not None else ():
            named[int(number)] = (*named.get(int(number), ()), alias)
        found = self._versions_where(f"name = '{self.model_name}'")
        return [replace(version, aliases=named.get(version.version, ())) for version in found]

    def versions_of(self, fingerprint: str) -> list[ModelVersion]:
        """Versions of a fingerprint, the oldest first; more than one only while a lost reply is being tidied up."""
        return self._versions_where(f"name = '{self.model_name}' and tags.{FINGERPRINT} = '{fingerprint}'")

    def _versions_where(self, query: str) -> list[ModelVersion]:
        def ask(token: str | None) -> Any:
            return self._client.search_model_versions(query, page_token=token)

        found = self._found("search for a version", lambda: _all_pages(ask)) or []
        return sorted((_version(version) for version in found), key=lambda version: version.version)

    def version_by_fingerprint(self, fingerprint: str) -> ModelVersion | None:
        """The version of a fingerprint, if it was registered."""
        return next(iter(self.versions_of(fingerprint)), None)

    def register(
        self,
        run_id: str,
        *,
        fingerprint: str,
        artifact_digest: str,
        as_of: date,
        trained_on: DayRange,
        tags: Mapping[str, str] | None = None,
        taken: Collection[int] = (),
    ) -> ModelVersion:
        """The version of a run's model: found by its fingerprint, or created; never a second one.

        `taken` are numbers that the ledger knows for other fingerprints: where the registered model was deleted, MLflow
        counts from 1 again, and those numbers are passed over.

        Raises:
            IntegrityError: the artifact is not the recorded one.
            Conflict: another run registered the same fingerprint meanwhile.
        """
        if self.version_by_fingerprint(fingerprint) is None:
            self._create_version(
                run_id,
                {
                    **(tags or {}),
                    FINGERPRINT: fingerprint,
                    ARTIFACT_DIGEST: artifact_digest,
                    AS_OF: as_of.isoformat(),
                    TRAINED_ON: f"{trained_on.start}/{trained_on.end}",
                },
            )
        version = self._only_version(fingerprint)
        while version.version in taken:
            number = version.version
            with self._asking(f"pass over version {number}"):
                self._client.delete_model_version(self.model_name, str(number))
            self._create_version(run_id, version.tags)
            version = self._only_version(fingerprint)
        if version.artifact_digest != artifact_digest:
            raise Conflict(
                f"Run {version.run_id} registered this fingerprint as version {version.version} before run {run_id}.",
                remedy="Run again: it finds that version and adopts it.",
            )
        return version

    def _create_version(self, run_id: str, tags: dict[str, str]) -> None:
        model_id = self.run(run_id).model_id
        self._read_artifact(model_id, tags[ARTIFACT_DIGEST])
        what = "register a version"
        self._describe_model()
        about = {"tags": tags, "model_id": model_id, "description": _version_note(tags)}
        try:
            with self._asking(what):
                self._client.create_model_version(self.model_name, f"models:/{model_id}", run_id, **about)
        except DependencyUnreachable:
            # The reply may be lost, not the request.
            if self.version_by_fingerprint(tags[FINGERPRINT]) is None:
                raise

    def _describe_model(self) -> None:
        """The registered model, created where missing, with a description unless somebody gave it one."""
        what = "describe the registered model"
        self._create(what, lambda: self._client.create_registered_model(self.model_name, description=MODEL_NOTE))
        with self._asking(what):
            if not self._client.get_registered_model(self.model_name).description:
                self._client.update_registered_model(self.model_name, MODEL_NOTE)

    def _only_version(self, fingerprint: str) -> ModelVersion:
        """The oldest version of a fingerprint; later ones, born of a repeated request, are removed."""
        first, *doubles = self.versions_of(fingerprint)
        for double in doubles:
            if not self.version(double.version).aliases:
                with self._asking(f"remove version {double.version}, a double of version {first.version}"):
                    self._client.delete_model_version(self.model_name, str(double.version))
        return first

    def set_version_tags(self, number: int, tags: Mapping[str, str]) -> None:
        """Tags of a version, each set or replaced."""
        with self._asking(f"tag version {number}"):
            for name, value in tags.items():
                self._client.set_model_version_tag(self.model_name, str(number), name, value)

    def set_description(self, number: int, text: str) -> None:
        """What people read about a version in MLflow."""
        with self._asking(f"describe version {number}"):
            self._client.update_model_version(self.model_name, str(number), text)

    # ------------------------------------------------------------ what is not needed any more

    def runs(self) -> list[RunSummary]:
        """Every run of the experiment that was not deleted."""
        return self._runs_where("")

    def open_runs(self) -> list[RunSummary]:
        """The runs of the experiment that were begun and not ended."""
        return self._runs_where("attributes.status = 'RUNNING'")

    def end_run(self, run_id: str, status: str, why: str) -> None:
        """End a run that another process left open; a tag says why, before the status does."""
        self.log_numbers(run_id, tags={ENDED_WHY: why})
        with self._asking(f"end run {run_id}"):
            self._client.set_terminated(run_id, status=status)

    def _runs_where(self, query: str) -> list[RunSummary]:
        experiment = self.ensure_experiment()
        with self._asking("list the runs"):
            found = _all_pages(lambda token: self._client.search_runs([experiment], query, page_token=token))
        return [
            RunSummary(run.info.run_id, datetime.fromtimestamp(run.info.start_time / 1000, UTC), dict(run.data.tags))
            for run in found
        ]

    def remove_artifact(self, run_id: str, at: datetime) -> None:
        """Delete the model of a run. The run, its documents, its version and their tags stay, and say since when."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        run = self.run(run_id)
        with self._asking(f"remove the artifact of run {run_id}"):
            location = self._client.get_logged_model(run.model_id).artifact_location
            get_artifact_repository(location, tracking_uri=self.tracking_uri).delete_artifacts()
        removed = {ARTIFACT_REMOVED: at.isoformat(timespec="seconds")}
        self.log_numbers(run_id, tags=removed)
        for version in self.versions_of(run.fingerprint):
            if version.run_id == run_id:
                self.set_version_tags(version.version, removed)

    def remove_run(self, run_id: str, at: datetime) -> None:
        """Delete the model of a run, if it holds one, and mark the run as deleted, for MLflow's garbage collection."""
        run = self._found(f"read run {run_id}", lambda: self._client.get_run(run_id))
        if run is not None and ARTIFACT_DIGEST in run.data.tags and ARTIFACT_REMOVED not in run.data.tags:
            self.remove_artifact(run_id, at)
        with self._asking(f"delete run {run_id}"):
            self._client.delete_run(run_id)

    # ------------------------------------------------------------ aliases

    def champion(self) -> ModelVersion | None:
        """The version that serves; None only when MLflow says that no version does."""
        return self._aliased(CHAMPION)

    def candidate(self) -> ModelVersion | None:
        """The version under decision."""
        return self._aliased(CANDIDATE)

    def _aliased(self, alias: str) -> ModelVersion | None:
        model = self._found(f"read the {alias}", lambda: self._client.get_registered_model(self.model_name))
        return self.version(int(model.aliases[alias])) if model is not None and alias in model.aliases else None

    def point_candidate(self, number: int, waiting: bool) -> None:
        """Put the alias `candidate` on a version that waits for a decision; take it off one that no longer does."""
        if waiting:
            self._point(CANDIDATE, number)
        elif (candidate := self.candidate()) is not None and candidate.version == number:
            self._point(CANDIDATE, None)

    def compare_and_set_champion(self, expected: int | None, number: int | None) -> None:
        """Move the alias `champion` from `expected` to `number`; None stands for no champion.

        Doing it twice is doing it once.

        Raises:
            Conflict: the champion is another one than expected; it stays.
        """
        serving = self._serving()
        if serving == number:
            return
        if serving != expected:
            raise _moved(expected, serving)
        self._point(CHAMPION, number)
        serving = self._serving()
        if serving != number:
            raise _moved(number, serving)

    def _serving(self) -> int | None:
        champion = self.champion()
        return champion.version if champion else None

    def _point(self, alias: str, number: int | None) -> None:
        with self._asking(f"move the alias {alias}"):
            if number is None:
                self._client.delete_registered_model_alias(self.model_name, alias)
            else:
                self._client.set_registered_model_alias(self.model_name, alias, str(number))

    # ------------------------------------------------------------ artifacts

    def download(self, number: int, *, expected_digest: str | None = None) -> dict[str, bytes]:
        """The files of a version, verified against the digest of its tag and, where given, of another record.

        Raises:
            IntegrityError: the artifact is gone, incomplete, changed, or recorded otherwise elsewhere.
        """
        version = self.version(number)
        recorded = expected_digest or version.artifact_digest
        if version.artifact_digest != recorded:
            raise IntegrityError(
                f"Version {number} is tagged with another digest than the record has.",
                culprits=[f"tag {version.artifact_digest}", f"record {recorded}"],
                remedy="Do not serve it; find out who changed the tag.",
            )
        what = f"version {number}"
        if ARTIFACT_REMOVED in version.tags:
            raise _gone(what, f" any more: it was removed at {version.tags[ARTIFACT_REMOVED]}, see retention")
        location = self._found(
            f"find the artifact of {what}",
            lambda: self._client.get_model_version_download_uri(self.model_name, str(number)),
        )
        return self._read_location(location, recorded, what)

    def load(self, run_id: str, *, expected_digest: str) -> FittedModel:
        """The model of a run, opened after its digest was verified."""
        return fitted_model(self._read_artifact(self.run(run_id).model_id, expected_digest, f"run {run_id}"))

    def _read_artifact(self, model_id: str, expected: str, what: str = "the model") -> dict[str, bytes]:
        location = self._found(
            f"find the artifact of {what}", lambda: self._client.get_logged_model(model_id).artifact_location
        )
        return self._read_location(location, expected, what)

    @contextmanager
    def served(self, *, expected_digest: str) -> Iterator[Path]:
        """The folder that production downloads as `models:/<name>@champion`, verified; it is gone afterwards.

        Raises:
            IntegrityError: it is not the recorded one; nothing of it was opened.
        """
        import mlflow

        what = "the champion"
        # Part of MLflow's own way from this address asks whichever server the process is set to.
        mlflow.set_tracking_uri(self.tracking_uri)
        with TemporaryDirectory(prefix="fraud-model-") as scratch:
            folder = self._fetch(f"models:/{self.model_name}@{CHAMPION}", Path(scratch), what)
            verified(read_files(folder), expected_digest, what)
            yield folder

    def _read_location(self, location: str | None, expected: str, what: str) -> dict[str, bytes]:
        if location is None:
            raise _gone(what)
        with TemporaryDirectory(prefix="fraud-model-") as scratch:
            return verified(read_files(self._fetch(location, Path(scratch), what)), expected, what)

    def _fetch(self, location: str, scratch: Path, what: str) -> Path:
        from mlflow.artifacts import download_artifacts, list_artifacts

        self._require_plain_files(location, what)
        with self._asking(f"list the artifact of {what}"):
            listed = list_artifacts(artifact_uri=location, tracking_uri=self.tracking_uri)
        if not listed:
            raise _gone(what)
        with self._asking(f"download the artifact of {what}"):
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

        with self._asking(f"find the artifact of {what}"):
            place = get_artifact_repository(location, self.tracking_uri, self.tracking_uri)
            place = place.repo if isinstance(place, ModelsArtifactRepository) else place
        if isinstance(place, LocalArtifactRepository) and (odd := odd_files(Path(place.artifact_dir))):
            raise IntegrityError(
                f"The artifact of {what} holds more than plain files; it was not opened.",
                culprits=odd,
                remedy="Roll back to another version, and find out who changed the artifact store.",
            )


def limit_waiting(seconds: float) -> None:
    """Bound how long this process waits for MLflow: as shipped, a dead server holds a caller for many minutes.

    A question is asked `ATTEMPTS` times; a server that sends "Retry-After" is not obeyed beyond that. Set in the
    environment, so that it holds for dagster-mlflow's calls too.
    """
    per_attempt = max(1, int((seconds - BACKOFF_SECONDS) / ATTEMPTS))
    os.environ.update(
        MLFLOW_HTTP_REQUEST_TIMEOUT=str(per_attempt),
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


def _all_pages(ask: Callable[[str | None], Any]) -> list[Any]:
    """What MLflow lists, however many pages it takes."""
    page = ask(None)
    found = list(page)
    while page.token:
        page = ask(page.token)
        found += page
    return found


def _trained_run(run: Any) -> TrainedRun:
    tags = dict(run.data.tags)
    return TrainedRun(run.info.run_id, tags[LOGGED_MODEL], tags[FINGERPRINT], tags[ARTIFACT_DIGEST], tags)


def _version(version: Any) -> ModelVersion:
    return ModelVersion(
        version=int(version.version),
        run_id=version.run_id or "",
        tags=dict(version.tags),
        aliases=tuple(version.aliases),
    )


def _head(text: str) -> Head:
    seq, _, found = text.partition(":")
    if not seq.isdecimal() or not found:
        raise IntegrityError(
            f"MLflow's tag {LEDGER_HEAD} is no head of the ledger's chain: {text[:100]}",
            remedy="Find out who changed it, and delete the tag; the sensor sets it anew.",
        )
    return Head(seq=int(seq), hash=found)


def _moved(expected: int | None, found: int | None) -> Conflict:
    def name(number: int | None) -> str:
        return f"version {number}" if number is not None else "nobody"

    return Conflict(
        f"The champion was moved: {name(found)} serves, not {name(expected)}.",
        culprits=[f"champion: {name(found)}"],
        remedy="Look at who moved it; their move stands.",
    )


def _gone(what: str, why: str = " any more") -> IntegrityError:
    return IntegrityError(
        f"The artifact of {what} is not there{why}.", remedy="Roll back to another version, or train again."
    )


def _metric_name(name: str) -> str:
    """MLflow allows letters, digits and a few signs in a metric's name."""
    return "".join(letter if letter.isalnum() or letter in "_-. /:" else "_" for letter in name)


def _version_note(tags: Mapping[str, str]) -> str:
    """What a version is, until its model card stands in this place."""
    return f"As of {tags[AS_OF]}, trained on {tags[TRAINED_ON].replace('/', ' to ')}; fingerprint {tags[FINGERPRINT]}."


def _datasets(window: TrainingWindow, rows_uri: str) -> list[Any]:
    """Training, holdout and fixed days as MLflow dataset inputs; the digest is over the day digests."""
    from mlflow.entities import DatasetInput, InputTag

    parts = {"training": window.training, "holdout": window.holdout, "fixed": window.fixed}
    return [
        DatasetInput(_dataset(days, window, rows_uri), tags=[InputTag("mlflow.data.context", context)])
        for context, days in parts.items()
        if days
    ]


def _dataset(days: Sequence[WindowDay], window: TrainingWindow, rows_uri: str) -> Any:
    from mlflow.data.dataset_source_registry import resolve_dataset_source
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.entities import Dataset

    described = MetaDataset(
        resolve_dataset_source(rows_uri),
        name=f"{FEATURES} {days[0].day} to {days[-1].day}",
        digest=digest([day.features_digest for day in days])[:DATASET_DIGEST_LENGTH],
        schema=_columns(window),
    )
    counted = {"rows": sum(day.rows for day in days), "frauds": sum(day.frauds for day in days), "days": len(days)}
    return Dataset(**described.to_dict(), profile=json.dumps(counted))


def _columns(window: TrainingWindow) -> Any:
    """The features as the model's signature has them, and the label."""
    from mlflow.types import ColSpec, Schema

    kinds = {name: "string" if name in window.categorical else "double" for name in window.features}
    return Schema([*(ColSpec(kind, name) for name, kind in kinds.items()), ColSpec("integer", IS_FRAUD)])
