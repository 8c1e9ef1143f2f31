"""The requester of a retrain: as the program identified it, not as an option or a tag says."""

from datetime import UTC, date, datetime

import dagster as dg
import pytest

from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.commands.retrain import require_trigger
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.retraining.requesters import UNKNOWN, Requester
from fraud_retraining.domain.retraining.triggers.decision import decide
from fraud_retraining.domain.retraining.triggers.registry import TRIGGERS
from fraud_retraining.domain.retraining.triggers.values import Retrain, Trigger
from fraud_retraining.orchestration.names import (
    AS_OF_TAG,
    DECISION_TAG,
    DRIFT_TAG,
    INPUTS_TAG,
    TRIGGER_TAG,
)
from fraud_retraining.orchestration.resources import open_lake, open_ledger, open_store
from fraud_retraining.orchestration.runs.requests import record_decision, record_request, request_of_run
from fraud_retraining.orchestration.state.readiness import Readiness
from fraud_retraining.orchestration.state.sources import Sources
from fraud_retraining.orchestration.state.trigger_inputs import collect, unfinished
from fraud_retraining.settings import Settings, load_settings
from fraud_retraining_tests.support.project_homes import ProjectHome
from fraud_retraining_tests.support.trigger_inputs import DisputesPolicy, WithDisputes, WithDisputesInputs, disputes

AS_OF = date(2026, 11, 20)
WANTED = Retrain(
    as_of=AS_OF, triggers=(Trigger.SCHEDULE, Trigger.DRIFT), reason="48 hours", inputs="i1", drift_since=AS_OF
)
CARRIED_OUT = {AS_OF_TAG: str(AS_OF), DECISION_TAG: "i1:0"}
TYPED = {
    "words of automation": {TRIGGER_TAG: "schedule", "dagster/sensor_name": "retrain_sensor"},
    "a schedule's name": {TRIGGER_TAG: "schedule", "dagster/schedule_name": "retrain_schedule"},
    "a tick": {TRIGGER_TAG: "schedule", "dagster/sensor_name": "x", "dagster/tick": "3", "dagster/run_key": "i1:0"},
    "another person": {"user": "carol", "fraud_retraining/channel": "command line"},
    "what answers triggers": {TRIGGER_TAG: "performance", DRIFT_TAG: "2026-11-20", INPUTS_TAG: "i1"},
    "a decision that there is not": {DECISION_TAG: "i9:0"},
}


@pytest.fixture
def settings(project: ProjectHome) -> Settings:
    project.configure()
    return load_settings()


@pytest.fixture
def ledger(settings: Settings) -> Ledger:
    return open_ledger(settings)


@pytest.mark.parametrize("typed", TYPED.values(), ids=TYPED)
def test_tags_that_a_user_typed_make_no_run_of_automation(
    settings: Settings, ledger: Ledger, typed: dict[str, str]
) -> None:
    request = record_request("r1", {AS_OF_TAG: str(AS_OF), **typed}, settings, ledger)
    assert (request.requested_by, request.automatic, request.trigger) == (UNKNOWN, False, "manual")
    event = ledger.last(EventKind.RETRAIN_REQUESTED)
    assert event is not None
    assert (event.actor, event.channel) == (UNKNOWN, "Dagster UI")
    assert not {"inputs", "drift_since", "decided"} & event.payload.keys()


def test_the_command_line_keeps_its_word_and_is_the_persons_own_request(settings: Settings, ledger: Ledger) -> None:
    asker = Requester(name="adoe", channel="command line")
    request = record_request("r1", {AS_OF_TAG: str(AS_OF), TRIGGER_TAG: "schedule"}, settings, ledger, asker)
    assert (request.requested_by, request.automatic, request.trigger) == ("adoe", False, "schedule")
    assert request_of_run("r1", ledger) == request
    in_the_run = record_request("r1", {AS_OF_TAG: str(AS_OF), TRIGGER_TAG: "drift"}, settings, ledger)
    assert in_the_run == request, "the run finds what the command recorded"


def test_what_automation_decided_is_carried_out_by_one_run_of_that_day(settings: Settings, ledger: Ledger) -> None:
    record_decision("i1:0", WANTED, "sensor retrain_sensor", ledger)
    other_day = {**CARRIED_OUT, AS_OF_TAG: "2026-11-19"}
    assert not record_request("r0", other_day, settings, ledger).automatic
    request = record_request("r1", {**CARRIED_OUT, TRIGGER_TAG: "manual"}, settings, ledger)
    assert (request.requested_by, request.automatic, request.trigger) == ("", True, "schedule+drift")
    assert (request.actor, request.channel) == ("automation", "sensor retrain_sensor")
    event = ledger.last(EventKind.RETRAIN_REQUESTED, subject="r1")
    assert event is not None
    assert (event.payload["inputs"], event.payload["drift_since"]) == ("i1", str(AS_OF))
    assert record_request("r1", CARRIED_OUT, settings, ledger).automatic, "the same run requests again"
    again = record_request("r2", {**CARRIED_OUT, "dagster/sensor_name": "retrain_sensor"}, settings, ledger)
    assert (again.automatic, again.requested_by) == (False, UNKNOWN), "a user executed it again"


def test_a_person_cannot_answer_for_a_trigger(settings: Settings, ledger: Ledger) -> None:
    asker = Requester(name="adoe", channel="command line")
    tags = {AS_OF_TAG: str(AS_OF), TRIGGER_TAG: "performance", DRIFT_TAG: str(AS_OF), INPUTS_TAG: "i1"}
    record_request("r1", tags, settings, ledger, asker)
    lake, store = open_lake(settings), open_store(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        sources = Sources(settings, lake, store, ledger)
        known = collect(sources, Readiness(settings, lake, store), instance, datetime.now(UTC))
    assert (known.last_performance, known.last_drift) == (None, None)


def test_a_run_without_a_record_has_an_unknown_requester(ledger: Ledger) -> None:
    request = request_of_run("r9", ledger)
    assert (request.requested_by, request.automatic, request.trigger) == (UNKNOWN, False, "manual")


def test_the_request_of_an_added_trigger_is_recorded_begun_again_and_may_be_named(
    settings: Settings, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRIGGERS, "disputes", disputes)
    known = WithDisputesInputs(now=datetime.now(UTC), ready={AS_OF: "i1"}, disputed=0.02)
    wanted = decide(WithDisputes(schedule=None, disputes=DisputesPolicy()), known)
    assert isinstance(wanted, Retrain)
    record_decision("i1:0", wanted, "sensor retrain_sensor", ledger)
    request = record_request("r1", CARRIED_OUT, settings, ledger)
    assert (request.automatic, request.trigger, request.reason) == (True, "disputes", "disputes: 2.0% of payments")
    died = {"kind": "RuntimeError", "category": "worker_died", "cause": "worker_died", "dagster_run_id": "r1"}
    ledger.append(EventKind.RETRAIN_FAILED, keys=EventKeys(subject="r1", as_of=AS_OF), actor="pipeline", payload=died)
    left = unfinished(ledger, None)
    assert left is not None
    assert (left.triggers, left.reason) == (("disputes",), request.reason)
    require_trigger("disputes")
