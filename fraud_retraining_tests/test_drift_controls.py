"""The controls that the default thresholds must pass: calm weeks without an alarm, in a wide lake too, and a shift seen
at once.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from fraud_retraining.adapters.days.monitoring_reports import drift_history, drift_reports
from fraud_retraining.commands.implementation.pipeline import Pipeline
from fraud_retraining.definitions import build_definitions
from fraud_retraining.domain.monitoring.drift import DriftReport
from fraud_retraining.domain.retraining.triggers.decision import decide
from fraud_retraining.domain.retraining.triggers.drift import DriftDay
from fraud_retraining.domain.retraining.triggers.registry import TriggerInputs, TriggerPolicy
from fraud_retraining.domain.retraining.triggers.values import Retrain, Skip, Trigger
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.names import (
    MONITOR,
    RANGE_END,
    RANGE_START,
)
from fraud_retraining.orchestration.resources import open_registry, open_store
from fraud_retraining.orchestration.runs.progress import LogProgress
from fraud_retraining.settings import load_settings
from fraud_retraining.simulation import SimulationPolicy, Simulator
from fraud_retraining_tests.support.project_homes import ProjectHome, merged, use_home
from fraud_retraining_tests.support.wide_lakes import (
    NUMBER_NAMES,
    WORD_NAMES,
    wide_days,
)
from fraud_retraining_tests.support.wide_lakes import START as WIDE_START

DRIFT_ALONE = TriggerPolicy(schedule=None)
THRESHOLD = 0.2
NEW = {"drifting_missing", "drifting_step"}
"""Columns of a wide lake that are otherwise than on any day of training; counter and version moved as much before."""

QUICK = {
    "model": {"params": {"n_estimators": 40, "learning_rate": 0.2, "max_bin": 256}},
    "validation": {"min_rows": 20_000},
}
"""The shipped settings but for a smaller model, of which nothing here is: windows, bins and thresholds are default."""


def settle(
    project: ProjectHome, lake: Path, monkeypatch: pytest.MonkeyPatch, more: Mapping[str, Any] | None = None
) -> None:
    shipped = {"lake": {"uri": str(lake)}, "promotion": {"mode": "auto"}, **QUICK}
    project.config.write_text(yaml.safe_dump(merged(shipped, more or {})))
    use_home(project, monkeypatch)


def live_with(as_of: date, days: DayRange, since: date | None = None) -> None:
    """Ingests up to the last day, makes a champion as of `as_of`, and monitors the days."""
    pipeline = Pipeline(load_settings(), LogProgress())
    pipeline.ingest(DayRange(start=since or as_of - timedelta(days=82), end=days.end))
    done = pipeline.retrain(as_of, Trigger.MANUAL)
    assert done.status.value == "promoted", done.message
    monitor(days)


def monitor(days: DayRange) -> None:
    build_definitions(load_settings()).resolve_job_def(MONITOR).execute_in_process(
        instance=open_instance(),
        tags={RANGE_START: str(days.start), RANGE_END: str(days.end)},
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )


def reports(days: DayRange) -> tuple[DriftReport, ...]:
    champion = open_registry(load_settings()).champion()
    assert champion is not None
    return drift_reports(open_store(load_settings()), champion.fingerprint, days)


def history(days: DayRange) -> tuple[DriftDay, ...]:
    champion = open_registry(load_settings()).champion()
    assert champion is not None
    return drift_history(open_store(load_settings()), champion.fingerprint, days)


def decided(known: Sequence[DriftDay]) -> Retrain | Skip:
    """What the shipped drift trigger decides on the evening of the last day."""
    today = known[-1].day
    now = datetime.combine(today + timedelta(days=1), time(1), UTC)
    decision = decide(DRIFT_ALONE, TriggerInputs(now=now, ready={today: "inputs"}, drift=tuple(known)))
    assert isinstance(decision, Retrain | Skip)
    return decision


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_six_weeks_of_the_handbook_never_request_a_retrain(
    handbook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(ProjectHome(tmp_path), handbook, monkeypatch)
    days = DayRange(start=date(2018, 7, 4), end=date(2018, 8, 14))
    live_with(date(2018, 7, 3), days)

    seen = history(days)
    assert [one.day for one in seen] == list(days)
    assert [decided(seen[:count]) for count in range(1, 43) if isinstance(decided(seen[:count]), Retrain)] == []
    assert max(one.value for one in seen) < THRESHOLD / 3
    for report in reports(days):
        assert max(one.drift for one in report.features) < THRESHOLD / 20
        assert set(report.left_out) == {"hour", "weekend", "night"}
        assert report.fraud_rate is not None


SHIFT_AFTER = 48
START = date(2026, 1, 1)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_shift_of_a_young_lake_requests_a_retrain_on_the_second_day_and_calm_days_never_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = ProjectHome(tmp_path)
    settle(project, project.lake, monkeypatch)
    shift_on = START + timedelta(days=SHIFT_AFTER)
    policy = SimulationPolicy(start=START, days=SHIFT_AFTER + 3, transactions_per_day=2000, fraud_rate=0.02, seed=5)
    for day, table in Simulator(policy.model_copy(update={"shift_on": shift_on})):
        project.write_day(day, table)
    days = DayRange(start=shift_on - timedelta(days=2), end=shift_on + timedelta(days=2))
    live_with(days.start - timedelta(days=1), days)

    before, shifted = history(days)[:2], history(days)[2:]
    assert max(one.value for one in before) < THRESHOLD / 4
    assert min(one.value for one in shifted[:2]) > THRESHOLD
    assert isinstance(decided([*before, shifted[0]]), Skip)
    decision = decided([*before, *shifted[:2]])
    assert isinstance(decision, Retrain)
    assert decision.triggers == (Trigger.DRIFT,)
    assert decision.drift_since == shift_on
    assert "customer_amount_ratio" in decision.reason

    for day, table in Simulator(policy).since(shift_on):
        project.write_day(day, table)
    Pipeline(load_settings(), LogProgress()).ingest(days)
    monitor(days)
    calm = history(days)
    assert [one.day for one in calm] == list(days)
    assert max(one.value for one in calm) < THRESHOLD / 4
    assert isinstance(decided(calm), Skip)


WIDE_LOOK_BACK, WIDE_TRAINING, WIDE_HOLDOUT, WIDE_DELAY, WIDE_CALM = 3, 12, 4, 2, 20
WIDE_AS_OF = WIDE_LOOK_BACK + WIDE_TRAINING + WIDE_HOLDOUT + WIDE_DELAY - 1
WIDE_SHIFT = WIDE_AS_OF + 1 + WIDE_CALM
WIDE: dict[str, Any] = {
    "entities": {
        "customer": {"column": "CUSTOMER_ID", "windows_days": [WIDE_LOOK_BACK]},
        "terminal": {"column": "TERMINAL_ID", "windows_days": [WIDE_LOOK_BACK]},
    },
    "features": {"numeric": list(NUMBER_NAMES), "categorical": list(WORD_NAMES)},
    "labels": {"delay_days": WIDE_DELAY},
    "window": {"days": WIDE_TRAINING},
    "holdout": {"days": WIDE_HOLDOUT},
    "validation": {"min_rows": 5000},
    "gates": {"min_average_precision": 0.0, "max_calibration_error": 5, "resamples": 100},
}
"""Short windows over many columns; bins, thresholds and what a model has to hold of a drift are the shipped ones."""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_wide_lake_is_calm_though_five_of_its_columns_drift_and_its_shift_is_found_on_its_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = ProjectHome(tmp_path)
    settle(project, project.lake, monkeypatch, WIDE)
    policy = SimulationPolicy(
        start=WIDE_START,
        days=WIDE_SHIFT + 1,
        transactions_per_day=1000,
        fraud_rate=0.03,
        seed=5,
        shift_on=WIDE_START + timedelta(days=WIDE_SHIFT),
    )
    busy = range(WIDE_AS_OF + 8, WIDE_AS_OF + 14)
    for day, table in wide_days(policy, drift_from=WIDE_LOOK_BACK + WIDE_TRAINING, heavy=busy):
        project.write_day(day, table)
    as_of = WIDE_START + timedelta(days=WIDE_AS_OF)
    days = DayRange(start=as_of + timedelta(days=1), end=policy.end)
    live_with(as_of, days, since=WIDE_START)

    *calm, shifted = reports(days)
    assert [one.day for one in (*calm, shifted)] == list(days)
    assert [one.day for one in calm if one.value > THRESHOLD] == []
    for report in calm:
        assert {one.name for one in report.features if one.drift > THRESHOLD} >= NEW, "what drifted stays in the table"
    assert shifted.value > THRESHOLD
    assert "customer_amount_ratio_3d" in shifted.drift_day.worst
