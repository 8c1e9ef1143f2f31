"""A failed run is recorded once, by hook, sensor or command line; a run that passed resolves its notices."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fraud_retraining.adapters.alerts.outbox import Outbox
from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.domain.alerts.failures import RetryPolicy
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.values.errors import (
    BudgetExceeded,
    Busy,
    Conflict,
    DataInvalid,
    DependencyUnreachable,
    GateFailed,
    IntegrityError,
    SettingsError,
)
from fraud_retraining.orchestration.resources import open_ledger, open_notifier, open_outbox
from fraud_retraining.orchestration.runs.failed_runs import looked_until, notify_unreported
from fraud_retraining.orchestration.runs.outcomes import HOOKS, EndedRun, Outcomes
from fraud_retraining.orchestration.runs.resource_definitions import build_resources, open_outcomes
from fraud_retraining.orchestration.runs.step_retries import retried
from fraud_retraining.orchestration.sensors.next_runs import resume
from fraud_retraining.orchestration.state.trigger_inputs import RETRAINING
from fraud_retraining.services.delivery import drain
from fraud_retraining.settings import Settings, load_settings
from fraud_retraining_tests.support.project_homes import ProjectHome, use_home

AS_OF = "2024-02-23"
DAYS = dg.DailyPartitionsDefinition("2024-02-01", end_date="2024-03-01")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
ALWAYS = datetime(2020, 1, 1, tzinfo=UTC)


class Runs:
    """Jobs called `retrain` and `ingest`, with the real hooks and resources, whose steps fail as a test says."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.instance = dg.DagsterInstance.ephemeral()
        self.error: BaseException | None = None
        self.open_at_last_step: list[int] = []
        self.resources = build_resources(settings)

    @property
    def outcomes(self) -> Outcomes:
        return open_outcomes(self.settings)

    @property
    def outbox(self) -> Outbox:
        return open_outbox(self.settings)

    def run(self, job: str = "retrain", *, tags: dict[str, str] | None = None, raising: bool = False) -> Any:
        @dg.asset(name="training_window" if job == "retrain" else "transactions", partitions_def=DAYS)
        @retried
        def work(context: dg.AssetExecutionContext, settings: dg.ResourceParam[Settings]) -> None:
            if self.error is not None:
                raise self.error

        @dg.asset(deps=[work], partitions_def=DAYS)
        def later() -> None:
            self.open_at_last_step.append(len(self.outbox.open_notices()))

        chosen = dg.define_asset_job(job, selection="*", hooks=HOOKS, executor_def=dg.in_process_executor)
        definitions = dg.Definitions(assets=[work, later], jobs=[chosen], resources=self.resources)
        return definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            partition_key=None if tags else AS_OF,
            tags=tags,
            run_config=QUIET,
            raise_on_error=raising,
        )

    def events(self, kind: EventKind | None = None) -> list[Any]:
        return list(open_ledger(self.settings).events(kind))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    project = ProjectHome(tmp_path)
    project.configure()
    use_home(project, monkeypatch)
    return load_settings().model_copy(update={"retries": RetryPolicy(delay_seconds=0)})


@pytest.fixture
def runs(settings: Settings) -> Runs:
    return Runs(settings)


