"""Drift as asset checks of `drift_report`: one a group of features, which warn and never block.

Here: the groups of the stored report, one result each. Not here: when a group has drifted
(`domain/monitoring/drift.py`). Drift blocks nothing: it is a reason to retrain, which the trigger decides over several
days. A drifted feature that the model hardly uses is named without a warning.
"""

from collections.abc import Iterator

import dagster as dg

from fraud_retraining.adapters.days.monitoring_reports import DRIFT, report_of, whole_reports
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.data.rule_results import CheckResult, Report, Severity
from fraud_retraining.domain.monitoring.drift import DriftReport, left_out_reasons
from fraud_retraining.orchestration.checks.data_checks import results, specs
from fraud_retraining.orchestration.partitions import days_of
from fraud_retraining.orchestration.runs.step_retries import retried
from fraud_retraining.settings import Settings

NAMED = 5


def build_checks(partitions: dg.PartitionsDefinition, settings: Settings) -> list[dg.AssetChecksDefinition]:
    """One check a group."""
    names = settings.drift.group_names(settings.feature_plan)
    rules: dict[str, tuple[Severity, str]] = {
        name: ("warn", f"No drift of the group {name} beyond {settings.drift_threshold:g}.") for name in names
    }

    @dg.multi_asset_check(name="drift_report_checks", specs=specs(DRIFT, rules, partitions))
    @retried
    def drift_report_checks(
        context: dg.AssetCheckExecutionContext,
        settings: dg.ResourceParam[Settings],
        store: dg.ResourceParam[Store],
    ) -> Iterator[dg.AssetCheckResult]:
        found = whole_reports(store, DRIFT, days_of(context))
        reports = {day: report_of(record, DriftReport) for day, record in found.items()}
        checked = {day: Report(digest=found[day].digest, rules="", results=_results(r)) for day, r in reports.items()}
        yield from results(context, DRIFT, rules, checked)

    return [drift_report_checks]


def _results(report: DriftReport) -> tuple[CheckResult, ...]:
    return tuple(_result(report, group) for group in report.groups)


def _result(report: DriftReport, group: str) -> CheckResult:
    over, greatest = report.over(group), report.maximum(group)
    return CheckResult(
        name=group,
        passed=not report.counts(group),
        severity="warn",
        value=greatest,
        threshold=f"at most {report.threshold:g}",
        message=_message(report, group, over, greatest),
        numbers={"drifted": len(over)},
    )


def _message(report: DriftReport, group: str, over: tuple[str, ...], greatest: float | None) -> str:
    if greatest is None:
        why = left_out_reasons(report).get("score" if group == "scores" else group, "no feature of it is judged")
        return f"not judged: {why}"
    if not over:
        return f"greatest drift {greatest:.3f}, at most {report.threshold:g} is calm"
    more = f" and {len(over) - NAMED} more" if len(over) > NAMED else ""
    summary = f"{', '.join(over[:NAMED])}{more} drifted, by up to {greatest:.3f} (threshold {report.threshold:g})"
    if report.counts(group):
        return summary
    held, wanted = report.drifted_importance, report.min_importance
    return f"{summary}; all that drifted holds {held:.1%} of the model, and {wanted:.1%} would count"
