"""A sensor that is killed between any two of its writes and ticks again: nothing is lost, and nothing is doubled."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from mlflow import MlflowClient

from fraud_retraining.adapters.alerts.outbox import Outbox
from fraud_retraining.adapters.ledger.chain_heads import HeadFile
from fraud_retraining.adapters.ledger.decisions import ReviewerDecision
from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.processes import this_process
from fraud_retraining.adapters.mlflow.tags import LEDGER_HEAD, RELEASE_STATUS
from fraud_retraining.adapters.mlflow.versions import NewVersion
from fraud_retraining.adapters.pages.signed_links import ReleaseLinks
from fraud_retraining.adapters.storage.opening import open_location
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.definitions import build_definitions
from fraud_retraining.domain.alerts.notices import SlackPolicy, Topic
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.release import Decision
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.orchestration.names import (
    CHAMPION_SENSOR,
    DAILY_CLEAN,
    DAILY_INGEST,
    DEAD_RUNS_SENSOR,
    FAILED_RUNS_SENSOR,
    INGEST,
    INGEST_SENSOR,
    MODEL_CARDS_SENSOR,
    MONITOR,
    MONITORING_SENSOR,
    NOTICES_SENSOR,
    RELEASES_SENSOR,
    RETRAIN,
    RETRAIN_SCHEDULE,
    RETRAIN_SENSOR,
)
from fraud_retraining.orchestration.release_notifier import OutboxReleaseNotifier
from fraud_retraining.orchestration.resources import open_ledger, open_outbox, open_registry, open_store
from fraud_retraining.orchestration.runs.failed_runs import fail_dead, notify_unreported
from fraud_retraining.orchestration.runs.outcomes import EndedRun
from fraud_retraining.orchestration.runs.requests import record_request
from fraud_retraining.orchestration.runs.resource_definitions import open_outcomes
from fraud_retraining.orchestration.runs.workers import WORKER_TAG
from fraud_retraining.orchestration.sensors.model_cards import (
    build_sensor,
)
from fraud_retraining.orchestration.state.trigger_inputs import RETRAINING, paused
from fraud_retraining.services.delivery import Notifier, drain
from fraud_retraining.services.model_cards import SHOWS
from fraud_retraining.settings import Settings, load_settings
from fraud_retraining_tests.orchestration.sensors.test_next_runs import END, Automation
from fraud_retraining_tests.support import ledger_history
from fraud_retraining_tests.support.approvals_fixture import BROKEN, Backend, new_backend, touched, train_at
from fraud_retraining_tests.support.company_servers import CompanyServers
from fraud_retraining_tests.support.crashes import killed_at, moments
from fraud_retraining_tests.support.kept_databases import kept_database
from fraud_retraining_tests.support.ledger_history import FIRST
from fraud_retraining_tests.support.ledgers import ANYBODY, person, waiting
from fraud_retraining_tests.support.project_homes import START, ProjectHome, use_home
from fraud_retraining_tests.support.registries import a_window

pytest_plugins = ["fraud_retraining_tests.support.company_servers", "fraud_retraining_tests.support.databases"]

ASKER_TAGS = ("dagster/sensor_name", "dagster/schedule_name")
Ask = Callable[[Automation], dg.RunRequest | str]
Wanted = tuple[str | None, str | None, dict[str, str], Any]

EITHER_DATABASE = pytest.mark.parametrize("settings", ["sqlite", "postgresql"], indirect=True)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def settings(request: pytest.FixtureRequest, project: ProjectHome, monkeypatch: pytest.MonkeyPatch) -> Settings:
    if getattr(request, "param", "") == "postgresql":
        monkeypatch.setenv("FRAUD_RETRAINING_LEDGER__URL", request.getfixturevalue("postgres_url"))
    project.configure(promotion={"reviewers": [{"name": "anna", "slack_id": "U0ANNA"}]})
    loaded = load_settings()
    alerts = loaded.alerts.model_copy(
        update={
            "slack": SlackPolicy(api_url="http://127.0.0.1:9/"),
            "links": loaded.alerts.links.model_copy(update={"releases": "http://127.0.0.1:9/releases"}),
        }
    )
    return loaded.model_copy(update={"alerts": alerts})


class Record:
    """A ledger's database that can be put back to how it was."""

    def __init__(self, url: str) -> None:
        self._database = kept_database(url)
        self.keep, self.restore = self._database.keep, self._database.restore

    def reported(self) -> dict[str, Any]:
        """All messages, sent and waiting, and their events in the ledger, without times."""
        rows = self._database.rows
        joined = "deliveries d JOIN notices n ON n.id = d.notice_id"
        return {
            "events": Counter(rows("SELECT kind, coalesce(subject, ''), version FROM audit_events")),
            "notices": Counter(rows("SELECT dedup_key, seen, resolved_at IS NULL FROM notices")),
            "messages": Counter(rows(f"SELECT n.dedup_key, d.destination, d.action, d.message FROM {joined}")),
        }

    def from_here(self, work: Callable[[], object]) -> Callable[[], Callable[[], object]]:
        """Puts the file back and gives the work."""

        def begin() -> Callable[[], object]:
            self.restore()
            return work

        return begin


