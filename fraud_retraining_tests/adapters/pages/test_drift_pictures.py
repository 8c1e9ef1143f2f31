"""The picture of a report is a small PNG, whatever it shows."""

import struct
import warnings
from datetime import date

import pytest

from fraud_retraining.adapters.pages.drift_pictures import worst_png
from fraud_retraining.domain.monitoring.bins import Bins
from fraud_retraining.domain.monitoring.drift import DriftReport, FeatureProfile, FeatureRole, feature_drift

NUMBERS = FeatureProfile.of(Bins(name="amount", edges=(0.0, 10.0, 1e9)), [(0, 90, 10, 0, 0), (0, 80, 20, 0, 0)])
WORDS = FeatureProfile.of(
    Bins(name="channel", categories=("chip", "a category with a name that goes on and on")),
    [(9, 1, 0, 0), (8, 1, 1, 0)],
)
NOTHING = FeatureProfile.of(Bins(name="distance"), [(0, 10), (0, 12)])


def report(*profiles: FeatureProfile) -> DriftReport:
    days = {"amount": (5, 10, 80, 3, 2), "channel": (1, 1, 8, 0), "distance": (0, 9)}
    return DriftReport(
        day=date(2026, 3, 9),
        version=3,
        fingerprint="f",
        statistic="psi",
        threshold=0.2,
        rows=100,
        features=tuple(feature_drift(one, days[one.bins.name], FeatureRole("g"), statistic="psi") for one in profiles),
        left_out={},
        groups=("g",),
        scores="",
        fraud_rate=None,
        no_fraud_rate="",
    )


@pytest.mark.parametrize("profiles", [(), (NUMBERS,), (NUMBERS, WORDS, NOTHING), (NUMBERS, WORDS) * 4])
def test_every_picture_is_a_small_png_and_draws_without_a_warning(profiles: tuple[FeatureProfile, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        png = worst_png(report(*profiles), {one.bins.name: one for one in profiles})
    assert png.startswith(b"\x89PNG")
    assert struct.unpack(">II", png[16:24]) == (900, 560)
    assert len(png) < 120_000


def test_the_same_report_gives_the_same_bytes() -> None:
    profiles = {"amount": NUMBERS}
    assert worst_png(report(NUMBERS), profiles) == worst_png(report(NUMBERS), profiles)
