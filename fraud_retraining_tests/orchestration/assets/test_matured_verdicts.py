"""A model that is worse and looks good on fresh labels is refuted when they mature, and answered as the settings say.

The lake has two kinds of fraud. Stolen cards pay large amounts and are reported the same day; taken terminals show in
the column RISK and are reported after four days, when labels are mature. The first champion knows both. Its successor
does without RISK: on the last days, of which only stolen cards are reported so far, it looks better, because what the
champion alone finds counts as false alarms.
"""

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fraud_retraining.adapters.days.monitoring_reports import report_of
from fraud_retraining.adapters.storage.store import Partition
from fraud_retraining.definitions import build_definitions
from fraud_retraining.domain.evaluation.matured import MaturedOutcome, MaturedVerdict
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.monitoring.promotion_watch import WatchReport
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.orchestration.assets.matured_verdicts import MaturedResources, measure_again
from fraud_retraining.orchestration.assets.promotion_watch import WatchMakers
from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.names import FEATURES, JUDGE_AGAIN
from fraud_retraining.orchestration.resources import open_lake, open_ledger, open_registry, open_store
from fraud_retraining.orchestration.sensors.next_runs import judge_again_next
from fraud_retraining.orchestration.state.fresh_verdicts import DueVerdicts, due_verdicts
from fraud_retraining.orchestration.state.monitoring import MonitoringState, ServedBy, serving
from fraud_retraining.orchestration.state.sources import Sources
from fraud_retraining.services.release_watch import ReleaseWatch
from fraud_retraining.services.track_record import read_standing
from fraud_retraining.settings import load_settings
from fraud_retraining.simulation import lake_path
from fraud_retraining_tests.support.command_line import run
from fraud_retraining_tests.support.project_homes import START, ProjectHome, use_home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DELAY, DAYS = 4, 14
GOOD, WORSE = START + timedelta(days=7), START + timedelta(days=9)
LAST = START + timedelta(days=DAYS - 1)
KINDS = ("genuine", "card", "terminal")


def day_of_lake(number: int) -> tuple[pa.Table, list[str]]:
    """A day's transactions, and which kind each is; 15 frauds of each kind among 800."""
    draw, count = np.random.default_rng(number), 800
    kinds = draw.permutation([*["card"] * 15, *["terminal"] * 15, *["genuine"] * (count - 30)])
    amounts = np.where(kinds == "card", draw.uniform(300, 400, count), draw.uniform(5, 320, count))
    risks = np.where(kinds == "terminal", draw.uniform(0.7, 1, count), draw.uniform(0, 0.75, count))
    at = datetime.combine(START + timedelta(days=number), datetime.min.time())
    seconds = np.sort(draw.integers(0, 86_000, count))
    table = pa.table(
        {
            "TRANSACTION_ID": pa.array(range(number * count, (number + 1) * count), pa.int64()),
            "TX_DATETIME": pa.array([at + timedelta(seconds=int(second)) for second in seconds], pa.timestamp("us")),
            "TX_AMOUNT": amounts,
            "RISK": risks,
            "CUSTOMER_ID": pa.array(draw.integers(0, 300, count), pa.int64()),
            "TERMINAL_ID": pa.array(draw.integers(0, 60, count), pa.int64()),
        }
    )
    return table, list(kinds)


def settings_of(project: ProjectHome, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "features": {"numeric": ["RISK"]},
        "labels": {
            "delay_days": DELAY, "use": "as_known", "min_delay_frauds": 20, "uri": str(project.folder / "feed"),
        },
        "window": {"days": 4},
        "holdout": {"days": 2},
        "validation": {"min_rows": 1000, "min_holdout_frauds": 5},
        "gates": {"max_calibration_error": 50, "max_importance": 1, "max_plausible_average_precision": 1},
        "promotion": {"mode": "auto"},
    }  # fmt: skip
    return {**values, **changes}


WITHOUT_RISK = {"features": {"numeric": ["RISK"], "retired": ["RISK"]}}


def answer_of(*arguments: str) -> dict[str, Any]:
    code, answer, err = run(*arguments)
    assert code == 0, (answer, err)
    return answer


