"""What schedules and sensors do, on a real lake, store, ledger and instance; runs are carried out in process."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fraud_retraining.definitions import build_definitions
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.retraining.triggers.values import Trigger
from fraud_retraining.domain.values.errors import IntegrityError, RecordAltered
from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.names import (
    AS_OF_TAG,
    DRIFT_TAG,
    INGEST,
    INGEST_SENSOR,
    INPUTS_TAG,
    MONITOR,
    MONITORING_SENSOR,
    RANGE_END,
    RANGE_START,
    REASON_TAG,
    RETRAIN,
    RETRAIN_SCHEDULE,
    RETRAIN_SENSOR,
    TRIGGER_TAG,
)
from fraud_retraining.orchestration.resources import open_lake, open_ledger, open_outbox, open_registry, open_store
from fraud_retraining.orchestration.runs.failed_runs import fail_dead
from fraud_retraining.orchestration.runs.resource_definitions import open_outcomes
from fraud_retraining.orchestration.sensors import next_runs
from fraud_retraining.orchestration.sensors.next_runs import ingest_next, models_by_days
from fraud_retraining.orchestration.state.inventory import DAY_ASSETS, Inventory
from fraud_retraining.orchestration.state.readiness import Readiness, days_behind, days_of_window
from fraud_retraining.orchestration.state.sources import Sources
from fraud_retraining.orchestration.state.trigger_inputs import candidate_as_of_days, last_as_of, paused
from fraud_retraining.settings import Settings, load_settings
from fraud_retraining.simulation import SimulationPolicy, Simulator
from fraud_retraining_tests.support.project_homes import AS_OF, DAYS, SMALL, START, ProjectHome

END = START + timedelta(days=DAYS - 1)


class Automation:
    """The schedules and sensors of a project, ticked by hand; requested runs are run at once."""

    def __init__(self) -> None:
        self.settings: Settings = load_settings()
        self.definitions = build_definitions(self.settings)
        self.repository = self.definitions.get_repository_def()
        self.instance = open_instance()

    def tick(self, sensor: str) -> dg.RunRequest | str:
        """The run that a sensor requests, or its skip reason."""
        context = dg.build_sensor_context(
            instance=self.instance, repository_def=self.repository, resources=self._resources()
        )
        with context:
            return self._answer(self.repository.get_sensor_def(sensor).evaluate_tick(context))

    def tick_schedule(self, schedule: str, at: datetime) -> dg.RunRequest | str:
        context = dg.build_schedule_context(
            instance=self.instance,
            scheduled_execution_time=at,
            repository_def=self.repository,
            resources=self._resources(),
        )
        with context:
            return self._answer(self.repository.get_schedule_def(schedule).evaluate_tick(context))

    def run(self, job: str, request: dg.RunRequest) -> bool:
        """Carries the request out; whether it succeeded."""
        result = self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=request.partition_key,
            tags={**request.tags, "dagster/sensor_name": "a test"},
            asset_selection=list(request.asset_selection) if request.asset_selection else None,
            raise_on_error=False,
        )
        return result.success

    def ingest_all(self) -> list[tuple[date, date, bool]]:
        """Ticks and runs until there is nothing left to ingest: first and last day of each run, and its success."""
        done = []
        while isinstance(request := self.tick(INGEST_SENSOR), dg.RunRequest):
            days = (date.fromisoformat(request.tags[RANGE_START]), date.fromisoformat(request.tags[RANGE_END]))
            done.append((*days, self.run(INGEST, request)))
            assert len(done) < 20, f"it never ends: {done}"
        return done

    def _resources(self) -> dict[str, Any]:
        opened = {"settings": self.settings, "lake": open_lake(self.settings), "store": open_store(self.settings)}
        return {**opened, "ledger": open_ledger(self.settings), "outcomes": open_outcomes(self.settings)}

    def _answer(self, data: Any) -> dg.RunRequest | str:
        if data.run_requests:
            (request,) = data.run_requests
            return request
        return data.skip_message


@pytest.fixture
def automation(project: ProjectHome) -> Iterator[Automation]:
    ticking = Automation()
    yield ticking
    ticking.instance.dispose()


@pytest.fixture(scope="session")
def ingested_home(tmp_path_factory: pytest.TempPathFactory, small_lake: Path) -> Path:
    """The store of a project whose whole lake was ingested through the sensor."""
    with pytest.MonkeyPatch.context() as patch:
        from fraud_retraining_tests.support.project_homes import use_home

        fresh = ProjectHome(tmp_path_factory.mktemp("ingested"))
        shutil.copytree(small_lake, fresh.lake)
        fresh.configure()
        use_home(fresh, patch)
        ticking = Automation()
        assert all(ok for _, _, ok in ticking.ingest_all())
        ticking.instance.dispose()
        return fresh.folder


@pytest.fixture
def ready(ingested_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Automation]:
    """A fresh copy of a project whose whole lake was ingested."""
    from fraud_retraining_tests.support.project_homes import use_home

    fresh = ProjectHome(tmp_path / "ready")
    shutil.copytree(ingested_home, fresh.folder)
    fresh.configure()
    use_home(fresh, monkeypatch)
    ticking = Automation()
    yield ticking
    ticking.instance.dispose()


def touch(project_folder: Path, day: date) -> None:
    """Delivers a day again, one row of it changed."""
    import pyarrow as pa

    project = ProjectHome(project_folder)
    table = project.read_day(day)
    amounts = table["TX_AMOUNT"].to_pylist()
    amounts[0] += 1.0
    project.write_day(day, table.set_column(table.column_names.index("TX_AMOUNT"), "TX_AMOUNT", pa.array(amounts)))


# ------------------------------------------------------------------ ingest


@pytest.mark.slow
def test_a_fresh_lake_is_ingested_oldest_first_and_then_there_is_nothing_to_do(automation: Automation) -> None:
    done = automation.ingest_all()
    assert all(ok for _, _, ok in done)
    assert [first for first, _, _ in done] == sorted(first for first, _, _ in done) or len(done) == 2
    assert automation.tick(INGEST_SENSOR) == f"every day up to {END} is ingested as the lake has it"
    store = open_store(automation.settings)
    assert END in store.partitions("transaction_features", [END])


def test_a_lake_that_is_not_there_is_said_so(project: ProjectHome) -> None:
    shutil.rmtree(project.lake)
    automation = Automation()
    assert "there is no lake at" in str(automation.tick(INGEST_SENSOR))
    assert "there is no lake at" in str(automation.tick(RETRAIN_SENSOR))


@pytest.mark.slow
def test_a_day_that_was_delivered_again_is_ingested_again_with_what_looks_back_on_it(ready: Automation) -> None:
    day = END - timedelta(days=1)
    touch(Path(ready.settings.lake_uri).parent, day)
    request = ready.tick(INGEST_SENSOR)
    assert isinstance(request, dg.RunRequest)
    assert (request.tags[RANGE_START], request.tags[RANGE_END]) == (str(day), str(day))
    assert all(ok for _, _, ok in ready.ingest_all())


def test_a_day_that_cannot_be_read_is_tried_once_and_stops_no_other_day(ready: Automation) -> None:
    project = ProjectHome(Path(ready.settings.lake_uri).parent)
    bad, good = END + timedelta(days=1), END + timedelta(days=2)
    project.write_day(good, project.read_day(END))
    project.day_file(bad).parent.mkdir(parents=True)
    project.day_file(bad).write_bytes(b"no parquet")
    table = project.read_day(END)
    column = table["TX_DATETIME"]
    import pyarrow as pa

    later = pa.array([at + timedelta(days=2) for at in column.to_pylist()], column.type)
    project.write_day(good, table.set_column(table.column_names.index("TX_DATETIME"), "TX_DATETIME", later))
    done = ready.ingest_all()
    assert [ok for _, _, ok in done].count(False) == 1
    assert good in open_store(ready.settings).partitions("transactions", [good])
    reported = ready.tick(INGEST_SENSOR)
    assert f"{bad} stays refused until it is delivered again: " in str(reported)
    assert "corrupt Parquet" in str(reported)


def test_a_day_that_failed_its_checks_is_not_checked_again_until_the_rules_or_the_day_change(
    ready: Automation,
) -> None:
    project = ProjectHome(Path(ready.settings.lake_uri).parent)
    day = END
    project.write_day(day, project.read_day(day).slice(0, 50))
    assert False in [ok for _, _, ok in ready.ingest_all()]
    assert f"{day} stays refused" in str(ready.tick(INGEST_SENSOR))
    project.configure(validation={"min_row_count_ratio": 0})
    lenient = Automation()
    assert isinstance(lenient.tick(INGEST_SENSOR), dg.RunRequest)
    assert all(ok for _, _, ok in lenient.ingest_all())


def test_odd_folders_are_reported_once_and_stop_no_day(ready: Automation) -> None:
    lake = Path(ready.settings.lake_uri)
    for odd in ("month=02/day=__HIVE_DEFAULT_PARTITION__", "month=13/day=01"):
        (lake / "year=2024" / odd).mkdir(parents=True)
        shutil.copy(ProjectHome(lake.parent).day_file(END), lake / "year=2024" / odd / "x.parquet")
    for _ in range(2):
        assert ready.tick(INGEST_SENSOR) == f"every day up to {END} is ingested as the lake has it"
    (reported,) = open_outbox(ready.settings).open_notices()
    assert reported.notice.audience == "data" and reported.seen == 1
    assert [line.split(" ")[0] for line in reported.notice.why] == [
        "year=2024/month=02/day=__HIVE_DEFAULT_PARTITION__",
        "year=2024/month=13/day=01",
    ]
    assert isinstance(ready.tick(RETRAIN_SENSOR), dg.RunRequest)
    shutil.rmtree(lake / "year=2024/month=13")
    ready.tick(INGEST_SENSOR)
    (reported,) = open_outbox(ready.settings).open_notices()
    assert len(reported.notice.why) == 1
    shutil.rmtree(lake / "year=2024/month=02/day=__HIVE_DEFAULT_PARTITION__")
    ready.tick(INGEST_SENSOR)
    assert open_outbox(ready.settings).open_notices() == []


UNREADABLE = {
    "truncated": b'{"asset": "transac',
    "of another version": b'{"results": "three"}',
    "not a number": b'{"digest": "d", "rules": "r", "results": [{"numbers": {"mean": NaN}}]}',
    "empty": b"",
    "no text": bytes(range(256)),
}


def test_what_the_store_cannot_read_back_of_a_day_is_made_again(ready: Automation) -> None:
    store, day = Path(ready.settings.store_uri), f"day={END}"
    record = store / "transactions" / day / "_partition.json"
    before = record.read_bytes()
    record.write_bytes(UNREADABLE["truncated"])
    (store / "entity_days" / day / "_partition.json").write_bytes(UNREADABLE["of another version"])
    (store / "transaction_features" / day / "_partition.json").write_bytes(UNREADABLE["no text"])
    (store / "transactions" / day / "checks.json").write_bytes(UNREADABLE["not a number"])
    (store / "transactions" / day / "refused.json").write_bytes(UNREADABLE["empty"])
    assert isinstance(ready.tick(MONITORING_SENSOR), str)
    assert isinstance(ready.tick(RETRAIN_SENSOR), str | dg.RunRequest)
    assert [ok for _, _, ok in ready.ingest_all()] == [True]
    assert ready.tick(INGEST_SENSOR) == f"every day up to {END} is ingested as the lake has it"
    assert record.read_bytes() == before


LOST: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "cut": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "other bytes": lambda file: file.write_bytes(bytes(file.stat().st_size)),
}


@pytest.mark.parametrize("damage", LOST.values(), ids=LOST)
def test_a_file_that_the_store_has_lost_is_made_again_by_the_next_ingest(
    ready: Automation, damage: Callable[[Path], object]
) -> None:
    store, root = open_store(ready.settings), Path(ready.settings.store_uri)
    lost = {asset: store.partitions(asset, [END])[END] for asset in DAY_ASSETS}
    for record in lost.values():
        for name, file in record.files.items():
            damage(root / file.path)
            with pytest.raises(IntegrityError, match=f"Ingest {END} again"):
                open_store(ready.settings).paths([record], name)
    assert [ok for _, _, ok in ready.ingest_all()] == [True]
    assert ready.tick(INGEST_SENSOR) == f"every day up to {END} is ingested as the lake has it"
    for record in lost.values():
        for name in record.files:
            assert len(open_store(ready.settings).paths([record], name)) == 1


@pytest.mark.parametrize("document", UNREADABLE.values(), ids=UNREADABLE)
def test_no_document_beside_a_day_stops_what_looks_at_it(ready: Automation, document: bytes) -> None:
    folder = Path(ready.settings.store_uri) / "transactions" / f"day={END}"
    for name in ("checks", "refused"):
        (folder / f"{name}.json").write_bytes(document)
    inventory = Inventory(open_store(ready.settings), ready.settings, [END])
    assert inventory.report(END) is None
    assert inventory.refusal(END, open_lake(ready.settings).days()[END]) is None


def test_while_an_ingest_is_queued_no_second_one_is_requested(automation: Automation) -> None:
    automation.instance.create_run_for_job(
        automation.definitions.resolve_job_def(INGEST), status=dg.DagsterRunStatus.STARTED
    )
    assert "an ingest is under way" in str(automation.tick(INGEST_SENSOR))


def test_what_failed_for_another_reason_is_tried_again_with_growing_pauses(automation: Automation) -> None:
    request = automation.tick(INGEST_SENSOR)
    assert isinstance(request, dg.RunRequest)
    job = automation.definitions.resolve_job_def(INGEST)
    automation.instance.create_run_for_job(job, status=dg.DagsterRunStatus.FAILURE, tags=dict(request.tags))
    reported = automation.tick(INGEST_SENSOR)
    assert "failed 1 times as they are now; the next try is at" in str(reported)
    assert request.run_key == f"{request.tags[INPUTS_TAG]}:0"


@pytest.mark.slow
def test_a_machine_too_slow_for_the_days_that_arrive_still_comes_to_a_retrain(
    project: ProjectHome, small_lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day arrives with every run of the ingest, so that there is always one that has not been ingested."""
    waiting = [START + timedelta(days=n) for n in range(19, DAYS)]
    for day in waiting:
        shutil.rmtree(project.day_file(day).parent)
    slow = Automation()
    done = []
    for day in waiting:
        request = slow.tick(INGEST_SENSOR)
        assert isinstance(request, dg.RunRequest)
        shutil.copytree(
            (small_lake / project.day_file(day).relative_to(project.lake)).parent, project.day_file(day).parent
        )
        assert slow.run(INGEST, request)
        done.append((request.tags[RANGE_END], [key.to_user_string() for key in request.asset_selection or ()]))
        requested = slow.tick(RETRAIN_SENSOR)
        if isinstance(requested, dg.RunRequest):
            break
    assert isinstance(requested, dg.RunRequest), f"{requested} after {done}"
    assert date.fromisoformat(requested.partition_key or "") < day, "the retrain does not wait for the newest day"
    assert len(done) <= 3
    slow.instance.dispose()


