"""The state that `status` reports: champion, candidate, window, last retrains, what is due next, problems.

Here: values and sentences, read together from lake, registry and ledger. Not here: how they are printed
(`commands/status.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from pydantic import Field

from fraud_retraining.adapters.alerts.file import ALERT_FILE
from fraud_retraining.adapters.days.monitoring_reports import WATCH, report_of, whole_reports
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.mlflow.registry import Registry
from fraud_retraining.adapters.storage.private_files import exposed
from fraud_retraining.domain.data.ingestion import BlockedFacts
from fraud_retraining.domain.evaluation.matured import MaturedCounts
from fraud_retraining.domain.labels.arrival import LabelArrival
from fraud_retraining.domain.labels.events import FAULTS
from fraud_retraining.domain.labels.feed_health import Reporting, kept_aside, reasons, reporting_on, shares_within
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.monitoring.candidate_shadow import CandidateShadow
from fraud_retraining.domain.monitoring.promotion_watch import PromotionWatch, WatchReport
from fraud_retraining.domain.releases.promotion_mode import Standing
from fraud_retraining.domain.releases.release import Release, ReleaseState
from fraud_retraining.domain.retraining.pauses import Automation, Pause
from fraud_retraining.domain.retraining.triggers.schedule import next_due
from fraud_retraining.domain.retraining.triggers.values import Paused
from fraud_retraining.domain.training.windows import TrainingWindow
from fraud_retraining.domain.values.base import Value
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.errors import ChampionLost, DataInvalid, RecordAltered
from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.names import LABELS, TRANSACTIONS
from fraud_retraining.orchestration.resources import (
    ledger_named,
    open_lake,
    open_ledger,
    open_notifier,
    open_outbox,
    open_registry,
    open_store,
)
from fraud_retraining.orchestration.runs.failed_runs import unreported_failures
from fraud_retraining.orchestration.runs.health import automation_health
from fraud_retraining.orchestration.runs.resource_definitions import open_outcomes
from fraud_retraining.orchestration.state.label_days import label_arrival, reports_of
from fraud_retraining.orchestration.state.label_use import champion_of_other_label_use
from fraud_retraining.orchestration.state.reproducibility import irreproducible_versions
from fraud_retraining.orchestration.state.trigger_inputs import last_as_of, paused
from fraud_retraining.services.delivery import Alerting, alerting
from fraud_retraining.services.recorded_versions import require_kept
from fraud_retraining.services.track_record import read_standing, skew_concern
from fraud_retraining.settings import LEDGER_FILE, MLFLOW_FILE, Settings

LAST_RETRAINS = 5
MONTH = 30
"""Days after a transaction for which the share of known frauds is shown."""
NO_OUTCOME = "no outcome yet"


class VersionState(Value):
    """A version and where its release stands."""

    version: int
    as_of: date
    state: str
    trigger: str
    fingerprint: str
    since: datetime
    by: str
    reason: str
    deadline: datetime | None = None


class RetrainState(Value):
    """A requested retrain, and its result."""

    requested_at: datetime
    as_of: date
    trigger: str
    came_to: str


class Due(Value):
    """What is due next."""

    at: datetime | None
    as_of: date | None
    why: str


class LabelState(Value):
    """Labels as known: the last day on which some became known, and how late frauds are reported."""

    known_until: date
    reporting: Reporting
    known_within: dict[int, float] = Field(description="Share of the frauds known within so many days, of this month.")
    known_within_before: dict[int, float] = Field({}, description="The same of the month before.")
    awaited: str | None = Field(None, description="Labels of the last day that automatic retrains wait for.")
    kept_aside: dict[str, int] = Field({}, description="Labels of this month that do not count, by reason.")

    def summary(self) -> str:
        """The last day's reports, the shares with their trend, labels kept aside, and labels that are waited for."""
        before = self.known_within_before
        shares = [
            f"{share:.0%}{f' (was {before[days]:.0%})' if days in before else ''} within {days} d"
            for days, share in self.known_within.items()
        ]
        odd = {reason: count for reason, count in self.kept_aside.items() if reason in FAULTS}
        parts = [self.reporting.summary(), f"of frauds known: {', '.join(shares) or 'none yet'}"]
        parts += [f"labels of {MONTH} days kept aside: {reasons(odd)}"] if odd else []
        return "; ".join([*parts, self.awaited] if self.awaited else parts)


