"""Who asked for a run, by which way, and why; and the record of it.

Here: reading it off a Dagster run's tags, whichever way the run was started. Not here: deciding
(`domain/retraining/triggers/`).
"""

from collections.abc import Mapping
from datetime import date

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.environment import environment, installed_packages
from fraud_retraining.domain.audit.history import ENVIRONMENT, PACKAGES, SETTINGS
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.retraining.requesters import (
    AUTOMATION,
    BY_UI,
    DAGSTER_UI,
    Requester,
    RetrainRequest,
    recorded_request,
)
from fraud_retraining.domain.retraining.triggers.values import Retrain, Trigger
from fraud_retraining.orchestration.names import (
    AS_OF_TAG,
    DECISION_TAG,
    PARTITION_TAG,
    REASON_TAG,
    TRIGGER_TAG,
)
from fraud_retraining.settings import Settings

BACKFILL_TAG = "dagster/backfill"
CHANNEL_TAG = "fraud_retraining/channel"


def trigger_of(tags: Mapping[str, str]) -> str:
    """Why the run was started: its triggers, joined by a plus; a run that says nothing was started by hand."""
    if TRIGGER_TAG in tags:
        return tags[TRIGGER_TAG]
    return str(Trigger.BACKFILL if BACKFILL_TAG in tags else Trigger.MANUAL)


def channel_of(tags: Mapping[str, str]) -> str:
    """By which way the run was started."""
    if CHANNEL_TAG in tags:
        return tags[CHANNEL_TAG]
    for kind in ("sensor", "schedule"):
        if (name := tags.get(f"dagster/{kind}_name")) is not None:
            return f"{kind} {name}"
    return DAGSTER_UI


def as_of_of(tags: Mapping[str, str]) -> date | None:
    """The as-of day of a retrain."""
    named = tags.get(AS_OF_TAG) or tags.get(PARTITION_TAG)
    return date.fromisoformat(named) if named else None


def record_request(
    run_id: str, tags: Mapping[str, str], settings: Settings, ledger: Ledger, asker: Requester = BY_UI
) -> RetrainRequest:
    """Records who asked for a retrain, and settings and environment where they changed; once a run.

    What the tags say of it was typed by somebody, unless the ledger holds it as a decision of automation.
    """
    typed = trigger_of(tags) if asker is not BY_UI else typed_in_ui(tags)
    event = ledger.record_retrain_request(
        run_id,
        as_of_of(tags),
        decided=tags.get(DECISION_TAG),
        asker=asker,
        trigger=typed,
        reason=tags.get(REASON_TAG, ""),
    )
    made_by = {**environment().model_dump(mode="json"), PACKAGES: installed_packages()}
    for subject, payload in ((SETTINGS, settings.model_dump(mode="json")), (ENVIRONMENT, made_by)):
        ledger.append_changed(
            EventKind.CONFIGURATION_CHANGED,
            subject=subject,
            payload=payload,
            actor=event.actor,
            channel=event.channel,
        )
    return recorded_request(event)


def request_of_run(run_id: str, ledger: Ledger) -> RetrainRequest:
    """Who asked for a run, as the record has it."""
    return recorded_request(ledger.last(EventKind.RETRAIN_REQUESTED, subject=run_id))


def record_decision(decision: str, wanted: Retrain, channel: str, ledger: Ledger) -> None:
    """Records that automation has decided on a retrain; the run that carries it out names this decision."""
    ledger.append_once(
        EventKind.RETRAIN_DECIDED,
        subject=decision,
        actor=AUTOMATION,
        channel=channel,
        as_of=wanted.as_of,
        payload={
            "trigger": "+".join(wanted.triggers),
            "reason": wanted.reason,
            "inputs": wanted.inputs,
            "drift_since": wanted.drift_since,
        },
    )


def typed_in_ui(tags: Mapping[str, str]) -> str:
    """The trigger of a run that was launched in Dagster's UI: by hand, or a backfill of Dagster's own."""
    return str(Trigger.BACKFILL if BACKFILL_TAG in tags else Trigger.MANUAL)
