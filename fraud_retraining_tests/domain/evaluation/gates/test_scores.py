"""Scores are probabilities: calibration error is counted beyond chance."""

import pytest

from fraud_retraining_tests.support.gate_evidence import calibrated, metrics, result


def test_calibration_error_counts_beyond_chance_and_against_the_fraud_rate():
    found = result("calibration", candidate=metrics(calibration=calibrated(error=0.003, chance=0.001)))
    assert found.value == pytest.approx(0.002 / (560 / 67_000))
    lucky = result("calibration", candidate=metrics(calibration=calibrated(error=0.001, chance=0.003)))
    assert lucky.value == 0
