"""Whether a stored verdict still lets its candidate serve.

Here: what is asked of the verdict before a version is registered, and again, from the record alone, before it is
promoted. Not here: how a verdict comes about (`domain/gates.py`).
"""

from fraud_retraining.domain.candidate import Evaluation
from fraud_retraining.domain.errors import GateFailed, IntegrityError
from fraud_retraining.domain.fingerprint import digest
from fraud_retraining.domain.gates import GATES
from fraud_retraining.domain.releases import Release


def require_verdict(evaluation: Evaluation, fingerprint: str) -> None:
    """Refuse a candidate whose verdict did not pass, lacks a gate, or is about another model.

    Raises:
        GateFailed: names the gates.
    """
    verdict = evaluation.verdict
    missing = [f"{name}: gave no result" for name in GATES if name not in {gate.name for gate in verdict.gates}]
    failed = [f"{gate.name}: {gate.message}" for gate in verdict.failed]
    if evaluation.fingerprint != fingerprint:
        missing.append("the verdict is about another fingerprint")
    if missing or failed or not verdict.passed:
        raise GateFailed(
            f"the candidate as of {evaluation.as_of} did not pass its gates",
            culprits=[*failed, *missing],
            remedy="the champion stays; the thresholds stand under gates in the settings.",
        )


def require_recorded_verdict(release: Release, evaluation: Evaluation | None) -> None:
    """Refuse a release whose recorded verdict is missing, is not the one it was registered with, or did not pass.

    Raises:
        IntegrityError: the record has no such verdict, or another one.
        GateFailed: it did not pass.
    """
    found = digest(evaluation.verdict) if evaluation is not None else "none"
    if evaluation is None or found != release.verdict_digest:
        raise IntegrityError(
            f"the verdict on version {release.version} is not the one it was registered with; it is not promoted",
            culprits=[f"registered {release.verdict_digest or 'none'}", f"recorded {found}"],
            remedy="Run `fraud-retraining audit verify`, and train again.",
        )
    require_verdict(evaluation, release.fingerprint)
