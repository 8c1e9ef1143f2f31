"""Who asked for a run, by which way, and why; and the record of it.

Here: reading it off a Dagster run's tags, whichever way the run was started. Not here: deciding (`domain/triggers.py`).
"""

from collections.abc import Mapping
from datetime import date

from fraud_retraining.adapters.environment import environment
from fraud_retraining.adapters.ledger import Ledger
from fraud_retraining.domain.events import EventKind
from fraud_retraining.domain.triggers import Trigger
from fraud_retraining.orchestration.jobs import AS_OF_TAG, DRIFT_TAG, INPUTS_TAG, REASON_TAG, TRIGGER_TAG
from fraud_retraining.settings import Settings

BACKFILL_TAG = "dagster/backfill"
PARTITION_TAG = "dagster/partition"
USER_TAG = "user"
CHANNEL_TAG = "fraud_retraining/channel"
AUTOMATION = "automation"


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
    return "Dagster UI"


def actor_of(tags: Mapping[str, str]) -> str:
    """Who started the run, as far as Dagster knows."""
    by_itself = any(f"dagster/{kind}_name" in tags for kind in ("sensor", "schedule"))
    return AUTOMATION if by_itself else tags.get(USER_TAG, "somebody")


def as_of_of(tags: Mapping[str, str]) -> date | None:
    """The as-of day of a retrain."""
    named = tags.get(AS_OF_TAG) or tags.get(PARTITION_TAG)
    return date.fromisoformat(named) if named else None


def record_request(run_id: str, tags: Mapping[str, str], settings: Settings, ledger: Ledger) -> None:
    """Records that a retrain was asked for, and settings and environment where they changed; once a run."""
    actor, channel = actor_of(tags), channel_of(tags)
    for subject, value in (("settings", settings), ("environment", environment())):
        ledger.append_changed(
            EventKind.CONFIGURATION_CHANGED,
            subject=subject,
            payload=value.model_dump(mode="json"),
            actor=actor,
            channel=channel,
        )
    more = {"inputs": INPUTS_TAG, "drift_since": DRIFT_TAG}
    ledger.append_once(
        EventKind.RETRAIN_REQUESTED,
        subject=run_id,
        actor=actor,
        channel=channel,
        as_of=as_of_of(tags),
        payload={
            "trigger": trigger_of(tags),
            "reason": tags.get(REASON_TAG, ""),
            "dagster_run_id": run_id,
            **{name: tags[tag] for name, tag in more.items() if tag in tags},
        },
    )