ERRORS: dict[str, tuple[BaseException, str, str, str]] = {
    "data": (DataInvalid("no rows", culprits=["2024-02-10"]), "data_validation", "high", "DataInvalid"),
    "gates": (GateFailed("worse"), "gate_failed", "medium", "GateFailed"),
    "budget": (BudgetExceeded("too long"), "budget_exceeded", "critical", "BudgetExceeded"),
    "dependency": (DependencyUnreachable("MLflow"), "dependency", "critical", "DependencyUnreachable"),
    "integrity": (IntegrityError("another digest"), "integrity", "critical", "IntegrityError"),
    "conflict": (Conflict("decided before"), "conflict", "medium", "Conflict"),
    "settings": (SettingsError("no window"), "settings", "critical", "SettingsError"),
    "bug": (KeyError("column"), "unexpected", "critical", "KeyError"),
    "memory": (MemoryError(), "out_of_resources", "critical", "MemoryError"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_a_failed_retrain_is_in_the_ledger_and_reported(case: str, runs: Runs) -> None:
    runs.error, category, severity, kind = ERRORS[case]
    done = runs.run(tags={"dagster/partition": AS_OF, "trigger": "drift+schedule"})
    assert not done.success
    (event,) = runs.events(EventKind.RETRAIN_FAILED)
    assert (event.subject, event.as_of) == (done.run_id, date.fromisoformat(AS_OF))
    found = {
        name: event.payload[name] for name in ("trigger", "kind", "category", "severity", "cause", "dagster_run_id")
    }
    assert found == {
        "trigger": "drift+schedule",
        "kind": kind,
        "category": category,
        "severity": severity,
        "cause": f"{category}:as-of {AS_OF}",
        "dagster_run_id": done.run_id,
    }
    (known,) = runs.outbox.open_notices()
    assert (known.notice.key, known.notice.severity, known.seen) == (event.payload["cause"], severity, 1)
    assert ("Window", "2024-02-10 to 2024-02-17, holdout 2024-02-18 to 2024-02-21") in known.notice.facts
    assert known.notice.serving == "nothing: there is no champion yet"


def test_a_failed_ingest_names_its_days(runs: Runs) -> None:
    bad = date(2024, 2, 4)
    runs.error = DataInvalid("refused", days=[bad])
    tags = {
        "dagster/asset_partition_range_start": "2024-02-03",
        "dagster/asset_partition_range_end": "2024-02-05",
    }
    runs.run("ingest", tags=tags)
    (event,) = runs.events(EventKind.INGEST_FAILED)
    assert event.payload["cause"] == "data_validation:day 2024-02-04"
    assert runs.outbox.open_notices()[0].notice.days == (bad,)
    runs.error = None
    runs.run("ingest", tags={**tags, "dagster/asset_partition_range_end": "2024-02-03"})
    assert runs.outbox.open_notices()
    runs.run("ingest", tags=tags)
    assert runs.outbox.open_notices() == []


def test_a_failure_to_watch_a_day_is_not_one_to_ingest_it(runs: Runs) -> None:
    runs.error = DependencyUnreachable("MLflow does not answer")
    for job in ("ingest", "monitor"):
        runs.run(job, tags={"dagster/partition": "2024-02-04"})
    causes = [event.payload["cause"] for event in runs.events() if event.kind.endswith("_failed")]
    assert causes == ["dependency:day 2024-02-04", "dependency:monitored day 2024-02-04"]
    assert [event.kind for event in runs.events(EventKind.MONITORING_FAILED)] == ["monitoring_failed"]
    runs.error = None
    runs.run("monitor", tags={"dagster/partition": "2024-02-04"})
    assert [known.notice.job for known in runs.outbox.open_notices()] == ["ingest"]


def test_a_run_is_reported_once_by_hook_sensor_and_command_line_together(runs: Runs) -> None:
    runs.error = KeyError("bug")
    done = runs.run()
    run = runs.instance.get_run_by_id(done.run_id)
    assert run is not None
    ended = EndedRun.of(run)
    assert ended is not None
    runs.outcomes.failed(ended, runs.error)
    assert notify_unreported(runs.instance, runs.outcomes, ALWAYS) == []
    assert len(runs.events(EventKind.RETRAIN_FAILED)) == 1
    assert runs.outbox.open_notices()[0].seen == 1


def test_a_failure_that_was_recorded_under_another_name_is_not_reported_again(runs: Runs) -> None:
    runs.error = DataInvalid("the day is empty")
    (failed,) = (runs.instance.get_run_by_id(runs.run("ingest").run_id),)
    ended = EndedRun.of(failed) if failed else None
    assert ended is not None
    several = Settings.model_validate({**runs.settings.model_dump(exclude_unset=True), "models": [{"name": "a"}]})
    assert open_outcomes(several).is_recorded(ended)
    assert not open_outcomes(several).is_recorded(replace(ended, run_id="another"))


def test_five_failures_are_one_alert_and_one_success_ends_it_after_its_last_step(runs: Runs) -> None:
    runs.error = KeyError("bug")
    for _ in range(5):
        runs.run()
    assert runs.outbox.open_notices()[0].seen == 5
    file = runs.settings.home / "alerts.jsonl"
    drain(runs.outbox, open_notifier(runs.settings), runs.settings.alerts)
    assert len(file.read_text().splitlines()) == 1
    runs.error = None
    assert runs.run().success
    assert runs.open_at_last_step == [1]
    drain(runs.outbox, open_notifier(runs.settings), runs.settings.alerts)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["action"] for line in lines] == ["open", "reply"]
    assert f"retrain as of {AS_OF} passed" in lines[1]["text"]
    kinds = [event.kind for event in runs.events()]
    assert (kinds.count("notice_opened"), kinds.count("notice_resolved")) == (1, 1)


def test_a_retrain_that_found_another_one_under_way_did_not_fail(runs: Runs) -> None:
    runs.error = Busy("another retrain is under way")
    runs.run()
    assert notify_unreported(runs.instance, runs.outcomes, ALWAYS) == []
    assert runs.events() == []
    assert runs.outbox.open_notices() == []


class TestRunsWithoutAnOutcome:
    def test_a_ledger_that_is_down_changes_no_fate_and_is_reported_later(self, runs: Runs) -> None:
        file = Path(runs.settings.ledger_url.removeprefix("sqlite:///"))
        file.mkdir(parents=True)
        runs.error = DataInvalid("no rows")
        done = runs.run()
        failures = [event.step_failure_data.error for event in done.all_events if event.is_step_failure]
        assert [error.cause.cls_name for error in failures] == ["DataInvalid"]
        assert any(event.event_type is dg.DagsterEventType.HOOK_ERRORED for event in done.all_events)
        with pytest.raises(DependencyUnreachable):
            notify_unreported(runs.instance, runs.outcomes, ALWAYS)
        file.rmdir()
        assert len(notify_unreported(runs.instance, runs.outcomes, ALWAYS)) == 1
        (event,) = runs.events(EventKind.RETRAIN_FAILED)
        assert (event.payload["kind"], event.payload["category"]) == ("DataInvalid", "data_validation")
        assert event.payload["what"].startswith("no rows")

    def test_a_run_whose_resources_could_not_be_made_is_reported_by_the_sensor(self, runs: Runs) -> None:
        def unreachable(_: Any) -> Any:
            raise DependencyUnreachable("MLflow does not answer")

        runs.resources = {**runs.resources, "worker": dg.ResourceDefinition(unreachable)}
        assert not runs.run().success
        assert runs.events() == []
        assert len(notify_unreported(runs.instance, runs.outcomes, ALWAYS)) == 1
        (event,) = runs.events(EventKind.RETRAIN_FAILED)
        assert event.payload["category"] == "dependency"
        assert event.payload["what"] == "MLflow does not answer"

    @pytest.mark.parametrize(
        ("words", "category"),
        [
            ("Exceeded maximum runtime of 14400 seconds.", "budget_exceeded"),
            ("Run timed out due to taking longer than 300 seconds to start.", "worker_died"),
            ("something else", "unexpected"),
        ],
    )
    def test_what_dagsters_monitoring_failed_is_reported_by_its_message(
        self, runs: Runs, words: str, category: str
    ) -> None:
        done = runs.run()
        run = runs.instance.get_run_by_id(done.run_id)
        assert run is not None
        runs.instance.report_run_failed(run, words)
        notify_unreported(runs.instance, runs.outcomes, ALWAYS)
        (event,) = runs.events(EventKind.RETRAIN_FAILED)
        assert (event.payload["category"], event.payload["what"]) == (category, words)

    def test_a_process_that_dagsters_code_server_found_dead_is_reported_by_the_message_before(self, runs: Runs) -> None:
        """It puts the reason into an event of its own, and fails the run without one."""
        done = runs.run()
        run = runs.instance.get_run_by_id(done.run_id)
        assert run is not None
        runs.instance.report_engine_event(f"Run execution process for {run.run_id} was terminated by signal 9", run)
        runs.instance.report_run_failed(run)
        notify_unreported(runs.instance, runs.outcomes, ALWAYS)
        (event,) = runs.events(EventKind.RETRAIN_FAILED)
        assert event.payload["category"] == "worker_died"
        assert event.payload["what"].endswith("terminated by signal 9")

    def test_runs_of_long_ago_and_of_other_jobs_are_left_alone(self, runs: Runs) -> None:
        @dg.op
        def fail() -> None:
            raise KeyError

        @dg.job
        def another() -> None:
            fail()

        another.execute_in_process(instance=runs.instance, raise_on_error=False, run_config=QUIET)
        assert notify_unreported(runs.instance, runs.outcomes, ALWAYS) == []
        assert notify_unreported(runs.instance, runs.outcomes, datetime.now(UTC) + timedelta(hours=1)) == []


def test_a_retrain_that_never_began_adds_to_no_alert_that_its_days_have_raised(runs: Runs) -> None:
    bad = date(2024, 2, 10)
    runs.error = DataInvalid("refused", days=[bad])
    runs.run("ingest", tags={"dagster/partition": str(bad)})
    retrain = EndedRun(job="retrain", run_id="never-begun", as_of=date.fromisoformat(AS_OF), channel="command line")
    runs.outcomes.refused(retrain, DataInvalid("days cannot be used", days=[bad]), reported=[bad])
    (event,) = runs.events(EventKind.RETRAIN_FAILED)
    assert event.payload["cause"] == "data_validation:day 2024-02-10"
    assert [known.seen for known in runs.outbox.open_notices()] == [1]
    runs.outcomes.refused(retrain.__class__(job="retrain", as_of=retrain.as_of), SettingsError("no window"))
    assert {known.notice.category for known in runs.outbox.open_notices()} == {"data_validation", "settings"}


@pytest.mark.parametrize(
    "ahead", [timedelta(0), timedelta(days=2)], ids=["a clock that is right", "one that was ahead"]
)
def test_no_failure_is_overlooked_because_the_clock_was_set_back(runs: Runs, ahead: timedelta) -> None:
    now = datetime.now(UTC)
    done = runs.run()
    run = runs.instance.get_run_by_id(done.run_id)
    assert run is not None
    runs.instance.report_run_failed(run, "something else")
    assert len(notify_unreported(runs.instance, runs.outcomes, looked_until((now + ahead).isoformat(), now))) == 1


def test_a_pause_is_reported_once_and_ended_by_resuming(runs: Runs) -> None:
    runs.outcomes.notify_pause()
    assert runs.outbox.open_notices() == []
    ledger = open_ledger(runs.settings)
    about = {"cause": "gate_failed:f00d", "inputs": "1", "reason": "twice"}
    ledger.append(EventKind.AUTOMATION_PAUSED, keys=EventKeys(subject=RETRAINING), actor="automation", payload=about)
    for _ in range(3):
        runs.outcomes.notify_pause()
    (known,) = runs.outbox.open_notices()
    assert (known.seen, known.notice.severity) == (1, "critical")
    assert "gate_failed:f00d" in known.notice.why[0]
    resume(ledger, actor="anna", channel="command line", reason="fixed")
    runs.outcomes.notify_pause()
    assert runs.outbox.open_notices() == []