def history(ledger: Ledger) -> None:
    """A release of each end, and an alarm that came and went."""
    waiting(ledger, 2, 2)
    waiting(ledger, 3, 3)
    ledger.record_decision(3, ReviewerDecision(Decision.REJECT, person("alice"), "cli", reason="scores jump"), ANYBODY)
    damaged = {"sound": False, "problem": "one byte", "last_good": None}
    for found in (damaged, {"sound": True, "problem": "", "last_good": None}, damaged):
        ledger.append_changed(
            EventKind.CHAMPION_CHECKED,
            keys=EventKeys(subject="champion", version=1),
            payload=found,
            actor="watch",
            channel="registry",
        )


def release_tick(settings: Settings) -> Callable[[], object]:
    """One tick of the sensor of releases in a process of its own, from a cursor that was lost."""
    repository, instance = build_definitions(settings).get_repository_def(), dg.DagsterInstance.ephemeral()

    ledger, outbox = open_ledger(settings), Outbox(settings.ledger_url, model=settings.model.name)
    links = ReleaseLinks("a secret that is long enough to sign links with", 24)
    release_notifier = OutboxReleaseNotifier(settings, ledger, outbox, open_store(settings), links)
    resources = {"ledger": ledger, "registry": open_registry(settings), "release_notifier": release_notifier}

    def tick() -> object:
        with dg.build_sensor_context(instance=instance, repository_def=repository, resources=resources) as context:
            return repository.get_sensor_def(RELEASES_SENSOR).evaluate_tick(context)

    return tick


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_happened_to_releases_is_reported_exactly_once(settings: Settings) -> None:
    history(open_ledger(settings))
    record, tick = Record(settings.ledger_url), release_tick(settings)
    record.keep()
    tick()
    whole = record.reported()
    assert ("release 3 waiting", 1, 0) in whole["notices"], "its request lost its buttons"
    assert ("champion artifact", 1, 1) in whole["notices"], "the last alarm is open"
    tick()
    assert record.reported() == whole, "a cursor that was lost sends nothing twice"

    for nth in moments(record.from_here(tick)):
        tick()
        assert record.reported() == whole, f"killed at write {nth}"


@dg.op
def nothing() -> None: ...


@dg.job
def retrain() -> None:
    nothing()


class DeadRun:
    """A retrain whose process is gone, and the two sensors that see to it."""

    def __init__(self, settings: Settings, record: Record) -> None:
        self._settings = settings
        self._record = record
        self.instance = dg.DagsterInstance.ephemeral()

    def begin(self) -> Callable[[], object]:
        self._record.restore()
        self.instance.dispose()
        self.instance = dg.DagsterInstance.ephemeral()
        gone = this_process().model_copy(update={"started": "1"})
        about = {WORKER_TAG: gone.model_dump_json(), "dagster/partition": "2024-02-23"}
        run_id = "00000000-0000-0000-0000-000000000001"
        self.instance.create_run_for_job(retrain, run_id=run_id, tags=about, status=dg.DagsterRunStatus.STARTED)
        return self.tick

    def tick(self) -> None:
        outcomes = open_outcomes(self._settings)
        fail_dead(self.instance, outcomes)
        notify_unreported(self.instance, outcomes, LONG_AGO)
        outcomes.notify_pause()


