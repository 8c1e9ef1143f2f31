"""Frauds outside of the alert budget: entities that are not among the highest scores of their day."""

from dataclasses import replace

import numpy as np

from fraud_retraining.domain.evaluation.alert_recall import alert_recall
from fraud_retraining.domain.evaluation.metrics import MetricsPolicy
from fraud_retraining_tests.support.judged_rows import judged

TWO_ALERTS = MetricsPolicy(alert_budget=2)


def test_a_fraud_is_missed_if_two_others_of_its_day_score_higher() -> None:
    rows = judged([1, 0, 1, 0, 1], [0.9, 0.8, 0.7, 0.1, 0.2], customers=[0, 1, 2, 3, 2], days=[0, 0, 0, 1, 1])
    found = alert_recall(rows, TWO_ALERTS)
    assert found is not None
    assert (found.frauds, found.missed, found.missed_share) == (3, 1, 1 / 3)


def test_an_entity_counts_once_a_day_by_its_highest_score() -> None:
    found = alert_recall(judged([1, 1, 0, 0], [0.1, 0.9, 0.5, 0.4], customers=[7, 7, 8, 9]), TWO_ALERTS)
    assert found is not None
    assert (found.frauds, found.missed) == (1, 0)


def test_frauds_of_days_that_are_known_in_part_weigh_more_in_the_share() -> None:
    rows = judged([1, 0, 0, 1], [0.1, 0.5, 0.6, 0.9], days=[1, 1, 1, 0])
    found = alert_recall(replace(rows, report_weights=np.array([3.0, 3.0, 3.0, 1.0])), TWO_ALERTS)
    assert found is not None
    assert (found.frauds, found.missed, found.missed_share) == (2, 1, 0.75)


def test_without_frauds_there_is_no_share_and_without_numbers_no_count() -> None:
    none = alert_recall(judged([0, 0], [0.1, 0.2]), TWO_ALERTS)
    assert none is not None and none.missed_share is None
    assert alert_recall(judged([0, 1], [0.1, np.nan]), TWO_ALERTS) is None
