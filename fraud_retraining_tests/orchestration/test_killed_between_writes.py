"""A sensor that is killed between any two of its writes and ticks again: nothing is lost, and nothing is doubled."""

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fraud_retraining.adapters.alerts.outbox import Outbox
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.ledger.processes import this_process
from fraud_retraining.adapters.pages.signed_links import ReleaseLinks
from fraud_retraining.definitions import build_definitions
from fraud_retraining.domain.alerts.notices import SlackPolicy
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.releases.lifecycle import Decision
from fraud_retraining.orchestration.resources import open_ledger, open_outcomes, open_registry, open_store
from fraud_retraining.orchestration.runs.workers import WORKER_TAG
from fraud_retraining.orchestration.sensors.alerts import bury_the_dead, tell_untold
from fraud_retraining.orchestration.sensors.release_notifier import OutboxTeller
from fraud_retraining.orchestration.sensors.releases import RELEASE_SENSOR
from fraud_retraining.orchestration.state.trigger_inputs import RETRAINING
from fraud_retraining.services.delivery import Notifier, drain
from fraud_retraining.settings import Settings, load_settings
from fraud_retraining_tests.support.crashes import deaths
from fraud_retraining_tests.support.ledgers import ANYBODY, person, waiting
from fraud_retraining_tests.support.places import Place

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def settings(place: Place) -> Settings:
    place.configure(promotion={"reviewers": [{"name": "anna", "slack_id": "U0ANNA"}]})
    loaded = load_settings()
    alerts = loaded.alerts.model_copy(
        update={
            "slack": SlackPolicy(api_url="http://127.0.0.1:9/"),
            "links": loaded.alerts.links.model_copy(update={"releases": "http://127.0.0.1:9/releases"}),
        }
    )
    return loaded.model_copy(update={"alerts": alerts})


class Record:
    """A ledger's file that can be put back to how it was."""

    def __init__(self, settings: Settings) -> None:
        self.file = settings.home / "ledger.db"
        self._kept = settings.home / "kept.db"

    def keep(self) -> None:
        with sqlite3.connect(self.file) as cn:
            cn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(self.file, self._kept)

    def restore(self) -> None:
        for end in ("-wal", "-shm"):
            Path(f"{self.file}{end}").unlink(missing_ok=True)
        shutil.copy(self._kept, self.file)

    def told(self) -> dict[str, Any]:
        """Everything that people were told or will be, and what the ledger remembers of it, without times."""
        with sqlite3.connect(self.file) as cn:
            events = Counter(cn.execute("SELECT kind, coalesce(subject, ''), version FROM audit_events").fetchall())
            notices = Counter(
                cn.execute("SELECT dedup_key, seen, resolved_at IS NULL FROM notices").fetchall(),
            )
            joined = "deliveries d JOIN notices n ON n.id = d.notice_id"
            sent = f"SELECT n.dedup_key, d.destination, d.action, d.message FROM {joined}"
            return {"events": events, "notices": notices, "messages": Counter(cn.execute(sent).fetchall())}

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
    ledger.decide(3, Decision.REJECT, policy=ANYBODY, by=person("alice"), channel="cli", reason="scores jump")
    damaged = {"sound": False, "problem": "one byte", "last_good": None}
    for found in (damaged, {"sound": True, "problem": "", "last_good": None}, damaged):
        ledger.append_changed(
            EventKind.CHAMPION_CHECKED, subject="champion", payload=found, actor="watch", channel="registry", version=1
        )


def release_tick(settings: Settings) -> Callable[[], object]:
    """One tick of the sensor of releases in a process of its own, from a cursor that was lost."""
    repository, instance = build_definitions(settings).get_repository_def(), dg.DagsterInstance.ephemeral()

    ledger, outbox = open_ledger(settings), Outbox(settings.ledger_url, model=settings.model.name)
    links = ReleaseLinks("a secret that is long enough to sign links with", 24)
    teller = OutboxTeller(settings, ledger, outbox, open_store(settings), links)
    resources = {"ledger": ledger, "registry": open_registry(settings), "teller": teller}

    def tick() -> object:
        with dg.build_sensor_context(instance=instance, repository_def=repository, resources=resources) as context:
            return repository.get_sensor_def(RELEASE_SENSOR).evaluate_tick(context)

    return tick


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_happened_to_releases_is_told_exactly_once(settings: Settings) -> None:
    history(open_ledger(settings))
    record, tick = Record(settings), release_tick(settings)
    record.keep()
    tick()
    whole = record.told()
    assert ("release 3 waiting", 1, 0) in whole["notices"], "its request lost its buttons"
    assert ("champion artifact", 1, 1) in whole["notices"], "the last alarm is open"
    tick()
    assert record.told() == whole, "a cursor that was lost tells nothing twice"

    for nth in deaths(record.from_here(tick)):
        tick()
        assert record.told() == whole, f"killed at write {nth}"


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
        bury_the_dead(self.instance, outcomes)
        tell_untold(self.instance, outcomes, LONG_AGO)
        outcomes.tell_pause()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_whose_process_is_gone_is_failed_and_told_exactly_once(settings: Settings) -> None:
    ledger, record = open_ledger(settings), Record(settings)
    told = {"cause": "worker_died", "inputs": "i", "reason": "it failed twice"}
    ledger.append(EventKind.AUTOMATION_PAUSED, subject=RETRAINING, actor="automation", payload=told)
    record.keep()
    dead = DeadRun(settings, record)
    dead.begin()()
    whole = record.told()
    assert sum(whole["notices"].values()) == 2, "the dead run, and the pause"
    for nth in deaths(dead.begin):
        dead.tick()
        assert record.told() == whole, f"killed at write {nth}"
        assert [run.status for run in dead.instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_is_sent_is_sent_and_at_most_the_last_message_twice(settings: Settings) -> None:
    history(open_ledger(settings))
    release_tick(settings)()
    record, now = Record(settings), [datetime.now(UTC)]
    record.keep()
    file = settings.home / "alerts.jsonl"

    def send() -> None:
        now[0] += timedelta(minutes=2)
        outbox = Outbox(settings.ledger_url, model=settings.model.name, clock=lambda: now[0])
        drain(outbox, Notifier(settings.alerts, settings.home, {}), settings.alerts)

    def lines() -> list[tuple[str, ...]]:
        told = map(json.loads, file.read_text().splitlines())
        return [(one["key"], one["destination"], one["action"], str(one.get("text"))) for one in told]

    def begin() -> Callable[[], object]:
        record.restore()
        file.unlink(missing_ok=True)
        return send

    begin()()
    whole = Counter(lines())
    for nth in deaths(begin):
        send()
        assert Outbox(settings.ledger_url, model=settings.model.name).backlog().waiting == 0
        more = Counter(lines()) - whole
        assert not whole - Counter(lines()), f"killed at write {nth}: a message is lost"
        assert sum(more.values()) <= 1, f"killed at write {nth}: {more}"