# ------------------------------------------------------------------ retrain


def test_the_sensor_retrains_once_its_days_are_ready_and_then_waits_for_the_grid(ready: Automation) -> None:
    request = ready.tick(RETRAIN_SENSOR)
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == str(END)
    assert request.tags[TRIGGER_TAG] == "schedule"
    assert ready.run(RETRAIN, request)
    ledger = open_ledger(ready.settings)
    assert last_as_of(ledger) == END
    requested = ledger.last(EventKind.RETRAIN_REQUESTED)
    assert requested is not None
    assert (requested.actor, requested.as_of, requested.payload["inputs"]) == (
        "automation",
        END,
        request.tags[INPUTS_TAG],
    )
    runs = ready.instance.get_runs(dg.RunsFilter(job_name=RETRAIN))
    assert {"trigger", "as_of", "fingerprint"} <= set(runs[0].tags)
    reported = str(ready.tick(RETRAIN_SENSOR))
    assert (
        f"a retrain as of {END + timedelta(days=2)} is due, but {END + timedelta(days=2)} has not arrived" in reported
    )


def test_the_schedule_retrains_at_its_hour_and_says_otherwise_when_it_will(ready: Automation) -> None:
    at = datetime.combine(END + timedelta(days=1), datetime.min.time(), UTC) + timedelta(hours=2)
    request = ready.tick_schedule(RETRAIN_SCHEDULE, at)
    assert isinstance(request, dg.RunRequest)
    assert ready.run(RETRAIN, request)
    next_night = ready.tick_schedule(RETRAIN_SCHEDULE, at + timedelta(days=1))
    assert f"as of {END + timedelta(days=2)}, is due {END + timedelta(days=3)} 02:00 UTC" in str(next_night)


