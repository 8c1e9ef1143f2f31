"""What one gate is: a rule over policy and evidence, and the finding that it returns."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from fraud_retraining.domain.evaluation.gates.evidence import Evidence
from fraud_retraining.domain.evaluation.gates.policy import GatePolicy


class Finding(NamedTuple):
    """What a gate's rule found."""

    value: float | None
    threshold: float
    margin: float
    message: str
    numbers: Mapping[str, float | int | str] = MappingProxyType({})


class NotApplicable(NamedTuple):
    """Why a gate's rule has nothing to decide."""

    reason: str


Rule = Callable[[GatePolicy, Evidence], Finding | NotApplicable]


class Gate(NamedTuple):
    """One rule, and what it demands in a sentence."""

    description: str
    rule: Rule


class UnmeasuredError(ValueError):
    """A number that a gate needs and that the holdout did not give."""


def measured(value: float | None, what: str) -> float:
    """The number, refused where the evidence does not have it."""
    if value is None or not math.isfinite(value):
        raise UnmeasuredError(f"the {what} is not defined")
    return value


def figures(value: float, limit: float) -> tuple[str, str, str]:
    """A value, its limit and their distance, with as many digits as it takes to tell them apart."""
    distance = round(abs(value - limit), 9)
    digits = 3 if distance == 0 else min(9, max(3, 1 - math.floor(math.log10(distance))))
    return f"{value:.{digits}f}", f"{limit:.{digits}f}", f"{distance:.{digits}f}"