class State(Value):
    """The state of lake, releases, retrains and alerts."""

    lake: str
    latest_day: date | None
    lake_problem: str | None = None
    champion: VersionState | None
    candidate: VersionState | None
    candidate_shadow: str | None = Field(
        None, description="What would change if the candidate served, on the latest days; null while not compared."
    )
    window: str | None
    labels: LabelState | None = None
    blocked: str | None = Field(
        None, description="What was blocked on the last 30 days and what stands for it; null where no column says so."
    )
    promotion_mode: str
    promotion_paused: Pause | None = None
    trust: Standing | None = None
    matured_verdicts: MaturedCounts | None = Field(
        None, description="How often mature labels confirmed or refuted verdicts; null while none was judged again."
    )
    promotion_watch: str | None = Field(
        None, description="The champion beside the version before it, on live rows; null while none was compared."
    )
    last_release: str | None = None
    champion_problem: str | None = None
    next: Due
    runs: tuple[RetrainState, ...]
    automation: str
    alerts: Alerting = Field(description="Where alerts go, what waits to be sent, and what nothing has cured yet.")
    problems: tuple[str, ...] = Field((), description="What an operator has to look at; empty when there is nothing.")
    not_reproducible: dict[int, str] = Field({}, description="Versions that no longer can be made again, and why.")
    former_models: tuple[str, ...] = Field(
        (), description="What the record has in force of models that these settings do not name."
    )
    ledger_events: int

    def summary(self) -> Iterator[tuple[str, str]]:
        """Name and sentence of each part."""
        yield "lake", f"{self.lake}: {self.lake_problem or f'last day {self.latest_day}'}"
        yield "champion", _version_words(self.champion) or "none yet"
        if self.champion_problem:
            yield "alarm", self.champion_problem
        yield "candidate", _version_words(self.candidate) or "none"
        if self.candidate_shadow is not None:
            yield "in shadow", self.candidate_shadow
        yield "window", self.window or "none yet"
        if self.labels is not None:
            yield "labels", self.labels.summary()
        if self.blocked is not None:
            yield "blocked", self.blocked
        yield "promotion", self._promotion_words()
        if self.trust is not None:
            yield "trust", f"{'earned' if self.trust.earned else 'not earned yet'}: {self.trust.summary}"
        if self.matured_verdicts is not None:
            yield "judged again", self.matured_verdicts.summary
        if self.promotion_watch is not None:
            yield "watched live", self.promotion_watch
        if self.last_release:
            yield "last release", self.last_release
        yield "next", self.next.why
        yield "automation", self.automation
        yield "alerts", self.alerts.summary()
        for problem in self.problems:
            yield "problem", problem
        if self.not_reproducible:
            yield "not reproducible", _irreproducible_words(self.not_reproducible)
        for former in self.former_models:
            yield "other models", former
        yield "ledger", f"{self.ledger_events} events"

    def _promotion_words(self) -> str:
        return (
            f"{self.promotion_mode}, {self.promotion_paused.summary}" if self.promotion_paused else self.promotion_mode
        )


def read_state(settings: Settings) -> State:
    """Read the state; nothing is changed."""
    ledger, registry = open_ledger(settings), open_registry(settings)
    latest, problem = _latest_day(settings)
    arrival, feed_problem = _label_arrival(settings, latest)
    window = ledger.last(EventKind.WINDOW_BUILT)
    health = automation_health(open_instance(), datetime.now(UTC), settings.segment)
    alerts = alerting(open_outbox(settings), open_notifier(settings), settings.alerts)
    return State(
        lake=settings.lake_uri,
        latest_day=latest,
        lake_problem=problem,
        champion=_champion(ledger, registry),
        candidate=_candidate(ledger),
        candidate_shadow=_candidate_shadow(ledger),
        window=_window_words(window),
        labels=_labels(settings, arrival),
        blocked=_blocked(settings, latest),
        promotion_mode=settings.promotion.mode,
        promotion_paused=ledger.pause(Automation.PROMOTION),
        trust=read_standing(ledger, settings.promotion.earned) if settings.promotion.mode == "earned" else None,
        matured_verdicts=_matured_verdicts(ledger),
        promotion_watch=_promotion_watch(settings, ledger, latest),
        last_release=_last_release(ledger),
        champion_problem=_champion_problem(ledger, registry),
        next=_due(settings, ledger, latest, arrival),
        runs=last_retrains(ledger),
        automation=_automation_words(health.daemon, paused(ledger)),
        alerts=alerts,
        problems=(
            *_problems(health.problems, paused(ledger), problem, feed_problem),
            *alerts.problems,
            *_unrecorded_failures(settings),
            *_exposed(settings),
            *_record(ledger, registry),
            *filter(None, [champion_of_other_label_use(ledger, settings), skew_concern(open_store(settings))]),
        ),
        not_reproducible={version: found.reason for version, found in irreproducible_versions(ledger).items()},
        # Of one model among several that is said once, beside all.
        former_models=() if settings.segment else tuple(one.sentence for one in former_models(ledger, settings)),
        ledger_events=ledger.head().seq,
    )


