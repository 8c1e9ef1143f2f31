"""Served skew as an asset check of `served_skew`, which blocks no run.

Here: the stored report of each day as a result: an error where answers rested on other features than the batch's
without a known reason, a warning where the reasons are known. Not here: the comparison
(`domain/monitoring/served_skew.py`), the notice of it (`orchestration/runs/outcomes.py`), and what it keeps from being
promoted (`services/track_record.py`).
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import dagster as dg

from fraud_retraining.adapters.days.monitoring_reports import SKEW, report_of, whole_reports
from fraud_retraining.domain.data.rule_results import CheckResult, Report, Severity
from fraud_retraining.domain.monitoring.served_skew import ServedSkew
from fraud_retraining.orchestration.checks.data_checks import results, specs
from fraud_retraining.orchestration.partitions import days_of
from fraud_retraining.orchestration.runs.step_retries import retried

RULES: Mapping[str, tuple[Severity, str]] = MappingProxyType(
    {SKEW: ("warn", "Every transaction was scored with the features that the batch has computed for it.")}
)


def build_checks(partitions: dg.PartitionsDefinition) -> list[dg.AssetChecksDefinition]:
    """The check of served skew."""

    # The settings are asked for by `retried`.
    @dg.multi_asset_check(
        name="served_skew_checks", specs=specs(SKEW, RULES, partitions), required_resource_keys={"settings", "store"}
    )
    @retried
    def served_skew_checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        found = whole_reports(context.resources.store, SKEW, days_of(context))
        reports = {
            day: Report(digest=record.digest, rules="", results=(_result(report_of(record, ServedSkew)),))
            for day, record in found.items()
        }
        yield from results(context, SKEW, RULES, reports)

    return [served_skew_checks]


def _result(report: ServedSkew) -> CheckResult:
    passed = bool(report.compared) and not (report.different or report.altered or report.other_segment)
    return CheckResult(
        name=SKEW,
        passed=passed,
        severity="error" if report.needs_person else "warn",
        value=report.equal_share,
        threshold="1",
        message=f"{report.summary()} {report.remedy}".strip(),
        numbers={
            "served": report.served,
            "different": report.different,
            "unexplained": report.unexplained,
            "altered": len(report.altered),
            **({"other_segment": report.other_segment} if report.other_segment else {}),
        },
    )
