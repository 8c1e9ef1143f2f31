"""Outcomes of runs: the event of a failure in the ledger, the notice of it, and the notices that a success resolves.

Each failure is recorded once, by the first of three: the hook of the run, the command line, or the sensor that looks
for runs which could not record it themselves. Not here: the meaning of a failure (`domain/alerts/failures.py`), the
text of notices (`domain/alerts/notices.py`), and sending them (`services/delivery.py`).

An error while recording never changes the result of a run; it is logged, and the sensor records the failure later.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from types import MappingProxyType
from typing import Any, TypeVar

import dagster as dg
from dagster._core.errors import DagsterAssetCheckFailedError

from fraud_retraining.adapters.alerts.outbox import Announcement, Outbox
from fraud_retraining.adapters.days.monitoring_reports import DRIFT, MISSED, PERFORMANCE, SCORED, SHADOW, SKEW, WATCH
from fraud_retraining.adapters.ledger.event_log import EventKeys
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.domain.alerts.classification import causes, classify, classify_message, family_error
from fraud_retraining.domain.alerts.failures import About, Category, Failure
from fraud_retraining.domain.alerts.notices import (
    Job,
    LinkPolicy,
    Notice,
    Occasion,
    Passed,
    Success,
    Topic,
    decay_notice,
    failure_notice,
    gate_lines,
    paused_notice,
    set_aside_key,
    set_aside_notice,
    skew_notice,
)
from fraud_retraining.domain.alerts.routing import opening_messages, update_messages
from fraud_retraining.domain.data.lake_layout import SetAside
from fraud_retraining.domain.evaluation.gates import GateResult
from fraud_retraining.domain.ledger.events import Event, EventKind
from fraud_retraining.domain.monitoring.served_skew import ServedSkew
from fraud_retraining.domain.releases.candidate import Evaluation, TrainedModel
from fraud_retraining.domain.retraining.triggers.performance import LivePerformance, decay
from fraud_retraining.domain.training.windows import window_days
from fraud_retraining.domain.values.errors import DataInvalid, GateFailed, RecordAltered, RetrainingError
from fraud_retraining.orchestration.io_managers import read_document
from fraud_retraining.orchestration.names import (
    CLEAN,
    DECIDE,
    EVALUATION,
    INGEST,
    JUDGE_AGAIN,
    MATURED,
    MODEL,
    MONITOR,
    PRODUCTION,
    REGISTERED,
    RETRAIN,
    WINDOW,
    WINDOW_REPORT,
)
from fraud_retraining.orchestration.state.check_reports import readable_report
from fraud_retraining.orchestration.state.inventory import Inventory
from fraud_retraining.orchestration.state.trigger_inputs import paused
from fraud_retraining.orchestration.tags import as_of_day, channel_of, concerns, days_of_tags, trigger_of
from fraud_retraining.settings import Settings

T = TypeVar("T")

AS_OF_ASSETS = frozenset({WINDOW, MODEL, EVALUATION, REGISTERED, PRODUCTION})
MONITORED = frozenset({SCORED, DRIFT, PERFORMANCE, MISSED, SKEW, SHADOW, WATCH, MATURED})
AFTER_MODEL = frozenset({EVALUATION, f"{EVALUATION}_checks", REGISTERED, PRODUCTION})
# The name under which Dagster runs assets that were selected in the UI.
ASSET_JOB = "__ASSET_JOB"
JOBS: Mapping[str, Job] = MappingProxyType(
    {
        INGEST: "ingest",
        MONITOR: "monitor",
        JUDGE_AGAIN: "monitor",
        RETRAIN: "retrain",
        CLEAN: "clean",
        DECIDE: "decide",
    }
)
KINDS: Mapping[Job, EventKind] = MappingProxyType(
    {
        "ingest": EventKind.INGEST_FAILED,
        "monitor": EventKind.MONITORING_FAILED,
        "retrain": EventKind.RETRAIN_FAILED,
        "clean": EventKind.CLEANING_FAILED,
        "decide": EventKind.DECISION_FAILED,
    }
)
WORK: Mapping[Job, str] = MappingProxyType({"monitor": "monitored", "clean": "clean-up", "decide": "decision"})
THRESHOLDS = "deliver the data again, or change the thresholds under validation in the settings."
EVALUATIONS_TO_LOOK_BACK = 50


@dataclass(frozen=True)
class EndedRun:
    """A run of one of the jobs, or of some of their assets. `step` is the one that failed."""

    job: Job
    run_id: str | None = None
    as_of: date | None = None
    days: tuple[date, ...] = ()
    trigger: str = ""
    channel: str = "dagster"
    step: str | None = None

    @classmethod
    def of(cls, run: dg.DagsterRun, step: str | None = None) -> "EndedRun | None":
        """Job, as-of day and days of a Dagster run; None for jobs that are not of this project."""
        job = job_of(run)
        if job is None:
            return None
        return cls(
            job=job,
            run_id=run.run_id,
            as_of=as_of_day(run.tags) if job == "retrain" else None,
            days=() if job == "retrain" else days_of_tags(run.tags),
            trigger=trigger_of(run.tags),
            channel=channel_of(run.tags),
            step=step,
        )


def job_of(run: dg.DagsterRun) -> Job | None:
    """The job of a run; assets that a user selected in the UI count as the job that they belong to."""
    if run.job_name in JOBS:
        return JOBS[run.job_name]
    if not run.job_name.startswith(ASSET_JOB):
        return None
    chosen = {key.path[-1] for key in run.asset_selection or ()}
    if chosen & AS_OF_ASSETS:
        return "retrain"
    return "monitor" if chosen and chosen <= MONITORED else "ingest"


def is_failure(run: EndedRun, failure: Failure) -> bool:
    """Whether the run counts as failed; one that never began does not, nor a decision that was refused."""
    return not failure.never_began and not (run.job == "decide" and failure.is_refusal)


class Outcomes:
    """The outcomes of runs under one set of settings."""

    def __init__(self, settings: Settings, ledger: Ledger, outbox: Outbox, store: Store) -> None:
        self._settings = settings
        self._ledger = ledger
        self._outbox = outbox
        self._store = store

    def failed(self, run: EndedRun, error: BaseException) -> Failure:
        """Records the failure of a run and opens its notice, once; nothing for a run that never began."""
        typed = self.translated(run, error)
        return self._failed(run, lambda about: classify(typed, about), typed)

    def failed_with_message(self, run: EndedRun, kinds: Sequence[str], message: str) -> Failure:
        """The same for a run of whose error only the type names and the message are known."""
        # The error of a blocking check names only the check; its stored report has the reasons.
        if DagsterAssetCheckFailedError.__name__ in kinds:
            return self.failed(run, DagsterAssetCheckFailedError(message))
        return self._failed(run, lambda about: classify_message(kinds, message, about), None)

    def refused(self, run: EndedRun, error: BaseException, reported: Iterable[date] = ()) -> Failure:
        """Records a retrain that failed before its run began; no second notice where all its days are `reported`."""
        failure = classify(error, About(as_of=run.as_of))
        days = family_days(error)
        known = failure.category is Category.DATA_VALIDATION and bool(days) and set(days) <= set(reported)
        # No run id: the id was never given to Dagster, and a link to it would lead nowhere.
        nowhere = replace(run, run_id=None)
        self._record(run, failure, None if known else self._notice(nowhere, failure, error))
        return failure

    def succeeded(self, run: EndedRun) -> list[str]:
        """Resolves the notices that a success resolves, and returns their keys."""
        return self._outbox.resolve_after(Success(job=run.job, as_of=run.as_of, days=run.days), channel=run.channel)

    def concerns(self, run: dg.DagsterRun) -> bool:
        """Whether a run of Dagster is about what is recorded here, and not about another model of the same instance."""
        return concerns(run, self._settings)

    def is_recorded(self, run: EndedRun) -> bool:
        """Whether the failure of a run is in the ledger, or that it was skipped."""
        kinds = (KINDS[run.job], EventKind.RETRAIN_SKIPPED)
        # Of whichever model: it keeps the name of then, after the settings named one model more or less.
        return run.run_id is not None and self._ledger.last_of_models(kinds, subject=run.run_id) is not None

    def notify_pause(self) -> None:
        """Opens the notice of a pause of automation, once; or resolves it after the pause."""
        pause = paused(self._ledger)
        known = any(one.notice.key == Topic.AUTOMATION_PAUSED for one in self._outbox.open_notices())
        if pause is None and known:
            self._outbox.resolve(Topic.AUTOMATION_PAUSED, "automation goes on")
        elif pause is not None and not known:
            occasion = self._occasion(EndedRun(job="retrain"), None, None)
            self.open(paused_notice(pause.cause, self._settings.triggers.max_failures, occasion, self._links))

    def notify_decay(self, live: LivePerformance | None) -> None:
        """Opens the notice of decayed live performance, once; or resolves it after a recovery.

        Without a measurement (`live` is None) the notice stays as it is.
        """
        if live is None:
            return
        why = decay(self._settings.performance_rule, live)
        known = any(one.notice.key == Topic.PERFORMANCE_DECAYED for one in self._outbox.open_notices())
        # A notice that is open is resolved by a measurement only: no measurement is no recovery.
        if why is None and known:
            self._outbox.resolve(Topic.PERFORMANCE_DECAYED, live.summary(None))
        elif why is not None and not known:
            occasion = Occasion(model=self._settings.recorded_as, job="monitor", serving=self._serving())
            self.open(decay_notice(live.summary(why), f"{live.first} to {live.last}", occasion, self._links))

    def notify_skew(self, latest: ServedSkew | None) -> None:
        """Opens the notice of answers that differ without a reason or were altered, once; a later day resolves it.

        While no day was compared (`latest` is None) the notice stays as it is.
        """
        if latest is None:
            return
        known = any(one.notice.key == Topic.SERVED_SKEW for one in self._outbox.open_notices())
        if known and not latest.needs_person:
            self._outbox.resolve(Topic.SERVED_SKEW, f"{latest.day}: {latest.summary()}")
        elif latest.needs_person and not known:
            occasion = Occasion(
                model=self._settings.recorded_as, job="monitor", days=(latest.day,), serving=self._serving()
            )
            self.open(skew_notice(latest.summary(), latest.remedy, occasion, self._links))

    def notify_set_aside(self, uri: str, set_aside: Sequence[SetAside]) -> None:
        """Opens the notice of files in the lake that are not read, once for the same files; or resolves it."""
        key = set_aside_key(set_aside) if set_aside else ""
        known = [one.notice.key for one in self._outbox.open_notices() if one.notice.category == Topic.LAKE_SET_ASIDE]
        for old in known:
            if old != key:
                self._outbox.resolve(old, "the lake holds something else now" if set_aside else "the lake is clean")
        if set_aside and key not in known:
            occasion = self._occasion(EndedRun(job="ingest"), None, None)
            self.open(set_aside_notice(uri, set_aside, occasion, self._links))

    def open(self, notice: Notice) -> None:
        """Opens a notice and its messages; only repeats are counted while it is open."""
        policy = self._settings.alerts
        self._outbox.open(notice, opening_messages(notice, policy), lambda seen: update_messages(notice, policy, seen))

    def translated(self, run: EndedRun, error: BaseException) -> BaseException:
        """The most specific error: one of this project's family, also behind a blocking check that failed."""
        if any(isinstance(cause, DagsterAssetCheckFailedError) for cause in causes(error)):
            return self._blocked(run, error)
        return family_error(error) or error

    def _blocked(self, run: EndedRun, error: BaseException) -> RetrainingError:
        try:
            return self._from_report(run)
        except RetrainingError as unread:
            # The name of the check is in the message: where the report is lost, that much is still known.
            kind = GateFailed if EVALUATION in str(error) else DataInvalid
            return kind(str(error), culprits=[f"its report cannot be read: {unread.what}"])

    def _from_report(self, run: EndedRun) -> RetrainingError:
        """The typed error behind a blocking check that failed, from the stored report of the check."""
        if run.as_of is None:
            inventory = Inventory(self._store, self._settings, run.days)
            days = inventory.unfit(run.days)
            return DataInvalid(
                "days did not pass their checks", culprits=inventory.unchecked(days), remedy=THRESHOLDS, days=days
            )
        found = readable_report(self._store.read_document(WINDOW_REPORT, run.as_of.isoformat()))
        if found is not None and found.failed:
            return DataInvalid(
                f"the training window as of {run.as_of} is not fit to be trained on",
                culprits=[f"{result.name}: {result.message}" for result in found.failed],
                remedy=THRESHOLDS,
            )
        return GateFailed(
            f"the candidate as of {run.as_of} did not pass its gates",
            culprits=[f"{gate.name}: {gate.message}" for gate in self._evaluation(run.as_of).verdict.failed],
            remedy="the champion stays; the thresholds stand under gates in the settings.",
        )

    def _failed(self, run: EndedRun, judge: Callable[[About], Failure], error: BaseException | None) -> Failure:
        fingerprint = self._fingerprint(run, error)
        work = WORK.get(run.job, "")
        failure = judge(About(as_of=run.as_of, days=run.days, fingerprint=fingerprint, work=work))
        if is_failure(run, failure) and not self.is_recorded(run):
            self._record(run, failure, self._notice(run, failure, error))
        return failure

    def _record(self, run: EndedRun, failure: Failure, notice: Notice | None) -> Event | None:
        policy = self._settings.alerts
        announced = None
        if notice is not None:
            announced = Announcement(
                notice, opening_messages(notice, policy), lambda seen: update_messages(notice, policy, seen)
            )
        keys = EventKeys(subject=run.run_id, as_of=run.as_of)
        return self._outbox.record_failure(
            KINDS[run.job], _payload(run, failure), announced, keys=keys, channel=run.channel
        )

    def _notice(self, run: EndedRun, failure: Failure, error: BaseException | None) -> Notice:
        days = family_days(error) or run.days
        occasion = self._occasion(run, self._model(run), self._fingerprint(run, error))
        gates = self._gates(run) if failure.category is Category.GATE_FAILED else ()
        return failure_notice(failure, occasion.model_copy(update={"days": days, "gates": gates}), self._links)

    def _occasion(self, run: EndedRun, model: TrainedModel | None, fingerprint: str | None) -> Occasion:
        return Occasion(
            model=self._settings.recorded_as,
            job=run.job,
            as_of=run.as_of,
            trigger=run.trigger,
            window=self._window(run.as_of),
            fingerprint=fingerprint,
            serving=self._serving(),
            dagster_run_id=run.run_id,
            mlflow_run_id=model.run_id if model else None,
        )

    @property
    def _links(self) -> LinkPolicy:
        return self._settings.alerts.links

    def _fingerprint(self, run: EndedRun, error: BaseException | None) -> str | None:
        if isinstance(error, GateFailed) and run.as_of is not None:
            as_of = run.as_of
            evaluation = _readable(lambda: self._evaluation(as_of))
            return evaluation.fingerprint if evaluation else None
        model = self._model(run)
        return model.fingerprint if model else None

    def _model(self, run: EndedRun) -> TrainedModel | None:
        """The model of the run, if a step after training failed: before that, the stored model is another run's."""
        if run.as_of is None or run.step not in AFTER_MODEL:
            return None
        as_of = run.as_of.isoformat()
        found: TrainedModel | None = _readable(lambda: read_document(self._store, MODEL, as_of, TrainedModel))
        return found

    def _evaluation(self, as_of: date) -> Evaluation:
        found: Evaluation = read_document(self._store, EVALUATION, as_of.isoformat(), Evaluation)
        return found

    def _gates(self, run: EndedRun) -> tuple[str, ...]:
        as_of = run.as_of
        evaluation = None if as_of is None else _readable(lambda: self._evaluation(as_of))
        return () if evaluation is None else gate_lines(evaluation.verdict.failed, _readable(self._last_passed) or {})

    def _last_passed(self) -> dict[str, Passed]:
        """By gate, the newest evaluation that it passed in."""
        found: dict[str, Passed] = {}
        for event in self._ledger.newest(EventKind.MODEL_EVALUATED, limit=EVALUATIONS_TO_LOOK_BACK):
            gates = [GateResult.model_validate(gate) for gate in event.payload["verdict"]["gates"]]
            for gate in gates:
                if gate.passed and gate.applicable and gate.value is not None and event.as_of is not None:
                    found.setdefault(gate.name, Passed(gate.value, event.as_of))
        return found

    def _serving(self) -> str:
        try:
            champion = self._ledger.champion()
        # The alert about a failure must go out also while the ledger may not be believed.
        except RecordAltered:
            return "unknown: the ledger was altered, so it cannot say which version serves"
        if champion is None:
            return "nothing: there is no champion yet"
        return f"version {champion.version}, as of {champion.as_of}, keeps serving"

    def _window(self, as_of: date | None) -> str:
        if as_of is None:
            return ""
        settings = self._settings
        try:
            days = window_days(as_of, settings.window, settings.holdout, settings.window_labels)
        except ValueError as error:
            return f"none: {error}"
        training, holdout = days.training, days.holdout
        return f"{training.start} to {training.end}, holdout {holdout.start} to {holdout.end}"


