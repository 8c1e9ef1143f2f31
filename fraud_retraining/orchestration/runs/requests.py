"""Requests of retrains: requester, channel and reason, and their record in the ledger.

Here: recording a request from the tags of a Dagster run. Not here: deciding
(`domain/retraining/triggers/`).
"""

from collections.abc import Mapping

from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.environment import environment, installed_packages
from fraud_retraining.domain.audit.history import ENVIRONMENT, PACKAGES, SETTINGS
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.retraining.requesters import (
    AUTOMATION,
    BY_UI,
    Requester,
    RetrainRequest,
    recorded_request,
)
from fraud_retraining.domain.retraining.triggers.values import Retrain
from fraud_retraining.orchestration.names import (
    DECISION_TAG,
    REASON_TAG,
)
from fraud_retraining.orchestration.tags import as_of_day, trigger_of, typed_in_ui
from fraud_retraining.settings import Settings


def record_request(
    run_id: str, tags: Mapping[str, str], settings: Settings, ledger: Ledger, requester: Requester = BY_UI
) -> RetrainRequest:
    """Records the request of a retrain, and settings and environment where they changed; once a run.

    Trigger and reason in the tags count as typed by the requester, unless the ledger has a decision of automation that
    the tags name and no other run has used.
    """
    # Everyone can type tags in the UI, also those of automation: there only the decision in the ledger counts.
    typed = trigger_of(tags) if requester is not BY_UI else typed_in_ui(tags)
    event = ledger.record_retrain_request(
        run_id,
        as_of_day(tags),
        decided=tags.get(DECISION_TAG),
        asker=requester,
        trigger=typed,
        reason=tags.get(REASON_TAG, ""),
    )
    made_by = {**environment().model_dump(mode="json"), PACKAGES: installed_packages()}
    # Recorded with the request, before anything is made by them.
    for subject, payload in ((SETTINGS, settings.model_dump(mode="json", exclude={"models"})), (ENVIRONMENT, made_by)):
        ledger.append_changed(
            EventKind.CONFIGURATION_CHANGED,
            keys=EventKeys(subject=subject),
            payload=payload,
            actor=event.actor,
            channel=event.channel,
        )
    return recorded_request(event)


def request_of_run(run_id: str, ledger: Ledger) -> RetrainRequest:
    """The request of a run, from the ledger."""
    return recorded_request(ledger.last(EventKind.RETRAIN_REQUESTED, subject=run_id))


def record_decision(decision: str, wanted: Retrain, channel: str, ledger: Ledger) -> None:
    """Records a decision of automation to retrain; the tags of the run that carries it out name the decision."""
    ledger.append_once(
        EventKind.RETRAIN_DECIDED,
        keys=EventKeys(subject=decision, as_of=wanted.as_of),
        actor=AUTOMATION,
        channel=channel,
        payload={
            "trigger": "+".join(wanted.triggers),
            "reason": wanted.reason,
            "inputs": wanted.inputs,
            "drift_since": wanted.drift_since,
        },
    )
