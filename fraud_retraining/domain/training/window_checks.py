"""Whether a window is good enough to be trained on.

Here: the rules of a window's manifest and the evidence they look at. Not here: how rules become results
(`domain/data/rule_results.py`) and which days a window has (`domain/training/windows.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from fraud_retraining.domain.data.rule_results import CheckResult, Measure, Rule, Severity, listed, results_of
from fraud_retraining.domain.data.validation import ValidationPolicy
from fraud_retraining.domain.training.windows import TrainingWindow, WindowDay
from fraud_retraining.domain.values.schemas import IS_FRAUD, TIMESTAMP, TRANSACTION_ID


@dataclass(frozen=True)
class WindowEvidence:
    """What the rules of a window read.

    Attributes:
        window: the manifest.
        policy: the thresholds.
        columns: columns that the features of every day have.
        digests: digests in the store now, of the days of the manifest and its history; an absent day is left out.
        features_digests: the same of the features of the days.
    """

    window: TrainingWindow
    policy: ValidationPolicy
    columns: frozenset[str]
    digests: Mapping[date, str]
    features_digests: Mapping[date, str]


def _minimum_rows(evidence: WindowEvidence) -> Measure:
    window, least = evidence.window, evidence.policy.min_rows
    return Measure(
        value=window.rows,
        found=f"{window.rows:,} labelled rows in {len(window.training)} training days",
        least=least,
        threshold=f"at least {least:,}",
        numbers={"rows": window.rows, "days": len(window.training)},
    )


def _required_columns(evidence: WindowEvidence) -> Measure:
    required = (TRANSACTION_ID, TIMESTAMP, IS_FRAUD, *evidence.window.features)
    missing = [name for name in dict.fromkeys(required) if name not in evidence.columns]
    return Measure(
        value=len(missing),
        found=f"{len(missing)} of {len(required)} required columns are missing",
        most=0,
        threshold="none",
        numbers={"required": len(required), "missing": len(missing)},
        sample=missing,
    )


def _window_fraud_rate(evidence: WindowEvidence) -> Measure:
    window, policy = evidence.window, evidence.policy
    rate = window.frauds / window.rows if window.rows else float("nan")
    found = f"{window.frauds:,} of {window.rows:,} labelled training rows are frauds ({rate:.3%})"
    return Measure(
        value=rate,
        found=found if window.rows else "no training row has a label",
        least=policy.min_fraud_rate,
        most=policy.max_fraud_rate,
        threshold=f"from {policy.min_fraud_rate:.3%} to {policy.max_fraud_rate:.3%}",
        numbers={"rows": window.rows, "frauds": window.frauds},
    )


def _missing_days(evidence: WindowEvidence) -> Measure:
    window, most = evidence.window, evidence.policy.max_missing_days
    present = {day.day for day in _every_day(window)}
    missing = [day for day in window.days.needed if day not in present]
    return Measure(
        value=len(missing),
        found=f"{len(missing)} of {len(window.days.needed)} days of the window are missing",
        most=most,
        threshold=f"at most {most}",
        numbers={"needed": len(window.days.needed), "missing": len(missing)},
        sample=missing,
    )


def _holdout_frauds(evidence: WindowEvidence) -> Measure:
    window, least = evidence.window, evidence.policy.min_holdout_frauds
    return Measure(
        value=window.holdout_frauds,
        found=f"{window.holdout_frauds:,} frauds in {window.holdout_rows:,} labelled holdout rows",
        least=least,
        threshold=f"at least {least:,}",
        numbers={"frauds": window.holdout_frauds, "rows": window.holdout_rows},
    )


def _no_overlap(evidence: WindowEvidence) -> Measure:
    """Training days that also judge, or that lie after the first day that judges."""
    window = evidence.window
    judging = {day.day for day in (*window.holdout, *window.fixed)} | set(window.days.holdout)
    start = window.days.holdout.start
    overlapping = [day.day for day in window.training if day.day in judging or day.day >= start]
    return Measure(
        value=len(overlapping),
        found=f"{len(overlapping)} of {len(window.training)} training days also judge the model, or come later",
        most=0,
        threshold="none: every training day before the holdout and outside the fixed evaluation days",
        numbers={"training_days": len(window.training), "overlapping": len(overlapping)},
        sample=overlapping,
    )


def _digests(evidence: WindowEvidence) -> Measure:
    window = evidence.window
    # Days that features look back on count too: another history gives other features.
    pinned = {day.day: day.digest for day in _every_day(window)} | dict(window.history)
    features = {day.day: day.features_digest for day in _every_day(window)}
    changed = {day for day, digest in pinned.items() if evidence.digests.get(day) != digest}
    changed |= {day for day, digest in features.items() if evidence.features_digests.get(day) != digest}
    return Measure(
        value=len(changed),
        found=f"{len(changed)} of {len(pinned)} days are no longer those of the manifest",
        most=0,
        threshold="none",
        numbers={"days": len(pinned), "changed": len(changed)},
        sample=sorted(changed),
    )


def _both_classes(evidence: WindowEvidence) -> Measure:
    window = evidence.window
    others = window.rows - window.frauds
    return Measure(
        value=min(window.frauds, others),
        found=f"{window.frauds:,} frauds and {others:,} others to learn from",
        # Fewer than one of a class cannot be fitted at all; `min_fraud_rate` sets what is enough.
        least=1,
        threshold="at least one of each",
        numbers={"frauds": window.frauds, "others": others},
    )


def _reporting_delays(evidence: WindowEvidence) -> Measure:
    window = evidence.window
    unknown = window.labels is not None and window.labels.delays is None
    last = window.days.holdout.end
    return Measure(
        value=int(unknown),
        found=f"too few frauds are known to estimate how late they are reported: days up to {last} are used, whose "
        "labels are mature"
        if unknown
        else "known, or not needed",
        most=0,
        threshold="labels.min_delay_frauds known frauds of mature days, where labels are used as known",
    )


def _every_day(window: TrainingWindow) -> tuple[WindowDay, ...]:
    return (*window.training, *window.holdout, *window.fixed)


_WINDOW_RULES: tuple[Rule[WindowEvidence], ...] = (
    Rule("minimum_rows", "error", "Enough labelled rows to learn from.", _minimum_rows),
    Rule("required_columns", "error", "Every feature and the label are there on every day.", _required_columns),
    Rule("fraud_rate", "error", "The share of frauds is within its bounds.", _window_fraud_rate),
    Rule("missing_days", "error", "Few enough days of window and holdout are absent.", _missing_days),
    Rule("holdout_frauds", "error", "Enough frauds in the holdout to rest a verdict on.", _holdout_frauds),
    Rule("no_overlap", "error", "No training day judges the model or comes after one that does.", _no_overlap),
    Rule("digests", "error", "Every day is still the one that the manifest names.", _digests),
    Rule("both_classes", "error", "Frauds and others to learn from.", _both_classes),
    Rule(
        "reporting_delays", "warn", "It is known how late frauds are reported, where that matters.", _reporting_delays
    ),
)
WINDOW_CHECKS: dict[str, tuple[Severity, str]] = listed(_WINDOW_RULES)


def window_checks(evidence: WindowEvidence) -> tuple[CheckResult, ...]:
    """One result per rule of `WINDOW_CHECKS`, in order."""
    return results_of(_WINDOW_RULES, evidence)
