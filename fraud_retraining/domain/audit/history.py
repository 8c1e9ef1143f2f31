"""History of one version, from the ledger alone: trigger, data, verdict, decisions and service.

Here: reading the events about a version in their order, and what follows from them. Not here: finding the events
(`services/release_history.py`) and showing the history (`commands/implementation/audit_tables.py`,
`adapters/pages/html.py`, `domain/review/model_card.py`).

What the ledger does not say is None, never a guess: a version of an older ledger has a shorter history.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import Field

from fraud_retraining.domain.data.segments import recorded_summary
from fraud_retraining.domain.evaluation.gates import GateResult
from fraud_retraining.domain.evaluation.matured import MaturedVerdict
from fraud_retraining.domain.ledger.events import RELEASE_KINDS, Event, EventKind
from fraud_retraining.domain.monitoring.candidate_shadow import CandidateShadow
from fraud_retraining.domain.monitoring.promotion_watch import PromotionWatch
from fraud_retraining.domain.releases.candidate import Evaluation, Making, TrainedModel
from fraud_retraining.domain.releases.release import Release, ReleaseState
from fraud_retraining.domain.training.fingerprint import ImportedFile, changes
from fraud_retraining.domain.training.windows import TrainingWindow, WindowDay
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.digests import digest

K = EventKind
SETTINGS, ENVIRONMENT, PACKAGES, PYTHON = "settings", "environment", "packages", "Python"
MOVED = RELEASE_KINDS - {K.VERSION_REGISTERED} | {
    K.DECISION_REFUSED,
    K.CHAMPION_MOVED_OUTSIDE,
    K.FLOOR_EXCEPTED,
    K.MATURED_VERDICT,
    K.PROMOTION_WATCHED,
    K.CANDIDATE_SHADOWED,
}
DECISIONS = frozenset({ReleaseState.APPROVED, ReleaseState.REJECTED})
SHOWN_CHANGE = 120
LIBRARIES_SHOWN = 3


class Step(Value):
    """One event of the version: what, when, by whom, through which channel, and why."""

    seq: int
    at: datetime
    what: str
    by: str
    via: str
    reason: str = ""


class RequestRecord(Value):
    """Recorded request for the retrain: trigger, reason and requester."""

    trigger: str
    reason: str
    by: str
    via: str
    at: datetime

    @property
    def summary(self) -> str:
        """The trigger, and the reason where one was given."""
        return f"{self.trigger}: {self.reason}" if self.reason else self.trigger


class Change(Value):
    """A setting, or a part of the environment, that was another one before."""

    what: str
    before: str
    after: str


class Libraries(Value):
    """Libraries that made the version, compared with those of the champion."""

    compared: bool = Field(description="Whether the record says by what the champion was made.")
    moved: tuple[Change, ...] = Field((), description="Packages of another version, those that fit and score first.")
    unnamed: bool = Field(False, description="Whether packages changed whose versions the record does not have.")


class ReleaseHistory(Value):
    """Everything that the ledger says about one version. `audit show --json` prints it: field names are a contract."""

    release: Release
    asked: RequestRecord | None
    window: TrainingWindow | None
    model: TrainedModel | None
    making: Making | None
    evaluation: Evaluation | None
    steps: tuple[Step, ...] = Field(description="Moves of its release, refused decisions included, oldest first.")
    decision: Step | None = Field(description="The approval or rejection that counted.")
    replaced: int | None = Field(description="Champion that it took the place of; none if there was none.")
    served: tuple[tuple[datetime, datetime | None], ...] = Field((), description="From when to when it was champion.")
    rewritten: tuple[str, ...] = Field((), description="Days that hold other rows now than when it used them.")
    alerts: tuple[Step, ...] = ()
    changed: tuple[Change, ...] = Field((), description="Settings and environment against the champion's, back then.")
    inputs_changed: tuple[str, ...] = Field((), description="Parts of the fingerprint, days apart, against the same.")
    libraries: Libraries | None = Field(None, description="None where the record does not say what made it.")
    matured: MaturedVerdict | None = Field(
        None, description="The verdict measured again on mature labels; none where it was not, or not yet."
    )
    shadow: CandidateShadow | None = Field(
        None, description="The last comparison with the champion on new days, while it waited; none without one."
    )
    watch: PromotionWatch | None = Field(
        None, description="How it compared with the version before it on live rows; none while that is watched."
    )

    @property
    def imported(self) -> ImportedFile | None:
        """The file of a model that was made elsewhere; None for one that was fitted here."""
        return self.model.determined_by.imported if self.model is not None else None

    @property
    def segment(self) -> str:
        """The transactions that it is for, where it is one of several models; empty where it is for all."""
        return recorded_summary(self.model.determined_by.model) if self.model is not None else ""

    @property
    def learnt_from(self) -> str:
        """What it has learnt from, as far as that is known."""
        if self.imported is not None:
            file = f"imported, {self.imported.format} file {self.imported.sha256}"
            return f"days through {self.imported.trained_through}, as is claimed; {file}"
        if self.window is None:
            return "not on record"
        window, days = self.window, self.window.days
        rate = f" ({window.frauds / window.rows:.2%})" if window.rows else ""
        return (
            f"{days.training.start} to {days.training.end} ({days.strategy}): {window.rows:,} rows, "
            f"{window.frauds:,} frauds{rate}, {len(window.features)} features"
        )

    @property
    def data_digest(self) -> str | None:
        """One digest over everything that trained it: day, day digest, features digest and weight of each day."""
        return digest([day.model_dump(mode="json") for day in self.window.training]) if self.window else None

    @property
    def gates(self) -> tuple[GateResult, ...]:
        """Result of every gate."""
        return self.evaluation.verdict.gates if self.evaluation else ()

    @property
    def days(self) -> tuple[tuple[str, WindowDay], ...]:
        """Every day of the window with what it was for."""
        if self.window is None:
            return ()
        uses = (("training", self.window.training), ("holdout", self.window.holdout), ("fixed", self.window.fixed))
        return tuple((use, day) for use, days in uses for day in days)

    @property
    def live(self) -> bool:
        """Whether it serves, by the ledger."""
        return self.release.state is ReleaseState.PROMOTED


def build_release_history(
    release: Release, events: Iterable[Event], champion_trained: Event | None, configurations: Iterable[Event]
) -> ReleaseHistory:
    """Return the history of a release.

    Args:
        release: its present state.
        events: every event about its fingerprint, its version or its as-of day.
        champion_trained: the training event of the champion that it was compared with, if there was one.
        configurations: every event about settings and environment.
    """
    own = sorted((event for event in events if _about(release, event)), key=lambda event: event.seq)
    trained = _last(own, K.MODEL_TRAINED)
    judged = _last(own, K.MODEL_EVALUATED)
    model = _model(trained)
    window = _window(own, trained)
    moves = [event for event in own if event.version == release.version or event.kind == K.CHAMPION_MOVED_OUTSIDE]
    steps = tuple(_steps(moves, release.version))
    before = _model(champion_trained)
    configured = list(configurations)
    return ReleaseHistory(
        release=release,
        asked=_request(own, trained),
        window=window,
        model=model,
        making=_making(trained),
        evaluation=Evaluation.model_validate(judged.payload) if judged else None,
        steps=steps,
        decision=_decision(moves),
        replaced=_replaced(moves),
        served=tuple(_served(moves, release.version)),
        rewritten=_rewritten(moves),
        alerts=tuple(_alerts(release, own)),
        changed=_changed(champion_trained, trained, configured),
        inputs_changed=_inputs_changed(before, model),
        libraries=_libraries(champion_trained, trained, configured),
        matured=_matured(own),
        shadow=_shadow(own),
        watch=_watch(own),
    )


def _about(release: Release, event: Event) -> bool:
    """Events of the as-of day belong to it too, but not those of another candidate of that day."""
    if event.kind == K.CHAMPION_MOVED_OUTSIDE:
        return release.version in (event.payload.get("from"), event.payload.get("to"))
    if event.version is not None:
        return event.version == release.version
    return event.fingerprint in (None, release.fingerprint)


def _matured(events: Sequence[Event]) -> MaturedVerdict | None:
    found = _last(events, K.MATURED_VERDICT)
    return MaturedVerdict.model_validate(found.payload) if found else None


def _shadow(events: Sequence[Event]) -> CandidateShadow | None:
    found = _last(events, K.CANDIDATE_SHADOWED)
    return CandidateShadow.model_validate(found.payload) if found else None


def _watch(events: Sequence[Event]) -> PromotionWatch | None:
    found = _last(events, K.PROMOTION_WATCHED)
    return PromotionWatch.model_validate(found.payload) if found else None


def _last(events: Sequence[Event], kind: EventKind, before: Event | None = None) -> Event | None:
    found = [event for event in events if event.kind == kind and (before is None or event.seq < before.seq)]
    return found[-1] if found else None


def _model(trained: Event | None) -> TrainedModel | None:
    if trained is None:
        return None
    return TrainedModel.model_validate({name: trained.payload[name] for name in TrainedModel.model_fields})


def _making(trained: Event | None) -> Making | None:
    making = trained.payload.get("making") if trained else None
    return Making.model_validate(making) if making else None


def _window(events: Sequence[Event], trained: Event | None) -> TrainingWindow | None:
    """The manifest that it was trained from: the last one built before."""
    built = _last(events, K.WINDOW_BUILT, trained)
    return TrainingWindow.model_validate(built.payload) if built else None


def _request(events: Sequence[Event], trained: Event | None) -> RequestRecord | None:
    """The last request before it was trained; of a run without a recorded request, the training event."""
    request = _last(events, K.RETRAIN_REQUESTED, trained)
    if request is not None:
        given = {name: str(request.payload.get(name, "")) for name in ("trigger", "reason")}
        return RequestRecord(**given, by=request.actor, via=request.channel, at=request.at)
    making = _making(trained)
    if trained is None or making is None:
        return None
    return RequestRecord(
        trigger=making.trigger, reason=making.reason, by=trained.actor, via=trained.channel, at=trained.at
    )


# ---------------------------------------------------------------- its release


def _steps(events: Iterable[Event], version: int) -> Iterator[Step]:
    for event in events:
        if event.kind in (K.MODEL_TRAINED, K.MODEL_EVALUATED):
            continue
        what, reason = _words(event, version)
        yield _step(event, what, reason)


def _step(event: Event, what: str, reason: str) -> Step:
    return Step(seq=event.seq, at=event.at, what=what, by=event.actor, via=event.channel, reason=reason)


def _words(event: Event, version: int) -> tuple[str, str]:
    """What an event says happened, and the reason that was given."""
    payload = event.payload
    intent = payload.get("intent") or {}
    match event.kind:
        case K.LINK_MADE:
            return f"link made for {payload['reviewer']}", ""
        case K.RELEASE_MOVED:
            return str(payload["to"]).replace("_", " "), str(payload.get("reason", ""))
        case K.DECISION_REFUSED:
            wanted = payload.get("decision") or payload.get("wanted") or "answer"
            return f"{wanted} refused", str(payload.get("refused", ""))
        case K.PROMOTION_INTENDED:
            way = "rollback" if intent.get("rollback") else "promotion"
            return f"{way} begun, in place of {_named(intent.get('expected_champion'))}", str(intent.get("reason", ""))
        case K.PROMOTION_DONE:
            return f"promoted, in place of {_named(intent.get('expected_champion'))}", str(intent.get("reason", ""))
        case K.FLOOR_EXCEPTED:
            return f"exception made for {payload['floors']}", str(payload.get("reason", ""))
        case K.MATURED_VERDICT:
            verdict = MaturedVerdict.model_validate(payload)
            return f"judged again: {verdict.outcome.replace('_', ' ')}", verdict.summary
        case K.CANDIDATE_SHADOWED:
            return "scored in shadow", CandidateShadow.model_validate(payload).summary
        case K.PROMOTION_WATCHED:
            watch = PromotionWatch.model_validate(payload)
            return f"watched: {watch.standing}", watch.summary
        case K.PROMOTION_UNDONE:
            return "promotion undone", str(payload["release"].get("reason", ""))
        case K.CHAMPION_MOVED_OUTSIDE:
            moved = "made champion" if payload.get("to") == version else f"replaced by {_named(payload.get('to'))}"
            return f"{moved} by hand", ""
    return str(event.kind).replace("_", " "), str(payload.get("reason", ""))


def _named(version: object) -> str:
    return "no version" if version is None else f"version {version}"


def _decision(events: Sequence[Event]) -> Step | None:
    """The approval or rejection that counted; the policy that stood for a human is one too."""
    decided = [event for event in events if event.kind == K.RELEASE_MOVED and event.payload.get("to") in DECISIONS]
    return _step(decided[-1], *_words(decided[-1], 0)) if decided else None


def _replaced(events: Sequence[Event]) -> int | None:
    done = _last(events, K.PROMOTION_DONE)
    if done is not None:
        found = done.payload["intent"]["expected_champion"]
        return int(found) if found is not None else None
    moved = [event.payload.get("from") for event in events if event.kind == K.CHAMPION_MOVED_OUTSIDE]
    return int(moved[0]) if moved and moved[0] is not None else None


def _served(events: Sequence[Event], version: int) -> Iterator[tuple[datetime, datetime | None]]:
    """From each time that it became champion to the time that it no longer was."""
    since: datetime | None = None
    for event in events:
        serves = _serves_after(event, version)
        if serves and since is None:
            since = event.at
        elif serves is False and since is not None:
            yield since, event.at
            since = None
    if since is not None:
        yield since, None


def _serves_after(event: Event, version: int) -> bool | None:
    """Whether it is champion after the event; None where the event does not say."""
    if event.kind == K.CHAMPION_MOVED_OUTSIDE:
        return bool(event.payload.get("to") == version)
    release = event.payload.get("release")
    if not isinstance(release, Mapping) or release.get("state") == ReleaseState.PROMOTING:
        return None
    return bool(release.get("state") == ReleaseState.PROMOTED)


# ---------------------------------------------------------------- what surrounds it


def _rewritten(events: Sequence[Event]) -> tuple[str, ...]:
    """Days that it used and that hold other rows now, as was last said."""
    said = _last(events, K.REPRODUCIBILITY_CHANGED)
    return tuple(map(str, said.payload["rewritten"])) if said is not None else ()


def _alerts(release: Release, events: Iterable[Event]) -> Iterator[Step]:
    """Notices about its as-of day or about itself."""
    for event in events:
        meant = event.as_of == release.as_of or event.payload.get("version") == release.version
        if event.kind in (K.NOTICE_OPENED, K.NOTICE_RESOLVED, K.RETRAIN_FAILED) and meant:
            subject = f": {event.subject}" if event.subject else ""
            yield _step(event, f"{str(event.kind).replace('_', ' ')}{subject}", _headline(event.payload))


def _headline(payload: Mapping[str, Any]) -> str:
    """The most informative sentence of a payload."""
    return next((str(payload[key]) for key in ("title", "what", "summary", "why") if payload.get(key)), "")


def _inputs_changed(before: TrainedModel | None, after: TrainedModel | None) -> tuple[str, ...]:
    if before is None or after is None:
        return ()
    found = changes(before.determined_by, after.determined_by)
    return tuple(one for one in found if not one.startswith(("day ", "as of ", "roles of ")))


def _changed(before: Event | None, after: Event | None, configurations: Sequence[Event]) -> tuple[Change, ...]:
    """What was configured otherwise when it was trained than when the champion was."""
    if before is None or after is None:
        return ()
    found: list[Change] = []
    for subject in (SETTINGS, ENVIRONMENT):
        then, now = (_in_force(configurations, subject, event.seq) for event in (before, after))
        found += differences(then, now) if then is not None and now is not None else []
    return tuple(found)


def _libraries(before: Event | None, after: Event | None, configurations: Sequence[Event]) -> Libraries | None:
    """Which packages were of another version when it was trained than when the champion was."""
    if after is None:
        return None
    if before is None:
        return Libraries(compared=False)
    installed = [(_in_force(configurations, ENVIRONMENT, event.seq) or {}) for event in (before, after)]
    old, new = _fitting(before), _fitting(after)
    named = all(PACKAGES in environment for environment in installed)
    packages = [environment[PACKAGES] if named else {} for environment in installed]
    moved = [*_moved(old, new), *_moved(packages[0], packages[1], beside={*old, *new})]
    digests = {environment.get("installed_digest") for environment in installed} - {None}
    return Libraries(compared=True, moved=tuple(moved), unnamed=not named and len(digests) > 1)


def _fitting(trained: Event) -> dict[str, str]:
    """The libraries that fit and score, as the training recorded them, and Python."""
    making, model = _making(trained), _model(trained)
    libraries = {name: str(version) for name, version in model.determined_by.libraries.items()} if model else {}
    return {**libraries, **({PYTHON: making.environment.python} if making else {})}


def _moved(
    before: Mapping[str, str], after: Mapping[str, str], beside: Collection[str] = frozenset()
) -> Iterator[Change]:
    for name in sorted({*before, *after} - set(beside)):
        if before.get(name) != after.get(name):
            yield Change(what=name, before=before.get(name, "(not there)"), after=after.get(name, "(not there)"))


def _in_force(configurations: Iterable[Event], subject: str, seq: int) -> Mapping[str, Any] | None:
    known = [event for event in configurations if event.subject == subject and event.seq < seq]
    return max(known, key=lambda event: event.seq).payload if known else None


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return every value that differs, by its dotted name, in the order of the names.

    Packages are compared only where both sides name them: an older record has their digest alone.
    """
    apart = {PACKAGES} if (PACKAGES in before) is not (PACKAGES in after) else set()
    old, new = (
        dict(_flat({name: value for name, value in one.items() if name not in apart})) for one in (before, after)
    )
    return [
        Change(what=name, before=_shown(old, name), after=_shown(new, name))
        for name in sorted({*old, *new})
        if old.get(name, ...) != new.get(name, ...)
    ]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, found in values.items():
        value = _by_name(found)
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _by_name(value: Any) -> Any:
    """A list of things with names, such as reviewers, by those names; anything else as it is."""
    things = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    if things and all(isinstance(thing, Mapping) and "name" in thing for thing in things):
        return {thing["name"]: {key: said for key, said in thing.items() if key != "name"} for thing in things}
    return value


