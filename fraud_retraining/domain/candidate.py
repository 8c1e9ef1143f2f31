"""The values that pass along the chain of an as-of day, from a fitted model to a decision.

Here: what one stage tells the next, and what the record keeps. Not here: how a stage comes to its answer.
"""

from datetime import date
from enum import StrEnum

from pydantic import Field

from fraud_retraining.domain.fingerprint import Fingerprint
from fraud_retraining.domain.gates import Evidence, Verdict
from fraud_retraining.domain.schemas import Policy
from fraud_retraining.domain.windows import DayRange


class RetrainStatus(StrEnum):
    """How a retrain ended."""

    PROMOTED = "promoted"
    AWAITING_APPROVAL = "awaiting_approval"
    GATE_FAILED = "gate_failed"
    DATA_INVALID = "data_invalid"
    ALREADY_TRAINED = "already_trained"
    SUPERSEDED = "superseded"


class TrainedModel(Policy):
    """A fitted model in MLflow, and what determined it."""

    as_of: date
    fingerprint: str = Field(description="Digest of `determined_by`.")
    determined_by: Fingerprint
    run_id: str = Field(description="MLflow run that holds the artifact.")
    artifact_digest: str
    reused: bool = Field(description="Whether the fingerprint was found instead of trained.")
    training: DayRange
    importance: dict[str, float] = Field(description="Share of the total gain by feature.")


class Evaluation(Policy):
    """Candidate beside champion on the same rows, and the verdict."""

    as_of: date
    fingerprint: str
    champion_version: int | None = Field(description="Version that served when this was judged.")
    compared_days: tuple[date, ...] = Field(description="Holdout days that neither model was trained on.")
    evidence: Evidence
    verdict: Verdict
    reused: bool = Field(False, description="Whether the verdict was found in the ledger instead of judged again.")


class RegisteredVersion(Policy):
    """The registry's version of a candidate."""

    as_of: date
    fingerprint: str
    version: int
    created: bool = Field(description="False when the fingerprint was registered before.")


class ReleaseOutcome(Policy):
    """What became of a candidate."""

    as_of: date
    fingerprint: str
    version: int
    status: RetrainStatus
    reason: str
