"""Fits on Spark's workers: the trees of a fit here, the same ones each time, and nothing left of one that dies."""

import os
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from fraud_retraining.adapters.days import spark_fit
from fraud_retraining.adapters.days.known_labels import KnownLabels
from fraud_retraining.adapters.days.spark_fit import fit_on_spark, require_slots
from fraud_retraining.adapters.days.window_rows import WindowRows
from fraud_retraining.adapters.storage.spark_days import SparkDays
from fraud_retraining.adapters.storage.spark_session import SparkOptions
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.training.fitting import fit
from fraud_retraining.domain.training.windows import TrainingWindow
from fraud_retraining.domain.values.errors import BudgetExceeded, DependencyUnreachable, SettingsError
from fraud_retraining.domain.values.schemas import TRANSACTION_ID
from fraud_retraining.orchestration.resources import open_registry, open_store
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.command_line import ledger, retrain, run
from fraud_retraining_tests.support.project_homes import SMALL, START, ProjectHome, use_home
from fraud_retraining_tests.support.spark import takes_minutes

DAYS = 12
AS_OF = START + timedelta(days=DAYS - 1)
MODEL = SMALL["model"] | {"params": {"n_estimators": 20, "max_bin": 64}, "downsample": 0.9}
ON_SPARK = MODEL | {"trainer": "spark", "trainer_workers": 2}


class Noting(SparkDays):
    """Notes that the rows of a fit are about to be read."""

    fitting = False

    def partitions(self, *arguments):
        self.fitting = True
        return super().partitions(*arguments)


def python_workers() -> Iterator[int]:
    """Processes of Python that Spark has started for this one."""
    parents = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            after_name = (place / "stat").read_text().rpartition(")")[2].split()
            parents[int(place.name)] = int(after_name[1]), b"pyspark.daemon" in (place / "cmdline").read_bytes()
        except OSError:
            continue
    for process, (parent, is_python) in parents.items():
        # A daemon of Spark's forks the workers.
        if is_python and parents.get(parent, (0, False))[1] and _is_of(process, parents):
            yield process


def _is_of(process: int, parents: dict[int, tuple[int, bool]]) -> bool:
    while process in parents and process != os.getpid():
        process = parents[process][0]
    return process == os.getpid()


@pytest.fixture
def spark_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectHome:
    """Days with a label feed, blocked transactions and a category, made by DuckDB; their retrains are on Spark."""
    project = ProjectHome(tmp_path)
    shape = {
        "columns": {"is_fraud": None, "decision": "DECISION", "propensity": "PROPENSITY"},
        "labels": {"delay_days": 2, "uri": str(tmp_path / "labels"), "min_delay_frauds": 1},
        "features": {"numeric": ["TX_DISTANCE_KM"], "categorical": ["TX_CHANNEL"], "forbidden": ["TX_FRAUD_SCENARIO"]},
        "window": {"strategy": "rolling", "days": 5},
        "holdout": {"days": 3},
        "validation": {"min_rows": 1000, "min_holdout_frauds": 1},
        "gates": {"min_average_precision": 0.0, "min_roc_auc": 0.0},
        "promotion": {"mode": "manual"},
    }
    use_home(project, monkeypatch)
    project.configure(**shape)
    feed = ("--labels", "feed", "--block-at", "0.02", "--control-share", "0.2", "--review-share", "0.5")
    code, answer, err = run(
        "simulate", "--start", str(START), "--days", str(DAYS), "--transactions-per-day", "900", *feed
    )
    assert code == 0, f"{answer} {err}"
    code, answer, err = run("ingest", "--from", str(START), "--to", str(AS_OF))
    assert code == 0, f"{answer} {err}"
    project.configure(**shape, model=ON_SPARK, engine={"kind": "spark", "master": "local[2]"})
    return project


@pytest.mark.slow
@pytest.mark.timeout(900)
@takes_minutes
def test_a_retrain_on_spark_is_registered_and_the_same_each_time(
    spark_home: ProjectHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, answer, err = retrain(AS_OF)
    assert answer["status"] == "awaiting_approval", f"{code} {answer} {err}"
    events = {event.kind: event for event in ledger().events()}
    determined_by = events[EventKind.MODEL_TRAINED].payload["determined_by"]
    assert (determined_by["model"]["trainer"], determined_by["model"]["trainer_workers"]) == ("spark", 2)
    assert "pyspark" in determined_by["libraries"]
    settings = load_settings()
    window = TrainingWindow.model_validate(events[EventKind.WINDOW_BUILT].payload)
    run_id = events[EventKind.MODEL_TRAINED].payload["run_id"]
    registered = open_registry(settings).load(
        run_id, expected_digest=events[EventKind.MODEL_TRAINED].payload["artifact_digest"]
    )
    assert registered.unmapped.vocabularies["TX_CHANNEL"]

    store, policy, held = open_store(settings), settings.model, []
    monkeypatch.setattr(spark_fit, "HOLD_SECONDS", 0.1)
    spark = Noting(SparkOptions("local[2]", {}, spark_home.folder / "spark"))

    def kill_workers() -> None:
        held.append(1)
        for process in python_workers() if spark.fitting else ():
            os.kill(process, signal.SIGKILL)

    def out_of_time() -> None:
        raise BudgetExceeded("time is up")

    try:
        with pytest.raises(DependencyUnreachable, match="gave the work up"):
            fit_on_spark(policy, window, store, spark, kill_workers)
        assert held
        with pytest.raises(BudgetExceeded, match="time is up"):
            fit_on_spark(policy, window, store, spark, out_of_time)
        again = fit_on_spark(policy, window, store, spark, lambda: None)
        assert again.files() == registered.unmapped.files()
        alone = policy.model_copy(update={"trainer_workers": 1})
        assert fit_on_spark(alone, window, store, spark, lambda: None).files() == here(settings.model, window, store)
        with pytest.raises(SettingsError, match="Spark runs 2 tasks at once, and the 3 workers"):
            require_slots(spark, 3, lambda: None)
    finally:
        spark.close()


def here(policy, window: TrainingWindow, store) -> dict[str, bytes]:
    """The files of the same fit in this process."""
    columns = [TRANSACTION_ID, *window.features]
    rows = WindowRows(store, window.training, window.days.as_of, columns, KnownLabels.of(window, store))
    local = policy.model_copy(update={"trainer": "local", "trainer_workers": None})
    return fit(local, window.features, window.categorical, rows).files()