@pytest.fixture(scope="module")
def refutable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProjectHome]:
    """Version 1 knows both kinds, version 2 one; both were promoted by their gates, and every day is ingested."""
    project = ProjectHome(tmp_path_factory.mktemp("refutable"))
    reports: dict[date, list[dict[str, Any]]] = {START + timedelta(days=n): [] for n in range(DAYS)}
    for number in range(DAYS):
        day, (table, kinds) = START + timedelta(days=number), day_of_lake(number)
        project.write_day(day, table)
        for transaction, kind in zip(table["TRANSACTION_ID"].to_pylist(), kinds, strict=True):
            known = day + timedelta(days=DELAY if kind == "terminal" and number >= 6 else 0)
            if kind != "genuine" and known in reports:
                at = datetime.combine(known, datetime.max.time())
                reports[known].append({"transaction_id": transaction, "is_fraud": 1, "known_at": at})
    schema = pa.schema({"transaction_id": pa.int64(), "is_fraud": pa.int8(), "known_at": pa.timestamp("us")})
    for known, events in reports.items():
        path = project.folder / "feed" / Path(lake_path(known)).parent / "labels.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(events, schema), path)
    with pytest.MonkeyPatch.context() as patch:
        project.configure(**settings_of(project))
        use_home(project, patch)
        good = answer_of("retrain", "--as-of", GOOD.isoformat())
        project.configure(**settings_of(project, **WITHOUT_RISK))
        worse = answer_of("retrain", "--as-of", WORSE.isoformat())
        assert [good["status"], worse["status"]] == ["promoted", "promoted"], (good, worse)
        answer_of("ingest", "--from", START.isoformat(), "--to", LAST.isoformat())
        yield project


@pytest.fixture
def project(refutable: ProjectHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectHome:
    """The same in a folder of the test's own."""
    own = ProjectHome(tmp_path / "own")
    shutil.copytree(refutable.folder, own.folder)
    own.configure(**settings_of(own, **WITHOUT_RISK))
    use_home(own, monkeypatch)
    return own


def sources() -> Sources:
    settings = load_settings()
    return Sources(settings, open_lake(settings), open_store(settings), open_ledger(settings))


def resources() -> MaturedResources:
    found = sources()
    return MaturedResources(found.settings, found.lake, found.store, found.ledger, open_registry(found.settings))


def judge_again() -> dg.RunRequest | dg.SkipReason:
    """One tick of the sensor, and the run that it requests."""
    instance = open_instance()
    request = judge_again_next(sources(), instance)
    if isinstance(request, dg.RunRequest):
        job = build_definitions(load_settings()).resolve_job_def(JUDGE_AGAIN)
        done = job.execute_in_process(instance=instance, partition_key=request.partition_key, tags=request.tags)
        assert done.success
    return request


def matured() -> list[Event]:
    return list(open_ledger(load_settings()).events(EventKind.MATURED_VERDICT))


def watch() -> ReleaseWatch:
    settings = load_settings()
    return ReleaseWatch(open_ledger(settings), open_registry(settings), settings.promotion)


def champion() -> int:
    found = open_registry(load_settings()).champion()
    assert found is not None
    return found.version


def test_a_worse_model_that_looked_good_is_refuted_once_and_that_is_an_incident(project: ProjectHome):
    request = judge_again()
    assert isinstance(request, dg.RunRequest) and request.partition_key == WORSE.isoformat()
    (event,) = matured()
    verdict = MaturedVerdict.model_validate(event.payload)
    assert (verdict.outcome, verdict.version, verdict.champion_version) == (MaturedOutcome.REFUTED, 2, 1)
    assert verdict.then is not None and verdict.now is not None
    assert verdict.then.difference.low > 0 > verdict.now.difference.high, "it looked better, and is worse"
    assert (verdict.then.frauds, verdict.now.frauds) == (30, 60)
    assert verdict.then.rows == verdict.now.rows
    assert judge_again() == dg.SkipReason("every fresh verdict whose labels are mature was measured again")
    assert matured() == [event]
    settings = load_settings()
    assert read_standing(open_ledger(settings), settings.promotion.earned).incident == "refuted promotion of version 2"
    assert answer_of("status")["matured_verdicts"]["refuted"] == 1
    watch().check_champion()
    assert champion() == 2, "on_refuted: alert"
    project.configure(**settings_of(project, **WITHOUT_RISK, promotion={"mode": "auto", "on_refuted": "rollback"}))
    watch().check_champion()
    assert champion() == 1


def test_a_verdict_waits_for_its_labels_and_for_their_ingest(project: ProjectHome):
    assert [one.release.version for one in due_verdicts(sources()).of(WORSE)] == [2]
    label_file = project.folder / "feed" / Path(lake_path(LAST)).parent / "labels.parquet"
    pq.write_table(pq.ParquetFile(label_file).read().slice(1), label_file)
    assert due_verdicts(sources()) == DueVerdicts(waiting=(f"version 2: {LAST} still has to be ingested",))
    project.day_file(LAST).unlink()
    (waiting,) = due_verdicts(sources()).waiting
    assert f"not mature until {LAST} has arrived" in waiting


KILLED = """
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining_tests.orchestration.assets.test_matured_verdicts import measure_what_is_due
from fraud_retraining_tests.support.faults import Moment, arm, kill

arm(kill, Moment(Ledger, "append_once"))
measure_what_is_due()
"""


def measure_what_is_due() -> None:
    for fresh in due_verdicts(sources()).ready:
        measure_again(fresh, resources().verdicts)


def test_killed_between_measuring_and_recording_the_same_event_is_there_once(project: ProjectHome):
    (fresh,) = due_verdicts(sources()).ready
    expected = digest(resources().verdicts.measure(fresh))
    killed = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, timeout=600)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-3000:]
    assert matured() == []
    measure_what_is_due()
    (event,) = matured()
    assert digest(MaturedVerdict.model_validate(event.payload)) == expected
    resources().verdicts.record(MaturedVerdict.model_validate(event.payload), fresh.release)
    assert matured() == [event], "a second process that measured it too records nothing"
    assert open_ledger(load_settings()).verify().ok


