"""Rules about data: one number a rule, all numbers judged by Pandera, one result a rule.

Here: rule, measure and result, and the factory that turns rules into results. Every rule gives a result: a rule that
could not be measured has failed. Not here: the rules of a day (`domain/data/day_checks.py`) and of a
window (`domain/training/window_checks.py`), which rows of a day are refused (`domain/data/ingestion.py`), and how
results become asset checks (`orchestration/checks/`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from pydantic import Field

from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.errors import DependencyUnreachable

Severity = Literal["error", "warn"]
Number = float | int | str
Subject = TypeVar("Subject")

SAMPLE = 5


class CheckResult(Value):
    """Result of one rule on one day or window, with its numbers."""

    name: str
    passed: bool
    severity: Severity = Field(description="`error` stops every retrain that needs the day; `warn` is only reported.")
    value: float | None = Field(None, description="The number that was judged; absent where there was none to judge.")
    threshold: str = ""
    message: str
    numbers: dict[str, Number] = Field(default_factory=dict)


class Report(Value):
    """All results about one day or window, with the digests of the checked data and of the rules."""

    digest: str = Field(description="Digest of the day's rows, or of the window's manifest.")
    rules: str = Field(description="Digest of the policy and of the earlier days that the rules compared with.")
    results: tuple[CheckResult, ...]

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """Failures that stop every retrain."""
        return tuple(result for result in self.results if not result.passed and result.severity == "error")


class Measure(NamedTuple):
    """The judged number of a rule with its bounds, and the finding as text.

    `value` None means that the rule does not apply, and `found` is the reason; a value that is not a number has failed.
    """

    value: float | None
    found: str
    least: float | None = None
    most: float | None = None
    below: float | None = None
    threshold: str = ""
    numbers: Mapping[str, Number] = {}
    sample: Sequence[object] = ()


@dataclass(frozen=True)
class Rule(Generic[Subject]):
    """A rule: name, severity, description, and the function that measures it."""

    name: str
    severity: Severity
    description: str
    measure: Callable[[Subject], Measure]


def listed(rules: Sequence[Rule[Subject]]) -> dict[str, tuple[Severity, str]]:
    """Severity and description of each rule, by its name."""
    return {rule.name: (rule.severity, rule.description) for rule in rules}


def results_of(rules: Sequence[Rule[Subject]], subject: Subject) -> tuple[CheckResult, ...]:
    """Measure every rule, judge all numbers with one Pandera schema, and return the results in the order of the rules.

    Raises:
        DependencyUnreachable: an outage, or too little memory: that says nothing about the data.
    """
    # All rules are measured before any is judged: one report names every problem of the day.
    measures = {rule.name: _measured(rule, subject) for rule in rules}
    try:
        failed = _out_of_bounds({name: m for name, m in measures.items() if isinstance(m, Measure)})
    except Exception as error:  # noqa: BLE001 (after any error no rule has passed)
        return tuple(_no_result(rule, error) for rule in rules)
    return tuple(_result(rule, measures[rule.name], rule.name in failed) for rule in rules)


def _measured(rule: Rule[Subject], subject: Subject) -> Measure | Exception:
    try:
        return rule.measure(subject)
    # An outage must not be stored as a failed check: the day may be sound.
    except DependencyUnreachable:
        raise
    except Exception as error:  # noqa: BLE001 (a rule that cannot be measured has failed, with this reason)
        return error


def _out_of_bounds(measures: Mapping[str, Measure]) -> set[str]:
    """Names of the measures that a Pandera schema over the one-row profile refuses."""
    import pandas as pd
    import pandera.pandas as pandera

    judged = {name: measure for name, measure in measures.items() if measure.value is not None}
    if not judged:
        return set()
    profile = pd.DataFrame({name: [float(measure.value or 0)] for name, measure in judged.items()})
    columns = {name: pandera.Column(float, _bounds(measure), nullable=False) for name, measure in judged.items()}
    try:
        pandera.DataFrameSchema(columns).validate(profile, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        return {str(error.schema.name) for error in errors.schema_errors}
    return set()


def _bounds(measure: Measure) -> list[Any]:
    import pandera.pandas as pandera

    bounds = ((pandera.Check.ge, measure.least), (pandera.Check.le, measure.most), (pandera.Check.lt, measure.below))
    return [check(limit) for check, limit in bounds if limit is not None]


def _result(rule: Rule[Subject], measure: Measure | Exception, failed: bool) -> CheckResult:
    if isinstance(measure, Exception):
        return _no_result(rule, measure)
    message = measure.found
    if failed:
        message += f"; expected {measure.threshold}"
        message += f"; for example {', '.join(str(item) for item in measure.sample[:SAMPLE])}" if measure.sample else ""
    return CheckResult(
        name=rule.name,
        passed=not failed,
        severity=rule.severity,
        # JSON has no NaN; the failure itself is in `passed`.
        value=measure.value if measure.value is not None and isfinite(measure.value) else None,
        threshold=measure.threshold,
        message=message,
        numbers={name: _kept(number) for name, number in measure.numbers.items()},
    )


def _kept(number: Number) -> Number:
    """A number as JSON can keep it: one that is not finite becomes its word, or the report could not be read back."""
    # JSON has no NaN, and pydantic would write null, which is not a number on reading.
    return str(number) if isinstance(number, float) and not isfinite(number) else number


def _no_result(rule: Rule[Any], error: Exception) -> CheckResult:
    reason = " ".join(str(error).split())[:300]
    return CheckResult(
        name=rule.name,
        passed=False,
        severity=rule.severity,
        message=f"gave no result: {type(error).__name__}: {reason}",
    )
