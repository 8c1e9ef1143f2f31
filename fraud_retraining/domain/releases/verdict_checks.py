"""Checks of a stored verdict: whether its candidate may serve automatically, by a human decision, or not at all.

Here: requirements before a version is registered, and again, from the ledger alone, before it is promoted or restored;
and why a human has to decide in every promotion mode. Not here: how a verdict comes
about (`domain/evaluation/gates/`).
"""

from typing import Literal

from fraud_retraining.domain.evaluation.gates import GateResult, Verdict, incomplete
from fraud_retraining.domain.releases.candidate import Evaluation
from fraud_retraining.domain.releases.promotion_mode import POLICY
from fraud_retraining.domain.releases.release import Release
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import GateFailed, IntegrityError

FLOORS = frozenset({"average_precision_floor", "roc_auc_floor"})
COMPARING = "no_regression"


def outcome_of(verdict: Verdict) -> Literal["passed", "below_floor", "gate_failed"]:
    """Return the outcome of a verdict in a word, as MLflow's tag `verdict` has it."""
    if verdict.passed:
        return "passed"
    return "below_floor" if floors_missed(verdict) else "gate_failed"


def floors_missed(verdict: Verdict) -> tuple[str, ...]:
    """Return the floors that alone stop a candidate that is proven better than the champion; else nothing.

    Proven: the whole interval of the paired difference on the same rows is above 0. Every other gate that the verdict
    has has passed. A floor that gave no result is not one that was missed.
    """
    failed = verdict.failed
    # A gate without a value gave no result; that is no missed floor.
    only_floors = bool(failed) and all(gate.name in FLOORS and gate.value is not None for gate in failed)
    return tuple(gate.name for gate in failed) if only_floors and _proven_better(verdict) else ()


def _proven_better(verdict: Verdict) -> bool:
    compared = _gate(verdict, COMPARING)
    low = compared.numbers.get("low") if compared is not None and compared.applicable and compared.passed else None
    return isinstance(low, int | float) and low > 0


def _gate(verdict: Verdict, name: str) -> GateResult | None:
    return next((gate for gate in verdict.gates if gate.name == name), None)


def why_human(evaluation: Evaluation, champion: int | None) -> str | None:
    """Return why a human has to decide about a candidate in every promotion.mode; None where the mode decides.

    Args:
        evaluation: as it was recorded.
        champion: the version that serves now, None if none does.
    """
    if evaluation.newer_champion is not None:
        return None
    missed = floors_missed(evaluation.verdict)
    if missed:
        messages = " ".join(gate.message for gate in evaluation.verdict.failed)
        return f"{messages} It is proven better than version {evaluation.champion_version}, which serves: an exception"
    judged_against = evaluation.champion_version
    if champion != judged_against:
        return f"it was judged against {_named(judged_against)}, and {_named(champion)} serves now"
    compared = _gate(evaluation.verdict, COMPARING)
    if champion is not None and (compared is None or not compared.applicable):
        why = compared.message if compared is not None else "the gate gave no result."
        return f"it was not compared with version {champion}, which serves ({why.rstrip('.')})"
    return _falling_behind(evaluation, champion)


def _falling_behind(evaluation: Evaluation, champion: int | None) -> str | None:
    """Why a judged fit does not follow a second fit that has learnt later days, perhaps a new kind of fraud."""
    refit = evaluation.refit
    if refit is None or not refit.falls_behind or refit.judged is None or refit.serving is None:
        return None
    return (
        f"its second fit agrees neither with the judged fit nor with version {champion}, which serves; and the judged "
        f"fit has learnt up to {refit.judged.end} only, version {champion} up to {refit.serving.training.end}"
    )


def _named(version: int | None) -> str:
    return f"version {version}" if version is not None else "no champion"


def require_registrable(evaluation: Evaluation, fingerprint: str, known: Release | None = None) -> None:
    """Refuse to register a candidate whose verdict did not pass or lacks a gate of today.

    A candidate of an older as-of day than the champion's is registered also with failed gates: it is never promoted. A
    version that was registered with this very verdict, when there were other gates, is not registered anew.

    Args:
        evaluation: the candidate's.
        fingerprint: the candidate's.
        known: the release that the fingerprint has already, if it has one.

    Raises:
        GateFailed: names the gates.
    """
    same = evaluation.fingerprint == fingerprint
    if same and known is not None and known.verdict_digest == digest(evaluation.verdict):
        return
    if same and evaluation.newer_champion is not None:
        _refuse(evaluation, incomplete(evaluation.verdict))
    else:
        require_verdict(evaluation, fingerprint)


def require_verdict(evaluation: Evaluation, fingerprint: str) -> None:
    """Refuse a candidate whose verdict did not pass, lacks a gate of today, or is about another model.

    A candidate that misses nothing but floors, and is proven better than the champion, is let through: a human may
    except it (`floors_missed`).

    Raises:
        GateFailed: names the gates.
    """
    _refuse(evaluation, (*_against(evaluation, fingerprint), *incomplete(evaluation.verdict)))


def require_passed(evaluation: Evaluation, fingerprint: str) -> None:
    """Refuse a former champion by the gates that its verdict has, not by the gates of today.

    Raises:
        GateFailed: names the gates.
    """
    _refuse(evaluation, _against(evaluation, fingerprint))


def _against(evaluation: Evaluation, fingerprint: str) -> tuple[str, ...]:
    """Failures among the gates that the verdict has, a clause each."""
    excepted = floors_missed(evaluation.verdict)
    failed = tuple(f"{gate.name}: {gate.message}" for gate in evaluation.verdict.failed if gate.name not in excepted)
    return failed if evaluation.fingerprint == fingerprint else (*failed, "the verdict is about another fingerprint")


def _refuse(evaluation: Evaluation, problems: tuple[str, ...]) -> None:
    if not problems:
        return
    newer = " A retrain of a newer day is judged by the gates of today." if incomplete(evaluation.verdict) else ""
    raise GateFailed(
        f"the candidate as of {evaluation.as_of} did not pass its gates",
        culprits=problems,
        remedy=f"the champion stays; the thresholds stand under gates in the settings.{newer}",
    )


def require_recorded_verdict(release: Release, evaluation: Evaluation | None) -> None:
    """Refuse a release whose recorded verdict is missing, is not the one it was registered with, or did not pass.

    A candidate needs every gate of today. A former champion may be restored by the gates of its own day: the digest
    proves that they are those that it was registered with.

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
    # A gate that was added since may not keep a former champion from being brought back.
    require = require_passed if release.was_promoted else require_verdict
    require(evaluation, release.fingerprint)
    by_itself = release.decided_by == POLICY and not release.was_promoted
    why = why_human(evaluation, evaluation.champion_version) if by_itself else None
    if why is not None:
        raise GateFailed(
            f"version {release.version} cannot be promoted by itself: {why}", remedy="A human has to decide."
        )
