"""Whether the ledger, and what was served last, permit a candidate to be promoted automatically.

Here: reading together what `domain/releases/promotion_mode.py` judges. Not here: the rule.
"""

from fraud_retraining.adapters.days.monitoring_reports import latest_skew
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.releases.candidate import Evaluation
from fraud_retraining.domain.releases.promotion_mode import (
    RECORD,
    Candidate,
    EarnedPolicy,
    Permission,
    PromotionPolicy,
    Standing,
    by_mode,
    by_trust,
    standing,
)
from fraud_retraining.domain.releases.release import Release
from fraud_retraining.domain.releases.verdict_checks import why_human
from fraud_retraining.domain.retraining.pauses import Automation
from fraud_retraining.domain.retraining.requesters import recorded_request
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import IntegrityError

WARNINGS = "warnings"
"""Where the facts of a registered version keep what checks and gates warned of."""


def read_standing(ledger: Ledger, policy: EarnedPolicy) -> Standing:
    """Return the earned trust at present."""
    return standing(policy, ledger.events(RECORD), ledger.now())


def skew_concern(store: Store) -> str | None:
    """Why nothing is to be promoted unasked: the last day served had differences without a reason; None otherwise.

    A new model would be trained on the batch's features and scored with the others.
    """
    try:
        latest = latest_skew(store)
    except IntegrityError as error:
        return error.what
    return latest.concern if latest is not None else None


def permission_for(ledger: Ledger, policy: PromotionPolicy, release: Release, concern: str | None = None) -> Permission:
    """Return whether a registered candidate may be promoted automatically, with the reason, by its recorded verdict.

    `concern` is what has to be looked at before anything is promoted unasked (`skew_concern`).
    """
    why = _why_human(ledger, release)
    if why is not None:
        return Permission(False, f"a human decides: {why}")
    decided = by_mode(policy, ledger.pause(Automation.PROMOTION), concern)
    if decided is not None:
        return decided
    return by_trust(policy.earned, read_standing(ledger, policy.earned), _candidate(ledger, policy.earned, release))


def _why_human(ledger: Ledger, release: Release) -> str | None:
    evaluation, champion = ledger.verdict(release), ledger.champion()
    if evaluation is None or digest(evaluation.verdict) != release.verdict_digest:
        return "the record does not hold the verdict that it was registered with"
    past = ledger.latest_champions()
    if champion is None and evaluation.champion_version is None and past:
        return f"no version serves, so it was compared with none, though version {past[0].version} has served"
    return release.needs_human or why_human(evaluation, champion.version if champion else None)


def _candidate(ledger: Ledger, policy: EarnedPolicy, release: Release) -> Candidate:
    registered = ledger.last(EventKind.VERSION_REGISTERED, version=release.version)
    facts = registered.payload["facts"] if registered is not None else {}
    past = sorted(
        (one for one in ledger.releases() if one.promoted_at is not None and one.version != release.version),
        key=lambda one: (one.promoted_at, one.version),
        reverse=True,
    )
    return Candidate(
        trigger=release.trigger,
        automatic=recorded_request(_request(ledger, facts.get("dagster_run_id"))).automatic,
        warnings=tuple(facts.get(WARNINGS, ["the record does not say what checks warned of"])),
        metrics=_metrics(ledger.verdict(release)),
        past=tuple(_metrics(ledger.verdict(one)) for one in past[: policy.range_releases]),
    )


def _request(ledger: Ledger, run_id: str | None) -> Event | None:
    return ledger.last(EventKind.RETRAIN_REQUESTED, subject=run_id) if run_id is not None else None


def _metrics(evaluation: Evaluation | None) -> dict[str, float | None]:
    return dict(evaluation.evidence.candidate.values) if evaluation is not None else {}
