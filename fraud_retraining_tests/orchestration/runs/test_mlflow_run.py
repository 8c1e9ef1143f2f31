"""What people find in MLflow after retrains: runs that say what they are, described models, data with a schema."""

import json
from datetime import UTC, datetime, timedelta

import dagster as dg
import mlflow.data
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from fraud_retraining.adapters.ledger.processes import this_process
from fraud_retraining.adapters.mlflow.tags import DAGSTER_RUN, ENDED_WHY, REFIT_OF
from fraud_retraining.definitions import build_definitions
from fraud_retraining.domain.retraining.lease_rules import Process
from fraud_retraining.domain.training.windows import TrainingWindow
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.orchestration.assets.training import _with_window
from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.runs.failed_runs import close_abandoned
from fraud_retraining.orchestration.runs.mlflow_run import TIME_TO_CLOSE, end_abandoned
from fraud_retraining.orchestration.runs.workers import WORKER_TAG
from fraud_retraining.settings import Settings, load_settings
from fraud_retraining_tests.support.approvals_fixture import Backend
from fraud_retraining_tests.support.command_line import ledger, retrain, run
from fraud_retraining_tests.support.project_homes import AS_OF, START, ProjectHome


def client() -> MlflowClient:
    return MlflowClient(load_settings().tracking_uri)