def test_an_as_of_day_whose_days_are_not_ingested_waits(project: ProjectHome) -> None:
    reported = str(Automation().tick(RETRAIN_SENSOR))
    assert "no model has been trained yet, and" in reported
    assert "still have to be ingested" in reported


def test_a_retrain_that_waits_in_the_queue_keeps_others_away(ready: Automation) -> None:
    ready.instance.create_run_for_job(
        ready.definitions.resolve_job_def(RETRAIN),
        status=dg.DagsterRunStatus.STARTED,
        tags={AS_OF_TAG: str(AS_OF)},
    )
    assert f"a retrain as of {AS_OF} is under way" in str(ready.tick(RETRAIN_SENSOR))


def test_two_failures_with_one_cause_pause_automation_and_new_input_resumes_it(ready: Automation) -> None:
    project = ProjectHome(Path(ready.settings.lake_uri).parent)
    project.configure(validation={"min_rows": 10_000_000}, triggers={"retry_minutes": 0})
    strict = Automation()
    ledger = open_ledger(strict.settings)
    keys = []
    for _ in range(2):
        request = strict.tick(RETRAIN_SENSOR)
        assert isinstance(request, dg.RunRequest), request
        keys.append(request.run_key)
        assert not strict.run(RETRAIN, request)
    assert len(set(keys)) == 2, "a run key is for ever"
    assert "automation is paused" in str(strict.tick(RETRAIN_SENSOR))
    assert "goes on with new input or `fraud-retraining resume`" in str(strict.tick(RETRAIN_SENSOR))
    assert len(list(ledger.events(EventKind.AUTOMATION_PAUSED))) == 1, "it says so once"
    project.configure(triggers={"retry_minutes": 0})
    mended = Automation()
    assert isinstance(mended.tick(RETRAIN_SENSOR), dg.RunRequest)
    assert paused(ledger) is None
    assert ledger.last(EventKind.AUTOMATION_RESUMED) is not None


