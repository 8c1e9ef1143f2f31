"""A gate is one function and one row."""

from fraud_retraining.domain.evaluation.gates import (
    GATES,
    Finding,
    Gate,
    Verdict,
    incomplete,
    judge,
)
from fraud_retraining_tests.support.gate_evidence import POLICY, evidence


def enough_rows(policy, evidence):
    """A gate that a contributor adds."""
    rows = evidence.candidate.rows
    return Finding(rows, 100, rows - 100, f"The holdout has {rows:,} rows.")


def test_a_new_gate_is_one_row_and_verdicts_of_before_it_are_still_read(monkeypatch):
    before = judge(POLICY, evidence())
    monkeypatch.setitem(GATES, "enough_rows", Gate("The holdout has 100 rows.", enough_rows))
    today = judge(POLICY, evidence())
    assert (today.passed, today.gates[-1].name, today.gates[:-1]) == (True, "enough_rows", before.gates)
    assert Verdict.model_validate_json(before.model_dump_json()) == before
    assert (incomplete(before), incomplete(today)) == (("enough_rows: gave no result",), ())
    few = evidence(candidate=evidence().candidate.model_copy(update={"rows": 99}))
    assert [one.name for one in judge(POLICY, few).failed] == ["enough_rows"]
