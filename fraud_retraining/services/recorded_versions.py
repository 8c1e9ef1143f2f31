"""Versions of the registry, each held against what the chain of events says of it.

Here: the champion and any other version, for comparing, scoring or registering. Not here:
the comparison itself (`domain/audit/stored_state.py`), and moving the champion (`services/promotion.py`).

Everyone who reaches MLflow can edit its tags. What a model learnt from, its digest, fingerprint and as-of day
are the chain's; a tag that says otherwise is refused.
"""

from collections.abc import Sequence
from dataclasses import replace

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.aliases import CHAMPION
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.mlflow.tags import ARTIFACT_DIGEST as DIGEST
from fraud_retraining.adapters.mlflow.tags import AS_OF, FINGERPRINT, TRAINED_ON
from fraud_retraining.adapters.mlflow.versions import ModelVersion
from fraud_retraining.adapters.storage.store import Partition
from fraud_retraining.domain.audit.stored_state import require_recorded
from fraud_retraining.domain.evaluation.alert_volume import Threshold
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.candidate import ModelFit, Refit
from fraud_retraining.domain.releases.release import Release
from fraud_retraining.domain.training.scoring import FittedModel
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.errors import (
    ChampionLost,
    Conflict,
    DataInvalid,
    IntegrityError,
    RecordAltered,
    RetrainingError,
)


def recorded_version(version: ModelVersion, ledger: Ledger) -> ModelVersion:
    """A version as the chain has it.

    Raises:
        RecordAltered: the ledger has no release of it, does not say what it learnt from, or its tags say otherwise.
    """
    release = ledger.release_by_version(version.version)
    what = f"version {version.version} of the registered model"
    if release is None:
        raise RecordAltered(
            f"{what} is unknown to the ledger; it is not compared, scored with or promoted",
            remedy="Only versions that this pipeline registered are opened: `fraud-retraining rollback --to VERSION` "
            "brings back one of them.",
        )
    recorded = {
        FINGERPRINT: release.fingerprint,
        DIGEST: release.artifact_digest,
        AS_OF: release.as_of.isoformat(),
        TRAINED_ON: _trained_on(release, ledger),
    }
    require_recorded(what, version.tags, recorded)
    return replace(version, tags={**version.tags, **recorded})


def recorded_champion(registry: Registry, ledger: Ledger) -> ModelVersion | None:
    """The version that serves, as the chain has it; None only where ledger and MLflow both know of none.

    Raises:
        RecordAltered: its tags are not what was recorded, or the ledger has no release of it.
        ChampionLost: MLflow has lost the champion that the ledger knows.
        Conflict: the alias was removed, and the ledger does not know yet.
    """
    serving = registry.champion()
    if serving is not None:
        return recorded_version(serving, ledger)
    known = ledger.champion()
    if known is None:
        return None
    require_kept(registry, ledger)
    raise Conflict(
        f"no version serves in MLflow, but version {known.version} does in the ledger: the alias was removed",
        remedy="champion_sensor records it within a minute; then the next candidate waits for a human. If it "
        f"was not meant, `fraud-retraining rollback --to {known.version}` afterwards.",
    )


def require_kept(registry: Registry, ledger: Ledger) -> None:
    """Refuse to go on where MLflow has lost the champion that the ledger knows.

    Raises:
        ChampionLost: its version, or the whole registered model, was deleted; says what can be done.
    """
    known = ledger.champion()
    if known is not None and not registry.has_version(known.version, known.fingerprint):
        raise champion_lost(registry, ledger, known)


def champion_lost(registry: Registry, ledger: Ledger, champion: Release) -> ChampionLost:
    """The champion of the ledger that is not in MLflow any more, with what can be done about it."""
    kept = [past.version for past in ledger.latest_champions() if registry.has_version(past.version, past.fingerprint)]
    back = (
        f"`fraud-retraining rollback --to {kept[0]} --reason TEXT` brings back version {kept[0]}. Or " if kept else ""
    )
    return ChampionLost(
        f"MLflow has lost version {champion.version} of {registry.model_name}, the champion of the ledger; nothing is "
        "trained or promoted in its place",
        culprits=[f"deleted in MLflow: version {champion.version} as of {champion.as_of}"],
        remedy=f"{back}`fraud-retraining retire-champion --by WHO --reason TEXT` records that it serves no more; the "
        "next candidate then starts over and waits for a human. MLflow cannot restore what was deleted.",
    )


def recorded_model(release: Release, registry: Registry, ledger: Ledger) -> FittedModel:
    """A model by the record: its version's tags and its artifact's digest are those of the chain.

    Raises:
        DataInvalid: it is gone, or not what was recorded; nothing of it was opened.
        RecordAltered: MLflow says something else of the version than the record.
    """
    try:
        version = recorded_version(registry.version(release.version), ledger)
        return registry.load(version.run_id, expected_digest=release.artifact_digest)
    except RecordAltered:
        raise
    except IntegrityError as error:
        raise DataInvalid(f"version {release.version} cannot be opened: {clause_of(error)}") from error