@pytest.mark.slow
def test_a_retrain_that_died_before_it_came_to_an_answer_is_requested_again(ready: Automation) -> None:
    request = ready.tick(RETRAIN_SENSOR)
    assert isinstance(request, dg.RunRequest)
    ready.definitions.resolve_job_def(RETRAIN).execute_in_process(
        instance=ready.instance,
        partition_key=request.partition_key,
        tags=dict(request.tags),
        asset_selection=[dg.AssetKey("training_window"), dg.AssetKey("fraud_model")],
    )
    again = ready.tick(RETRAIN_SENSOR)
    assert isinstance(again, dg.RunRequest)
    assert (again.partition_key, again.run_key == request.run_key) == (request.partition_key, False)
    assert ready.run(RETRAIN, again)
    assert len(open_registry(ready.settings).versions_of(open_ledger(ready.settings).releases()[0].fingerprint)) == 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("trigger", list(Trigger))
def test_a_retrain_that_was_killed_begins_again_with_its_window_though_a_day_has_arrived(
    ready: Automation, trigger: Trigger
) -> None:
    project = ProjectHome(Path(ready.settings.lake_uri).parent)
    project.configure(triggers={"retry_minutes": 0})
    module = "fraud_retraining_tests.support.retrainers"
    died = subprocess.run([sys.executable, "-m", module, "killed", str(END), trigger], capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr[-3000:]
    again = Automation()
    assert "was failed" in fail_dead(again.instance, open_outcomes(again.settings))
    newest = END + timedelta(days=1)
    lake = SimulationPolicy(start=START, days=DAYS + 1, transactions_per_day=2000, seed=11, fraud_rate=0.02)
    project.write_day(newest, Simulator(lake).table(newest))
    assert all(ok for _, _, ok in again.ingest_all())
    request = again.tick(RETRAIN_SENSOR)
    assert isinstance(request, dg.RunRequest), request
    assert (request.partition_key, request.tags[TRIGGER_TAG]) == (str(END), trigger)
    assert f"again as of {END}, as the last try ended with worker_died" in request.tags[REASON_TAG]
    assert (DRIFT_TAG in request.tags) is (trigger is Trigger.DRIFT)
    again.instance.dispose()


# ------------------------------------------------------------------ monitor


@pytest.mark.slow
def test_the_days_that_the_champion_serves_are_watched_and_the_decision_knows_of_them(ready: Automation) -> None:
    ProjectHome(Path(ready.settings.lake_uri).parent).configure(promotion={"mode": "auto"})
    watching = Automation()
    assert watching.tick(MONITORING_SENSOR) == "there is no champion yet whose days could be watched"
    request = watching.tick(RETRAIN_SENSOR)
    assert isinstance(request, dg.RunRequest)
    assert watching.run(RETRAIN, request)
    runs = 0
    while isinstance(request := watching.tick(MONITORING_SENSOR), dg.RunRequest):
        assert watching.run(MONITOR, request)
        runs += 1
        assert runs < 5, "it never ends"
    assert str(request).startswith(f"every ingested day up to {END} is watched")
    reported = str(watching.tick(RETRAIN_SENSOR))
    assert f"of the last 3 days to {END} over 0.2" in reported


# ------------------------------------------------------------------ what is on where


@pytest.mark.parametrize(("environment", "running"), [("development", False), ("staging", True), ("production", True)])
def test_schedules_and_sensors_start_switched_on_except_in_development(environment: str, running: bool) -> None:
    repository = build_definitions(Settings(environment=environment)).get_repository_def()
    declared = [*repository.sensor_defs, *repository.schedule_defs]
    assert {one.default_status.value == "RUNNING" for one in declared} == {running}


def test_the_lake_is_only_read(ready: Automation) -> None:
    assert open_lake(ready.settings).days()


# Several models


def several(folder: Path, lake: Path, *days: int) -> Sources:
    """The sources of what models with windows of so many days share."""
    entries = [{"name": f"m{number}", "window": {"days": one}} for number, one in enumerate(days)]
    places = {"lake": {"uri": str(lake)}, "store": {"uri": str(folder / "store")}}
    ledger = {"url": f"sqlite:///{folder}/ledger.db", "heads": str(folder / "heads")}
    settings = Settings.model_validate({**SMALL, **places, "ledger": ledger, "models": entries})
    return Sources(settings, open_lake(settings), open_store(settings), open_ledger(settings))


def test_models_with_the_same_days_are_looked_at_together_each_with_its_own_record(tmp_path: Path) -> None:
    groups = models_by_days(several(tmp_path, tmp_path / "lake", 30, 10, 30))
    assert [[one.settings.segment for one in alike] for alike in groups] == [["m0", "m2"], ["m1"]]
    assert [one.ledger.model for alike in groups for one in alike] == ["m0", "m2", "m1"]


def test_days_that_only_one_models_window_needs_are_ingested_though_another_fails(
    tmp_path: Path, small_lake: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(tmp_path))
    sources = several(tmp_path, small_lake, 3, 12)
    first = [days_behind(one, days_of_window(one, END).needed)[0].isoformat() for one in sources.settings.each_model()]
    with dg.DagsterInstance.ephemeral() as instance:
        found = ingest_next(sources, instance, datetime.now(UTC))
        assert isinstance(found, dg.RunRequest)
        # Of the first model that needs days; those of the other are its next work.
        assert found.tags[RANGE_START] == first[0] > first[1]
        altered = RecordAltered("the record was changed", culprits=["row 1"])
        for error in (altered, IntegrityError("an answer cannot be read")):
            monkeypatch.setattr(next_runs, "candidate_as_of_days", failing_with(error, "m0"))
            other = ingest_next(sources, instance, datetime.now(UTC))
            assert isinstance(other, dg.RunRequest)
            assert other.tags[RANGE_START] == first[1]
        small, large = (open_ledger(one) for one in sources.settings.each_model())
        assert paused(small) is not None and paused(large) is None, "an altered record stops the model"
        monkeypatch.setattr(next_runs, "candidate_as_of_days", failing_with(IntegrityError("lost"), "m0", "m1"))
        with pytest.raises(IntegrityError, match="lost"):
            ingest_next(sources, instance, datetime.now(UTC))


def failing_with(error: Exception, *names: str) -> Callable[..., list[date]]:
    def days(sources: Sources, readiness: Readiness, now: datetime) -> list[date]:
        if sources.settings.segment in names:
            raise error
        return candidate_as_of_days(sources, readiness, now)

    return days
