"""A bad model that was forced past its gates is found on live rows and answered as the settings say; a sound one stays.

Amount and risk both point at frauds. Version 1 learns from both. A bad version 2 knows neither, and gets in because the
gates were opened for it; a sound one learns from the same columns as version 1 on later days. Labels are mature after
two days.
"""

import shutil
import signal
import subprocess
import sys
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from fraud_retraining.adapters.days.monitoring_reports import SHADOW, WATCH
from fraud_retraining.definitions import build_definitions
from fraud_retraining.domain.evaluation.matured import MaturedOutcome
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.monitoring.candidate_shadow import CandidateShadow
from fraud_retraining.domain.monitoring.promotion_watch import PromotionWatch
from fraud_retraining.orchestration.assets.promotion_watch import WatchMakers
from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.names import MONITOR
from fraud_retraining.orchestration.resources import open_lake, open_ledger, open_registry, open_store
from fraud_retraining.orchestration.sensors.next_runs import monitor_next
from fraud_retraining.orchestration.state.monitoring import MonitoringState, ServedBy, serving
from fraud_retraining.orchestration.state.sources import Sources
from fraud_retraining.services.release_watch import ReleaseWatch
from fraud_retraining.services.track_record import read_standing
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.command_line import run
from fraud_retraining_tests.support.project_homes import START, ProjectHome, use_home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DELAY, WATCH_DAYS = 2, 3
FIRST, SECOND = 6, 7
BLIND = {"numeric": ["RISK"], "retired": ["RISK"]}
OPENED = {
    "min_average_precision": 0,
    "min_roc_auc": 0,
    "max_regression": 1,
    "max_unproven_regression": 1,
    "max_alert_change": 100,
}


def day_of_lake(number: int) -> pa.Table:
    """A day of 800 transactions, 30 of them frauds with high risk."""
    draw, count = np.random.default_rng(number), 800
    fraud = draw.permutation(count) < 30
    at = datetime.combine(START + timedelta(days=number), datetime.min.time())
    seconds = np.sort(draw.integers(0, 86_000, count))
    return pa.table(
        {
            "TRANSACTION_ID": pa.array(range(number * count, (number + 1) * count), pa.int64()),
            "TX_DATETIME": pa.array([at + timedelta(seconds=int(second)) for second in seconds], pa.timestamp("us")),
            "TX_AMOUNT": draw.uniform(5, 320, count),
            "RISK": np.where(fraud, draw.uniform(0.6, 1, count), draw.uniform(0, 0.8, count)),
            "CUSTOMER_ID": pa.array(draw.integers(0, 300, count), pa.int64()),
            "TERMINAL_ID": pa.array(draw.integers(0, 60, count), pa.int64()),
            "TX_FRAUD": fraud.astype(np.int8),
        }
    )


def settings_of(**changes: Any) -> dict[str, Any]:
    promotion = {"mode": "auto", "on_worse": "rollback", "watch_days": WATCH_DAYS, **changes.pop("promotion", {})}
    values: dict[str, Any] = {
        "features": {"numeric": ["RISK"]},
        "labels": {"delay_days": DELAY},
        "window": {"days": 3},
        "holdout": {"days": 2},
        "validation": {"min_rows": 1000, "min_holdout_frauds": 5, "max_fraud_rate": 0.2},
        "gates": {"max_calibration_error": 50, "max_importance": 1, "max_plausible_average_precision": 1},
        "triggers": {"drift": None},
        "promotion": promotion,
    }
    values["gates"] |= changes.pop("gates", {})
    return {**values, **changes}


def answer_of(*arguments: str) -> dict[str, Any]:
    code, answer, err = run(*arguments)
    assert code == 0, (answer, err)
    return answer


def day(number: int) -> date:
    return START + timedelta(days=number)


def arrive(project: ProjectHome, last: int) -> None:
    """The days up to one arrive."""
    for number in range(last + 1):
        if not project.day_file(day(number)).exists():
            project.write_day(day(number), day_of_lake(number))


def ingest(project: ProjectHome, last: int) -> None:
    arrive(project, last)
    answer_of("ingest", "--from", str(day(last - 3)), "--to", str(day(last)))


