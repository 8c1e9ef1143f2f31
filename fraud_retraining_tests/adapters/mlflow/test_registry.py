"""MLflow for real: what is found is found again, what is not there is nothing, and what does not answer is an error."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest

from fraud_retraining.adapters.mlflow.logged_models import TrainingSource
from fraud_retraining.adapters.mlflow.model_artifact import fitted_model
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.mlflow.runs import TrainedRun
from fraud_retraining.adapters.mlflow.versions import ModelVersion, NewVersion
from fraud_retraining.domain.alerts.classification import causes
from fraud_retraining.domain.training.fingerprint import Fingerprint
from fraud_retraining.domain.values.errors import Conflict, DependencyUnreachable, IntegrityError
from fraud_retraining_tests.support.registries import (
    AS_OF,
    a_fingerprint,
    a_window,
    answering,
    fitted,
    free_port,
    losing_replies,
    registry_at,
    rows,
    store_in,
    tracking_server,
)

TRAINED_ON = a_window().days.training


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="module")
def store(home) -> str:
    return store_in(home)


@pytest.fixture(scope="module")
def server(store, home) -> Iterator[str]:
    with tracking_server(store, home / "served", home / "server.log") as uri:
        yield uri


@pytest.fixture
def registry(store, home) -> Registry:
    return registry_at(store, home / "artifacts")


@pytest.mark.slow
def test_two_processes_may_open_a_new_store_at_once(tmp_path: Path) -> None:
    opening = (
        "import sys; from fraud_retraining_tests.support.registries import registry_at; from pathlib import Path; "
        "registry_at(sys.argv[1], Path(sys.argv[2])).ensure_experiment()"
    )
    uri = f"sqlite:///{tmp_path / 'new.db'}"
    started = [subprocess.Popen([sys.executable, "-c", opening, uri, str(tmp_path)]) for _ in range(2)]
    assert [one.wait(timeout=240) for one in started] == [0, 0]


def train(registry: Registry, fingerprint: Fingerprint, estimator: str = "xgboost", run_id: str = "") -> TrainedRun:
    return registry.log_model(
        run_id or registry.start_run("retrain"),
        fitted(estimator),
        TrainingSource(a_window(), fingerprint),
        example=rows().slice(0, 5),
        tags={"trigger": "manual"},
    )


def register(registry: Registry, run: TrainedRun) -> ModelVersion:
    return registry.register(
        NewVersion(
            run.run_id,
            fingerprint=run.fingerprint,
            artifact_digest=run.artifact_digest,
            as_of=AS_OF,
            trained_on=TRAINED_ON,
            tags={"trigger": "manual"},
        )
    )


def released(registry: Registry) -> ModelVersion:
    return register(registry, train(registry, a_fingerprint()))


def artifact_folder(registry: Registry, run: TrainedRun) -> Path:
    return Path(registry._client.get_logged_model(run.model_id).artifact_location.removeprefix("file://"))


def train_register_and_promote(registry: Registry) -> None:
    """Train, find, register, promote, read back."""
    fingerprint = a_fingerprint()
    assert registry.champion() is None
    assert registry.find_run(fingerprint.digest) is None
    run = train(registry, fingerprint)
    assert registry.find_run(fingerprint.digest) == run
    version = register(registry, run)
    assert (version.version, version.run_id, version.as_of, version.trained_on) == (1, run.run_id, AS_OF, TRAINED_ON)
    assert register(registry, run) == registry.version_by_fingerprint(fingerprint.digest)
    registry.point_candidate(1, waiting=True)
    registry.compare_and_set_champion(None, 1)
    registry.point_candidate(1, waiting=False)
    assert registry.candidate() is None
    champion = registry.champion()
    assert champion is not None
    assert (champion.version, champion.aliases) == (1, ("champion",))
    loaded = fitted_model(registry.download(1, expected_digest=run.artifact_digest))
    assert np.array_equal(loaded.predict(rows()), fitted().predict(rows()))
    assert registry.importance(run) == fitted().importance()


# ---------------------------------------------------------------- there is something, there is nothing


def test_a_model_lives_from_training_to_champion(registry):
    train_register_and_promote(registry)


@pytest.mark.slow
def test_a_model_lives_the_same_life_on_a_tracking_server(server):
    train_register_and_promote(registry_at(server))


def test_the_data_sets_of_segments_of_one_day_are_told_apart(registry):
    whole, own = a_fingerprint(), a_fingerprint()
    own = own.model_copy(update={"model": {**own.model, "where": {"COUNTRY": ["FR"]}}})
    runs = [registry._client.get_run(train(registry, one).run_id) for one in (whole, own)]
    every, french = ([item.dataset for item in run.inputs.dataset_inputs] for run in runs)
    assert all(one.name.endswith(", COUNTRY is FR") for one in french)
    assert {one.digest for one in every}.isdisjoint(one.digest for one in french)


def test_the_run_explains_the_model(registry):
    run = train(registry, a_fingerprint())
    registry.record_evaluation(
        run.run_id,
        metrics={"average_precision": 0.7, "recall at 1%": 0.5, "undefined": float("nan")},
        tags={"verdict": "passed"},
        document={"as_of": AS_OF},
        pictures={"precision_recall": b"\x89PNG"},
    )
    logged = registry._client.get_run(run.run_id)
    assert logged.data.params["estimator"] == "xgboost"
    assert logged.data.params["n_estimators"] == "5"
    assert logged.data.metrics["average_precision"] == 0.7
    assert logged.data.metrics["recall at 1_"] == 0.5
    assert "undefined" not in logged.data.metrics
    assert logged.data.tags["verdict"] == "passed"
    assert {item.tags[0].value for item in logged.inputs.dataset_inputs} == {"training", "holdout"}
    assert not any("," in item.dataset.name for item in logged.inputs.dataset_inputs)
    names = {item.path for item in registry._client.list_artifacts(run.run_id)}
    assert names == {
        "evaluation.json",
        "feature_importance.json",
        "fingerprint.json",
        "pictures",
        "training_window.json",
    }


def test_a_model_goes_into_the_active_run_and_leaves_it_running(registry):
    """As under dagster-mlflow, which holds the run of the Dagster run open."""
    import mlflow

    registry.ensure_experiment()
    mlflow.set_experiment(registry.experiment)
    with mlflow.start_run() as active:
        run = train(registry, a_fingerprint(), run_id=active.info.run_id)
        assert run.run_id == active.info.run_id
        assert mlflow.active_run().info.run_id == active.info.run_id
        assert registry._client.get_run(run.run_id).info.status == "RUNNING"


@pytest.mark.parametrize("estimator", ["lightgbm", "catboost", "hist_gradient_boosting", "logistic_regression"])
def test_the_other_estimators_come_back_without_pickle(registry, estimator):
    run = train(registry, a_fingerprint(), estimator)
    files = registry.download(register(registry, run).version)
    assert not [name for name in files if name.endswith((".pkl", ".pickle", ".joblib"))]
    loaded = registry.load(run.run_id, expected_digest=run.artifact_digest)
    assert np.array_equal(loaded.predict(rows()), fitted(estimator).predict(rows()))


def test_an_upload_that_was_never_completed_is_never_found(registry):
    fingerprint = a_fingerprint()
    unfinished = registry.start_run("killed", {"fingerprint": fingerprint.digest})
    assert registry.find_run(fingerprint.digest) is None
    with pytest.raises(IntegrityError, match="no completely uploaded model"):
        registry.run(unfinished)
    assert registry.find_run(train(registry, fingerprint).fingerprint) is not None


def test_an_experiment_is_created_once_under_the_artifact_root(registry, home):
    first = registry.ensure_experiment()
    assert registry.ensure_experiment() == first
    location = registry._client.get_experiment(first).artifact_location
    assert location == (home / "artifacts").as_uri()


def test_a_deleted_experiment_is_an_error_with_a_remedy(registry):
    registry._client.delete_experiment(registry.ensure_experiment())
    with pytest.raises(DependencyUnreachable, match="Restore it"):
        registry.ensure_experiment()


# ---------------------------------------------------------------- one version a fingerprint


def test_two_runs_of_one_fingerprint_have_one_version(registry):
    fingerprint = a_fingerprint()
    first, second = train(registry, fingerprint), train(registry, fingerprint)
    version = register(registry, first)
    with pytest.raises(Conflict, match="before run"):
        register(registry, second)
    assert registry.find_run(fingerprint.digest) == first
    assert [found.version for found in registry.versions_of(fingerprint.digest)] == [version.version]


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 3], ids=["retried by the client", "given up by the client"])
def test_a_lost_reply_to_create_version_ends_in_the_same_version(server, times):
    with answering(losing_replies(server, "model-versions/create", times)) as uri:
        registry = registry_at(uri)
        run = train(registry, a_fingerprint())
        version = register(registry, run)
        assert version.version == 1
        assert registry.versions_of(run.fingerprint) == [version]
        assert register(registry, run) == version


@pytest.mark.slow
def test_registering_while_mlflow_is_down_and_again_gives_one_version(server):
    run = train(registry := registry_at(server), a_fingerprint())
    dead = Registry(f"http://127.0.0.1:{free_port()}", registry.experiment, registry.model_name, timeout_seconds=4)
    with pytest.raises(DependencyUnreachable):
        register(dead, run)
    assert register(registry, run).version == 1


def test_tags_and_description_of_a_version_can_be_written(registry):
    version = released(registry)
    registry.set_version_tags(version.version, {"decision": "approved"})
    registry.set_description(version.version, "Trained as of 2018-08-01.")
    assert registry.version(version.version).tags["decision"] == "approved"


# ---------------------------------------------------------------- the champion


def test_the_champion_moves_from_the_expected_one_only(registry):
    first, second, third = (released(registry).version for _ in range(3))
    registry.compare_and_set_champion(None, first)
    registry.compare_and_set_champion(first, second)
    with pytest.raises(Conflict, match=f"version {second} serves, not version {first}"):
        registry.compare_and_set_champion(first, third)
    with pytest.raises(Conflict, match="not nobody"):
        registry.compare_and_set_champion(None, third)
    assert registry.champion().version == second


def test_moving_twice_is_moving_once_and_moving_back_to_no_champion_is_allowed(registry):
    version = released(registry).version
    registry.compare_and_set_champion(None, version)
    registry.compare_and_set_champion(None, version)
    registry.compare_and_set_champion(version, None)
    registry.compare_and_set_champion(version, None)
    assert registry.champion() is None


def test_a_human_who_moved_the_alias_wins(registry):
    ours, theirs = released(registry).version, released(registry).version
    registry._client.set_registered_model_alias(registry.model_name, "champion", str(theirs))
    with pytest.raises(Conflict):
        registry.compare_and_set_champion(None, ours)
    assert registry.champion().version == theirs


def test_the_candidate_alias_is_taken_off_only_its_own_version(registry):
    first, second = released(registry).version, released(registry).version
    registry.point_candidate(first, waiting=True)
    registry.point_candidate(second, waiting=False)
    assert registry.candidate().version == first
    registry.point_candidate(second, waiting=True)
    assert registry.candidate().version == second


def test_a_champion_that_this_pipeline_did_not_register_has_no_training_days(registry):
    version = released(registry)
    stranger = registry._client.create_model_version(registry.model_name, f"models:/{_model_id(registry, version)}")
    registry._client.set_registered_model_alias(registry.model_name, "champion", stranger.version)
    champion = registry.champion()
    with pytest.raises(IntegrityError, match="trained_on"):
        _ = champion.trained_on


def _model_id(registry: Registry, version: ModelVersion) -> str:
    return registry.run(version.run_id).model_id


# ---------------------------------------------------------------- nothing is opened that is not what was recorded


def damage_one_byte(folder: Path) -> None:
    model = folder / "artifacts/fraud_model/model.ubj"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(bytes(data))


def swap_for_a_pickle(folder: Path) -> None:
    (folder / "artifacts/fraud_model/model.ubj").write_bytes(b"\x80\x04cposix\nsystem\n.")


def lose_a_file(folder: Path) -> None:
    (folder / "artifacts/fraud_model/model.json").unlink()


def add_a_file(folder: Path) -> None:
    (folder / "python_model.pkl").write_bytes(b"\x80\x04.")


def change_the_scorer(folder: Path) -> None:
    (folder / "scorer.py").write_text("raise SystemExit")


@pytest.mark.parametrize("damage", [damage_one_byte, swap_for_a_pickle, lose_a_file, add_a_file, change_the_scorer])
def test_a_changed_artifact_is_refused_unopened(registry, damage):
    run = train(registry, a_fingerprint())
    version = register(registry, run)
    damage(artifact_folder(registry, run))
    with pytest.raises(IntegrityError, match="not the one that was recorded"):
        registry.download(version.version, expected_digest=run.artifact_digest)
    with pytest.raises(IntegrityError, match="not the one that was recorded"):
        registry.load(run.run_id, expected_digest=run.artifact_digest)


def test_an_artifact_with_links_or_pipes_is_refused_unopened(registry, tmp_path):
    import os

    run = train(registry, a_fingerprint())
    version = register(registry, run)
    registry.compare_and_set_champion(registry.champion() and registry.champion().version, version.version)
    odd = artifact_folder(registry, run) / "odd"
    for target in ("gone", __file__, tmp_path, None):
        odd.symlink_to(target) if target else os.mkfifo(odd)
        with pytest.raises(IntegrityError, match="more than plain files") as refused:
            registry.download(version.version)
        assert refused.value.culprits == (f"odd is a {'symbolic link' if target else 'pipe, socket or device'}",)
        with pytest.raises(IntegrityError, match="more than plain files"), registry.served(expected_digest="d"):
            pass
        odd.unlink()


def test_a_damaged_artifact_is_never_registered(registry):
    run = train(registry, a_fingerprint())
    damage_one_byte(artifact_folder(registry, run))
    with pytest.raises(IntegrityError):
        register(registry, run)
    assert registry.version_by_fingerprint(run.fingerprint) is None


def test_a_deleted_artifact_is_gone_and_not_merely_unreachable(registry):
    import shutil

    run = train(registry, a_fingerprint())
    version = register(registry, run)
    shutil.rmtree(artifact_folder(registry, run))
    with pytest.raises(IntegrityError, match="not there any more"):
        registry.download(version.version)


@pytest.mark.slow
def test_a_deleted_artifact_is_gone_on_a_tracking_server_too(server, home):
    import shutil

    registry = registry_at(server)
    run = train(registry, a_fingerprint())
    version = register(registry, run)
    (folder,) = (home / "served").rglob(run.model_id)
    shutil.rmtree(folder)
    with pytest.raises(IntegrityError, match="not there any more"):
        registry.download(version.version)


def test_a_digest_that_the_record_does_not_know_is_refused(registry):
    version = released(registry)
    with pytest.raises(IntegrityError, match="another digest"):
        registry.download(version.version, expected_digest="0" * 64)


def test_a_version_that_is_not_there_is_an_error_even_behind_an_alias(registry):
    version = released(registry)
    with pytest.raises(IntegrityError, match="no version 77"):
        registry.version(77)
    registry.compare_and_set_champion(None, version.version)
    registry._client.delete_model_version(registry.model_name, str(version.version))
    assert registry.champion() is None  # MLflow takes the alias off with the version


# ---------------------------------------------------------------- what does not answer


def silent(release: threading.Event) -> type[BaseHTTPRequestHandler]:
    class Silent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            release.wait(60)

        do_POST = do_GET

    return Silent


def replying(status: int, body: bytes, kind: str = "text/html", **headers: str) -> type[BaseHTTPRequestHandler]:
    class Replying(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

    return Replying


def assert_unreachable(uri: str, within: float) -> DependencyUnreachable:
    registry = registry_at(uri, timeout_seconds=5)
    started = time.monotonic()
    with pytest.raises(DependencyUnreachable) as refusal:
        registry.champion()
    assert time.monotonic() - started < within
    assert not isinstance(refusal.value, IntegrityError)
    assert refusal.value.remedy
    return refusal.value


def test_a_dead_port_is_unreachable_and_never_no_champion():
    assert_unreachable(f"http://127.0.0.1:{free_port()}", within=10)


def test_a_server_that_hangs_is_given_up():
    release = threading.Event()
    with answering(silent(release)) as uri:
        assert_unreachable(uri, within=10)
        release.set()


@pytest.mark.parametrize(
    "reply",
    [
        replying(404, b"<h1>no such page</h1>"),
        replying(404, b'{"error_code": 404, "message": "no route"}', "application/json"),
        replying(200, b"<h1>please sign in</h1>"),
        replying(500, b"oops"),
        replying(503, b"busy", **{"Retry-After": "3600"}),
        replying(403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}', "application/json"),
    ],
    ids=["404 page", "404 json", "sign-in page", "500", "503 for an hour", "403"],
)
def test_an_answer_that_is_not_mlflows_is_unreachable_and_never_no_champion(reply):
    with answering(reply) as uri:
        assert_unreachable(uri, within=12)


def test_a_store_that_cannot_be_opened_is_unreachable(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"this is no database, " * 100)
    assert_unreachable(f"sqlite:///{tmp_path / 'mlflow.db'}", within=15)


def test_a_password_in_the_address_is_never_shown():
    refusal = assert_unreachable(f"http://someone:hunter2@127.0.0.1:{free_port()}", within=10)
    assert "hunter2" not in str(refusal)
    chain = list(causes(refusal))
    assert len(chain) > 1
    assert not any("hunter2" in f"{cause} {cause!r} {vars(cause)}" for cause in chain)


def test_importing_the_adapter_does_not_import_mlflow():
    code = "import sys, fraud_retraining.adapters.mlflow.registry as r; sys.exit('mlflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# ---------------------------------------------------------------- what is not needed any more


AT = datetime(2026, 11, 24, 12, tzinfo=UTC)


def forget_one_of_two(registry: Registry) -> None:
    """Of two registered models remove the artifact of the first; everything else of both stays."""
    run, other = train(registry, a_fingerprint()), train(registry, a_fingerprint())
    removed, kept = register(registry, run), register(registry, other)
    registry.point_candidate(kept.version, waiting=True)
    registry.remove_artifact(run.run_id, AT)
    registry.remove_artifact(run.run_id, AT)

    with pytest.raises(IntegrityError, match="removed at 2026-11-24T12:00:00"):
        registry.download(removed.version)
    with pytest.raises(IntegrityError, match="not there any more"):
        registry.load(run.run_id, expected_digest=run.artifact_digest)
    assert registry.importance(registry.run(run.run_id)) == fitted().importance()
    found = registry.find_run(run.fingerprint)
    assert found is not None
    assert (found.run_id, found.artifact_digest) == (run.run_id, run.artifact_digest)
    assert register(registry, run).version == removed.version

    registry.download(kept.version, expected_digest=other.artifact_digest)
    assert [(version.version, version.aliases) for version in registry.versions()] == [(1, ()), (2, ("candidate",))]
    assert {run.run_id: run.holds_artifact for run in registry.runs()} == {run.run_id: False, other.run_id: True}


def test_an_artifact_goes_and_its_run_version_and_documents_stay(registry):
    forget_one_of_two(registry)


@pytest.mark.slow
def test_an_artifact_goes_through_a_server_too(server):
    forget_one_of_two(registry_at(server))


def test_nothing_of_a_removed_artifact_is_left_on_the_disk(registry):
    run = train(registry, a_fingerprint())
    folder = artifact_folder(registry, run)
    assert list(folder.rglob("*.ubj"))
    registry.remove_artifact(run.run_id, AT)
    assert not folder.exists()


def test_a_fingerprint_without_a_version_whose_artifact_was_removed_is_trained_again(registry):
    fingerprint = a_fingerprint()
    run = train(registry, fingerprint)
    registry.remove_artifact(run.run_id, AT)
    assert registry.find_run(fingerprint.digest) is None
    again = train(registry, fingerprint)
    assert registry.find_run(fingerprint.digest) == again


def test_a_removed_run_takes_its_model_with_it_and_is_marked_as_deleted(registry):
    run, empty = train(registry, a_fingerprint()), registry.start_run("failed")
    folder = artifact_folder(registry, run)
    registry.remove_run(run.run_id, AT)
    registry.remove_run(empty, AT)
    assert registry.runs() == []
    assert not folder.exists()
    assert registry.find_run(run.fingerprint) is None
    assert registry._client.get_run(run.run_id).info.lifecycle_stage == "deleted"


def test_every_page_of_what_mlflow_lists_is_read(registry, monkeypatch):
    ids = {registry.start_run(f"run {number}", {"dagster_run_id": str(number)}) for number in range(5)}
    client, sizes = registry._client, []

    class Paged:
        """The same client, asked for pages of two."""

        def __getattr__(self, name):
            return getattr(client, name)

        def search_runs(self, experiments, query="", page_token=None):
            page = client.search_runs(experiments, query, max_results=2, page_token=page_token)
            sizes.append(len(page))
            return page

    monkeypatch.setitem(vars(registry), "_client", Paged())
    found = registry.runs()
    assert {run.run_id for run in found} == ids
    assert sizes == [2, 2, 1]
    assert {run.tags["dagster_run_id"] for run in found} == set("01234")


def test_without_versions_there_are_none(registry):
    assert registry.versions() == []
