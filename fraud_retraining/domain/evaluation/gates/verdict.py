"""All gates on the evidence of one candidate, and the verdict that they give together.

A gate that raises or gives no number has failed. A gate that does not apply has passed, with its reason. A stored
verdict keeps the gates of the day on which it was made.
"""

import math
from collections import Counter
from typing import Self, get_args

from pydantic import Field, model_validator

from fraud_retraining.domain.evaluation.gates.evidence import Evidence
from fraud_retraining.domain.evaluation.gates.finding import NotApplicable, Rule, UnmeasuredError
from fraud_retraining.domain.evaluation.gates.policy import Advisory, GatePolicy, Severity
from fraud_retraining.domain.evaluation.gates.registry import GATES
from fraud_retraining.domain.values.base import Value


class GateResult(Value):
    """Result of one gate. `margin` is the distance of `value` from `threshold`; below 0 the gate has failed."""

    name: str
    passed: bool
    value: float | None = None
    threshold: float | None = None
    margin: float | None = None
    message: str = Field(description="A sentence for the reviewer.")
    applicable: bool = True
    severity: Severity = "error"
    numbers: dict[str, float | int | str] = Field(default_factory=dict, description="Numbers behind the message.")


class Verdict(Value):
    """All gates of its day together: passed exactly when none that stops a release has failed.

    It holds its own list of gates and is checked against that alone, so that a verdict from before a gate was added can
    still be read. `incomplete` checks that it has every current gate.
    """

    passed: bool
    gates: tuple[GateResult, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _follows_from_gates(self) -> Self:
        twice = [name for name, times in Counter(result.name for result in self.gates).items() if times > 1]
        if twice:
            raise ValueError(f"a verdict has one result a gate, and {', '.join(twice)} gave several")
        if self.passed != (not self.failed):
            names = ", ".join(result.name for result in self.failed) or "none"
            raise ValueError(f"passed is {self.passed} and the gates that failed are {names}: one does not follow")
        return self

    @property
    def failed(self) -> tuple[GateResult, ...]:
        """Gates that stop the release."""
        return tuple(result for result in self.gates if not result.passed and result.severity == "error")


def incomplete(verdict: Verdict) -> tuple[str, ...]:
    """Reasons why a verdict does not have a result of every current gate; empty where it has.

    It has a result of every gate of `GATES`, in their order, of no other gate, and none only warns that has to stop.
    """
    given = [result.name for result in verdict.gates]
    missing = [f"{name}: gave no result" for name in GATES if name not in given]
    unknown = [f"{name}: is not a current gate" for name in given if name not in GATES]
    weak = [
        f"{result.name}: only warns, and has to stop"
        for result in verdict.gates
        if result.severity == "warn" and result.name not in get_args(Advisory)
    ]
    # The order matters only when the names agree; otherwise the other reasons say more.
    order = [] if missing or unknown or given == list(GATES) else ["the gates are in another order"]
    return (*missing, *unknown, *weak, *order)


def judge(policy: GatePolicy, evidence: Evidence) -> Verdict:
    """Put every gate of `GATES` to the evidence; the same policy and evidence always give the same verdict."""
    results = tuple(_result(name, gate.rule, policy, evidence) for name, gate in GATES.items())
    return Verdict(passed=all(result.passed for result in results if result.severity == "error"), gates=results)


def _result(name: str, rule: Rule, policy: GatePolicy, evidence: Evidence) -> GateResult:
    severity: Severity = "warn" if name in policy.advisory else "error"
    try:
        found = rule(policy, evidence)
    # Fail closed: a gate without a number has failed.
    except UnmeasuredError as error:
        return GateResult(name=name, passed=False, severity=severity, message=f"No result, so failed: {error}.")
    except Exception as error:  # noqa: BLE001 (a gate that raises gave no result)
        message = f"No result, so failed: {type(error).__name__}: {error}."
        return GateResult(name=name, passed=False, severity=severity, message=message)
    if isinstance(found, NotApplicable):
        message = f"Not compared: {found.reason}."
        return GateResult(name=name, passed=True, applicable=False, severity=severity, message=message)
    if not math.isfinite(found.margin):
        message = f"No result, so failed: the distance to the threshold is {found.margin}."
        return GateResult(name=name, passed=False, severity=severity, message=message)
    return GateResult(
        name=name,
        passed=found.margin >= 0,
        value=found.value,
        threshold=found.threshold,
        margin=found.margin,
        message=found.message,
        severity=severity,
        numbers=dict(found.numbers),
    )