class FormerModel(NamedTuple):
    """What the record has in force of a model that the settings do not name, and whether it waits for an answer."""

    sentence: str
    waits: bool


def former_models(ledger: Ledger, settings: Settings) -> Iterator[FormerModel]:
    """Models that the record has and the settings do not name, of which a version waits or serves: no sensor sees to
    them."""
    for name in ledger.recorded_models():
        if name in settings.model_names:
            continue
        other = ledger_named(ledger, name)
        try:
            waiting, champion = other.waiting(), other.champion()
        except RecordAltered as altered:
            yield FormerModel(f"model {name}, which the settings do not name: {altered.what}", waits=True)
            continue
        found = [f"version {one.version} awaits approval" for one in waiting]
        found += [f"version {champion.version} is champion"] if champion else []
        remedy = f": `fraud-retraining reject {waiting[0].version} --model {name}`" if waiting else ""
        if found:
            sentence = f"the record has model {name} ({', '.join(found)}), which the settings do not name{remedy}"
            yield FormerModel(sentence, waits=bool(waiting))


def _automation_words(daemon: str, pause: Paused | None) -> str:
    words = f"daemon {daemon}"
    return f"{words}; retrains are paused since {pause.since:%Y-%m-%d %H:%M} UTC" if pause else words


def _problems(health: Sequence[str], pause: Paused | None, lake: str | None, feed: str | None) -> Iterator[str]:
    yield from health
    if pause is not None:
        yield f"retrains are paused after {pause.cause}: deliver other input, or `fraud-retraining resume`"
    if lake is not None:
        yield f"the lake: {lake}"
    if feed is not None:
        yield f"the label feed: {feed}"


def _unrecorded_failures(settings: Settings) -> Iterator[str]:
    """Failed runs of the last day that the ledger has no event of: the daemon could not write it."""
    since = datetime.now(UTC) - timedelta(days=1)
    for run, _ in unreported_failures(open_instance(), open_outcomes(settings), since):
        yield f"run {run.run_id[:8]} of {run.job_name} failed, and that is not in the ledger yet"


def _exposed(settings: Settings) -> Iterator[str]:
    """Files with features, decisions or alerts that other accounts of this machine can read."""
    return exposed(settings.home, (settings.home / name for name in (LEDGER_FILE, MLFLOW_FILE, ALERT_FILE)))


def _record(ledger: Ledger, registry: Registry) -> Iterator[str]:
    """Problems of the record that a short check finds, and a champion that MLflow has lost.

    `audit verify` checks the whole chain.
    """
    yield from (f"the record: {problem}" for problem in ledger.weakness())
    if not ledger.head().seq and (versions := registry.versions()):
        yield f"the record: the ledger is empty, but MLflow has {len(versions)} versions of {registry.model_name}"
    try:
        require_kept(registry, ledger)
    except ChampionLost as lost:
        yield str(lost)


def _latest_day(settings: Settings) -> tuple[date | None, str | None]:
    try:
        found = open_lake(settings).listing()
    except DataInvalid as error:
        return None, error.what
    if found.days:
        return max(found.days), None
    aside = f"; {len(found.set_aside)} set aside, such as {found.set_aside[0]}" if found.set_aside else ""
    return None, f"no day has arrived{aside}"


def _label_arrival(settings: Settings, latest: date | None) -> tuple[LabelArrival | None, str | None]:
    """How far the label feed has come, or its problem; neither where there is no feed, or no day in the lake."""
    if latest is None:
        return None, None
    try:
        return label_arrival(settings, open_lake(settings).label_feed, latest), None
    except DataInvalid as error:
        return None, error.what


def _labels(settings: Settings, arrival: LabelArrival | None) -> LabelState | None:
    """How labels come in; None where they are used once they are mature, or none were made yet."""
    if settings.labels.use != "as_known":
        return None
    today = datetime.now(UTC).date()
    # A lake of the past is looked at from its own last day.
    latest = _latest_day(settings)[0] or today
    made = open_store(settings).readable(LABELS, DayRange(start=latest - timedelta(days=2 * MONTH), end=latest))
    # A day that waits for its labels would look like a day without reports.
    made = {day: one for day, one in made.items() if arrival is None or day <= arrival.settled}
    if not made:
        return None
    reports, last = reports_of(made), max(made)
    month = DayRange(start=last - timedelta(days=MONTH - 1), end=last)
    return LabelState(
        known_until=last,
        reporting=reporting_on(last, reports),
        known_within=_known_within(reports, month),
        known_within_before=_known_within(
            reports, DayRange(start=last - timedelta(days=2 * MONTH - 1), end=last - timedelta(days=MONTH))
        ),
        awaited=arrival.awaited(arrival.latest) if arrival else None,
        kept_aside=kept_aside(one.facts["rejects"] for day, one in made.items() if day in month),
    )


