"""Report of a period: retrains, decisions, promotions, alerts, and changes of settings.

Here: reading it off the events of the period. Not here: finding and showing them (`adapters/pages/html.py`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from fraud_retraining.domain.audit.history import about, differences
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.releases.candidate import Evaluation
from fraud_retraining.domain.releases.release import ReleaseState
from fraud_retraining.domain.retraining.pauses import PAUSING
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.plain_tables import NONE, Cell, Grid, grid, number

K = EventKind
S = ReleaseState
DECIDED = frozenset({S.APPROVED, S.REJECTED, S.EXPIRED, S.WITHDRAWN})


class Period(Value):
    """Whole UTC days, both ends included."""

    first: date
    last: date

    def __contains__(self, at: datetime) -> bool:
        return self.first <= at.date() <= self.last


def summary(period: Period, events: Sequence[Event]) -> str:
    """Return the period in a sentence."""
    counts = {kind: sum(event.kind == kind for event in events) for kind in K}
    decided = [event.payload.get("to") for event in events if event.kind == K.RELEASE_MOVED]
    return (
        f"From {period.first} to {period.last}: {counts[K.RETRAIN_REQUESTED]} retrains requested, "
        f"{counts[K.MODEL_TRAINED]} models trained, {counts[K.VERSION_REGISTERED]} versions registered, "
        f"{decided.count(S.APPROVED)} approved, {decided.count(S.REJECTED)} rejected, {decided.count(S.EXPIRED)} "
        f"expired, {counts[K.FLOOR_EXCEPTED]} exceptions from floors, {counts[K.PROMOTION_DONE]} promotions, "
        f"{counts[K.NOTICE_OPENED]} alerts, {counts[K.CONFIGURATION_CHANGED]} changes of settings or environment."
    )


def grids(events: Sequence[Event], before: Mapping[str, Mapping[str, Any]]) -> tuple[Grid, ...]:
    """The tables of a period; `before` are settings and environment as they were when it began, by subject."""
    return (
        retrains_grid(events),
        decisions_grid(events),
        promotions_grid(events),
        alerts_grid(events),
        data_grid(events),
        changes_grid(events, before),
    )


def retrains_grid(events: Sequence[Event]) -> Grid:
    """Every requested retrain and its result."""
    columns = ("at (UTC)", "as of", "trigger", "reason", "by", "version", "average precision", "champion's", "came to")
    requests = [event for event in events if event.kind == K.RETRAIN_REQUESTED]
    rows = (_retrain(event, list(_until_next(event, events))) for event in requests)
    return grid("retrains", "Retrains", columns, rows)


def _until_next(request: Event, events: Iterable[Event]) -> Iterator[Event]:
    """Events of the as-of day until the next request for it."""
    for event in events:
        if event.seq <= request.seq or event.as_of != request.as_of:
            continue
        if event.kind == K.RETRAIN_REQUESTED:
            return
        yield event


def _retrain(request: Event, followed: Sequence[Event]) -> tuple[Cell, ...]:
    judged = next((event for event in followed if event.kind == K.MODEL_EVALUATED), None)
    evaluation = Evaluation.model_validate(judged.payload) if judged else None
    evidence = evaluation.evidence if evaluation else None
    version = next((event.version for event in followed if event.version is not None), None)
    return (
        _at(request),
        str(request.as_of or NONE),
        str(request.payload.get("trigger", NONE)),
        str(request.payload.get("reason", "")),
        f"{request.actor} ({request.channel})",
        version if version is not None else NONE,
        number(evidence.beside.values.get("average_precision") if evidence else None),
        number(evidence.champion.values.get("average_precision") if evidence and evidence.champion else None),
        _came_to(followed, evaluation),
    )


def _came_to(followed: Sequence[Event], evaluation: Evaluation | None) -> str:
    failed = [event for event in followed if event.kind == K.RETRAIN_FAILED]
    moved = [event for event in followed if event.kind in (K.RELEASE_MOVED, K.PROMOTION_DONE)]
    if moved:
        state = moved[-1].payload.get("release", {}).get("state", "")
        return str(state).replace("_", " ")
    if evaluation is not None and not evaluation.verdict.passed:
        return f"gate failed: {', '.join(gate.name for gate in evaluation.verdict.failed)}"
    if failed:
        return str(failed[-1].payload.get("what", "failed"))
    return "nothing new" if not followed else "trained"


def decisions_grid(events: Sequence[Event]) -> Grid:
    """Every decision, the refused ones too."""
    rows = (
        (
            _at(event),
            event.version or NONE,
            _answer(event),
            event.actor,
            event.channel,
            str(event.payload.get("refused") or event.payload.get("reason") or ""),
        )
        for event in events
        if event.kind in (K.DECISION_REFUSED, K.APPROVAL_RECORDED, K.FLOOR_EXCEPTED) or _is_decision(event)
    )
    return grid("decisions", "Decisions", ("at (UTC)", "version", "decision", "by", "by way of", "reason"), rows)


def _is_decision(event: Event) -> bool:
    return event.kind == K.RELEASE_MOVED and event.payload.get("to") in DECIDED


def _answer(event: Event) -> str:
    if event.kind == K.DECISION_REFUSED:
        return f"{event.payload.get('decision') or event.payload.get('wanted') or 'answer'} refused"
    if event.kind == K.APPROVAL_RECORDED:
        return "approved first of two"
    if event.kind == K.FLOOR_EXCEPTED:
        return f"exception: {event.payload['floors']}"
    return str(event.payload["to"]).replace("_", " ")


def promotions_grid(events: Sequence[Event]) -> Grid:
    """Every change of the champion."""
    rows = (row for event in events if (row := _promotion(event)) is not None)
    columns = ("at (UTC)", "champion", "in place of", "how", "by", "by way of", "reason")
    return grid("promotions", "Champions", columns, rows)


def _promotion(event: Event) -> tuple[Cell, ...] | None:
    if event.kind == K.CHAMPION_MOVED_OUTSIDE:
        names = (event.payload.get("to"), event.payload.get("from"))
        return (_at(event), *map(_named, names), "by hand", event.actor, event.channel, "")
    if event.kind not in (K.PROMOTION_DONE, K.PROMOTION_UNDONE):
        return None
    intent = event.payload["intent"]
    how = "rollback" if intent["rollback"] else "promotion"
    undone = ", undone" if event.kind == K.PROMOTION_UNDONE else ""
    names = (_named(event.version), _named(intent["expected_champion"]))
    return (_at(event), *names, f"{how}{undone}", event.actor, event.channel, str(intent.get("reason", "")))


def _named(version: object) -> str:
    return "no version" if version is None else f"version {version}"


def alerts_grid(events: Sequence[Event]) -> Grid:
    """Notices and failures."""
    kinds = (K.NOTICE_OPENED, K.NOTICE_RESOLVED, K.RETRAIN_FAILED, K.INGEST_FAILED, *PAUSING, K.SMOKE_TESTED)
    return _plain_grid("alerts", "Alerts and failures", events, kinds)


def data_grid(events: Sequence[Event]) -> Grid:
    """Days that were found rewritten after they were used, and ingests that failed."""
    return _plain_grid("data", "Days changed or not ingested", events, (K.DAY_CHANGED, K.INGEST_FAILED))


def _plain_grid(name: str, title: str, events: Iterable[Event], kinds: tuple[EventKind, ...]) -> Grid:
    rows = (
        (_at(event), str(event.kind).replace("_", " "), str(event.as_of or NONE), about(event))
        for event in events
        if event.kind in kinds
    )
    return grid(name, title, ("at (UTC)", "what", "as of", "about"), rows)


def changes_grid(events: Iterable[Event], before: Mapping[str, Mapping[str, Any]]) -> Grid:
    """Every setting and every part of the environment that became another one."""
    return grid(
        "changes", "Settings and environment", ("at (UTC)", "by", "what", "before", "after"), _changes(events, before)
    )


def _changes(events: Iterable[Event], before: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[Cell, ...]]:
    known = dict(before)
    for event in events:
        if event.kind != K.CONFIGURATION_CHANGED:
            continue
        subject = event.subject or ""
        if subject in known:
            for change in differences(known[subject], event.payload):
                yield (_at(event), event.actor, f"{subject}: {change.what}", change.before, change.after)
        else:
            yield (_at(event), event.actor, subject, "(not recorded)", "first recorded; whole in the Parquet file")
        known[subject] = event.payload


def _at(event: Event) -> str:
    return f"{event.at:%Y-%m-%d %H:%M:%S}"
