"""Results of served days: the metrics of a day, and that scores of different models are not ranked together."""

from datetime import date

import numpy as np
import pytest

from fraud_retraining.domain.evaluation.judged import Judged
from fraud_retraining.domain.evaluation.metrics import card_precision_at_k
from fraud_retraining.domain.replay.conclusion import unknown_limit
from fraud_retraining.domain.replay.replaceable_settings import PRESENT
from fraud_retraining.domain.replay.results import EPOCH, measured_days, model_ages, policy_result
from fraud_retraining.domain.retraining.triggers.registry import TriggerPolicy
from fraud_retraining_tests.support.seeded_answers import DAYS, SeededAnswers, history_under

FIRST = (date(2024, 3, 1) - EPOCH).days


def served(scale_of_second_day: float = 1.0) -> Judged:
    """Two days of four customers; the second day was served by a model whose scores may have another scale."""
    scores = np.array([0.9, 0.8, 0.2, 0.1, 0.1, 0.9, 0.8, 0.2])
    scores[4:] *= scale_of_second_day
    return Judged(
        labels=np.array([1, 0, 1, 0, 1, 1, 0, 0], dtype=np.int8),
        scores=scores,
        customers=np.array([0, 1, 2, 3, 0, 1, 2, 3]),
        days=np.array([FIRST] * 4 + [FIRST + 1] * 4, dtype=np.int32),
        amounts=np.array([10.0, 1, 20, 1, 40, 80, 1, 1]),
    )


def test_amounts_are_those_of_frauds_of_entities_that_alerts_were_right_about() -> None:
    first, second = measured_days(served(), budget=1)
    assert (first.amount_caught, second.amount_caught) == (10, 80)
    assert (first.frauds, first.rows, first.day) == (2, 4, date(2024, 3, 1))


def test_a_blocked_alert_is_no_wrong_one_and_the_control_group_counts_as_often_as_it_stands_for_others() -> None:
    # Of the first day's three alerts one is unknown, one a fraud of the control group, one genuine.
    rows = Judged(
        labels=np.array([-1, 1, 0, 1, 0, -1], dtype=np.int8),
        scores=np.array([0.9, 0.8, 0.7, 0.1, 0.2, 0.9]),
        customers=np.arange(6),
        days=np.array([FIRST] * 4 + [FIRST + 1] * 2, dtype=np.int32),
        amounts=np.array([500.0, 10, 1, 7, 1, 500]),
        row_weights=np.array([0.0, 3, 1, 1, 1, 0]),
    )
    first, second = measured_days(rows, budget=3)
    assert first.card_precision == pytest.approx(3 / 4)
    assert (first.amount_caught, first.rows, first.unknown, first.frauds) == (30, 3, 1, 2)
    assert (second.card_precision, second.amount_caught, second.rows, second.unknown) == (0, 0, 1, 1)
    assert [day.card_precision for day in measured_days(rows, budget=1)] == [None, None]
    result = policy_result(history_under(PRESENT, TriggerPolicy(), SeededAnswers({}).answer), [first, second], None)
    assert result.card_precision == pytest.approx(3 / 8)
    assert unknown_limit(result)[0].startswith("2 of 6 rows of the served days were blocked and are unknown")


def test_without_blocked_rows_a_day_is_written_as_it_was() -> None:
    days = measured_days(served(), budget=1)
    assert all("unknown" not in day.model_dump() for day in days)
    assert [day.card_precision for day in days] == [1, 1]


def test_the_mean_over_the_days_is_card_precision() -> None:
    days = measured_days(served(), budget=2)
    assert np.mean([day.card_precision for day in days]) == pytest.approx(card_precision_at_k(served(), 2))


def test_scores_of_two_models_are_not_ranked_against_each_other() -> None:
    assert measured_days(served(), 1) == measured_days(served(0.001), 1)


def test_a_day_without_a_fraud_has_no_average_precision() -> None:
    calm = Judged(
        labels=np.zeros(2, np.int8),
        scores=np.array([0.1, 0.2]),
        customers=np.array([0, 1]),
        days=np.full(2, FIRST, np.int32),
        amounts=np.ones(2),
    )
    (day,) = measured_days(calm, 1)
    assert day.average_precision is None
    result = policy_result(history_under(PRESENT, TriggerPolicy(), SeededAnswers({}).answer), [day], cost_per_hour=None)
    assert result.average_precision is None
    assert result.cost is None


def test_retrains_are_counted_by_outcome_and_cost_their_hours() -> None:
    history = history_under(PRESENT, TriggerPolicy(), SeededAnswers({}).answer)
    result = policy_result(history, measured_days(served(), 1), cost_per_hour=7200)
    assert result.retrains == result.promotions + result.refusals + result.asked + result.failed > 0
    assert result.cost == pytest.approx(2 * history.seconds)
    assert set(model_ages(history)) == set(DAYS)
    assert min(model_ages(history).values()) >= 1