def _blocked(settings: Settings, latest: date | None) -> str | None:
    if settings.columns.decision is None or latest is None:
        return None
    month = DayRange(start=latest - timedelta(days=MONTH - 1), end=latest)
    found = BlockedFacts.of_days(one.facts for one in open_store(settings).readable(TRANSACTIONS, month).values())
    return found.summary if found is not None else None


def _known_within(reports: Mapping[date, Mapping[int, int]], days: DayRange) -> dict[int, float]:
    """Share of the reports of some days that came within 1, 2, 3, 7 and 14 days."""
    counts: dict[int, int] = {}
    for day, by_delay in reports.items():
        for delay, count in by_delay.items() if day in days else ():
            counts[delay] = counts.get(delay, 0) + count
    return shares_within(counts)


def _champion(ledger: Ledger, registry: Registry) -> VersionState | None:
    # MLflow says what serves, not the ledger: a hand may have moved the alias.
    serving = registry.champion()
    if serving is None:
        return None
    release = ledger.release_by_version(serving.version)
    if release is None:
        now = datetime.now(UTC)
        return VersionState(
            version=serving.version,
            as_of=serving.as_of,
            state="unknown to the ledger",
            trigger="",
            fingerprint=serving.fingerprint,
            since=now,
            by="somebody",
            reason="the alias was moved by hand to a version that this pipeline did not register",
        )
    return _state(release)


def _candidate(ledger: Ledger) -> VersionState | None:
    waiting = ledger.releases(
        ReleaseState.REGISTERED, ReleaseState.AWAITING_APPROVAL, ReleaseState.APPROVED, ReleaseState.PROMOTING
    )
    return _state(waiting[-1]) if waiting else None


def _candidate_shadow(ledger: Ledger) -> str | None:
    waiting = ledger.waiting()
    found = ledger.last(EventKind.CANDIDATE_SHADOWED, version=waiting[-1].version) if waiting else None
    return CandidateShadow.model_validate(found.payload).summary if found is not None else None


def _matured_verdicts(ledger: Ledger) -> MaturedCounts | None:
    outcomes = [event.payload["outcome"] for event in ledger.events(EventKind.MATURED_VERDICT)]
    return MaturedCounts.of(outcomes) if outcomes else None


def _promotion_watch(settings: Settings, ledger: Ledger, latest: date | None) -> str | None:
    """The event of the champion's watch; while that goes on, its last look."""
    champion = ledger.champion()
    if champion is None:
        return None
    ended = ledger.last(EventKind.PROMOTION_WATCHED, version=champion.version)
    if ended is not None:
        found = PromotionWatch.model_validate(ended.payload)
    elif latest is not None and settings.promotion.watch_days:
        span = settings.promotion.watch_days + settings.judged_at_age.days + 1
        days = DayRange(start=latest - timedelta(days=span), end=latest)
        reports = whole_reports(open_store(settings), WATCH, days).values()
        looks = [report_of(record, WatchReport).of(champion.version) for record in reports]
        taken = [look for look in looks if look is not None]
        if not taken:
            return None
        found = taken[-1]
    else:
        return None
    return f"version {found.version}: {found.standing}. {found.summary}"


def _last_release(ledger: Ledger) -> str | None:
    """Why the last candidate was or was not promoted automatically, as it was recorded then."""
    moves = ledger.events(EventKind.RELEASE_MOVED)
    answers = [event for event in moves if event.payload["from"] == ReleaseState.REGISTERED]
    if not answers:
        return None
    last = answers[-1]
    went = {ReleaseState.APPROVED: "went by itself", ReleaseState.AWAITING_APPROVAL: "did not go by itself"}
    return f"version {last.version} {went.get(last.payload['to'], last.payload['to'])}: {last.payload['reason']}"


def _champion_problem(ledger: Ledger, registry: Registry) -> str | None:
    """The problem that the sensor last found with the champion that serves now."""
    found = ledger.last(EventKind.CHAMPION_CHECKED)
    serving = registry.champion()
    if found is None or found.payload["sound"] or serving is None or serving.version != found.version:
        return None
    good = found.payload["last_good"]
    offer = f"; `fraud-retraining rollback --to {good}` brings back the last good version" if good else ""
    return f"the champion's artifact is damaged since {found.at:%Y-%m-%d %H:%M} UTC: {found.payload['problem']}{offer}"