def retrain(number: int) -> None:
    answer = answer_of("retrain", "--as-of", str(day(number)))
    assert answer["status"] == "promoted", answer


@pytest.fixture(scope="module")
def one_champion(tmp_path_factory: pytest.TempPathFactory) -> ProjectHome:
    """Version 1 serves."""
    project = ProjectHome(tmp_path_factory.mktemp("one"))
    with pytest.MonkeyPatch.context() as patch:
        project.configure(**settings_of())
        use_home(project, patch)
        arrive(project, SECOND)
        retrain(FIRST)
    return project


@pytest.fixture(scope="module")
def forced(one_champion: ProjectHome, tmp_path_factory: pytest.TempPathFactory) -> ProjectHome:
    """A bad version 2 took the place of version 1, and the first day that it served has mature labels."""
    with pytest.MonkeyPatch.context() as patch:
        project = copy_of(one_champion, tmp_path_factory.mktemp("forced"), patch)
        project.configure(**settings_of(features=BLIND, gates=OPENED))
        retrain(SECOND)
        project.configure(**settings_of())
        ingest(project, SECOND + 1 + DELAY)
    return project


@pytest.fixture
def project(forced: ProjectHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectHome:
    """The home of the forced model in a folder of the test's own."""
    return copy_of(forced, tmp_path, monkeypatch)


def copy_of(home: ProjectHome, folder: Path, patch: pytest.MonkeyPatch) -> ProjectHome:
    own = ProjectHome(folder / "own")
    shutil.copytree(home.folder, own.folder)
    own.configure(**settings_of())
    use_home(own, patch)
    return own


def monitor() -> int:
    """Ticks of the sensor with the runs that they request, until nothing is due; gives how many ran."""
    settings = load_settings()
    sources = Sources(settings, open_lake(settings), open_store(settings), open_ledger(settings))
    for runs in range(10):
        request = monitor_next(sources, open_instance())
        if isinstance(request, dg.SkipReason):
            assert "is watched, as far as labels" in str(request.skip_message), request
            return runs
        job = build_definitions(settings).resolve_job_def(MONITOR)
        assert job.execute_in_process(instance=open_instance(), tags=request.tags).success
    raise AssertionError("monitoring does not come to an end")


def recorded() -> list[Event]:
    return list(open_ledger(load_settings()).events(EventKind.PROMOTION_WATCHED))


def watch() -> ReleaseWatch:
    settings = load_settings()
    return ReleaseWatch(open_ledger(settings), open_registry(settings), settings.promotion)


def champion() -> int:
    found = open_registry(load_settings()).champion()
    assert found is not None
    return found.version


def stored(asset: str) -> dict[int, list[str]]:
    """Days of an asset with the names of their tables."""
    found = open_store(load_settings()).readable(asset, [day(number) for number in range(20)])
    return {(at - START).days: sorted(record.files) for at, record in found.items()}


def incident() -> str | None:
    settings = load_settings()
    return read_standing(open_ledger(settings), settings.promotion.earned).incident


def take_looks(last: int = SECOND + 1 + DELAY) -> None:
    """What the job makes of the watches alone: other monitoring takes most of its time."""
    settings = load_settings()
    days = [day(number) for number in range(SECOND, last + 1)]
    ledger, store = open_ledger(settings), open_store(settings)
    state = MonitoringState(settings, open_lake(settings), store, ServedBy(serving(ledger)), days)
    makers = WatchMakers(state, store, open_registry(settings), ledger)
    for at in days:
        makers.shadow(at)
    makers.watch(day(last))


KILLED = """
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining_tests.orchestration.assets.test_promotion_watch import take_looks
from fraud_retraining_tests.support.faults import Moment, arm, kill

arm(kill, Moment(Ledger, "append_once"))
take_looks()
"""


def test_a_forced_bad_model_is_reported_once_and_rolled_back_once_where_the_settings_say_so(project: ProjectHome):
    project.configure(**settings_of(promotion={"on_worse": "alert"}))
    killed = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, timeout=600)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    assert (recorded(), stored(WATCH)) == ([], {}), "killed before the event: the look is taken again"
    take_looks()
    (event,) = recorded()
    found = PromotionWatch.model_validate(event.payload)
    assert (found.outcome, found.version, found.predecessor_version) == (MaturedOutcome.REFUTED, 2, 1)
    assert found.days == (day(SECOND + 1),) and found.ends
    assert found.difference is not None and found.difference.difference.high < -0.01
    assert found.difference.frauds == 30
    assert (watch().check_champion(), champion()) == ([], 2), "on_worse: alert"
    assert "clearly worse, ended" in answer_of("status")["promotion_watch"]
    notices = [one for one in watch().notices_after(0).notices if one.kind == "worse_live"]
    assert [(one.severity, one.version) for one in notices] == [("high", 2)]
    assert incident() == "version 2 worse than the one before"
    project.configure(**settings_of())
    assert [(one.version, one.moved_by) for one in watch().check_champion()] == [(1, "promotion policy")]
    assert incident() == "rollback to version 1"
    take_looks()
    assert (watch().check_champion(), champion(), recorded()) == ([], 1, [event])
    assert open_ledger(load_settings()).verify().ok
    assert answer_of("audit", "show", "2")["watch"]["outcome"] == "refuted"


