"""Approvals over real parts: a real MLflow store with a few trained models, and a ledger of the test's own.

The fixtures `trained` and `backend` stand in the `conftest.py` above.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.releases import NewRelease
from fraud_retraining.adapters.mlflow.logged_models import TrainingSource
from fraud_retraining.adapters.mlflow.model_artifact import read_files
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.mlflow.runs import TrainedRun
from fraud_retraining.adapters.mlflow.tags import ARTIFACT_DIGEST
from fraud_retraining.adapters.mlflow.versions import NewVersion
from fraud_retraining.domain.evaluation.gates import (
    GATES,
    NO_CHAMPION,
    NO_FIXED_SET,
    Evidence,
    GateResult,
    ScoreSummary,
    Verdict,
)
from fraud_retraining.domain.evaluation.metrics import Metrics
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.candidate import Evaluation
from fraud_retraining.domain.releases.release import Release, ReleaseState
from fraud_retraining.domain.releases.reviewers import ReviewerPolicy
from fraud_retraining.domain.training.scoring import files_digest
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.services.approvals import ReleaseApprovals
from fraud_retraining.services.promotion import Promoter
from fraud_retraining.services.release_watch import ReleaseWatch
from fraud_retraining_tests.support.registries import (
    a_fingerprint,
    a_window,
    fitted,
    registry_at,
    rows,
    store_in,
)

FIRST_DAY = date(2026, 11, 1)
GOOD_MODELS = 4
BROKEN = GOOD_MODELS
CANNOT_SERVE = "raise ImportError('a library of production is missing')\n"


@dataclass
class Trained:
    """Models that were trained once: four good ones, and one whose scorer cannot be loaded."""

    uri: str
    experiment: str
    runs: list[TrainedRun]
    folders: list[Path]

    def registry(self, name: str | None = None, timeout_seconds: float = 30) -> Registry:
        """The same runs under a registered model of a test's own."""
        return Registry(self.uri, self.experiment, name or f"fraud_{uuid4().hex[:8]}", timeout_seconds=timeout_seconds)


def train_models(home: Path) -> Trained:
    """A store in a folder, with the models in it; it takes some ten seconds."""
    registry = registry_at(store_in(home), home / "artifacts")
    runs = [_train(registry) for _ in range(GOOD_MODELS + 1)]
    folders = [_folder(registry, run) for run in runs]
    (folders[BROKEN] / "scorer.py").write_text(CANNOT_SERVE)
    registry.log_numbers(runs[BROKEN].run_id, tags={ARTIFACT_DIGEST: files_digest(read_files(folders[BROKEN]))})
    runs[BROKEN] = registry.run(runs[BROKEN].run_id)
    return Trained(registry.tracking_uri, registry.experiment, runs, folders)


def train_at(uri: str) -> Trained:
    """The good models at MLflow's server, whose artifacts nobody else reaches."""
    registry = registry_at(uri)
    return Trained(uri, registry.experiment, [_train(registry) for _ in range(GOOD_MODELS - 1)], [])


def _train(registry: Registry) -> TrainedRun:
    run_id = registry.start_run("retrain")
    source = TrainingSource(a_window(), a_fingerprint())
    return registry.log_model(run_id, fitted(), source, example=rows().slice(0, 5), tags={})


def _folder(registry: Registry, run: TrainedRun) -> Path:
    return Path(registry._client.get_logged_model(run.model_id).artifact_location.removeprefix("file://"))


def an_evaluation(fingerprint: str, as_of: date, average_precision: float = 0.7, **more: Any) -> Evaluation:
    """A verdict in which every gate has passed."""
    values = {"average_precision": average_precision, "roc_auc": 0.9}
    gates = tuple(GateResult(name=name, passed=True, message="It did.") for name in GATES)
    return Evaluation(
        as_of=as_of,
        fingerprint=fingerprint,
        champion_version=None,
        compared_days=(),
        evidence=Evidence(
            candidate=Metrics(rows=1000, frauds=20, values=values),
            comparison=NO_CHAMPION,
            fixed=NO_FIXED_SET,
            scores=ScoreSummary(distinct=900, not_finite=0, minimum=0.01, maximum=0.9),
            importance={"amount": 0.6},
        ),
        **{"verdict": Verdict(passed=True, gates=gates), **more},
    )