@pytest.mark.slow
@pytest.mark.timeout(900)
@EITHER_DATABASE
def test_a_run_whose_process_is_gone_is_failed_and_reported_exactly_once(settings: Settings) -> None:
    ledger, record = open_ledger(settings), Record(settings.ledger_url)
    reported = {"cause": "worker_died", "inputs": "i", "reason": "it failed twice"}
    ledger.append(EventKind.AUTOMATION_PAUSED, keys=EventKeys(subject=RETRAINING), actor="automation", payload=reported)
    record.keep()
    dead = DeadRun(settings, record)
    dead.begin()()
    whole = record.reported()
    assert sum(whole["notices"].values()) == 2, "the dead run, and the pause"
    for nth in moments(dead.begin):
        dead.tick()
        assert record.reported() == whole, f"killed at write {nth}"
        assert [run.status for run in dead.instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]


@pytest.mark.slow
@pytest.mark.timeout(900)
@EITHER_DATABASE
def test_what_is_sent_is_sent_and_at_most_the_last_message_twice(settings: Settings) -> None:
    history(open_ledger(settings))
    release_tick(settings)()
    record, now = Record(settings.ledger_url), [datetime.now(UTC)]
    record.keep()
    file = settings.home / "alerts.jsonl"

    def send() -> None:
        now[0] += timedelta(minutes=2)
        outbox = Outbox(settings.ledger_url, model=settings.model.name, clock=lambda: now[0])
        drain(outbox, Notifier(settings.alerts, settings.home, {}), settings.alerts)

    def lines() -> list[tuple[str, ...]]:
        reported = map(json.loads, file.read_text().splitlines())
        return [(one["key"], one["destination"], one["action"], str(one.get("text"))) for one in reported]

    def begin() -> Callable[[], object]:
        record.restore()
        file.unlink(missing_ok=True)
        return send

    begin()()
    whole = Counter(lines())
    for nth in moments(begin, commits=settings.ledger_url.startswith("postgresql")):
        send()
        assert Outbox(settings.ledger_url, model=settings.model.name).backlog().waiting == 0
        more = Counter(lines()) - whole
        assert not whole - Counter(lines()), f"killed at write {nth}: a message is lost"
        assert sum(more.values()) <= 1, f"killed at write {nth}: {more}"


# ------------------------------------------------------------------ sensors and schedules that request runs


