"""Whether labels keep coming, as asset checks of `labels`, which warn and never block.

Here: the reports of each label day against the days before. Not here: the rule (`domain/labels/feed_health.py`).
"""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg

from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.data.rule_results import CheckResult, Report, Severity
from fraud_retraining.domain.labels.feed_health import MAX_SLOWDOWN, MIN_RATIO, Reporting, reporting_on
from fraud_retraining.orchestration.checks.data_checks import results, specs
from fraud_retraining.orchestration.names import LABELS
from fraud_retraining.orchestration.partitions import days_of
from fraud_retraining.orchestration.runs.step_retries import retried
from fraud_retraining.orchestration.state.label_days import first_reports
from fraud_retraining.settings import Settings

SILENCE, DELAY = "label_reports", "label_delay"
LOOK_BACK = timedelta(days=40)
RULES: dict[str, tuple[Severity, str]] = {
    SILENCE: ("warn", "About as many frauds are reported as on the days before: a silent feed looks like no fraud."),
    DELAY: ("warn", "Frauds are reported about as soon after their transaction as before."),
}


def build_checks(partitions: dg.PartitionsDefinition, settings: Settings) -> list[dg.AssetChecksDefinition]:
    """The checks of labels; none where labels are used once they are mature."""
    if settings.labels.use != "as_known":
        return []

    @dg.multi_asset_check(name="labels_checks", specs=specs(LABELS, RULES, partitions))
    @retried
    def labels_checks(
        context: dg.AssetCheckExecutionContext,
        settings: dg.ResourceParam[Settings],
        store: dg.ResourceParam[Store],
    ) -> Iterator[dg.AssetCheckResult]:
        days = days_of(context)
        reports = first_reports(store, days[0] - LOOK_BACK, days[-1])
        found = {
            day: Report(digest="", rules="", results=_results(reporting_on(day, reports)))
            for day in days
            if day in reports
        }
        yield from results(context, LABELS, RULES, found)

    return [labels_checks]


def _results(found: Reporting) -> tuple[CheckResult, ...]:
    usual, delay = found.usual_frauds or 0, found.usual_delay or 0
    return (
        CheckResult(
            name=SILENCE,
            passed=not found.silent,
            severity="warn",
            value=found.frauds,
            threshold=f"{MIN_RATIO * usual:g}",
            message=found.summary(),
            numbers={"frauds": found.frauds, "usual_frauds": usual},
        ),
        CheckResult(
            name=DELAY,
            passed=not found.slow,
            severity="warn",
            value=found.delay,
            threshold=f"{MAX_SLOWDOWN * delay:g}",
            message=found.summary(),
            numbers={"delay_days": found.delay or 0, "usual_delay_days": delay},
        ),
    )