def _shown(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name, "(not there)")
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= SHOWN_CHANGE else f"{text[:SHOWN_CHANGE]}..."


# ---------------------------------------------------------------- in words


def about(event: Event) -> str:
    """What an event is about, on one line."""
    if event.kind in MOVED:
        return ": ".join(part for part in _words(event, event.version or 0) if part)
    payload = event.payload
    said = [str(payload[key]) for key in ("trigger", "what", "title", "reason") if payload.get(key)]
    return ": ".join([*([event.subject] if event.subject else []), *said])


def libraries_line(history: ReleaseHistory) -> str:
    """The environment's change in a line: the same libraries as the champion's, or which moved from what to what."""
    found = history.libraries
    if found is None:
        return "The record does not say by which libraries it was made."
    if not found.compared:
        return "No champion to compare libraries with."
    champion = _named(history.evaluation.champion_version) if history.evaluation else "the champion"
    if not found.moved:
        return f"Same libraries as {champion}{', but for packages that neither fit nor score' * found.unnamed}."
    shown = ", ".join(f"{one.what} {one.before} \u2192 {one.after}" for one in found.moved[:LIBRARIES_SHOWN])
    left = len(found.moved) - LIBRARIES_SHOWN
    more = f" and {left} more" if left > 0 else ""
    return f"Libraries moved since {champion}: {shown}{more}{', and packages not on record' * found.unnamed}."