@pytest.fixture(scope="session")
def watched_folder(promoted_home: ProjectHome, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a champion, whose days are all ingested and watched."""
    with pytest.MonkeyPatch.context() as patch:
        project = moved(promoted_home.folder, tmp_path_factory.mktemp("watched"), patch)
        automation = Automation()
        assert all(succeeded for *_, succeeded in automation.ingest_all())
        while isinstance(request := automation.tick(MONITORING_SENSOR), dg.RunRequest):
            assert automation.run(MONITOR, request)
        automation.instance.dispose()
        return project.folder


def moved(folder: Path, to: Path, patch: pytest.MonkeyPatch) -> ProjectHome:
    """A copy that the process then uses."""
    shutil.copytree(folder, to / "copy")
    project = ProjectHome(to / "copy")
    project.configure(promotion={"mode": "auto"})
    use_home(project, patch)
    return project


@pytest.fixture
def watched(watched_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProjectHome:
    return moved(watched_folder, tmp_path, monkeypatch)


def require_requested_once(job: str, ask: Ask, look: Ask | None = None) -> None:
    """Killed at any write, it requests the same run the next time, and sends no more messages.

    `ask` is killed; `look` is what runs afterwards, where it is another one.
    """
    automation = Automation()
    record, again = Record(automation.settings.ledger_url), look or ask
    record.keep()
    wanted = requested_run(ask(automation))
    whole = record.reported()
    assert requested_run(again(automation)) == wanted, "a request without a run is made again"
    assert record.reported() == whole
    for nth in moments(record.from_here(lambda: ask(automation))):
        assert requested_run(again(automation)) == wanted, f"killed at write {nth}"
        assert record.reported() == whole, f"killed at write {nth}"
    if wanted is not None:
        job_def = automation.definitions.resolve_job_def(job)
        run = automation.instance.create_run_for_job(job_def, status=dg.DagsterRunStatus.STARTED, tags=dict(wanted[2]))
        assert requested_run(again(automation)) is None, "a run that is under way is requested once"
        assert record.reported() == whole
        automation.instance.delete_run(run.run_id)
    automation.instance.dispose()


def requested_run(answer: dg.RunRequest | str) -> Wanted | None:
    """What identifies a request; None where no run is requested."""
    if isinstance(answer, str):
        return None
    tags = {name: value for name, value in answer.tags.items() if name not in ASKER_TAGS}
    return answer.run_key, answer.partition_key, tags, answer.asset_selection


def deliver_again(project: ProjectHome, day: date) -> None:
    table = project.read_day(day)
    project.write_day(day, table.slice(0, table.num_rows - 1))


def leave_odd_folder(project: ProjectHome, name: str) -> None:
    folder = project.lake / name
    folder.mkdir(parents=True)
    shutil.copy(project.day_file(START), folder / "x.parquet")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_days_that_arrived_are_requested_once_and_odd_folders_reported_once(watched: ProjectHome) -> None:
    deliver_again(watched, END)
    leave_odd_folder(watched, "year=2024/month=13/day=01")
    require_requested_once(INGEST, lambda automation: automation.tick(INGEST_SENSOR))
    leave_odd_folder(watched, "year=2024/month=14/day=01")
    watched.configure(promotion={"mode": "auto"}, validation={"min_rows": 4000})
    require_requested_once(INGEST, lambda automation: automation.tick(INGEST_SENSOR))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_retrain_that_is_due_is_decided_and_requested_once(watched: ProjectHome) -> None:
    require_requested_once(RETRAIN, lambda automation: automation.tick(RETRAIN_SENSOR))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_a_schedule_could_not_request_its_sensor_does(watched: ProjectHome) -> None:
    at = datetime.combine(END + timedelta(days=1), time(2), UTC)
    require_requested_once(
        RETRAIN,
        lambda automation: automation.tick_schedule(RETRAIN_SCHEDULE, at),
        lambda automation: automation.tick(RETRAIN_SENSOR),
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_automation_pauses_once_and_goes_on_once(watched: ProjectHome) -> None:
    calm = {"promotion": {"mode": "auto"}, "triggers": {"retry_minutes": 0}}
    watched.configure(**calm)
    automation = Automation()
    for _ in range(2):
        fail_for_its_data(automation)
    automation.instance.dispose()
    require_requested_once(RETRAIN, lambda automation: automation.tick(RETRAIN_SENSOR))
    ledger = open_ledger(load_settings())
    assert paused(ledger) is not None
    watched.configure(**calm, validation={"min_rows": 4000})
    require_requested_once(RETRAIN, lambda automation: automation.tick(RETRAIN_SENSOR))
    assert paused(ledger) is None


def fail_for_its_data(automation: Automation) -> None:
    """The requested retrain fails with an error that no re-run resolves."""
    request = automation.tick(RETRAIN_SENSOR)
    assert isinstance(request, dg.RunRequest), request
    job, failure = automation.definitions.resolve_job_def(RETRAIN), dg.DagsterRunStatus.FAILURE
    run = automation.instance.create_run_for_job(job, status=failure, tags=dict(request.tags))
    record_request(run.run_id, request.tags, automation.settings, open_ledger(automation.settings))
    ended = EndedRun.of(run)
    assert ended is not None
    open_outcomes(automation.settings).failed(ended, DataInvalid("too few frauds"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_decay_is_reported_once_and_its_end_is_reported_once(watched: ProjectHome) -> None:
    def tick(automation: Automation) -> dg.RunRequest | str:
        return automation.tick(MONITORING_SENSOR)

    calm = {"promotion": {"mode": "auto"}}
    watched.configure(**calm, triggers={"performance": {"min_average_precision": 1.0, "below_holdout": False}})
    require_requested_once(MONITOR, tick)
    (reported,) = open_outbox(load_settings()).open_notices()
    assert reported.notice.key == Topic.PERFORMANCE_DECAYED
    watched.configure(**calm, triggers={"performance": {"min_average_precision": 0.0, "below_holdout": False}})
    require_requested_once(MONITOR, tick)
    assert open_outbox(load_settings()).open_notices() == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_preview_writes_nothing_and_gives_the_same_again(watched: ProjectHome) -> None:
    deliver_again(watched, END)
    shutil.rmtree(watched.home / "store" / "drift_report" / f"day={END - timedelta(days=1)}")
    at = datetime.combine(END + timedelta(days=1), time(5), UTC)
    automation = Automation()
    asks: list[Callable[[], dg.RunRequest | str]] = [
        lambda: automation.tick_schedule(DAILY_INGEST, at),
        lambda: automation.tick_schedule(DAILY_CLEAN, at),
        lambda: automation.tick(MONITORING_SENSOR),
    ]
    for ask in asks:
        with killed_at(1):
            wanted = requested_run(ask())
        assert wanted is not None
        assert requested_run(ask()) == wanted
    automation.instance.dispose()


# ------------------------------------------------------------------ the champion, and the cards


BEGUN_AGAIN = (EventKind.PROMOTION_INTENDED, EventKind.PROMOTION_UNDONE)


class Recorded:
    """A backend that can be put back, and one tick of the champion's sensor; `mlflow` is the database of a server."""

    def __init__(self, backend: Backend, folder: Path, mlflow: str = "") -> None:
        self._backend = backend
        self._heads = folder / "heads"
        self._kept_heads = folder / "heads.kept"
        self._mlflow = kept_database(mlflow or backend.trained.uri)
        self._record = Record(backend.ledger._url)
        self._repository = build_definitions(Settings()).get_repository_def()
        self._instance = dg.DagsterInstance.ephemeral()

    def keep(self) -> None:
        self._record.keep()
        self._mlflow.keep()
        self._kept_heads.write_bytes(self._heads.read_bytes() if self._heads.exists() else b"")

    def begin(self) -> Callable[[], object]:
        self._record.restore()
        self._mlflow.restore()
        self._heads.write_bytes(self._kept_heads.read_bytes())
        return self.tick

    def tick(self) -> str:
        resources = {"ledger": self._backend.ledger, "registry": self._backend.registry, "heads": HeadFile(self._heads)}
        context = dg.build_sensor_context(instance=self._instance, repository_def=self._repository, resources=resources)
        with context:
            return str(self._repository.get_sensor_def(CHAMPION_SENSOR).evaluate_tick(context).skip_message)

    def found(self) -> dict[str, Any]:
        """Everything that the record and the registry say, without times and digests.

        A promotion may be begun again after it was undone, so its intents and their numbers are left out.
        """
        versions = self._backend.registry.versions()
        candidate = self._backend.registry.candidate()
        reported = self._record.reported()
        events = Counter(
            (kind, version) for kind, _, version in reported["events"].elements() if kind not in BEGUN_AGAIN
        )
        return {
            **reported,
            "events": events,
            "states": self._backend.states(),
            "serving": self._backend.serving(),
            "candidate": candidate.version if candidate else None,
            "vouched": [one.version for one in versions if LEDGER_HEAD in one.tags],
        }

    def require_heads(self) -> None:
        """The last head is kept in both places."""
        head = self._backend.ledger.head()
        assert HeadFile(self._heads).heads()[-1] == head
        assert head in self._backend.registry.pinned_heads()


def approved_only(backend: Backend) -> None:
    """A reviewer approved, and the process ended before it promoted."""
    backend.champion(0)
    version = backend.waiting(1).version
    backend.ledger.record_decision(version, ReviewerDecision(Decision.APPROVE, person("alice"), "cli"), ANYBODY)


def cannot_serve(backend: Backend) -> None:
    """What was approved cannot be loaded, so that the one before comes back."""
    backend.champion(0)
    version = backend.waiting(BROKEN).version
    backend.ledger.record_decision(version, ReviewerDecision(Decision.APPROVE, person("alice"), "cli"), ANYBODY)


def moved_by_hand(backend: Backend) -> None:
    backend.champion(0)
    backend.champion(1)
    backend.move_by_hand(1)


def another_waits(backend: Backend) -> None:
    backend.champion(0)
    backend.waiting(1)


def nothing_new(backend: Backend) -> None:
    backend.champion(0)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("happened", [approved_only, cannot_serve, moved_by_hand, another_waits, nothing_new])
def test_the_champion_is_minded_to_the_end(
    backend: Backend, tmp_path: Path, happened: Callable[[Backend], object]
) -> None:
    happened(backend)
    recorded = Recorded(backend, tmp_path)
    recorded.keep()
    recorded.begin()()
    whole = recorded.found()
    for nth in moments(recorded.begin):
        recorded.tick()
        assert recorded.found() == whole, f"killed at write {nth}"
        if happened is nothing_new:
            recorded.require_heads()
        assert backend.ledger.verify().ok


@pytest.fixture
def at_company(company_servers: CompanyServers, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """A backend whose ledger is on PostgreSQL, and whose models are at MLflow's server."""
    for name, value in company_servers.mlflow_environment().items():
        monkeypatch.setenv(name, value)
    return new_backend(train_at(company_servers.mlflow), postgres_url)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_champion_is_minded_to_the_end_on_the_servers_of_a_company(
    at_company: Backend, company_servers: CompanyServers, tmp_path: Path
) -> None:
    """Killed at every commit in PostgreSQL, and before and after every request that MLflow's server writes for."""
    approved_only(at_company)
    recorded = Recorded(at_company, tmp_path, company_servers.backend)
    recorded.keep()
    recorded.begin()()
    whole = recorded.found()
    for nth in moments(recorded.begin, commits=True):
        recorded.tick()
        assert recorded.found() == whole, f"killed at write {nth}"
        assert at_company.ledger.verify().ok


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_champion_that_is_damaged_and_mended_is_reported_once_each(backend: Backend, tmp_path: Path) -> None:
    backend.champion(0)
    recorded = Recorded(backend, tmp_path)
    recorded.tick()

    def sweep() -> None:
        recorded.keep()
        recorded.begin()()
        whole = recorded.found()
        for nth in moments(recorded.begin):
            recorded.tick()
            assert recorded.found() == whole, f"killed at write {nth}"

    with touched(backend.trained.folders[0]) as folder:
        (folder / "MLmodel").unlink()
        sweep()
    sweep()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_card_is_written_to_the_end(backend: Backend, tmp_path: Path) -> None:
    store = Store(open_location(str(tmp_path / "store"), s3=None, cache=tmp_path / "c"), scratch=tmp_path / "s")
    run = backend.trained.runs[0]
    version = backend.registry.register(
        NewVersion(
            run.run_id,
            fingerprint=run.fingerprint,
            artifact_digest=run.artifact_digest,
            as_of=FIRST,
            trained_on=a_window().days.training,
        )
    ).version
    ledger_history.waiting(backend.ledger, version, FIRST, None, store)
    mlflow = kept_database(backend.trained.uri)
    mlflow.keep()
    sensor, client, instance = (
        build_sensor(Settings()),
        MlflowClient(backend.trained.uri),
        dg.DagsterInstance.ephemeral(),
    )
    resources = {"ledger": backend.ledger, "registry": backend.registry, "store": store}

    def tick() -> object:
        return sensor(dg.build_sensor_context(instance=instance, cursor="0", resources=resources))

    def card() -> tuple[object, ...]:
        found = client.get_model_version(backend.registry.model_name, str(version))
        status = client.get_run(run.run_id).data.tags[RELEASE_STATUS]
        return found.description, found.tags[RELEASE_STATUS], found.tags[SHOWS], status

    def begin() -> Callable[[], object]:
        mlflow.restore()
        return tick

    begin()()
    whole = card()
    for nth in moments(begin):
        tick()
        assert card() == whole, f"killed at write {nth}"


# ------------------------------------------------------------------ none is left out

SWEPT: dict[str, Callable[..., None]] = {
    INGEST_SENSOR: test_days_that_arrived_are_requested_once_and_odd_folders_reported_once,
    RETRAIN_SENSOR: test_a_retrain_that_is_due_is_decided_and_requested_once,
    MONITORING_SENSOR: test_decay_is_reported_once_and_its_end_is_reported_once,
    RELEASES_SENSOR: test_what_happened_to_releases_is_reported_exactly_once,
    CHAMPION_SENSOR: test_the_champion_is_minded_to_the_end,
    MODEL_CARDS_SENSOR: test_a_card_is_written_to_the_end,
    DEAD_RUNS_SENSOR: test_a_run_whose_process_is_gone_is_failed_and_reported_exactly_once,
    FAILED_RUNS_SENSOR: test_a_run_whose_process_is_gone_is_failed_and_reported_exactly_once,
    NOTICES_SENSOR: test_what_is_sent_is_sent_and_at_most_the_last_message_twice,
    RETRAIN_SCHEDULE: test_what_a_schedule_could_not_request_its_sensor_does,
    DAILY_INGEST: test_a_preview_writes_nothing_and_gives_the_same_again,
    DAILY_CLEAN: test_a_preview_writes_nothing_and_gives_the_same_again,
}
"""By which test each sensor and schedule is killed."""


def test_every_sensor_and_schedule_is_swept() -> None:
    repository = build_definitions(Settings()).get_repository_def()
    declared = {one.name for one in (*repository.sensor_defs, *repository.schedule_defs)}
    assert declared == set(SWEPT)