def _readable(read: Callable[[], T]) -> T | None:
    """A detail of a notice, or None: the failure that the notice reports may be why it cannot be read."""
    try:
        return read()
    except RetrainingError:
        return None


def family_days(error: BaseException | None) -> tuple[date, ...]:
    """The days whose data an error blames."""
    known = family_error(error) if error is not None else None
    return known.days if known else ()


def _payload(run: EndedRun, failure: Failure) -> dict[str, Any]:
    return {
        "trigger": run.trigger,
        "kind": failure.kind,
        "what": failure.what,
        "culprits": list(failure.culprits),
        "category": failure.category,
        "severity": failure.severity,
        "cause": failure.cause,
        "days": run.days,
        "dagster_run_id": run.run_id,
    }


@dg.failure_hook(name="notify_failure", required_resource_keys={"outcomes", "worker"})
def notify_failure(context: dg.HookContext) -> None:
    """Records the failure of the run of a step."""
    run = _run_of(context)
    if run is not None and context.op_exception is not None:
        context.resources.outcomes.failed(run, context.op_exception)


# The name is stored in the events of past runs.
@dg.success_hook(name="tell_success", required_resource_keys={"outcomes", "worker"})
def notify_success(context: dg.HookContext) -> None:
    """Resolves the notices that a successful run resolves, after its last step."""
    run = _run_of(context)
    if run is not None and _is_last_step(context):
        context.resources.outcomes.succeeded(run)


HOOKS = frozenset({notify_failure, notify_success})


def with_hooks(*assets: dg.AssetsDefinition | dg.AssetSpec) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The assets with the hooks, for runs without a job: a user selected assets in the UI."""
    return [one.with_hooks(HOOKS) if isinstance(one, dg.AssetsDefinition) else one for one in assets]


def _run_of(context: dg.HookContext) -> EndedRun | None:
    run = context.instance.get_run_by_id(context.run_id)
    return EndedRun.of(run, context.step_key) if run is not None else None


def _is_last_step(context: dg.HookContext) -> bool:
    """Whether every step of the run has succeeded."""
    # Dagster calls a success hook after each step, and has none for a run.
    run = context.instance.get_run_by_id(context.run_id)
    if run is None or run.execution_plan_snapshot_id is None:
        return False
    planned = context.instance.get_execution_plan_snapshot(run.execution_plan_snapshot_id).step_keys_to_execute
    stats = context.instance.get_run_step_stats(context.run_id)
    done = {one.step_key for one in stats if one.status is not None and one.status.value == "SUCCESS"}
    return set(planned) <= done