@pytest.mark.parametrize("gone", ["a model", "a day", "the same rows", "a feature"])
def test_what_is_gone_is_said_on_record_and_fails_nothing(project: ProjectHome, gone: str):
    (fresh,) = due_verdicts(sources()).ready
    match gone:
        case "a model":
            registry = open_registry(load_settings())
            registry._client.delete_model_version(registry.model_name, "1")
            why = "version 1 cannot be opened"
        case "a day":
            shutil.rmtree(project.home / "store" / FEATURES)
            why = f"the store no longer has {GOOD + timedelta(days=1)}, {WORSE}"
        case "the same rows":
            day = replace(fresh, days=tuple(one.model_copy(update={"digest": "another"}) for one in fresh.days))
            fresh, why = day, "hold other transactions now"
        case "a feature":
            project.configure(**settings_of(project, features={"numeric": []}))
            answer_of("ingest", "--from", START.isoformat(), "--to", LAST.isoformat())
            why = "the present settings do not give RISK"
    found = resources().verdicts.measure(fresh)
    assert (found.outcome, found.now) == (MaturedOutcome.NOT_MEASURED, None)
    assert why in found.reason and found.summary == f"Cannot be measured: {found.reason}."


def test_the_watch_judges_young_days_by_labels_as_known_with_weights(project: ProjectHome):
    """Terminal frauds are reported late, so young days show cards alone: the watch cannot call version 2 worse yet."""
    settings, days = load_settings(), [WORSE + timedelta(days=n) for n in range(1, 5)]
    ledger, store, registry = open_ledger(settings), open_store(settings), open_registry(settings)
    state = MonitoringState(settings, open_lake(settings), store, ServedBy(serving(ledger)), days)
    makers = WatchMakers(state, store, registry, ledger)
    for day in days:
        makers.shadow(day)
    made = makers.watch(LAST)
    assert isinstance(made, Partition)
    (watch,) = report_of(made, WatchReport).watches
    assert (watch.version, watch.predecessor_version, watch.known_by) == (2, 1, LAST)
    assert watch.days == (days[0], days[1]), "from the age of the holdout's first day on"
    assert watch.difference is not None and watch.difference.frauds == 30
    assert (watch.outcome is MaturedOutcome.REFUTED, watch.ends) == (False, False)
    assert list(ledger.events(EventKind.PROMOTION_WATCHED)) == []
    assert makers.watch(LAST) == made, "nothing has changed since"
