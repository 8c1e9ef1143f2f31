"""Live performance as an asset check of `production_performance`, which warns and never blocks.

Here: the stored report of each day against the rule of the performance trigger, whether that trigger is on or not. Not
here: the rule (`domain/retraining/triggers/`) and the notice of decay (`orchestration/runs/outcomes.py`).
"""

from collections.abc import Iterator

import dagster as dg

from fraud_retraining.adapters.days.monitoring_reports import PERFORMANCE, report_of, whole_reports
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.data.rule_results import CheckResult, Report, Severity
from fraud_retraining.domain.monitoring.live_performance import PerformanceReport
from fraud_retraining.domain.retraining.triggers.performance import PerformanceTriggerPolicy, decay
from fraud_retraining.orchestration.checks.data_checks import results, specs
from fraud_retraining.orchestration.partitions import days_of
from fraud_retraining.orchestration.runs.step_retries import retried
from fraud_retraining.settings import Settings

DECAY = "live_performance"
RULES: dict[str, tuple[Severity, str]] = {
    DECAY: ("warn", "The service reaches on mature days what the holdouts of who served promised, and its floor.")
}


def build_checks(partitions: dg.PartitionsDefinition) -> list[dg.AssetChecksDefinition]:
    """The check of live performance."""

    @dg.multi_asset_check(name="production_performance_checks", specs=specs(PERFORMANCE, RULES, partitions))
    @retried
    def production_performance_checks(
        context: dg.AssetCheckExecutionContext,
        settings: dg.ResourceParam[Settings],
        store: dg.ResourceParam[Store],
    ) -> Iterator[dg.AssetCheckResult]:
        found = whole_reports(store, PERFORMANCE, days_of(context))
        policy = settings.performance_rule
        reports = {
            day: Report(
                digest=record.digest, rules="", results=(_result(report_of(record, PerformanceReport), policy),)
            )
            for day, record in found.items()
        }
        yield from results(context, PERFORMANCE, RULES, reports)

    return [production_performance_checks]


def _result(report: PerformanceReport, policy: PerformanceTriggerPolicy) -> CheckResult:
    live = report.live_performance
    why = decay(policy, live) if live is not None else None
    return CheckResult(
        name=DECAY,
        passed=why is None,
        severity="warn",
        value=live.value if live is not None else None,
        threshold=policy.rule_text(live.holdout_low if live is not None else None),
        message=live.summary(why) if live is not None else f"not judged: no fraud is known up to {report.day}",
        numbers={"frauds": report.recent.frauds, "rows": report.recent.rows, "versions": max(len(report.parts), 1)},
    )
