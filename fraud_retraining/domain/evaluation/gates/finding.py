"""What one gate is: a rule over policy and evidence, and the finding that it returns."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from fraud_retraining.domain.evaluation.gates.evidence import Evidence
from fraud_retraining.domain.evaluation.gates.policy import GatePolicy


class Finding(NamedTuple):
    """Result of a gate's rule."""

    value: float | None
    threshold: float
    margin: float
    message: str
    numbers: Mapping[str, float | int | str] = MappingProxyType({})


class NotApplicable(NamedTuple):
    """Reason why a gate's rule does not apply."""

    reason: str


Rule = Callable[[GatePolicy, Evidence], Finding | NotApplicable]


class Gate(NamedTuple):
    """A rule and its description in a sentence."""

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
    """A value, its limit and their distance, with enough digits to distinguish them.

    >>> figures(0.29996, 0.3)
    ('0.299960', '0.300000', '0.000040')
    """
    distance = round(abs(value - limit), 9)
    digits = 3 if distance == 0 else min(9, max(3, 1 - math.floor(math.log10(distance))))
    return f"{value:.{digits}f}", f"{limit:.{digits}f}", f"{distance:.{digits}f}"