def runs() -> list[Run]:
    """Every run of the experiment, the oldest first."""
    settings = load_settings()
    experiment = client().get_experiment_by_name(settings.mlflow.experiment)
    assert "fraud_retraining" in experiment.tags["mlflow.note.content"]
    return list(client().search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"]))


def fits() -> list[Run]:
    """Those of the Dagster runs that trained; the others hold a fit with its score mapping."""
    return [one for one in runs() if REFIT_OF not in one.data.tags]


def test_a_run_is_named_by_as_of_day_and_trigger_and_marked(home: ProjectHome) -> None:
    trained, mapped = runs()
    assert [one.info.run_id for one in fits()] == [trained.info.run_id]
    assert trained.info.run_name == f"{AS_OF} manual"
    assert mapped.info.run_name == f"{AS_OF} with its score mapping"
    for one in (trained, mapped):
        assert one.info.status == "FINISHED"
        reported = [one.data.tags.get(name) for name in ("automated_retrain", "trigger", "as_of", "verdict")]
        assert reported == ["true", "manual", str(AS_OF), "passed"]
    assert mapped.data.tags["release_status"] == "promoted", "the version is its model"


def test_model_and_versions_are_described(home: ProjectHome) -> None:
    name = load_settings().model.name
    model, version = client().get_registered_model(name), client().get_model_version(name, "1")
    assert "candidate" in model.description and "champion" in model.description
    assert str(AS_OF) in version.description
    assert (version.tags["automated_retrain"], version.tags["release_status"]) == ("true", "promoted")


def test_a_run_names_its_data_with_schema_digest_and_place_but_holds_no_row(home: ProjectHome) -> None:
    (trained,) = fits()
    settings = load_settings()
    inputs = {item.tags[0].value: item for item in trained.inputs.dataset_inputs}
    assert set(inputs) == {"training", "holdout"}
    for item in inputs.values():
        columns = {one["name"]: one["type"] for one in json.loads(item.dataset.schema)["mlflow_colspec"]}
        assert set(columns) == {*settings.learnt_features, "is_fraud"}
        assert set(columns.values()) <= {"double", "string", "integer"}
        assert json.loads(item.dataset.profile).keys() == {"rows", "frauds", "days"}
        assert mlflow.data.get_source(item).uri.endswith("/store/transaction_features")
    assert inputs["training"].dataset.digest != inputs["holdout"].dataset.digest


def test_what_trains_nothing_leaves_no_run(home: ProjectHome) -> None:
    first = [one.info.run_id for one in runs()]
    assert retrain()[1]["status"] == "already_trained"
    code, refused, _ = retrain(AS_OF - timedelta(days=20))
    assert (code, refused["status"]) == (3, "data_invalid")
    assert str(START + timedelta(days=13)) in refused["error"]["remedy"]
    assert [one.info.run_id for one in runs()] == first


@pytest.mark.slow
def test_the_trigger_names_the_run_its_reason_describes_it_and_what_a_person_wrote_stays(home: ProjectHome) -> None:
    name = load_settings().model.name
    client().update_registered_model(name, "Ours.")
    lenient = {"max_regression": 1.0, "max_unproven_regression": 1.0, "max_slice_regression": 1.0}
    home.configure(promotion={"mode": "manual"}, gates=lenient, model={"params": {"n_estimators": 24}})
    requested = ("retrain", "--as-of", str(AS_OF), "--trigger", "drift", "--reason", "two of three days over .2")
    _, answer, _ = run(*requested)
    tags = client().get_run(answer["mlflow_run_id"]).data.tags
    assert tags["mlflow.runName"] == f"{AS_OF} drift"
    assert tags["mlflow.note.content"] == "two of three days over .2"
    version = client().get_model_version(name, str(answer["model_version"]))
    of_version = client().get_run(version.run_id).data.tags
    assert of_version["mlflow.note.content"] == tags["mlflow.note.content"]
    assert of_version["release_status"] == answer["status"] == "awaiting_approval"
    assert tags["dagster_run_id"] == answer["dagster_run_id"]
    assert client().get_registered_model(name).description == "Ours."


@pytest.mark.slow
def test_the_launch_form_gives_a_reason_and_a_window_for_one_run(home: ProjectHome) -> None:
    home.configure(promotion={"mode": "manual"})
    config = {"reason": "a shorter memory, once", "window_days": 6}
    job = build_definitions(load_settings()).resolve_job_def("retrain")
    done = job.execute_in_process(
        instance=open_instance(),
        partition_key=str(AS_OF),
        run_config={"ops": {"training_window": {"config": config}}},
        raise_on_error=False,
    )
    events = {event.kind: event for event in ledger().events()}
    window = TrainingWindow.model_validate(events["window_built"].payload)
    assert (len(window.days.training), load_settings().window.days) == (6, 8)
    assert events["retrain_requested"].payload["reason"] == "a shorter memory, once"
    (trained,) = [one for one in fits() if one.data.tags["dagster_run_id"] == done.run_id]
    assert trained.data.tags["mlflow.note.content"] == "a shorter memory, once"


def test_a_window_that_cannot_be_is_refused() -> None:
    rolling = Settings()
    assert _with_window(rolling, 0) is rolling
    expanding = Settings(window={"strategy": "expanding", "start": "2024-01-01"})
    with pytest.raises(SettingsError, match="no length"):
        _with_window(expanding, 6)
    weighted = Settings(window={"strategy": "weighted", "days": 10, "recent_days": 7})
    with pytest.raises(SettingsError, match="3 days is not possible"):
        _with_window(weighted, 3)


@dg.op
def nothing() -> None: ...


@dg.job
def a_job() -> None:
    nothing()


ALIVE = this_process()
GONE = ALIVE.model_copy(update={"started": "1"})
ELSEWHERE = ALIVE.model_copy(update={"machine": "another"})


@pytest.mark.parametrize(
    ("status", "worker", "later", "ending"),
    [
        ("FAILURE", GONE, timedelta(0), "FAILED"),
        ("CANCELED", GONE, timedelta(0), "KILLED"),
        ("SUCCESS", GONE, timedelta(0), "FINISHED"),
        ("STARTED", GONE, timedelta(0), None),
        ("FAILURE", ALIVE, 2 * TIME_TO_CLOSE, None),
        ("FAILURE", ELSEWHERE, timedelta(0), None),
        ("FAILURE", ELSEWHERE, 2 * TIME_TO_CLOSE, "FAILED"),
    ],
)
def test_what_a_dead_process_left_open_ends_as_its_dagster_run_did_and_says_why(
    backend: Backend, status: str, worker: Process, later: timedelta, ending: str | None
) -> None:
    instance, registry = dg.DagsterInstance.ephemeral(), backend.registry
    tags = {WORKER_TAG: worker.model_dump_json()}
    run = instance.create_run_for_job(a_job, status=dg.DagsterRunStatus(status), tags=tags)
    left = registry.start_run("as of some day", {DAGSTER_RUN: run.run_id})
    by_hand = registry.start_run("a user at work")
    unknown = registry.start_run("of another instance", {DAGSTER_RUN: "0" * 36})
    ended = end_abandoned(instance, registry, datetime.now(UTC) + later)
    assert ended == ([left] if ending else [])
    found = registry._client.get_run(left)
    assert found.info.status == (ending or "RUNNING")
    assert (ENDED_WHY in found.data.tags) is (ending is not None)
    assert run.run_id in found.data.tags.get(ENDED_WHY, run.run_id)
    assert {by_hand, unknown} <= {one.run_id for one in registry.open_runs()}
    assert end_abandoned(instance, registry, datetime.now(UTC) + later) == []
    for one in (left, by_hand, unknown):
        registry.end_run(one, "FINISHED", "the test is over")


def test_while_mlflow_is_down_nothing_is_ended_and_it_is_said(backend: Backend) -> None:
    nowhere = backend.trained.__class__("http://127.0.0.1:9", "x", [], []).registry("x", timeout_seconds=4)
    reported = close_abandoned(dg.DagsterInstance.ephemeral(), nowhere)
    assert reported.startswith("runs that are left open in MLflow stay so for now: MLflow at http://127.0.0.1:9")