def test_a_sound_model_is_watched_to_the_end_and_not_touched(
    one_champion: ProjectHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    project = copy_of(one_champion, tmp_path, monkeypatch)
    retrain(SECOND)
    ingest(project, SECOND + 1 + DELAY)
    monitor()
    assert (recorded(), watch().check_champion(), champion()) == ([], [], 2)
    assert "goes on" in answer_of("status")["promotion_watch"]
    ingest(project, SECOND + WATCH_DAYS + DELAY)
    take_looks(SECOND + WATCH_DAYS + DELAY)
    (event,) = recorded()
    found = PromotionWatch.model_validate(event.payload)
    assert found.outcome in (MaturedOutcome.CONFIRMED, MaturedOutcome.UNDECIDED) and found.ends
    assert len(found.days) == WATCH_DAYS and (watch().check_champion(), champion()) == ([], 2)
    assert stored(SHADOW) == {number: ["version_1"] for number in (8, 9, 10)}, "each day once, by the one before"
    assert sorted(stored(WATCH)) == [10, 12]


def test_a_predecessor_that_is_lost_is_said_once_and_nothing_is_moved(project: ProjectHome):
    registry = open_registry(load_settings())
    registry._client.delete_model_version(registry.model_name, "1")
    take_looks()
    (event,) = recorded()
    found = PromotionWatch.model_validate(event.payload)
    assert found.outcome is MaturedOutcome.NOT_MEASURED and "version 1 cannot be opened" in found.reason
    assert (watch().check_champion(), champion()) == ([], 2)
    assert [one.kind for one in watch().notices_after(0).notices][-1] == "not_watched"


def test_a_candidate_that_waits_is_scored_beside_the_champion_and_that_is_shown(
    one_champion: ProjectHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    project = copy_of(one_champion, tmp_path, monkeypatch)
    project.configure(**settings_of(promotion={"mode": "manual"}))
    waiting = answer_of("retrain", "--as-of", str(day(SECOND)))
    assert waiting["status"] == "awaiting_approval"
    ingest(project, SECOND)
    take_looks(SECOND)
    (event,) = open_ledger(load_settings()).events(EventKind.CANDIDATE_SHADOWED)
    found = CandidateShadow.model_validate(event.payload)
    assert (found.version, found.champion_version, found.days) == (2, 1, (day(SECOND),))
    assert (found.rows, found.alerts) == (800, 100)
    assert found.rank_correlation is not None and found.rank_correlation > 0.5
    assert found.other_alerts is not None and found.other_alerts < 0.5
    assert found.intervals is not None and found.intervals.thresholds[0].name == "alert budget"
    take_looks(SECOND)
    assert list(open_ledger(load_settings()).events(EventKind.CANDIDATE_SHADOWED)) == [event]
    assert "rank correlation" in answer_of("status")["candidate_shadow"]
    assert answer_of("audit", "show", "2")["shadow"]["alert_entity"] == "customer"
    assert stored(WATCH) == {SECOND: []}
