"""Values that pass from stage to stage of a retrain, from a fitted model to a decision.

Here: results of the stages as the ledger keeps them. Not here: how a stage computes its result.
"""

from datetime import date
from typing import Any, Self

from pydantic import Field

from fraud_retraining.domain.evaluation.ageing import Aged
from fraud_retraining.domain.evaluation.agreement import Agreement
from fraud_retraining.domain.evaluation.alert_volume import Threshold
from fraud_retraining.domain.evaluation.gates import Evidence, Verdict
from fraud_retraining.domain.evaluation.score_fits import MappingRecord
from fraud_retraining.domain.monitoring.fixed_evaluation_days import FixedSetAge
from fraud_retraining.domain.retraining.retrain_status import RetrainStatus
from fraud_retraining.domain.training.fingerprint import Fingerprint
from fraud_retraining.domain.values.base import ExtendedValue, Value
from fraud_retraining.domain.values.days import DayRange


class Environment(Value):
    """The code and the packages that a model is made by."""

    package: str = Field(description="Version of this package.")
    commit: str | None = Field(description="Git commit of a checkout, `-dirty` where files were changed; else none.")
    lock_digest: str | None = Field(description="SHA-256 of the checkout's requirements.lock; none without a checkout.")
    installed_digest: str = Field(description="Digest of name and version of every installed distribution.")
    python: str

    @property
    def code_version(self) -> str:
        """The commit, or the package's version where there is no checkout."""
        return self.commit or self.package


class TrainedModel(Value):
    """A fitted model in MLflow, and what determined it."""

    as_of: date
    fingerprint: str = Field(description="Digest of `determined_by`.")
    determined_by: Fingerprint
    run_id: str = Field(description="MLflow run that holds the artifact.")
    artifact_digest: str
    reused: bool = Field(description="Whether the fingerprint was found instead of trained.")
    training: DayRange
    importance: dict[str, float] = Field(description="Share of the total gain by feature.")


class Making(Value):
    """Origin of a model beside its fingerprint: trigger, reason, every parameter, and the code."""

    trigger: str
    reason: str
    parameters: dict[str, Any] = Field(description="Every parameter of the estimator, defaults included.")
    environment: Environment
    window_digest: str = Field(description="Digest of the manifest that it was trained from.")


class ModelFit(Value):
    """One fit of a candidate's recipe: the judged one, or a second one on window and holdout."""

    fingerprint: str = Field(description="Digest of what determined it; the release has that of the judged fit.")
    run_id: str = Field(description="MLflow run that holds the artifact.")
    artifact_digest: str
    training: DayRange


class ServingFit(Value):
    """The second fit that served while a candidate was fitted again, and how alike that candidate's second fit is."""

    training: DayRange
    agreement: Agreement | None = Field(description="None where it was not asked: the judged fit agreed, or no day.")


class Refit(ExtendedValue):
    """Which fit of a candidate is released: the judged one, or one on window and holdout that agrees with it or with
    the second fit that serves."""

    ADDED = frozenset({"judged", "serving"})

    fit: ModelFit | None = Field(description="None where there was no day to compare it on.")
    agreement: Agreement | None = Field(description="None without a second fit.")
    serves: bool = Field(description="Whether the second fit is the one that is released.")
    judged: DayRange | None = Field(None, description="Days that the judged fit has learnt from.")
    serving: ServingFit | None = Field(None, description="The champion's second fit; None where a judged one served.")

    @classmethod
    def decided(cls, fit: ModelFit, found: Agreement, judged: DayRange, serving: ServingFit | None) -> Self:
        """The second fit is released where it agrees with the judged one, or with the second fit that serves."""
        beside = serving.agreement if serving is not None else None
        agrees = found.agrees or (beside is not None and beside.agrees)
        return cls(fit=fit, agreement=found, serves=agrees, judged=judged, serving=serving)

    @property
    def falls_behind(self) -> bool:
        """Whether the fit to be released has learnt no day as late as the one that serves."""
        if self.serves or self.judged is None or self.serving is None:
            return False
        return self.judged.end < self.serving.training.end

    @property
    def summary(self) -> str:
        """Which fit is released, and why."""
        if self.fit is None or self.agreement is None:
            return "the judged fit is released: no day after the holdout could compare it with a second one"
        days, found = self.fit.training, self.agreement
        second = f"a second fit on {days.start} to {days.end}"
        if self.serves and found.agrees:
            return f"{second} is released; it agrees with the judged one {found.summary}"
        differs = f"{found.summary}; {'; '.join(found.problems)}"
        beside = self.serving.agreement if self.serving is not None else None
        if self.serves and beside is not None:
            return (
                f"{second} is released; it agrees with the second fit that serves {beside.summary}, not with the "
                f"judged one {differs}"
            )
        also = f"; nor does it agree with the second fit that serves {beside.summary}" if beside is not None else ""
        return f"the judged fit is released: {second} differs {differs}{also}"


class MappedFit(Value):
    """The fit that is released with its score mapping, as an artifact of its own."""

    fit: ModelFit = Field(description="Its fingerprint is the digest of the fit's and of the mapping.")
    mapping: MappingRecord = Field(description="The mapping of this artifact, a second fit's where one is released.")


class Evaluation(ExtendedValue):
    """Measurements of candidate and champion on the same rows, and the verdict."""

    ADDED = frozenset({"refit", "mapping", "mapped", "thresholds"})

    as_of: date
    fingerprint: str
    champion_version: int | None = Field(
        description="Version it was compared with: the champion, or for an older as-of day the champion of its time."
    )
    newer_champion: int | None = Field(
        None, description="Champion of a newer as-of day that served then: judged, but not to be promoted."
    )
    compared_days: tuple[date, ...] = Field(description="Holdout days that neither model was trained on.")
    evidence: Evidence
    verdict: Verdict
    aged: Aged | None = Field(
        None, description="What a model of the age at which models serve reached on the holdout; none is old enough."
    )
    fixed_age: FixedSetAge | None = Field(None, description="Age and distance of the fixed days; none without them.")
    review_digest: str = Field("", description="Digest of the review report that was made with it.")
    pictures_digest: str = Field("", description="Digest of that report's pictures, as the store has them.")
    reused: bool = Field(False, description="Whether the verdict was found in the ledger instead of judged again.")
    refit: Refit | None = Field(None, description="The second fit on window and holdout; None where there is none.")
    mapping: MappingRecord | None = Field(None, description="The judged fit's score mapping; None where none was made.")
    mapped: MappedFit | None = Field(None, description="The artifact with the score mapping, which is released.")
    thresholds: tuple[Threshold, ...] = Field(
        (), description="Least scores that were chosen for decisions with alerts a day or costs."
    )

    @property
    def released_fit(self) -> ModelFit | None:
        """The fit that is released, where it is not the judged one as it was judged."""
        return self.mapped.fit if self.mapped is not None else self.second_fit

    @property
    def released_mapping(self) -> MappingRecord | None:
        """The score mapping of what is released, or why it has none."""
        return self.mapped.mapping if self.mapped is not None else self.mapping

    @property
    def second_fit(self) -> ModelFit | None:
        """The second fit, where it is the one that is released."""
        return self.refit.fit if self.refit is not None and self.refit.serves else None


class RegisteredVersion(Value):
    """The registry's version of a candidate."""

    as_of: date
    fingerprint: str
    version: int
    created: bool = Field(description="False when the fingerprint was registered before.")


class ReleaseOutcome(Value):
    """Outcome of a candidate."""

    as_of: date
    fingerprint: str
    version: int
    status: RetrainStatus
    reason: str
