"""Notices about releases: one an event of the ledger, in words that need no dashboard.

Here: which events are announced, their severity, and what ends an alarm. Not here: recipients and channels
(`orchestration/release_notifier.py`, the outbox), and Slack's blocks (`domain/release_messages/slack_request.py`).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal

from pydantic import Field

from fraud_retraining.domain.evaluation.matured import MaturedOutcome, MaturedVerdict
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.monitoring.candidate_shadow import CandidateShadow
from fraud_retraining.domain.monitoring.promotion_watch import PromotionWatch
from fraud_retraining.domain.release_messages.request import approve_command, reject_command
from fraud_retraining.domain.releases.promotion_mode import POLICY
from fraud_retraining.domain.releases.release import ReleaseState, Reminder
from fraud_retraining.domain.retraining.pauses import Automation
from fraud_retraining.domain.values.base import Value

Severity = Literal["info", "warning", "high", "critical"]

ANNOUNCED_KINDS = (
    EventKind.RELEASE_MOVED,
    EventKind.APPROVAL_RECORDED,
    EventKind.REVIEWERS_REMINDED,
    EventKind.PROMOTION_DONE,
    EventKind.PROMOTION_UNDONE,
    EventKind.CHAMPION_MOVED_OUTSIDE,
    EventKind.CHAMPION_CHECKED,
    EventKind.SMOKE_TESTED,
    EventKind.MATURED_VERDICT,
    EventKind.CANDIDATE_SHADOWED,
    EventKind.PROMOTION_WATCHED,
    EventKind.AUTOMATION_PAUSED,
    EventKind.AUTOMATION_RESUMED,
    EventKind.RECORD_ALTERED,
    EventKind.RECORD_RESTORED,
    EventKind.ROW_VOIDED,
)
"""Kinds of events that `notice_of` makes notices of."""

REFUTED = "refuted"
"""Kind of the notice about a promotion that mature labels refute."""
SHADOWED = "shadowed"
"""Kind of the notice about what would change if a waiting candidate served."""
WORSE = "worse_live"
"""Kind of the notice about a promotion that is clearly worse on live rows."""


class ReleaseNotice(Value):
    """Notice about one event. The same event always gives the same notice."""

    kind: str = Field(description="What happened, in a word: waiting, reminder, promoted, expired, ...")
    severity: Severity
    title: str
    text: str
    remedy: str = Field("", description="What a reader can do now.")
    version: int | None
    dedup_key: str = Field(description="Notices with one key are one alarm.")
    resolves: bool = Field(False, description="Whether it ends the alarm of its key instead of raising it.")
    seq: int = Field(description="Row of the ledger that it is about.")


def notice_of(event: Event) -> ReleaseNotice | None:
    """Return the notice about an event of the ledger; None for an event that is not announced."""
    make = _NOTICE_MAKERS.get(event.kind)
    return make(event) if make is not None else None


def _notice(event: Event, kind: str, severity: Severity, title: str, text: str, **more: Any) -> ReleaseNotice:
    values = {"dedup_key": f"release {event.version} {kind}", **more}
    return ReleaseNotice(
        kind=kind, severity=severity, title=title, text=text, version=event.version, seq=event.seq, **values
    )


def _moved(event: Event) -> ReleaseNotice | None:
    payload, version = event.payload, event.version
    by = f"by {event.actor} ({event.channel})"
    reason = str(payload["reason"])
    match payload["to"]:
        case ReleaseState.AWAITING_APPROVAL:
            return _waiting(event)
        case ReleaseState.APPROVED if event.actor != POLICY:
            return _notice(event, "approved", "info", f"Version {version} was approved {by}", reason)
        case ReleaseState.REJECTED:
            return _notice(event, "rejected", "info", f"Version {version} was rejected {by}", reason)
        case ReleaseState.EXPIRED:
            return _notice(
                event,
                "expired",
                "warning",
                f"Version {version} expired",
                f"{reason}; the champion stays",
                remedy="the next retrain gives a new candidate; request one with `fraud-retraining retrain`.",
            )
        case ReleaseState.WITHDRAWN:
            return _notice(event, "withdrawn", "warning", f"Version {version} was withdrawn {by}", reason)
        case ReleaseState.SUPERSEDED if payload["from"] in {ReleaseState.AWAITING_APPROVAL, ReleaseState.APPROVED}:
            return _notice(event, "superseded", "info", f"Version {version} is superseded", reason)
    return None


def _waiting(event: Event) -> ReleaseNotice:
    release = event.payload["release"]
    return _notice(
        event,
        "waiting",
        "warning",
        f"Version {event.version} waits for a reviewer until {_minute(release['deadline'])}",
        f"as of {event.as_of}, trigger {release['trigger']}; {event.payload['reason']}",
        remedy=_decision_commands(event.version),
    )


def _approved_once(event: Event) -> ReleaseNotice:
    who = event.payload["release"]["first_approval_by"]
    title = f"Version {event.version} was approved by {who}, and needs a second reviewer"
    return _notice(
        event, "first_approval", "info", title, str(event.payload["reason"]), remedy=_decision_commands(event.version)
    )


def _reminded(event: Event) -> ReleaseNotice:
    left = "an hour is left" if event.payload["reminder"] == Reminder.LAST_HOUR else "half of the time is over"
    title = f"Version {event.version} still waits: {left}"
    text = f"It expires at {_minute(event.payload['deadline'])}; then the champion stays."
    key = f"release {event.version} {event.payload['reminder']}"
    return _notice(event, "reminder", "warning", title, text, remedy=_decision_commands(event.version), dedup_key=key)


def _promoted(event: Event) -> ReleaseNotice:
    intent = event.payload["intent"]
    before = f"version {intent['expected_champion']}" if intent["expected_champion"] is not None else "no version"
    if intent["rollback"]:
        title = f"Version {event.version} serves again: {before} was rolled back by {intent['actor']}"
        return _notice(event, "rolled_back", "critical", title, intent["reason"], dedup_key=f"rollback {event.seq}")
    title = f"Version {event.version} is champion in place of {before}"
    return _notice(event, "promoted", "info", title, intent["reason"], dedup_key=f"promotion {event.seq}")


def _undone(event: Event) -> ReleaseNotice:
    title = f"The promotion of version {event.version} did not happen"
    text = "it was interrupted or overtaken; the record and the registry agree again"
    return _notice(event, "promotion_undone", "warning", title, text, dedup_key=f"promotion {event.seq}")


def _moved_outside(event: Event) -> ReleaseNotice:
    before, now = (_version(event.payload[end]) for end in ("from", "to"))
    known = "" if event.payload["known"] else ", which this pipeline did not register"
    return _notice(
        event,
        "alias_moved",
        "critical",
        f"The champion was moved by hand, from {before} to {now}{known}",
        "The move stands and is recorded; no gate and no reviewer approved it.",
        remedy="if it was not meant, `fraud-retraining rollback --to VERSION`.",
        dedup_key=f"alias {event.seq}",
    )


def _checked(event: Event) -> ReleaseNotice:
    key = {"dedup_key": "champion artifact"}
    if event.payload["sound"]:
        title = f"The artifact of the champion, version {event.version}, is what was recorded"
        return _notice(event, "artifact_sound", "info", title, "", resolves=True, **key)
    good = event.payload["last_good"]
    remedy = f"`fraud-retraining rollback --to {good}` brings back the last good version." if good else _NO_WAY_BACK
    title = f"The artifact of the champion, version {event.version}, is damaged"
    return _notice(event, "artifact_damaged", "critical", title, event.payload["problem"], remedy=remedy, **key)


_NO_WAY_BACK = "there is no other sound version: train and promote a new one."


def _smoke_tested(event: Event) -> ReleaseNotice:
    key = {"dedup_key": "smoke test"}
    if event.payload["passed"]:
        title = f"Version {event.version} passed its smoke test"
        return _notice(event, "smoke_test_passed", "info", title, "", resolves=True, **key)
    title = f"Version {event.version} did not pass its smoke test and is taken back"
    remedy = "look at the problem before the next promotion; automatic promotion is paused."
    return _notice(event, "smoke_test_failed", "critical", title, event.payload["problem"], remedy=remedy, **key)


def _matured(event: Event) -> ReleaseNotice | None:
    verdict = MaturedVerdict.model_validate(event.payload)
    if not verdict.refuted:
        return None
    return _notice(
        event,
        REFUTED,
        "high",
        f"Mature labels refute the promotion of version {verdict.version}",
        verdict.summary,
        remedy=f"if it still serves, `fraud-retraining rollback --to {verdict.champion_version} --reason TEXT` brings "
        f"back version {verdict.champion_version}.",
    )


def _shadowed(event: Event) -> ReleaseNotice:
    shadow = CandidateShadow.model_validate(event.payload)
    title = f"Version {shadow.version} scored the latest days in shadow"
    text = " ".join([shadow.summary, *(f"{line}." for line in shadow.lines)])
    return _notice(event, SHADOWED, "info", title, text, dedup_key=f"release {event.version} shadow {shadow.days[-1]}")


def _watched(event: Event) -> ReleaseNotice | None:
    watch = PromotionWatch.model_validate(event.payload)
    before = f"version {watch.predecessor_version}"
    if watch.outcome is MaturedOutcome.NOT_MEASURED:
        title = f"Version {watch.version} cannot be watched beside {before}"
        return _notice(event, "not_watched", "warning", title, watch.summary)
    if not watch.refuted:
        return None
    return _notice(
        event,
        WORSE,
        "high",
        f"Version {watch.version} is clearly worse on live rows than {before}, which it replaced",
        watch.summary,
        remedy=f"if it still serves, `fraud-retraining rollback --to {watch.predecessor_version} --reason TEXT` brings "
        f"back {before}.",
    )


def _paused(event: Event) -> ReleaseNotice | None:
    if event.subject != Automation.PROMOTION:
        return None
    key = {"dedup_key": "promotion paused"}
    reason = str(event.payload.get("reason", ""))
    if event.kind == EventKind.AUTOMATION_RESUMED:
        title = f"Automatic promotion was resumed by {event.actor}"
        return _notice(event, "promotion_resumed", "info", title, reason, resolves=True, **key)
    remedy = "`fraud-retraining resume --promotion` lets it go on."
    return _notice(event, "promotion_paused", "warning", "Automatic promotion is paused", reason, remedy=remedy, **key)


def _altered(event: Event) -> ReleaseNotice:
    text = "; ".join([str(event.payload["what"]), *map(str, event.payload["culprits"])])[:2000]
    title = "The record of decisions was changed; promotion and retraining are stopped"
    remedy = str(event.payload["remedy"])
    return _notice(event, "record_altered", "critical", title, text, remedy=remedy, dedup_key="record altered")


def _restored(event: Event) -> ReleaseNotice:
    title = f"The table of releases was written anew from the chain by {event.actor}"
    reason = str(event.payload["reason"])
    return _notice(event, "record_restored", "info", title, reason, resolves=True, dedup_key="record altered")


def _voided(event: Event) -> ReleaseNotice:
    kind = str(event.payload["row_kind"]).replace("_", " ")
    first, last = event.payload["row"], event.payload.get("through")
    which = f"Row {first} of the ledger ({kind}) was" if last is None else f"Rows {first} to {last} of the ledger were"
    title = f"{which} declared void by {event.actor}"
    text = f"{event.payload['why']}; {event.payload['reason']}"
    return _notice(event, "row_voided", "info", title, text, resolves=True, dedup_key="record altered")


_NOTICE_MAKERS: Mapping[str, Callable[[Event], ReleaseNotice | None]] = MappingProxyType(
    {
        EventKind.RELEASE_MOVED: _moved,
        EventKind.APPROVAL_RECORDED: _approved_once,
        EventKind.REVIEWERS_REMINDED: _reminded,
        EventKind.PROMOTION_DONE: _promoted,
        EventKind.PROMOTION_UNDONE: _undone,
        EventKind.CHAMPION_MOVED_OUTSIDE: _moved_outside,
        EventKind.CHAMPION_CHECKED: _checked,
        EventKind.SMOKE_TESTED: _smoke_tested,
        EventKind.MATURED_VERDICT: _matured,
        EventKind.CANDIDATE_SHADOWED: _shadowed,
        EventKind.PROMOTION_WATCHED: _watched,
        EventKind.AUTOMATION_PAUSED: _paused,
        EventKind.AUTOMATION_RESUMED: _paused,
        EventKind.RECORD_ALTERED: _altered,
        EventKind.RECORD_RESTORED: _restored,
        EventKind.ROW_VOIDED: _voided,
    }
)


def _decision_commands(version: int | None) -> str:
    return f"`{approve_command(version or 0)}` or `{reject_command(version or 0)}`."


def _minute(at: str | None) -> str:
    return f"{at[:16].replace('T', ' ')} UTC" if at else "further notice"


def _version(number: int | None) -> str:
    return f"version {number}" if number is not None else "no version"
