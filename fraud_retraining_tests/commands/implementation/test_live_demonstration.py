"""The end of the demo on a small home: a day is served live, and the batch finds the same features for all of it."""

from datetime import timedelta

import pytest

from fraud_retraining.commands.implementation.live_demonstration import serve_day
from fraud_retraining.commands.implementation.pipeline import Pipeline
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.orchestration.runs.progress import LogProgress
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.project_homes import AS_OF, LOOKED_BACK_ON, ProjectHome

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NEXT = AS_OF + timedelta(days=1)


def test_a_day_is_served_explained_and_found_again_by_the_batch(home: ProjectHome):
    pipeline = Pipeline(load_settings(), LogProgress())
    pipeline.ingest(DayRange(start=LOOKED_BACK_ON, end=AS_OF))
    served = serve_day(load_settings(), pipeline.lake, NEXT)
    assert served.served == home.read_day(NEXT).num_rows and served.version == 1
    assert served.riskiest["reasons"] and served.riskiest["reasons"][0]["meaning"] in served.summary()
    assert pipeline.served_skew(AS_OF) is None
    pipeline.ingest(DayRange(start=NEXT, end=NEXT))
    skew = pipeline.served_skew(NEXT)
    assert skew is not None and skew.equal_share == 1 and skew.compared == served.served
