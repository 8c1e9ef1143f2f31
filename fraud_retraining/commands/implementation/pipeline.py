"""The jobs of the pipeline as the command line runs them, in its own process: ingest days, retrain, backfill.

Here: which runs are needed, in which order, and their outcome as plain values. Not here: what a stage does (the assets)
and how an outcome is printed (`retrain_output.py`, `commands/ingest.py`).
"""

import logging
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property, wraps
from typing import Any, TypeVar
from uuid import uuid4

import dagster as dg
from pydantic import BaseModel

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.adapters.storage.accounts import account
from fraud_retraining.adapters.storage.lake import DayFiles, Lake, LakeListing, some_of
from fraud_retraining.adapters.storage.store import Store
from fraud_retraining.definitions import build_definitions
from fraud_retraining.domain.data.lake_layout import LAYOUT
from fraud_retraining.domain.data.refused_days import ranges, remedy_of
from fraud_retraining.domain.releases.candidate import Evaluation, ReleaseOutcome, TrainedModel
from fraud_retraining.domain.retraining.budget import Ending, allowance, require_time
from fraud_retraining.domain.retraining.requesters import COMMAND_LINE, Requester
from fraud_retraining.domain.retraining.statuses import RetrainStatus
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
from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.io_managers import read_document
from fraud_retraining.orchestration.names import (
    AS_OF_TAG,
    CHANNEL_TAG,
    ENTITY_DAYS,
    EVALUATION,
    FEATURES,
    INGEST,
    INGEST_SECONDS_TAG,
    MODEL,
    PRODUCTION,
    RANGE_END,
    RANGE_START,
    REASON_TAG,
    RETRAIN,
    TRANSACTIONS,
    TRIGGER_TAG,
    WINDOW,
)
from fraud_retraining.orchestration.resources import open_lake, open_ledger, open_notifier, open_outbox, open_store
from fraud_retraining.orchestration.runs.failed_runs import recorded_failure
from fraud_retraining.orchestration.runs.lease import INGEST_STAGE
from fraud_retraining.orchestration.runs.outcomes import THRESHOLDS, EndedRun, Outcomes, family_days
from fraud_retraining.orchestration.runs.progress import Progress
from fraud_retraining.orchestration.runs.requests import record_request
from fraud_retraining.orchestration.runs.resource_definitions import open_outcomes
from fraud_retraining.orchestration.runs.spending import FinishedRetrain, past_spendings, record_finished
from fraud_retraining.orchestration.state.inventory import (
    DAY_ASSETS,
    Inventory,
)
from fraud_retraining.orchestration.state.readiness import (
    contiguous_ranges,
    days_behind,
    days_of_window,
    first_trainable,
)
from fraud_retraining.orchestration.tags import days_of_tags, trigger_of
from fraud_retraining.services.delivery import drain
from fraud_retraining.settings import Settings

T = TypeVar("T")

