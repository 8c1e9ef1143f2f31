"""The two sensors that mind releases, ticked as the daemon ticks them, on a real MLflow and a real ledger."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fraud_retraining.adapters.ledger.chain_heads import HeadFile
from fraud_retraining.adapters.ledger.decisions import ReviewerDecision
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.definitions import build_definitions
from fraud_retraining.domain.release_messages.announcements import ReleaseNotice
from fraud_retraining.domain.releases.release import Decision
from fraud_retraining.domain.values.errors import DependencyUnreachable
from fraud_retraining.orchestration.names import (
    CHAMPION_SENSOR,
    RELEASES_SENSOR,
)
from fraud_retraining.settings import Settings
from fraud_retraining_tests.support.approvals_fixture import Backend, touched
from fraud_retraining_tests.support.ledgers import ANYBODY, person
from fraud_retraining_tests.support.tampering import run_sql


class Heard:
    """Somebody who hears every notice."""

    def __init__(self) -> None:
        self.notices: list[ReleaseNotice] = []

    def notify(self, notice: ReleaseNotice) -> None:
        self.notices.append(notice)


def tick(backend: Backend, sensor: str, heard: Heard, cursor: str | None = None, **other: Any) -> Any:
    repository = build_definitions(Settings()).get_repository_def()
    resources = {"ledger": backend.ledger, "registry": backend.registry, **other}
    if sensor == CHAMPION_SENSOR:
        resources.setdefault("heads", HeadFile(Path(backend.ledger._url.removeprefix("sqlite:///")).with_name("heads")))
    else:
        resources["release_notifier"] = heard
    with dg.build_sensor_context(
        instance=dg.DagsterInstance.ephemeral(), repository_def=repository, cursor=cursor, resources=resources
    ) as context:
        return repository.get_sensor_def(sensor).evaluate_tick(context)


def test_both_look_every_half_minute_and_run_by_themselves_but_in_development() -> None:
    for environment, status in (("production", "RUNNING"), ("development", "STOPPED")):
        repository = build_definitions(Settings(environment=environment)).get_repository_def()
        for name in (RELEASES_SENSOR, CHAMPION_SENSOR):
            sensor = repository.get_sensor_def(name)
            assert sensor.minimum_interval_seconds == 30
            assert sensor.default_status.name == status


def test_what_happened_is_reported_once_and_the_cursor_goes_on(backend: Backend) -> None:
    heard = Heard()
    cursor = tick(backend, RELEASES_SENSOR, heard).cursor
    backend.champion(0)
    backend.waiting(1, hours=1e-7)
    first = tick(backend, RELEASES_SENSOR, heard, cursor)
    assert [notice.kind for notice in heard.notices] == ["promoted", "smoke_test_passed", "waiting", "expired"]
    tick(backend, RELEASES_SENSOR, heard, first.cursor)
    assert len(heard.notices) == 4


def test_a_tick_that_could_not_notify_notifies_again(backend: Backend) -> None:
    class Deaf(Heard):
        def notify(self, notice: ReleaseNotice) -> None:
            raise DependencyUnreachable("the outbox is full")

    backend.waiting(0)
    with pytest.raises(DependencyUnreachable):
        tick(backend, RELEASES_SENSOR, Deaf(), "0")
    heard = Heard()
    tick(backend, RELEASES_SENSOR, heard, "0")
    assert [notice.kind for notice in heard.notices] == ["waiting"]


def test_an_interrupted_approval_is_finished_and_a_damaged_champion_found(backend: Backend) -> None:
    heard = Heard()
    version = backend.waiting(0).version
    backend.ledger.record_decision(version, ReviewerDecision(Decision.APPROVE, person("alice"), "cli"), ANYBODY)
    result = tick(backend, CHAMPION_SENSOR, heard)
    assert (backend.serving(), result.skip_message) == (version, f"version {version} is promoted")
    with touched(backend.trained.folders[0]) as folder:
        (folder / "MLmodel").unlink()
        tick(backend, CHAMPION_SENSOR, heard)
    tick(backend, RELEASES_SENSOR, heard)
    assert heard.notices[-1].kind == "artifact_damaged"


def test_a_promotion_under_way_is_waited_for_by_the_next_tick(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Ledger.promotion_lock
    monkeypatch.setattr(Ledger, "promotion_lock", lambda self: lock(self, wait=0.2))
    with lock(backend.ledger):
        result = tick(backend, CHAMPION_SENSOR, Heard())
    assert "another process has held" in result.skip_message


def test_a_changed_record_is_reported_and_stops_both_sensors_without_failing_a_tick(backend: Backend) -> None:
    heard = Heard()
    backend.champion(0)
    cursor = tick(backend, RELEASES_SENSOR, heard).cursor
    run_sql(backend.ledger._url, "UPDATE releases SET state = 'withdrawn'")
    assert "record of decisions was changed" in tick(backend, CHAMPION_SENSOR, heard).skip_message
    tick(backend, CHAMPION_SENSOR, heard)
    reported = tick(backend, RELEASES_SENSOR, heard, cursor)
    assert "record of decisions was changed" in reported.skip_message
    assert [notice.kind for notice in heard.notices[-2:]] == ["record_altered", "promotion_paused"]
    notice = heard.notices[-2]
    assert notice.severity == "critical" and "version 1: state differ" in notice.text and "restore" in notice.remedy
    count = len(heard.notices)
    tick(backend, RELEASES_SENSOR, heard, reported.cursor)
    assert len(heard.notices) == count and backend.serving() == 1
    backend.approvals.restore_releases(person("alice"), "the row was edited by hand", channel="cli")
    assert backend.ledger.verify().ok and backend.ledger.champion().version == 1


def test_the_champions_sensor_keeps_the_head_outside_of_the_database(backend: Backend, tmp_path: Path) -> None:
    heads = HeadFile(tmp_path / "elsewhere" / "heads")
    backend.champion(0)
    tick(backend, CHAMPION_SENSOR, Heard(), heads=heads)
    assert heads.heads() == [backend.ledger.head()]
    assert backend.ledger.head() in backend.registry.pinned_heads()


def test_mlflow_down_fails_the_tick_of_the_champion_and_no_deadline(backend: Backend) -> None:
    release = backend.waiting(0, hours=1e-7)
    nowhere = backend.trained.__class__("http://127.0.0.1:9", "x", [], []).registry("x", timeout_seconds=4)
    with pytest.raises(DependencyUnreachable):
        tick(backend, CHAMPION_SENSOR, Heard(), registry=nowhere)
    tick(backend, RELEASES_SENSOR, Heard(), registry=nowhere)
    assert backend.states()[release.version] == "expired"