def require_columns(features: Partition, models: Sequence[FittedModel]) -> None:
    """Refuse the features of a day that lack a column of one of the models.

    Raises:
        DataInvalid: names the columns.
    """
    needed = {name for model in models for name in model.features}
    missing = sorted(needed - set(features.facts["columns"]))
    if missing:
        raise DataInvalid(f"the present settings do not give {', '.join(missing)}")


def clause_of(error: RetrainingError) -> str:
    """What an error says, with its culprits, as a clause."""
    return "; ".join([error.what.rstrip("."), *error.culprits])


def recorded_second_fit(ledger: Ledger, fingerprint: str) -> ModelFit | None:
    """The second fit that was released for a fingerprint; None where the judged one was."""
    judged = ledger.last(EventKind.MODEL_EVALUATED, fingerprint=fingerprint)
    refit = judged.payload.get("refit") if judged is not None else None
    return Refit.model_validate(refit).fit if refit and refit["serves"] else None


def recorded_judged_fit(ledger: Ledger, fingerprint: str) -> ModelFit | None:
    """The fit that was judged for a fingerprint; None where the ledger does not say."""
    trained = ledger.last(EventKind.MODEL_TRAINED, fingerprint=fingerprint)
    if trained is None or not set(ModelFit.model_fields) <= trained.payload.keys():
        return None
    return ModelFit.model_validate({name: trained.payload[name] for name in ModelFit.model_fields})


def recorded_thresholds(ledger: Ledger, fingerprint: str) -> dict[tuple[str, str], float]:
    """The least scores that a release has chosen for its decisions, by name and what they were chosen by.

    For a decision that it has not chosen, as it is older than the decision or the settings have changed since, it is
    what the latest release has chosen whose scores keep their meaning (`scores.contract`).
    """
    found: dict[tuple[str, str], float] = {}
    releases = sorted(ledger.releases(), key=lambda one: (one.fingerprint != fingerprint, -one.version))
    for release in releases:
        judged = ledger.last(EventKind.MODEL_EVALUATED, fingerprint=release.fingerprint)
        payload = judged.payload if judged is not None else {}
        if release.fingerprint != fingerprint and not payload.get("mapping"):
            continue
        for one in payload.get("thresholds", ()):
            threshold = Threshold.model_validate(one)
            found.setdefault((threshold.name, threshold.choice), threshold.at)
    return found


def trained_days(ledger: Ledger, fingerprint: str) -> DayRange | None:
    """The days that the released fit of a fingerprint has learnt from; None where the ledger does not say."""
    if released := recorded_second_fit(ledger, fingerprint):
        return released.training
    trained = ledger.last(EventKind.MODEL_TRAINED, fingerprint=fingerprint)
    return None if trained is None else DayRange.model_validate(trained.payload["training"])


def _trained_on(release: Release, ledger: Ledger) -> str:
    days = trained_days(ledger, release.fingerprint)
    if days is None:
        raise RecordAltered(
            f"the ledger does not say what version {release.version} has learnt from",
            remedy="Promote a model that this version of the software has trained: `fraud-retraining retrain`, or roll "
            "back to another version.",
        )
    return f"{days.start}/{days.end}"


def recorded_digests(ledger: Ledger, fingerprint: str) -> tuple[str, ...]:
    """Every artifact that this pipeline has built for a fingerprint, by digest, the oldest first."""
    kinds = (EventKind.ARTIFACT_BUILT, EventKind.MODEL_TRAINED)
    return tuple(
        dict.fromkeys(event.payload["artifact_digest"] for event in ledger.events(kinds, fingerprint=fingerprint))
    )


def beside_registry(registry: Registry, ledger: Ledger) -> list[str]:
    """In what MLflow and an intact ledger do not belong together, each as a clause.

    A version that was registered a moment ago and has no release yet is not named: its run opens it, or the next one.
    """
    versions, releases = registry.versions(), ledger.releases()
    ours = [version for version in versions if FINGERPRINT in version.tags]
    if ours and not releases:
        numbers = ", ".join(str(version.version) for version in ours)
        return [f"the ledger knows no release, but MLflow has versions {numbers} of {registry.model_name}"]
    known = {release.version for release in releases}
    differing = [problem for version in ours if version.version in known for problem in _tags(version, ledger)]
    return [*differing, *_champions(versions, ledger)]


def _tags(version: ModelVersion, ledger: Ledger) -> list[str]:
    """Tags of a version that are not what was recorded."""
    release = ledger.release_by_version(version.version)
    trained = ledger.last(EventKind.MODEL_TRAINED, fingerprint=release.fingerprint) if release else None
    if trained is None:
        return []
    try:
        recorded_version(version, ledger)
    except RecordAltered as altered:
        return [f"version {version.version} in MLflow: {culprit}" for culprit in altered.culprits]
    return []


def _champions(versions: list[ModelVersion], ledger: Ledger) -> list[str]:
    """Whether the alias names the ledger's champion; while a promotion is under way it may not."""
    if ledger.unfinished_intents():
        return []
    known = ledger.champion()
    serving = next((version.version for version in versions if CHAMPION in version.aliases), None)
    if (known.version if known else None) == serving:
        return []
    here = f"version {known.version}" if known else "no version"
    there = f"version {serving}" if serving is not None else "no version"
    return [f"the champion is {here} in the ledger, {there} in MLflow"]