@dataclass
class Backend:
    """One registered model with its ledger, and the services over both."""

    trained: Trained
    registry: Registry
    ledger: Ledger
    policy: ReviewerPolicy

    @property
    def approvals(self) -> ReleaseApprovals:
        return ReleaseApprovals(self.ledger, self.registry, self.policy)

    @property
    def watch(self) -> ReleaseWatch:
        return ReleaseWatch(self.ledger, self.registry, self.policy)

    @property
    def promoter(self) -> Promoter:
        return Promoter(self.ledger, self.registry, self.policy)

    def registered(self, model: int, **more: Any) -> Release:
        """The version of a trained model, whose gates have passed; model n is as of n days after the first."""
        run, as_of = self.trained.runs[model], FIRST_DAY + timedelta(days=model)
        version = self.registry.register(
            NewVersion(
                run.run_id,
                fingerprint=run.fingerprint,
                artifact_digest=run.artifact_digest,
                as_of=as_of,
                trained_on=a_window().days.training,
            )
        )
        evaluation = an_evaluation(run.fingerprint, as_of)
        keys = EventKeys(as_of=as_of, fingerprint=run.fingerprint)
        payload = evaluation.model_dump(mode="json")
        self.ledger.append(EventKind.MODEL_EVALUATED, payload=payload, actor="pipeline", keys=keys)
        values = {"trigger": "schedule", "verdict_digest": digest(evaluation.verdict), **more}
        facts = values.pop("facts", {"warnings": []})
        new = NewRelease(
            version.version,
            run.fingerprint,
            as_of,
            artifact_digest=run.artifact_digest,
            verdict_passed=True,
            **values,
        )
        return self.ledger.open_release(new, actor="pipeline", channel="dagster", facts=facts)

    def waiting(self, model: int, hours: float = 24, **more: Any) -> Release:
        """The version of a trained model, waiting for a reviewer."""
        release = self.registered(model, **more)
        return self.ledger.await_decision(release.version, hours=hours, actor="promotion policy", channel="dagster")

    def champion(self, model: int) -> Release:
        """The version of a trained model, made champion by its policy."""
        release = self.registered(model)
        by: dict[str, Any] = {"actor": "promotion policy", "channel": "dagster"}
        self.ledger.move_release(release.version, ReleaseState.APPROVED, reason="mode auto", **by)
        return self.promoter.promote(release.version, reason="mode auto", **by)

    def serving(self) -> int | None:
        champion = self.registry.champion()
        return champion.version if champion else None

    def states(self) -> dict[int, str]:
        return {release.version: str(release.state) for release in self.ledger.releases()}

    def move_by_hand(self, version: int | None) -> None:
        """Move the alias as a user of MLflow's own UI does."""
        self.registry._point("champion", version)

    def kinds(self, *kinds: EventKind) -> list[str]:
        return [event.kind for event in self.ledger.events(kinds)]


def new_backend(trained: Trained, ledger_url: str) -> Backend:
    """A registered model of its own over the trained ones, with an empty ledger."""
    registry = trained.registry()
    return Backend(trained, registry, Ledger(ledger_url, model=registry.model_name), ReviewerPolicy())


@contextmanager
def touched(folder: Path) -> Iterator[Path]:
    """An artifact folder that may be damaged; afterwards it is as it was."""
    kept = folder.parent / f"{folder.name}.kept"
    shutil.copytree(folder, kept)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        kept.rename(folder)


def require_invariants(backend: Backend) -> None:
    """I1 to I4: one verified champion with a complete record, one version a fingerprint, an unbroken chain."""
    champion, serving = backend.ledger.champion(), backend.registry.champion()
    assert (champion.version if champion else None) == (serving.version if serving else None)
    assert len(backend.ledger.releases(ReleaseState.PROMOTED)) <= 1
    if champion is not None:
        backend.promoter.verify(champion.version)
        moved = backend.ledger.last(EventKind.CHAMPION_MOVED_OUTSIDE, version=champion.version)
        assert champion.decided_by is not None or moved is not None
    for release in backend.ledger.releases():
        assert len(backend.registry.versions_of(release.fingerprint)) == 1
    assert backend.ledger.unfinished_intents() == []
    found = backend.ledger.verify()
    assert found.ok, found.why