def why(history: ReleaseHistory) -> str:
    """Why it serves, or does not, in two or three sentences."""
    again = [one.summary for one in (history.matured, history.watch) if one is not None]
    return " ".join([_standing(history), _judged(history), *again, _let(history)])


def _standing(history: ReleaseHistory) -> str:
    release = history.release
    since = f"{history.served[-1][0]:%Y-%m-%d %H:%M} UTC" if history.served else ""
    if history.live:
        return f"Version {release.version} serves since {since}."
    state = str(release.state).replace("_", " ")
    at = f"{release.moved_at:%Y-%m-%d %H:%M} UTC"
    reason = f": {release.reason}" if release.reason else ""
    return f"Version {release.version} does not serve: {state} by {release.moved_by} at {at}{reason}."


def _judged(history: ReleaseHistory) -> str:
    if history.evaluation is None:
        return "The record has no verdict about it."
    gates = [gate for gate in history.gates if gate.applicable]
    passed = sum(gate.passed for gate in gates)
    skipped = len(history.gates) - len(gates)
    left = f"; {skipped} did not apply" if skipped else ""
    against = history.evaluation.champion_version
    beside = f" beside version {against}" if against is not None else " with no champion beside it"
    human = f" A human had to decide: {history.release.needs_human}." if history.release.needs_human else ""
    return f"It was judged{beside} and passed {passed} of {len(gates)} gates{left}.{human}"


def _let(history: ReleaseHistory) -> str:
    if history.decision is None:
        return "There is no decision about it." if not history.served else "It was made champion by hand."
    decision = history.decision
    reason = f": {decision.reason}" if decision.reason else ", without a reason"
    took = f" It took the place of {_named(history.replaced)}." if history.served else ""
    return (
        f"It was {decision.what} by {decision.by} ({decision.via}) at {decision.at:%Y-%m-%d %H:%M} UTC{reason}.{took}"
    )
