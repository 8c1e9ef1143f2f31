"""The rules that a candidate must pass before it may serve. A gate is one function and one row of `GATES`.

Here: one file a topic (`floors`, `regression`, `scores`, `importance`), the evidence that the gates read, the registry
and the verdict. Not here: how the numbers are measured (`domain/evaluation/metrics.py`,
`domain/evaluation/comparison.py`) and what a verdict leads to (`domain/releases/lifecycle.py`).

Public: what `__all__` lists; first of all `GATES`, `GatePolicy`, `collect_evidence`, `judge`, `Verdict`.
"""

from fraud_retraining.domain.evaluation.comparison import NotCompared
from fraud_retraining.domain.evaluation.gates.evidence import (
    NO_CHAMPION,
    NO_FIXED_SET,
    EvaluatedRows,
    Evidence,
    ScoreSummary,
    collect_evidence,
    comparable,
)
from fraud_retraining.domain.evaluation.gates.finding import Finding, Gate, NotApplicable, Rule, UnmeasuredError
from fraud_retraining.domain.evaluation.gates.policy import Advisory, GatePolicy, Severity
from fraud_retraining.domain.evaluation.gates.registry import GATES
from fraud_retraining.domain.evaluation.gates.verdict import GateResult, Verdict, incomplete, judge

__all__ = [
    "GATES",
    "NO_CHAMPION",
    "NO_FIXED_SET",
    "Advisory",
    "EvaluatedRows",
    "Evidence",
    "Finding",
    "Gate",
    "GatePolicy",
    "GateResult",
    "NotApplicable",
    "NotCompared",
    "Rule",
    "ScoreSummary",
    "Severity",
    "UnmeasuredError",
    "Verdict",
    "collect_evidence",
    "comparable",
    "incomplete",
    "judge",
]
