"""The gates as asset checks of `model_evaluation`; a failed one blocks the registration of the version.

Here: showing the stored verdict, gate by gate. Not here: the gates (`domain/evaluation/gates/`).
"""

from collections.abc import Iterator

import dagster as dg

from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.evaluation.gates import GATES, GateResult
from fraud_retraining.domain.monitoring.fixed_evaluation_days import FixedSetAge
from fraud_retraining.domain.releases.candidate import Evaluation
from fraud_retraining.domain.releases.verdict_checks import floors_missed
from fraud_retraining.orchestration.checks.data_checks import key_of
from fraud_retraining.orchestration.io_managers import read_document
from fraud_retraining.orchestration.names import EVALUATION
from fraud_retraining.orchestration.partitions import days_of
from fraud_retraining.orchestration.runs.step_retries import retried
from fraud_retraining.settings import Settings

FIXED_AGE = "fixed_set_age"
FIXED_AGE_RULE = "The fixed evaluation days are not older than holdout.fixed_max_age_days."
BETTER = "A human may except it: the candidate is proven better than the champion."
NO_RESULT = "The gate gave no result, so it failed."
ADDED_SINCE = "The version was registered before there was this gate, and is not judged again."
NEVER_PROMOTED = "It stops nothing: the champion is of a newer as-of day, and this one is judged only."


def build_checks(partitions: dg.PartitionsDefinition) -> list[dg.AssetChecksDefinition]:
    """One check a gate."""
    specs = [
        dg.AssetCheckSpec(
            name, asset=EVALUATION, description=gate.description, blocking=True, partitions_def=partitions
        )
        for name, gate in GATES.items()
    ] + [dg.AssetCheckSpec(FIXED_AGE, asset=EVALUATION, description=FIXED_AGE_RULE, partitions_def=partitions)]

    @dg.multi_asset_check(name="model_evaluation_checks", specs=specs)
    @retried
    def model_evaluation_checks(
        context: dg.AssetCheckExecutionContext,
        settings: dg.ResourceParam[Settings],
        store: dg.ResourceParam[Store],
    ) -> Iterator[dg.AssetCheckResult]:
        (as_of,) = days_of(context)
        evaluation: Evaluation = read_document(store, EVALUATION, as_of.isoformat(), Evaluation)
        excepted = GATES if evaluation.newer_champion is not None else floors_missed(evaluation.verdict)
        allowed = NEVER_PROMOTED if evaluation.newer_champion is not None else BETTER
        # All gates of the code, not those of the verdict: a gate that gave no result must not disappear.
        key = key_of(context, EVALUATION)
        given = {gate.name: gate for gate in evaluation.verdict.gates}
        for name in GATES:
            result = given.get(name)
            if result is None:
                yield _absent(key, name, evaluation)
            else:
                yield _result(key, result, allowed if name in excepted else "")

        yield _age(key, evaluation.fixed_age, settings.holdout.fixed_max_age_days)

    return [model_evaluation_checks]


def _age(key: dg.AssetKey, fixed: FixedSetAge | None, most: int) -> dg.AssetCheckResult:
    """Whether the fixed evaluation days are recent enough; a warning that blocks nothing."""
    old = fixed is not None and fixed.age_days > most
    summary = fixed.summary if fixed is not None else "No fixed evaluation days are configured or mature."
    remedy = f" holdout.fixed_max_age_days is {most}: name newer days under holdout.fixed." if old else ""
    facts = {"age_days": fixed.age_days, "drift_index": fixed.drift_index} if fixed is not None else {}
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=FIXED_AGE,
        passed=not old,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{summary}{remedy}",
        metadata=facts,
    )


def _absent(key: dg.AssetKey, name: str, evaluation: Evaluation) -> dg.AssetCheckResult:
    """A missing result blocks a candidate; but not a verdict that is older than the gate, which only warns."""
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=name,
        passed=False,
        severity=dg.AssetCheckSeverity.WARN if evaluation.reused else dg.AssetCheckSeverity.ERROR,
        description=ADDED_SINCE if evaluation.reused else NO_RESULT,
    )


def _result(key: dg.AssetKey, gate: GateResult, allowed: str) -> dg.AssetCheckResult:
    may_pass = gate.severity == "warn" or bool(allowed)
    exception = f" {allowed}" if allowed and not gate.passed else ""
    figures = {"value": gate.value, "threshold": gate.threshold, "margin": gate.margin}
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=gate.name,
        passed=gate.passed,
        severity=dg.AssetCheckSeverity.WARN if may_pass else dg.AssetCheckSeverity.ERROR,
        description=f"{gate.message}{exception}",
        metadata={**{key: value for key, value in figures.items() if value is not None}, **gate.numbers},
    )
