"""The jobs of the pipeline as the command line runs them, in its own process: ingest days, retrain, backfill.

Here: request, ingest, retrain and result in their order. Not here: which days are stale (`day_ingest.py`), how a job is
executed (`job_runner.py`), and how a result is printed (`retrain_output.py`, `commands/ingest.py`).
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cached_property, wraps
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

import dagster as dg
from pydantic import BaseModel

from fraud_retraining.adapters.days.monitoring_reports import report_of
from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.storage.accounts import account
from fraud_retraining.adapters.storage.lake import Lake, some_of
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.commands.implementation.day_ingest import DayIngest
from fraud_retraining.commands.implementation.job_runner import CHANNEL, JobRunner, logged
from fraud_retraining.domain.data.ingestion import BlockedFacts
from fraud_retraining.domain.labels.feed_health import kept_aside
from fraud_retraining.domain.monitoring.served_skew import ServedSkew
from fraud_retraining.domain.releases.candidate import Evaluation, ReleaseOutcome, TrainedModel
from fraud_retraining.domain.retraining.budget import Ending, allowance, require_time
from fraud_retraining.domain.retraining.requesters import Requester
from fraud_retraining.domain.retraining.retrain_status import RetrainStatus
from fraud_retraining.domain.retraining.triggers.values import Trigger
from fraud_retraining.domain.training.windows import TrainingWindow
from fraud_retraining.domain.values.days import DayRange
from fraud_retraining.domain.values.errors import (
    BudgetExceeded,
    DataInvalid,
    GateFailed,
    RetrainingError,
)
from fraud_retraining.domain.values.redaction import redact
from fraud_retraining.orchestration.io_managers import read_document
from fraud_retraining.orchestration.names import (
    AS_OF_TAG,
    CHANNEL_TAG,
    EVALUATION,
    INGEST_SECONDS_TAG,
    LABELS,
    MODEL,
    MONITOR,
    PRODUCTION,
    RANGE_END,
    RANGE_START,
    REASON_TAG,
    RETRAIN,
    SKEW,
    TRANSACTIONS,
    TRIGGER_TAG,
    WINDOW,
    model_key,
)
from fraud_retraining.orchestration.resources import (
    open_ledger,
    open_notifier,
    open_outbox,
    open_store,
    require_signing,
)
from fraud_retraining.orchestration.runs.outcomes import EndedRun
from fraud_retraining.orchestration.runs.progress import Progress
from fraud_retraining.orchestration.runs.requests import record_request
from fraud_retraining.orchestration.runs.retrain_lease import INGEST_STAGE
from fraud_retraining.orchestration.runs.spending import FinishedRetrain, past_spendings, record_finished
from fraud_retraining.services.delivery import drain
from fraud_retraining.settings import Settings

T = TypeVar("T")

DRAIN_SECONDS = 5


@dataclass(frozen=True)
class IngestedLabels:
    """Labels of the label days of an ingest: how many became known, and those kept aside by reason."""

    known: int
    kept_aside: dict[str, int]


@dataclass(frozen=True)
class Ingested:
    """The result of an ingest; `labels` is None where labels are used once they are mature, `blocked` where no column
    says what was. `lacking` has columns that single models alone ask for, and the days that lack them."""

    days: int
    rows: int
    rejected: int
    labels: IngestedLabels | None = None
    missing: tuple[date, ...] = ()
    unread_files: tuple[str, ...] = ()
    lacking: dict[str, int] = field(default_factory=dict)
    blocked: str | None = None
    set_aside: tuple[dict[str, str], ...] = ()
    dagster_run_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Retrained:
    """The result of a retrain."""

    as_of: date | None
    status: RetrainStatus
    trigger: str
    window: TrainingWindow | None = None
    model: TrainedModel | None = None
    evaluation: Evaluation | None = None
    outcome: ReleaseOutcome | None = None
    dagster_run_id: str | None = None
    error: RetrainingError | None = None
    message: str = ""
    labels_arrived: bool | None = None


class _Prepared(NamedTuple):
    """The days of a retrain, ingested: the seconds that it took, and whether a feed has the labels of the as-of day."""

    seconds: float
    labels_arrived: bool | None


def _then_deliver(command: Callable[..., T]) -> Callable[..., T]:
    """Make a command deliver the alerts that it caused, however it ends."""

    @wraps(command)
    def delivering(pipeline: "Pipeline", *args: Any, **options: Any) -> T:
        try:
            return command(pipeline, *args, **options)
        finally:
            pipeline.deliver_alerts()

    return delivering


class Pipeline:
    """The jobs of one set of settings, run in this process against the shared Dagster instance."""

    def __init__(self, settings: Settings, progress: Progress, *, verbose: bool = False) -> None:
        require_signing(settings)
        self.settings = settings
        self._progress = progress
        self._runner = JobRunner(settings, progress, verbose=verbose)
        self._days = DayIngest(settings, self._runner)

    @property
    def lake(self) -> Lake:
        """The lake of raw days."""
        return self._days.lake

    @cached_property
    def store(self) -> Store:
        """The store of partitions."""
        return open_store(self.settings)

    @cached_property
    def ledger(self) -> Ledger:
        """The record of decisions."""
        return open_ledger(self.settings)

    @property
    def instance(self) -> dg.DagsterInstance:
        """The Dagster instance that the web server shows."""
        return self._runner.instance

    def latest_days(self, count: int) -> DayRange:
        """So many days, up to the last that has arrived.

        Raises:
            DataInvalid: there is no lake, or no day in it.
        """
        last = self._days.latest_day()
        return DayRange(start=last - timedelta(days=count - 1), end=last)

    @_then_deliver
    def ingest(self, days: DayRange) -> Ingested:
        """The day assets of every day of the range that has arrived; a run of days without a gap is one run.

        Raises:
            DataInvalid: no day has arrived, or days were refused; the others stand.
        """
        listing = self._days.listing()
        arrived = {day: files for day, files in listing.days.items() if day in days}
        if not arrived:
            raise DataInvalid(
                f"none of the days {days.start} to {days.end} has arrived in {self.lake.uri}",
                culprits=some_of(listing.set_aside),
                remedy="name days that are there, or correct lake.uri; a day lies under year=YYYY/month=MM/day=DD/.",
            )
        runs = self._days.make(arrived)
        partitions = self.store.partitions(TRANSACTIONS, arrived)
        blocked = BlockedFacts.of_days(partition.facts for partition in partitions.values())
        return Ingested(
            days=len(arrived),
            rows=sum(partition.facts["rows"] for partition in partitions.values()),
            rejected=sum(sum(partition.facts["rejects"].values()) for partition in partitions.values()),
            labels=self._labels(arrived),
            missing=tuple(day for day in days if day not in arrived),
            unread_files=tuple(
                file for partition in partitions.values() for file in partition.facts.get("unread_files", ())
            ),
            lacking=dict(
                Counter(name for one in partitions.values() for name in one.facts.get("unusable_columns", ()))
            ),
            blocked=blocked.summary if blocked is not None else None,
            set_aside=tuple(one._asdict() for one in listing.set_aside),
            dagster_run_ids=tuple(runs),
        )

    def _labels(self, days: Iterable[date]) -> IngestedLabels | None:
        if self.settings.labels.use != "as_known":
            return None
        facts = [partition.facts for partition in self.store.partitions(LABELS, days).values()]
        return IngestedLabels(sum(one["events"] for one in facts), kept_aside(one["rejects"] for one in facts))

    def served_skew(self, day: date) -> ServedSkew | None:
        """What live answers of a day rested on, beside the batch's features; None where nothing of it was served."""
        tags = {RANGE_START: day.isoformat(), RANGE_END: day.isoformat(), CHANNEL_TAG: CHANNEL}
        self._runner.run(MONITOR, str(uuid4()), tags, assets=[SKEW])
        record = self.store.partition(SKEW, day)
        return report_of(record, ServedSkew) if record is not None else None

    @_then_deliver
    def retrain(
        self,
        as_of: date | None,
        trigger: str,
        reason: str = "",
        prepare: Callable[[date], Mapping[str, str]] = lambda as_of: {},
    ) -> Retrained:
        """One retrain: days that are missing or changed are ingested first.

        A gate that failed and data that is not usable are outcomes, with the error inside; anything else is raised.
        `prepare` is called once the days are ready, and gives further tags of the run.
        """
        try:
            as_of = as_of or self._days.latest_day()
        except DataInvalid as error:
            return self._refused(None, trigger, None, error)
        # The id is chosen before the run exists: request, ingest and failure are recorded under it.
        run_id = str(uuid4())
        tags = {TRIGGER_TAG: str(trigger), AS_OF_TAG: as_of.isoformat(), REASON_TAG: redact(reason)}
        tags[CHANNEL_TAG] = CHANNEL
        requester = Requester(name=account() or f"user id {os.getuid()}", channel=CHANNEL)
        record_request(run_id, tags, self.settings, self.ledger, requester)
        started, arrived = None, None
        try:
            seconds, arrived = self._prepare(as_of, trigger, run_id)
            tags[INGEST_SECONDS_TAG] = f"{seconds:.3f}"
            tags |= prepare(as_of)
            started = run_id
            self._runner.run(RETRAIN, run_id, tags, partition=as_of)
        except (DataInvalid, GateFailed) as error:
            return replace(self._refused(as_of, trigger, started, error), labels_arrived=arrived)
        return replace(self._answer(as_of, trigger, run_id), labels_arrived=arrived)

    def backfill(self, days: DayRange, every: int) -> list[Retrained]:
        """Retrains as of each Nth day of the range, in order; an as-of day that is refused does not stop the others."""
        done = []
        as_of_days = list(days)[::every]
        self._progress.start("backfill", len(as_of_days))
        for count, as_of in enumerate(as_of_days, start=1):
            done.append(self.retrain(as_of, Trigger.BACKFILL, f"backfill of {days.start} to {days.end}"))
            self._progress.advance("backfill", count)
        return done

    def deliver_alerts(self) -> None:
        """Send open alerts for a few seconds; the daemon sends the rest."""
        with logged("alerts could not be sent; the daemon tries again"):
            self._runner.outcomes.notify_pause()
            drain(open_outbox(self.settings), open_notifier(self.settings), self.settings.alerts, seconds=DRAIN_SECONDS)

    def _prepare(self, as_of: date, trigger: str, run_id: str) -> _Prepared:
        """Ingest what the retrain needs; the seconds count toward its budget.

        A failure is recorded here: there is no run yet whose sensor could record it.
        """
        began = time.monotonic()
        try:
            self._days.require_budget = self._budget_from(began)
            self._days.make_ready(as_of)
            return _Prepared(time.monotonic() - began, self._days.labels_arrived(as_of))
        except BaseException as error:  # an interrupt is recorded too
            if isinstance(error, BudgetExceeded):
                self._record_ingest_spent(as_of, trigger, run_id, time.monotonic() - began)
            ended = EndedRun(job="retrain", run_id=run_id, as_of=as_of, trigger=str(trigger), channel=CHANNEL)
            with logged("the failure of the retrain could not be recorded"):
                self._runner.outcomes.refused(ended, error, self._runner.days_in_errors)
            raise

    def _budget_from(self, began: float) -> Callable[[], None]:
        """A check of the budget, called before each run of days of a retrain.

        Raises:
            BudgetExceeded: at once if the month's budget is used up.
        """
        # Once, before the ingest: what is spent meanwhile by others does not end this retrain halfway.
        allowed = allowance(self.settings.budget, past_spendings(self.ledger), self.ledger.now())

        def require() -> None:
            elapsed = time.monotonic() - began
            require_time(allowed, elapsed, {INGEST_STAGE: elapsed})

        return require

    def _record_ingest_spent(self, as_of: date, trigger: str, run_id: str, seconds: float) -> None:
        """Record the cost of an ingest that used up the budget of its retrain, for the month's sum."""
        with logged("what the retrain's ingest took could not be recorded"):
            finished = FinishedRetrain(
                dagster_run_id=run_id,
                status=Ending.FAILED,
                seconds=seconds,
                stages={INGEST_STAGE: seconds},
                trigger=str(trigger),
                as_of=as_of,
                error=BudgetExceeded.__name__,
            )
            record_finished(self.ledger, self.settings.budget, finished)

    def _document(self, asset: str, as_of: date, kind: type[BaseModel]) -> Any:
        return read_document(self.store, asset, as_of.isoformat(), kind)

    def _answer(self, as_of: date, trigger: str, run_id: str) -> Retrained:
        outcome: ReleaseOutcome = self._document(PRODUCTION, as_of, ReleaseOutcome)
        judged = self._judged(as_of, trigger, run_id)
        return replace(judged, status=outcome.status, outcome=outcome, message=outcome.reason)

    def _judged(self, as_of: date, trigger: str, run_id: str | None) -> Retrained:
        return Retrained(
            as_of=as_of,
            status=RetrainStatus.GATE_FAILED,
            trigger=trigger,
            window=self._document(WINDOW, as_of, TrainingWindow),
            model=self._document(MODEL, as_of, TrainedModel),
            evaluation=self._document(EVALUATION, as_of, Evaluation),
            dagster_run_id=run_id,
        )

    def _refused(
        self, as_of: date | None, trigger: str, run_id: str | None, error: DataInvalid | GateFailed
    ) -> Retrained:
        if as_of is not None and isinstance(error, GateFailed):
            return replace(self._judged(as_of, trigger, run_id), error=error, message=str(error))
        return Retrained(
            as_of=as_of,
            status=RetrainStatus.DATA_INVALID,
            trigger=trigger,
            window=self._window_of(as_of, run_id) if as_of and run_id else None,
            dagster_run_id=run_id,
            error=error,
            message=str(error),
        )

    def _window_of(self, as_of: date, run_id: str) -> TrainingWindow | None:
        """The window that this run made; the stored one may be an earlier run's."""
        event = self.instance.get_latest_materialization_event(model_key(WINDOW, self.settings.segment))
        if event is None or event.run_id != run_id:
            return None
        found: TrainingWindow = self._document(WINDOW, as_of, TrainingWindow)
        return found