def _state(release: Release) -> VersionState:
    return VersionState(
        version=release.version,
        as_of=release.as_of,
        state=str(release.state),
        trigger=release.trigger,
        fingerprint=release.fingerprint,
        since=release.moved_at,
        by=release.moved_by,
        reason=release.reason,
        deadline=release.deadline if release.state is ReleaseState.AWAITING_APPROVAL else None,
    )


def _version_words(version: VersionState | None) -> str | None:
    if version is None:
        return None
    words = f"version {version.version} as of {version.as_of}, {version.state.replace('_', ' ')}"
    words += f" since {version.since:%Y-%m-%d %H:%M} UTC by {version.by}"
    if version.deadline is not None:
        words += f"; to be decided before {version.deadline:%Y-%m-%d %H:%M} UTC"
    return f"{words}: {version.reason}" if version.reason else words


def _irreproducible_words(why: Mapping[int, str]) -> str:
    newest = max(why)
    words = f"version {newest}: {why[newest]} since it was trained"
    return words if len(why) == 1 else f"{words}; and {len(why) - 1} older versions, see audit show VERSION"


def _window_words(event: Event | None) -> str | None:
    if event is None:
        return None
    window = TrainingWindow.model_validate(event.payload)
    days = window.days
    return (
        f"{days.strategy}, {days.training.start} to {days.training.end} ({window.rows:,} rows, {window.frauds:,} "
        f"frauds), holdout {days.holdout.start} to {days.holdout.end}, as of {days.as_of}"
    )


def _due(settings: Settings, ledger: Ledger, latest: date | None, arrival: LabelArrival | None) -> Due:
    schedule = settings.triggers.schedule
    if schedule is None:
        return Due(at=None, as_of=None, why="nothing by schedule: triggers.schedule is off")
    last = last_as_of(ledger)
    newest = arrival.settled if arrival else latest
    as_of, at = next_due(schedule, last, newest or datetime.now(UTC).date() - timedelta(days=1))
    since = (
        f"{schedule.every_hours} hours after the last as-of day, {last}" if last else "no model has been trained yet"
    )
    arrived = latest is not None and latest >= as_of
    ready = "its data is there" if arrived else "its data has not arrived yet"
    if arrived and arrival and arrival.awaited(as_of):
        ready = "its transactions are there, its labels have not arrived"
    return Due(at=at, as_of=as_of, why=f"retrain as of {as_of}, due {at:%Y-%m-%d %H:%M} UTC: {since}; {ready}")


def last_retrains(ledger: Ledger) -> tuple[RetrainState, ...]:
    """The last requests, each with the last result of its as-of day before that day was requested again."""
    kinds = (
        EventKind.RETRAIN_REQUESTED,
        EventKind.RETRAIN_FAILED,
        EventKind.RETRAIN_SKIPPED,
        EventKind.RETRAIN_FINISHED,
        EventKind.VERSION_REGISTERED,
        EventKind.RELEASE_MOVED,
        EventKind.PROMOTION_DONE,
    )
    retrains: list[RetrainState] = []
    position: dict[date, int] = {}
    for event in ledger.events(kinds):
        if event.as_of is None:
            continue
        if event.kind == EventKind.RETRAIN_REQUESTED:
            position[event.as_of] = len(retrains)
            trigger = str(event.payload.get("trigger", ""))
            retrains.append(RetrainState(requested_at=event.at, as_of=event.as_of, trigger=trigger, came_to=NO_OUTCOME))
        elif event.as_of in position:
            before = retrains[position[event.as_of]]
            retrains[position[event.as_of]] = before.model_copy(update={"came_to": _came_to(event, before.came_to)})
    return tuple(retrains[-LAST_RETRAINS:])


def _came_to(event: Event, before: str) -> str:
    """The result of a retrain after this event; how its run ended counts only where no event gave more."""
    if event.kind in (EventKind.RETRAIN_FAILED, EventKind.RETRAIN_SKIPPED):
        return str(event.payload.get("what", "failed"))
    if event.kind == EventKind.RETRAIN_FINISHED:
        return str(event.payload.get("status", before)).replace("_", " ") if before == NO_OUTCOME else before
    if event.kind == EventKind.PROMOTION_DONE:
        return f"version {event.version} promoted"
    if before == f"version {event.version} promoted":
        return before
    release = event.payload.get("release") or event.payload.get("after") or {}
    state = str(release.get("state", event.kind)).replace("_", " ")
    return f"version {event.version} {state}"
