"""The checks of a day and of a window as Dagster asset checks.

Here: one factory that makes asset checks from a list of rules, and the reports that later runs read. Not here: the
rules (`domain/data/day_checks.py`, `domain/training/window_checks.py`). A check of severity `error` blocks what follows
in its run; the report that it leaves blocks every later run that needs the day.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import dagster as dg
import pyarrow as pa

from fraud_retraining.adapters.storage.engine import Engine, PreparedQuery
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.data.day_checks import DAY_CHECKS, DayEvidence, DaysBefore, day_checks, day_profile
from fraud_retraining.domain.data.ingestion import DayFacts
from fraud_retraining.domain.data.rule_results import CheckResult, Report, Severity
from fraud_retraining.domain.training.window_checks import WINDOW_CHECKS
from fraud_retraining.domain.training.windows import TrainingWindow
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.orchestration.io_managers import read_document
from fraud_retraining.orchestration.names import (
    TRANSACTIONS,
    WINDOW,
    WINDOW_REPORT,
    own_key,
)
from fraud_retraining.orchestration.partitions import days_of
from fraud_retraining.orchestration.rendering import figure
from fraud_retraining.orchestration.runs.progress import Progress
from fraud_retraining.orchestration.runs.step_retries import retried
from fraud_retraining.orchestration.state.inventory import (
    CHECKS,
    Inventory,
)
from fraud_retraining.orchestration.state.window_assembly import window_report
from fraud_retraining.settings import Settings

ROWS = "rows"
DAYS_REPORTED_SINGLY = 7
SEVERITIES = {"error": dg.AssetCheckSeverity.ERROR, "warn": dg.AssetCheckSeverity.WARN}


def build_day_checks(days: dg.PartitionsDefinition) -> list[dg.AssetChecksDefinition]:
    """The checks of `transactions`."""

    @dg.multi_asset_check(name="transactions_checks", specs=specs(TRANSACTIONS, DAY_CHECKS, days))
    @retried
    def transactions_checks(
        context: dg.AssetCheckExecutionContext,
        settings: dg.ResourceParam[Settings],
        store: dg.ResourceParam[Store],
        engine: dg.ResourceParam[Engine],
        progress: dg.ResourceParam[Progress],
    ) -> Iterator[dg.AssetCheckResult]:
        reports = {}
        days = days_of(context)
        before = [days[0] - timedelta(days=n) for n in range(1, settings.validation.trailing_days + 1)]
        inventory = Inventory(store, settings, [*before, *days], made=(TRANSACTIONS,))
        progress.start(CHECKS, len(days))
        profiles = _profiles_ahead(days, inventory, settings, store, engine)
        for count, day in enumerate(days, start=1):
            reports[day] = day_report(day, inventory, settings, store, engine, profiles.get(day))
            progress.advance(CHECKS, count)
        yield from results(context, TRANSACTIONS, DAY_CHECKS, reports)

    return [transactions_checks]


def build_window_checks(as_of_days: dg.PartitionsDefinition) -> list[dg.AssetChecksDefinition]:
    """The checks of `training_window`."""

    @dg.multi_asset_check(name="training_window_checks", specs=specs(WINDOW, WINDOW_CHECKS, as_of_days))
    @retried
    def training_window_checks(
        context: dg.AssetCheckExecutionContext,
        settings: dg.ResourceParam[Settings],
        store: dg.ResourceParam[Store],
    ) -> Iterator[dg.AssetCheckResult]:
        reports = {as_of: _window_report(as_of, settings, store) for as_of in days_of(context)}
        yield from results(context, WINDOW, WINDOW_CHECKS, reports)

    return [training_window_checks]


def specs(
    asset: str, rules: Mapping[str, tuple[Severity, str]], partitions: dg.PartitionsDefinition
) -> list[dg.AssetCheckSpec]:
    """One asset check a rule; an error blocks, a warning does not, also where a result of it is an error."""
    return [
        dg.AssetCheckSpec(
            name, asset=asset, description=description, blocking=severity == "error", partitions_def=partitions
        )
        for name, (severity, description) in rules.items()
    ]


def results(
    context: dg.AssetCheckExecutionContext,
    asset: str,
    rules: Mapping[str, tuple[Severity, str]],
    reports: Mapping[date, Report],
) -> Iterator[dg.AssetCheckResult]:
    """One result a rule over every day of the run; it passed when it passed on each.

    Of a range, even of one day, each day's own results go to its partition besides: Dagster gives a result of a range
    to none, and calls a partition without one skipped. Of a long range only those of the last day and those that did
    not pass, because each event takes Dagster as long as the check itself.
    """
    key = key_of(context, asset)
    # Dagster attaches the result of a range to no partition, and then shows each of its days as skipped.
    if not context.has_partition_key:
        for day, result in _single_results(reports):
            blocking = rules[result.name][0] == "error"
            context.op_execution_context.log_event(_evaluation(key, day, result, blocking))  # type: ignore[arg-type]
    for name, (severity, _) in rules.items():
        found = {day: result for day, report in reports.items() for result in report.results if result.name == name}
        failed = {day: result for day, result in found.items() if not result.passed}
        shown = failed or dict(list(found.items())[-1:])
        severe = any(result.severity == "error" for result in failed.values())
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name=name,
            passed=not failed,
            severity=SEVERITIES["error" if severe else severity],
            description="\n".join(f"{day}: {result.message}" for day, result in list(shown.items())[:20]),
            metadata=_numbers(found, failed),
        )


def key_of(context: dg.AssetCheckExecutionContext, asset: str) -> dg.AssetKey:
    """The key of a checked asset, which begins with the model where there are several."""
    return own_key((check.asset_key for check in context.selected_asset_check_keys), asset)


def _single_results(reports: Mapping[date, Report]) -> Iterator[tuple[date, CheckResult]]:
    last = max(reports, default=None)
    for day, report in reports.items():
        for result in report.results:
            if len(reports) <= DAYS_REPORTED_SINGLY or day == last or not result.passed:
                yield day, result


def _evaluation(key: dg.AssetKey, day: date, result: CheckResult, blocking: bool) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=result.name,
        passed=result.passed,
        severity=SEVERITIES[result.severity],
        description=result.message,
        metadata=_numbers({day: result}, {}),
        blocking=blocking,
        partition=day.isoformat(),
    )


def _numbers(found: Mapping[date, CheckResult], failed: Mapping[date, CheckResult]) -> dict[str, Any]:
    if len(found) == 1:
        (result,) = found.values()
        value = {"value": figure(result.value)} if result.value is not None else {}
        return {**value, "threshold": result.threshold, **result.numbers}
    values = [result.value for result in found.values() if result.value is not None]
    extremes = {"least": figure(min(values)), "most": figure(max(values))} if values else {}
    return {"days": len(found), "failed_days": ", ".join(map(str, failed)) or "none", **extremes}


def _profiles_ahead(
    days: Sequence[date], inventory: Inventory, settings: Settings, store: Store, engine: Engine
) -> dict[date, pa.Table]:
    """The profiles of the days that are not on record, counted together on Spark; none where DuckDB is the engine."""
    spark = engine.spark
    wanted = [day for day in days if day in inventory.transactions and _on_record(day, inventory) is None]
    if spark is None or not wanted:
        return {}
    query = PreparedQuery(CHECKS, lambda day, tables: day_profile(tables[ROWS], settings.mapping, day))
    files = {day: {ROWS: store.objects([inventory.transactions[day]], ROWS)} for day in wanted}
    # A day without rows is in no group of a query over several days.
    return {day: found for day, found in spark.ask(query, {ROWS: store.location}, files).items() if found.num_rows}


def _on_record(day: date, inventory: Inventory) -> Report | None:
    known = inventory.report(day)
    return known if known is not None and known.rules == inventory.rules(day) else None


def day_report(
    day: date,
    inventory: Inventory,
    settings: Settings,
    store: Store,
    engine: Engine,
    profile: pa.Table | None = None,
) -> Report:
    """The results of every rule about a day: those on record if neither day nor rules changed, else fresh ones.

    `profile` is the day's row of `day_profile`, where it was counted already.
    """
    partition = inventory.transactions.get(day)
    if partition is None:
        raise DataInvalid(f"transactions of {day} have not been ingested", remedy=f"materialize transactions of {day}.")
    # A day whose rows and rules are unchanged keeps its results: checks of 60 days would otherwise cost each ingest.
    rules, known = inventory.rules(day), _on_record(day, inventory)
    if known is not None:
        return known
    paths = store.paths([partition], ROWS)
    columns = inventory.earlier_columns(day)
    before = DaysBefore(
        rows=tuple(inventory.earlier_rows(day)),
        columns=None if columns is None else frozenset(columns),
        same_delivery=inventory.with_day_before(day),
    )
    found = day_checks(
        DayEvidence(
            rows=engine.read_parquet(paths),
            facts=DayFacts.model_validate({k: v for k, v in partition.facts.items() if k in DayFacts.model_fields}),
            mapping=settings.mapping,
            day=day,
            policy=settings.validation,
            before=before,
            query=engine.stored_query(CHECKS, day, paths, settings.mapping) if profile is None else lambda _: profile,
        )
    )
    report = Report(digest=partition.digest, rules=rules, results=found)
    store.annotate(TRANSACTIONS, day, CHECKS, report)
    return report


def _window_report(as_of: date, settings: Settings, store: Store) -> Report:
    window: TrainingWindow = read_document(store, WINDOW, as_of.isoformat(), TrainingWindow)
    report = window_report(window, settings, store)
    store.write_document(WINDOW_REPORT, as_of.isoformat(), report.model_dump_json(indent=2).encode())
    return report
