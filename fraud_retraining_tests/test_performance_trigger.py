"""The performance trigger with its defaults: a retrain every 48 hours, labels that mature after 7 days.

At that cadence no mature day was ever served by the present champion. The drift trigger is off, so that only the
performance of the service can show that fraudsters changed before the retrains of the schedule have learnt it. What
sensors call is called once a day, and what they request is run at once.
"""

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from benchmarks.shift_recovery import Automation
from fraud_retraining.adapters.days.monitoring_reports import PERFORMANCE, report_of
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.monitoring.live_performance import PerformanceReport
from fraud_retraining.domain.retraining.triggers.values import Trigger
from fraud_retraining.orchestration.state.trigger_inputs import answered_days
from fraud_retraining.simulation import SimulationPolicy, Simulator
from fraud_retraining_tests.support.project_homes import START, ProjectHome, use_home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

FIRST_AS_OF = START + timedelta(days=21)
SHIFT = FIRST_AS_OF + timedelta(days=3)
LAKE = SimulationPolicy(start=START, days=40, transactions_per_day=2000, seed=7, fraud_rate=0.03, shift_on=SHIFT)
LABEL_DELAY = timedelta(days=7)
CADENCE = timedelta(days=2)
SETTINGS: dict[str, Any] = {
    "promotion": {"mode": "auto"},
    "labels": {"delay_days": LABEL_DELAY.days},
    "window": {"days": 8},
    "holdout": {"days": 4},
    "triggers": {"drift": None, "performance": {}},
}


def requested(automation: Automation, trigger: Trigger) -> list[Event]:
    """Requests in which a trigger has part."""
    events = automation.pipeline.ledger.events(EventKind.RETRAIN_REQUESTED)
    return [one for one in events if trigger in one.payload["trigger"].split("+")]


@pytest.fixture(scope="module")
def automation(tmp_path_factory: pytest.TempPathFactory) -> Automation:
    """A home that has run until the performance trigger requested a retrain, and two days longer."""
    project = ProjectHome(tmp_path_factory.mktemp("service"))
    project.configure(**SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        use_home(project, patch)
        found = Automation()
        after = 0
        for day, table in Simulator(LAKE):
            project.write_day(day, table)
            if day == FIRST_AS_OF:
                done = found.pipeline.retrain(day, Trigger.MANUAL, "the first champion")
                assert done.status == "promoted", done.message
            if day > FIRST_AS_OF:
                found.run_day(day)
                after += bool(requested(found, Trigger.PERFORMANCE))
            if after == CADENCE.days:
                break
    return found


def test_decay_of_the_service_requests_a_retrain_though_no_mature_day_is_the_champions(automation: Automation) -> None:
    ledger, store = automation.pipeline.ledger, automation.pipeline.store
    [by_performance] = requested(automation, Trigger.PERFORMANCE)
    assert by_performance.as_of is not None
    assert SHIFT + LABEL_DELAY < by_performance.as_of <= SHIFT + 2 * LABEL_DELAY
    assert "holdouts of who served let expect" in by_performance.payload["reason"]

    mature = by_performance.as_of - LABEL_DELAY
    record = store.partition(PERFORMANCE, mature)
    assert record is not None
    report = report_of(record, PerformanceReport)
    assert report.live_performance is not None
    week = [part.version for part in report.parts]
    before = [one for one in ledger.events(EventKind.PROMOTION_DONE) if (one.as_of or mature) < by_performance.as_of]
    assert len(week) >= 2, "a week of the service is that of several versions"
    assert before[-1].as_of is not None and before[-1].as_of > mature, "none of them is the champion any more"


def test_the_schedule_goes_on_every_48_hours_and_the_retrain_of_the_trigger_ends(automation: Automation) -> None:
    as_of_days = [one.as_of for one in requested(automation, Trigger.SCHEDULE) if one.as_of]
    [by_performance] = requested(automation, Trigger.PERFORMANCE)
    regular = [day for day in as_of_days if by_performance.as_of and day < by_performance.as_of]
    assert all(later - earlier == CADENCE for earlier, later in pairwise([FIRST_AS_OF, *regular]))
    assert by_performance.as_of in answered_days(automation.pipeline.ledger)
