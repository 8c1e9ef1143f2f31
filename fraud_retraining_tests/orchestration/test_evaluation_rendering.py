"""Numbers of an evaluation have the same names in MLflow and in Dagster, and none is shown that was not measured."""

from datetime import date

import dagster as dg
import pytest

from fraud_retraining.domain.evaluation.gates import Evidence
from fraud_retraining.orchestration.evaluation_rendering import age_metrics, evaluation_metadata, flat_metrics
from fraud_retraining_tests.support.approvals_fixture import an_evaluation
from fraud_retraining_tests.support.reviews import evidence_of, fitted

AS_OF = date(2024, 3, 1)


@pytest.fixture(scope="module")
def compared() -> Evidence:
    return evidence_of(fitted(), fitted("logistic_regression", ("amount", "count", "city")))


def test_the_difference_is_the_candidates_metric_less_the_champions_and_lies_in_its_interval(
    compared: Evidence,
) -> None:
    numbers = flat_metrics(compared)
    difference = numbers["average_precision"] - numbers["champion.average_precision"]
    assert numbers["difference.average_precision"] == pytest.approx(difference)
    low, high = numbers["difference.average_precision.low"], numbers["difference.average_precision.high"]
    assert low <= difference <= high


def test_without_a_champion_there_is_neither_its_metric_nor_a_difference() -> None:
    numbers = flat_metrics(evidence_of(fitted(), None))
    assert "average_precision" in numbers
    assert not [name for name in numbers if name.startswith(("champion.", "difference.", "fixed"))]


def test_all_holdout_numbers_appear_only_where_some_rows_were_not_compared(compared: Evidence) -> None:
    assert not [name for name in flat_metrics(compared) if name.startswith("all_holdout.")]


def test_an_evaluation_without_an_aged_champion_or_fixed_days_has_no_ages() -> None:
    assert age_metrics(an_evaluation("f" * 64, AS_OF)) == {}


def test_the_metadata_is_accepted_by_dagster_and_names_verdict_and_champion() -> None:
    metadata = evaluation_metadata(an_evaluation("f" * 64, AS_OF), None)
    event = dg.AssetMaterialization("model_evaluation", metadata=metadata)
    assert (event.metadata["verdict"].value, event.metadata["champion_version"].value) == ("passed", "none")
    assert event.metadata["average_precision"].value == 0.7
