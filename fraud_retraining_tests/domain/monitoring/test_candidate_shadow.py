"""What would change if a waiting candidate served: alerts, their volume, the money in them, and the order of scores."""

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fraud_retraining.domain.evaluation.alert_volume import Threshold
from fraud_retraining.domain.monitoring.candidate_shadow import (
    SHADOW_DAYS,
    CandidateShadow,
    ScoresOfTwo,
    ShadowedCandidate,
    ShadowFigures,
    shadow_figures,
    shadow_grid,
    shadow_intervals,
)
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining_tests.support.shadows import POLICY, candidate_shadow, scores_of_three_days

DAY = date(2026, 11, 5)


def rows(candidate: list[float], champion: list[float], entities: list[int] | None = None) -> ScoresOfTwo:
    """One day, one entity a row, amounts 10, 20, 30, ..."""
    count = len(candidate)
    return ScoresOfTwo(
        days=np.zeros(count, dtype=np.int32),
        entities=np.arange(count) if entities is None else np.asarray(entities),
        amounts=10.0 * np.arange(1, count + 1),
        candidate=np.asarray(candidate),
        champion=np.asarray(champion),
    )


def test_figures_of_a_day_by_hand():
    found = shadow_figures(rows([0.9, 0.8, 0.7, 0.1], [0.9, 0.1, 0.6, 0.5]), budget=2)
    assert (found.alerts, found.other_alerts) == (2, 0.5), (
        "the champion alerts on rows 1 and 3, the candidate on 1 and 2"
    )
    assert found.alert_ratio == 1.5, "three of its rows reach .6, where the champion stops"
    assert found.candidate_money == pytest.approx(0.9 * 10 + 0.8 * 20)
    assert found.champion_money == pytest.approx(0.9 * 10 + 0.6 * 30)


def test_an_alert_is_about_an_entity_with_all_its_rows_of_the_day():
    found = shadow_figures(rows([0.9, 0.1, 0.5], [0.2, 0.8, 0.1], entities=[0, 0, 1]), budget=1)
    assert (found.alerts, found.other_alerts) == (1, 0.0)
    assert found.candidate_money == pytest.approx(0.9 * 10 + 0.1 * 20)


@given(npst.arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1)), st.integers(1, 50))
def test_a_model_beside_itself_changes_nothing(scores: np.ndarray, budget: int):
    found = shadow_figures(rows(list(scores), list(scores)), budget)
    assert (found.other_alerts, found.alert_ratio) == (0.0, 1.0)
    assert found.candidate_money == found.champion_money
    assert found.rank_correlation is None or found.rank_correlation == pytest.approx(1.0)


def test_intervals_hold_the_figures_and_alerts_are_counted_by_day_and_threshold():
    given = scores_of_three_days()
    figures = shadow_figures(given, POLICY.alert_budget)
    found = shadow_intervals(given, POLICY, [Threshold(name="block", at=0.5)])
    assert found is not None and figures.candidate_money is not None and figures.champion_money is not None
    assert (found.other_alerts.value, found.alert_ratio.value) == (figures.other_alerts, figures.alert_ratio)
    assert found.money.value == pytest.approx(figures.candidate_money - figures.champion_money)
    for one in (found.other_alerts, found.alert_ratio, found.money):
        assert one.low < one.value < one.high
    (block,) = found.thresholds
    for day, number in zip(block.days, np.unique(given.days), strict=True):
        today = given.days == number
        assert day.candidate == (given.candidate[today] >= 0.5).sum()
        assert day.champion == (given.champion[today] >= 0.5).sum()
        assert day.difference.value == day.candidate - day.champion
    assert block.ratio is not None
    assert block.ratio.value == pytest.approx(
        sum(d.candidate for d in block.days) / sum(d.champion for d in block.days)
    )


def test_a_model_beside_itself_differs_by_nothing_for_sure():
    found = shadow_intervals(scores_of_three_days(moved=0), POLICY, [Threshold(name="block", at=0.5)])
    assert found is not None
    assert {(one.low, one.high) for one in (found.other_alerts, found.money)} == {(0.0, 0.0)}
    assert (found.alert_ratio.low, found.alert_ratio.high) == (1.0, 1.0)


def test_without_a_threshold_alerts_are_counted_at_the_champions_last_one_of_each_day():
    given = scores_of_three_days()
    found = shadow_intervals(given, POLICY)
    assert found is not None
    (only,) = found.thresholds
    assert only.at is None and only.line.startswith("daily alerts: ")
    assert sum(day.candidate for day in only.days) / sum(day.champion for day in only.days) == found.alert_ratio.value
    assert shadow_intervals(rows([0.5, np.nan], [0.1, 0.2]), POLICY) is None


def test_what_was_recorded_before_there_were_intervals_reads_and_digests_as_it_did():
    whole = candidate_shadow()
    before = whole.model_copy(update={"intervals": None})
    assert "intervals" not in before.model_dump(mode="json")
    assert CandidateShadow.model_validate(whole.model_dump(mode="json")) == whole
    assert shadow_grid(before) is None and before.lines == ()
    grid = shadow_grid(whole)
    assert grid is not None and len(grid.rows) == 6


def test_scores_that_are_not_numbers_say_nothing():
    assert shadow_figures(rows([0.5, np.nan], [0.1, 0.2]), 1) == ShadowFigures()
    said = CandidateShadow(
        version=3, as_of=DAY, champion_version=2, days=(DAY,), rows=2, alert_entity="customer", **vars(ShadowFigures())
    )
    assert "cannot be compared" in said.summary


def test_the_days_are_the_latest_that_neither_has_learnt_from():
    learnt = (DayRange(start=DAY - timedelta(days=30), end=DAY - timedelta(days=3)),)
    one = ShadowedCandidate(version=3, as_of=DAY, fingerprint="f", champion_version=2, learnt=learnt)
    assert one.fair_days(DAY) == tuple(DAY - timedelta(days=n) for n in (2, 1, 0))
    assert len(one.fair_days(DAY + timedelta(days=30))) == SHADOW_DAYS