CHANNEL = COMMAND_LINE
DRAIN_SECONDS = 5
LOG = logging.getLogger("fraud_retraining.outcomes")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Ingested:
    """The result of an ingest."""

    days: int
    rows: int
    rejected: int
    missing: tuple[date, ...] = ()
    unread_files: tuple[str, ...] = ()
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
        self.settings = settings
        self._progress = progress
        self._run_config = {} if verbose else QUIET
        self._days_in_errors: set[date] = set()
        self._within_budget: Callable[[], None] | None = None

    @cached_property
    def lake(self) -> Lake:
        """The lake of raw days."""
        return open_lake(self.settings)

    @cached_property
    def store(self) -> Store:
        """The store of partitions."""
        return open_store(self.settings)

    @cached_property
    def ledger(self) -> Ledger:
        """The record of decisions."""
        return open_ledger(self.settings)

    @cached_property
    def outcomes(self) -> Outcomes:
        """Recording and notification of runs that ended."""
        return open_outcomes(self.settings)

    @cached_property
    def instance(self) -> dg.DagsterInstance:
        """The Dagster instance that the web server shows."""
        return open_instance()

    @cached_property
    def _definitions(self) -> dg.Definitions:
        return build_definitions(self.settings, progress=self._progress)

    def latest_day(self) -> date:
        """The last day that has arrived.

        Raises:
            DataInvalid: there is no lake, or no day in it.
        """
        listing = self._listing()
        if not listing.days:
            raise DataInvalid(
                f"the lake at {self.lake.uri} holds no day",
                culprits=some_of(listing.set_aside),
                remedy=f"a day's Parquet files lie under {LAYOUT}; correct lake.uri or deliver them. DuckDB makes "
                "Parquet of other formats: COPY (FROM 'rows.csv') TO 'part-0.parquet'.",
            )
        return max(listing.days)

    def _listing(self) -> LakeListing:
        """The days of the lake; what is set aside in it opens an alert."""
        listing = self.lake.listing()
        with _logged("the alert about files set aside could not be opened; the daemon tries again"):
            self.outcomes.notify_set_aside(self.lake.uri, listing.set_aside)
        return listing

    @_then_deliver
    def ingest(self, days: DayRange) -> Ingested:
        """The day assets of every day of the range that has arrived; a run of days without a gap is one run.

        Raises:
            DataInvalid: no day has arrived, or days were refused; the others stand.
        """
        listing = self._listing()
        arrived = {day: files for day, files in listing.days.items() if day in days}
        if not arrived:
            raise DataInvalid(
                f"none of the days {days.start} to {days.end} has arrived in {self.lake.uri}",
                culprits=some_of(listing.set_aside),
                remedy="name days that are there, or correct lake.uri; a day lies under year=YYYY/month=MM/day=DD/.",
            )
        runs, refused = [], []
        for run in contiguous_ranges(arrived):
            try:
                runs.append(self._run_days(run))
            except DataInvalid as error:
                refused += [error, *self._others({day: arrived[day] for day in run if day not in error.days})]
        # Only now: a refused day must not keep the days beside it from being ingested.
        if refused:
            raise _together(refused, (), ())
        partitions = self.store.partitions(TRANSACTIONS, arrived)
        return Ingested(
            days=len(arrived),
            rows=sum(partition.facts["rows"] for partition in partitions.values()),
            rejected=sum(sum(partition.facts["rejects"].values()) for partition in partitions.values()),
            missing=tuple(day for day in days if day not in arrived),
            unread_files=tuple(
                file for partition in partitions.values() for file in partition.facts.get("unread_files", ())
            ),
            set_aside=tuple(one._asdict() for one in listing.set_aside),
            dagster_run_ids=tuple(runs),
        )

    @_then_deliver
    def retrain(self, as_of: date | None, trigger: str, reason: str = "") -> Retrained:
        """One retrain: days that are missing or changed are ingested first.

        A gate that failed and data that is not usable are outcomes, with the error inside; anything else is raised.
        """
        try:
            as_of = as_of or self.latest_day()
        except DataInvalid as error:
            return self._refused(None, trigger, None, error)
        # The id is chosen before the run exists: request, ingest and failure are recorded under it.
        run_id = str(uuid4())
        tags = {TRIGGER_TAG: str(trigger), AS_OF_TAG: as_of.isoformat(), REASON_TAG: redact(reason)}
        tags[CHANNEL_TAG] = CHANNEL
        asker = Requester(name=account() or f"user id {os.getuid()}", channel=CHANNEL)
        record_request(run_id, tags, self.settings, self.ledger, asker)
        started = None
        try:
            tags[INGEST_SECONDS_TAG] = f"{self._prepare(as_of, trigger, run_id):.3f}"
            started = run_id
            self._run(RETRAIN, run_id, tags, partition=as_of)
        except (DataInvalid, GateFailed) as error:
            return self._refused(as_of, trigger, started, error)
        return self._answer(as_of, trigger, run_id)

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
        with _logged("alerts could not be sent; the daemon tries again"):
            self.outcomes.notify_pause()
            drain(open_outbox(self.settings), open_notifier(self.settings), self.settings.alerts, seconds=DRAIN_SECONDS)

    def _prepare(self, as_of: date, trigger: str, run_id: str) -> float:
        """Ingest what the retrain needs; return the seconds, which count toward its budget.

        A failure is recorded here: there is no run yet whose sensor could record it.
        """
        began = time.monotonic()
        try:
            self._within_budget = self._budget_from(began)
            self._make_ready(as_of)
            return time.monotonic() - began
        except BaseException as error:  # an interrupt is recorded too
            if isinstance(error, BudgetExceeded):
                self._record_ingest_spent(as_of, trigger, run_id, time.monotonic() - began)
            ended = EndedRun(job="retrain", run_id=run_id, as_of=as_of, trigger=str(trigger), channel=CHANNEL)
            with _logged("the failure of the retrain could not be recorded"):
                self.outcomes.refused(ended, error, self._days_in_errors)
            raise

    def _budget_from(self, began: float) -> Callable[[], None]:
        """A check of the budget, called before each run of days of a retrain.

        Raises:
            BudgetExceeded: at once if the month's budget is used up.
        """
        allowed = allowance(self.settings.budget, past_spendings(self.ledger), self.ledger.now())

        def require() -> None:
            elapsed = time.monotonic() - began
            require_time(allowed, elapsed, {INGEST_STAGE: elapsed})

        return require

    def _record_ingest_spent(self, as_of: date, trigger: str, run_id: str, seconds: float) -> None:
        """Record the cost of an ingest that used up the budget of its retrain, for the month's sum."""
        with _logged("what the retrain's ingest took could not be recorded"):
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

    def _make_ready(self, as_of: date) -> None:
        """Ingest the days of the retrain that are missing from the store, or differ from the lake."""
        window = days_of_window(self.settings, as_of)
        needed = days_behind(self.settings, window.needed)
        arrived = self.lake.days(DayRange(start=needed[0], end=max(as_of, needed[-1])))
        if as_of not in arrived:
            raise DataInvalid(
                f"as-of day {as_of} has not arrived in {self.lake.uri}",
                culprits=[f"the last day that has is {self.latest_day()}"],
                remedy="an as-of day is the last day whose transactions are in; name an earlier one.",
            )
        arrived = {day: files for day, files in arrived.items() if day in needed}
        self._require_window(as_of, window.needed, arrived)
        self._bring_up(arrived, [day for day in window.needed if day in arrived])

    def _require_window(self, as_of: date, needed: Sequence[date], arrived: Collection[date]) -> None:
        """Refuse an as-of day that is too early for its window, before anything is ingested for it."""
        missing = [day for day in needed if day not in arrived]
        if len(missing) <= self.settings.validation.max_missing_days:
            return
        days = self.lake.days()
        if missing[0] >= min(days):
            return
        first = first_trainable(self.settings, days)
        raise DataInvalid(
            f"as-of day {as_of} is too early: its window begins on {needed[0]}, and the lake on {min(days)}",
            culprits=[f"{ranges(missing)}: not in {self.lake.uri}"],
            remedy=f"retrain as of {first} or later, or shorten the window."
            if first
            else f"deliver more days or shorten the window: it needs {len(needed)} days without a gap.",
        )

    def _bring_up(self, arrived: dict[date, DayFiles], featured: Sequence[date]) -> None:
        """Make what is missing or stale of `arrived`, and of the features of the `featured` among them.

        Raises:
            DataInvalid: names every day that was refused; all others stand.
        """
        refused: list[DataInvalid] = []
        for days in contiguous_ranges(self._stale_days(arrived)):
            refused += self._attempt(days, [TRANSACTIONS, ENTITY_DAYS])
        # A run of days stops at its first refused day; the days beside it get a second run.
        bad = _blamed(refused)
        for days in contiguous_ranges(day for day in self._stale_days(arrived) if bad and day not in bad):
            refused += self._attempt(days, [TRANSACTIONS, ENTITY_DAYS])
        inventory = Inventory(self.store, self.settings, arrived, made=(FEATURES,))
        problems = inventory.unchecked(arrived)
        if refused or problems:
            raise _together(refused, problems, inventory.unfit(arrived))
        for days in contiguous_ranges(inventory.stale_features(featured)):
            self._run_days(days, [FEATURES])

    def _others(self, standing: dict[date, DayFiles]) -> list[DataInvalid]:
        """Make and check the days beside those that a run was refused for; return what else is refused."""
        try:
            self._bring_up(standing, ())
        except DataInvalid as error:
            return [error]
        return []

    def _stale_days(self, arrived: dict[date, DayFiles]) -> list[date]:
        inventory = Inventory(self.store, self.settings, arrived, made=DAY_ASSETS)
        unreported = {day for day in inventory.transactions if inventory.report(day) is None}
        stale = {*inventory.stale_transactions(arrived), *inventory.stale_entity_days(), *unreported}
        return sorted(day for day in stale if day in arrived)

    def _attempt(self, days: DayRange, assets: Sequence[str]) -> list[DataInvalid]:
        try:
            self._run_days(days, assets)
        except DataInvalid as error:
            return [error]
        return []

    def _run_days(self, days: DayRange, assets: Sequence[str] | None = None) -> str:
        if self._within_budget is not None:
            self._within_budget()
        run_id = str(uuid4())
        tags = {RANGE_START: days.start.isoformat(), RANGE_END: days.end.isoformat(), CHANNEL_TAG: CHANNEL}
        self._run(INGEST, run_id, tags, assets=assets)
        return run_id

    def _run(
        self,
        job: str,
        run_id: str,
        tags: dict[str, str],
        *,
        partition: date | None = None,
        assets: Sequence[str] | None = None,
    ) -> None:
        """Execute a job in this process.

        Raises:
            RetrainingError: as the assets raised it; `DataInvalid` or `GateFailed` where a blocking check failed.
        """
        ended = EndedRun(
            job="retrain" if job == RETRAIN else "ingest",
            run_id=run_id,
            as_of=partition,
            days=days_of_tags(tags),
            trigger=trigger_of(tags),
            channel=CHANNEL,
        )
        try:
            self._definitions.resolve_job_def(job).execute_in_process(
                run_config=self._run_config,
                instance=self.instance,
                partition_key=partition.isoformat() if partition else None,
                tags=tags,
                run_id=run_id,
                asset_selection=[dg.AssetKey(name) for name in assets] if assets else None,
            )
        except BaseException as error:
            known = self.outcomes.translated(ended, error)
            self._days_in_errors |= set(family_days(known))
            with _logged(f"the failure of run {run_id} could not be recorded"):
                self.outcomes.failed(self._with_step(ended), known)
            # Dagster wraps what an asset raises; the caller gets the original, with its exit code.
            if known is error:
                raise
            raise known from error

    def _with_step(self, ended: EndedRun) -> EndedRun:
        """The run, with the step that failed."""
        run = self.instance.get_run_by_id(ended.run_id or "")
        step = recorded_failure(self.instance, run).step if run is not None else None
        return replace(ended, step=step)

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
        event = self.instance.get_latest_materialization_event(dg.AssetKey(WINDOW))
        if event is None or event.run_id != run_id:
            return None
        found: TrainingWindow = self._document(WINDOW, as_of, TrainingWindow)
        return found


def _blamed(refused: Iterable[DataInvalid]) -> set[date]:
    return {day for error in refused for day in error.days}


def _together(refused: Sequence[DataInvalid], problems: Sequence[str], unfit: Sequence[date]) -> DataInvalid:
    """One error for all days that cannot be used: refused ones, and those whose checks failed."""
    if len(refused) == 1 and not problems:
        return refused[0]
    unread = [error for error in refused if not set(error.culprits) & set(problems)]
    culprits = [line for error in unread for line in _lines(error)] + list(problems)
    remedy = THRESHOLDS if problems else remedy_of(refused) or THRESHOLDS
    return DataInvalid("days cannot be used", culprits=culprits, remedy=remedy, days={*unfit, *_blamed(refused)})


def _lines(error: DataInvalid) -> tuple[str, ...]:
    """A refusal of several days names each in a culprit of its own; one of a single day is one line."""
    return (
        error.culprits if len(error.days) > 1 else (": ".join(filter(None, [error.what, "; ".join(error.culprits)])),)
    )


@contextmanager
def _logged(what: str) -> Iterator[None]:
    """Log a failure to record or to notify, which must not replace the failure that it is about."""
    try:
        yield
    except Exception:
        LOG.exception(what)
