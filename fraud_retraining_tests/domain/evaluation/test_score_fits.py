"""A mapping keeps the alerts of a threshold, or makes scores the share of frauds; or it says why there is none."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fraud_retraining.domain.evaluation.metrics import calibration
from fraud_retraining.domain.evaluation.score_fits import LEAST_FRAUDS, MappingRecord, calibrated, matched
from fraud_retraining_tests.support.judged_rows import judged, noisy_pair

BY_CHAMPION = MappingRecord(
    contract="alert_rate", matched_to="champion", champion_version=3, champion_digest="c", days=(), rows=0, knots=0
)
BY_LABELS = MappingRecord(contract="probability", matched_to="labels", days=(), rows=0, knots=0)


def test_every_threshold_keeps_its_alerts_on_the_rows_of_the_fit() -> None:
    random = np.random.default_rng(7)
    champion = 1 / (1 + np.exp(-random.normal(-5, 2, 50_000)))
    candidate = np.float32(1 / (1 + np.exp(-random.normal(-3, 3, 50_000)))).astype(float)
    found = matched(candidate, champion, BY_CHAMPION)
    assert found.mapping is not None and found.record.knots == len(found.mapping.scores) > 100
    mapped = found.mapping(candidate)
    for alerts in (10, 50, 100, 500, 2500, 25_000):
        threshold = np.sort(champion)[-alerts]
        assert (mapped >= threshold).sum() == pytest.approx(alerts, rel=0.03, abs=1)
    assert (np.argsort(mapped, kind="stable") == np.argsort(candidate, kind="stable")).all()


@given(
    st.integers(0, 40).flatmap(
        lambda rows: st.tuples(
            *(npst.arrays(np.float64, rows, elements=st.sampled_from([0.0, 1e-9, 0.1, 0.2, 0.5, 1.0])) for _ in "12")
        )
    )
)
@settings(deadline=None, max_examples=100)
def test_equal_constant_few_and_no_scores_give_a_rising_mapping_or_a_reason(two) -> None:
    candidate, champion = two
    found = matched(candidate, champion, BY_CHAMPION)
    assert (found.mapping is None) == (found.record.knots == 0) == bool(found.record.reason)
    if found.mapping is not None:
        mapped = found.mapping(candidate)
        assert len(np.unique(mapped)) == len(np.unique(candidate)) and not np.isnan(mapped).any()


def test_one_row_and_no_rows() -> None:
    found = matched(np.array([0.2]), np.array([0.6]), BY_CHAMPION)
    assert found.mapping is not None and found.mapping(np.array([0.2])) == [0.2], "one row shows nothing"
    found = matched(np.full(50, 0.2), np.full(50, 0.6), BY_CHAMPION)
    assert found.mapping is not None and found.mapping(np.array([0.2])) == [0.6]
    assert matched(np.empty(0), np.empty(0), BY_CHAMPION).record.reason == "there are no rows that neither had learnt"
    with pytest.raises(ValueError, match="1 scores"):
        matched(np.array([0.2]), np.empty(0), BY_CHAMPION)


def test_what_may_be_chance_is_not_followed() -> None:
    """Of versions that differ by chance alone each follows the one before, and thresholds keep their alerts."""
    random = np.random.default_rng(3)

    def scores(odds: Any) -> Any:
        return 1 / (1 + np.exp(-odds - random.normal(0, 0.4, len(odds))))

    mapping = None
    for _ in range(20):
        odds = random.normal(-5, 1.5, 20_000)
        served = scores(odds) if mapping is None else mapping(scores(odds))
        mapping = matched(scores(odds), served, BY_CHAMPION).mapping
        assert mapping is not None
    later = scores(random.normal(-5, 1.5, 200_000))
    threshold = np.quantile(later, 0.99)
    assert (mapping(later) >= threshold).sum() == pytest.approx(2_000, rel=0.05)


def test_scores_that_are_no_numbers_give_no_mapping() -> None:
    assert matched(np.array([np.nan]), np.array([0.5]), BY_CHAMPION).mapping is None


def test_scores_become_the_share_of_frauds() -> None:
    rows = noisy_pair(7, rows=40_000).candidate
    wrong = rows.with_scores(rows.scores**2)
    found = calibrated(wrong, BY_LABELS)
    record = found.record
    assert found.mapping is not None and record.error_before is not None and record.error_after is not None
    assert record.error_after < record.error_before / 3
    after = calibration(wrong.with_scores(found.mapping(wrong.scores)))
    assert after is not None and after.error < record.error_before / 3
    assert (record.rows, record.frauds) == (40_000, rows.frauds)


def test_a_known_fraud_counts_for_those_that_are_not_reported_yet() -> None:
    rows = noisy_pair(7, rows=40_000).candidate
    weighted = replace(rows, report_weights=np.full(len(rows), 2.0))
    found, once = calibrated(weighted, BY_LABELS), calibrated(rows, BY_LABELS)
    assert found.mapping is not None and once.mapping is not None
    expected, known = found.mapping(rows.scores).sum(), once.mapping(rows.scores).sum()
    assert expected == pytest.approx(2 * known, rel=0.05)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (judged([1] * (LEAST_FRAUDS - 1) + [0] * 500, np.linspace(1, 0, LEAST_FRAUDS + 499)), "too few"),
        (judged([1] * 100 + [0] * 900, np.linspace(0.1, 0.9, 1000)), "do not become more frequent"),
        (judged([1] * 100 + [0] * 900, np.linspace(2, 0, 1000)), "no probabilities"),
    ],
    ids=["few frauds", "falling", "not probabilities"],
)
def test_without_a_curve_that_rises_there_is_no_mapping(rows, reason: str) -> None:
    found = calibrated(rows, BY_LABELS)
    assert found.mapping is None and reason in found.record.reason and reason in found.record.summary
