"""How far the record lets candidates go by themselves.

Here: reading together what `domain/trust.py` judges. Not here: the rule.
"""

from fraud_retraining.adapters.ledger import Ledger
from fraud_retraining.domain.automation import Automation
from fraud_retraining.domain.candidate import Evaluation
from fraud_retraining.domain.events import EventKind
from fraud_retraining.domain.releases import Release
from fraud_retraining.domain.trust import (
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

WARNINGS = "warnings"
"""Where the facts of a registered version keep what checks and gates warned of."""


def read_standing(ledger: Ledger, policy: EarnedPolicy) -> Standing:
    """How far trust has grown by now."""
    return standing(policy, ledger.events(RECORD), ledger.now())


def permission_for(ledger: Ledger, policy: PromotionPolicy, release: Release) -> Permission:
    """Whether a registered candidate may go by itself, and why or why not."""
    decided = by_mode(policy, ledger.pause(Automation.PROMOTION))
    if decided is not None:
        return decided
    return by_trust(policy.earned, read_standing(ledger, policy.earned), _candidate(ledger, policy.earned, release))


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
        warnings=tuple(facts.get(WARNINGS, ["the record does not say what checks warned of"])),
        metrics=_metrics(ledger.verdict(release)),
        past=tuple(_metrics(ledger.verdict(one)) for one in past[: policy.range_releases]),
    )


def _metrics(evaluation: Evaluation | None) -> dict[str, float | None]:
    return dict(evaluation.evidence.candidate.values) if evaluation is not None else {}
