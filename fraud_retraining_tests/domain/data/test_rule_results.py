"""Rules: every rule gives one result, in order, and a rule without a number has failed."""

from math import inf, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud_retraining.domain.data.rule_results import Measure, Report, Rule, listed, results_of

NUMBERS = st.integers(-5, 5)


def rule(measure: Measure | Exception, name: str = "rows", severity: str = "error") -> Rule[None]:
    def measured(subject: None) -> Measure:
        if isinstance(measure, Exception):
            raise measure
        return measure

    return Rule(name, severity, f"About {name}.", measured)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=40)
@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_bounds_are_inclusive_but_below(value: int, least: int, most: int, below: int) -> None:
    (result,) = results_of([rule(Measure(value, "found", least=least, most=most, below=below))], None)
    assert result.passed == (least <= value <= most and value < below)


@pytest.mark.parametrize("value", [nan, inf])
def test_a_value_that_is_no_number_has_failed_and_is_kept_out_of_the_result(value: float) -> None:
    (result,) = results_of([rule(Measure(value, "found", least=0, most=1, threshold="0 to 1"))], None)
    assert (result.passed, result.value) == (False, None)
    assert result.message == "found; expected 0 to 1"


def test_a_rule_that_does_not_apply_has_passed_with_its_reason() -> None:
    (result,) = results_of([rule(Measure(None, "there is no day before", least=1))], None)
    assert (result.passed, result.value, result.message) == (True, None, "there is no day before")


def test_one_broken_rule_leaves_the_others_their_results() -> None:
    rules = [rule(Measure(1, "fine"), "a"), rule(KeyError("amount"), "b", "warn"), rule(Measure(1, "bad", most=0), "c")]
    results = results_of(rules, None)
    assert [(one.name, one.passed) for one in results] == [("a", True), ("b", False), ("c", False)]
    assert results[1].message == "gave no result: KeyError: 'amount'"
    assert list(listed(rules)) == ["a", "b", "c"]
    report = Report(digest="d", rules="r", results=results)
    assert [one.name for one in report.failed] == ["c"], "a warning stops no retrain"


def test_numbers_that_are_not_finite_can_be_read_back() -> None:
    (result,) = results_of([rule(Measure(0, "found", numbers={"low": nan, "rows": 3}))], None)
    assert type(result).model_validate_json(result.model_dump_json()) == result
    assert result.numbers == {"low": "nan", "rows": 3}
