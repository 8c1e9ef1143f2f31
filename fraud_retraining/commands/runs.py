"""The ways into the jobs that the command line uses: ingest days, retrain, backfill.

Here: which runs are needed, in which order, and what their outcome is as plain values. Not here: what a stage does
(the assets) and how an answer is shown (`cli.py`).
"""

import getpass
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import Any
from uuid import uuid4

import dagster as dg
from dagster._core.errors import DagsterAssetCheckFailedError, DagsterUserCodeExecutionError
from pydantic import BaseModel

from fraud_retraining.adapters.lake import DayFiles, Lake
from fraud_retraining.adapters.ledger import Ledger
from fraud_retraining.adapters.store import Store
from fraud_retraining.definitions import build_definitions
from fraud_retraining.domain.candidate import Evaluation, ReleaseOutcome, RetrainStatus, TrainedModel
from fraud_retraining.domain.errors import Busy, DataInvalid, GateFailed, RetrainingError, SettingsError
from fraud_retraining.domain.events import EventKind
from fraud_retraining.domain.triggers import Trigger
from fraud_retraining.domain.validation import Report
from fraud_retraining.domain.windows import DayRange, TrainingWindow
from fraud_retraining.orchestration.assets.evaluation import EVALUATION
from fraud_retraining.orchestration.assets.promotion import PRODUCTION
from fraud_retraining.orchestration.assets.training import MODEL, WINDOW
from fraud_retraining.orchestration.checks.data_checks import WINDOW_REPORT
from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.inventory import ENTITY_DAYS, FEATURES, TRANSACTIONS, Inventory
from fraud_retraining.orchestration.io_managers import read_document
from fraud_retraining.orchestration.jobs import AS_OF_TAG, INGEST, REASON_TAG, RETRAIN, TRIGGER_TAG
from fraud_retraining.orchestration.progress import Progress
from fraud_retraining.orchestration.readiness import days_behind, days_of_window, unbroken
from fraud_retraining.orchestration.requests import CHANNEL_TAG, USER_TAG, record_request
from fraud_retraining.orchestration.resources import open_lake, open_ledger, open_store
from fraud_retraining.settings import Settings

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
THRESHOLDS = "deliver the data again, or change the thresholds under validation in the settings."
CHANNEL = "command line"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Ingested:
    """What an ingest did."""

    days: int
    rows: int
    rejected: int
    missing: tuple[date, ...] = ()
    dagster_run_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Retrained:
    """What a retrain came to."""

    as_of: date
    status: RetrainStatus
    trigger: Trigger
    window: TrainingWindow | None = None
    model: TrainedModel | None = None
    evaluation: Evaluation | None = None
    outcome: ReleaseOutcome | None = None
    dagster_run_id: str | None = None
    error: RetrainingError | None = None
    message: str = ""


class Pipeline:
    """The jobs of one set of settings, run in this process against the shared Dagster instance."""

    def __init__(self, settings: Settings, progress: Progress, *, verbose: bool = False) -> None:
        self.settings = settings
        self._progress = progress
        self._run_config = {} if verbose else QUIET

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
        days = self.lake.days()
        if not days:
            raise DataInvalid(
                f"the lake at {self.lake.uri} holds no day",
                remedy="days lie under year=YYYY/month=MM/day=DD/*.parquet; correct lake.uri or deliver them.",
            )
        return max(days)

    def ingest(self, days: DayRange) -> Ingested:
        """The day assets of every day of the range that has arrived; a run of days without a gap is one run.

        Raises:
            DataInvalid: no day has arrived, or days were refused; the others stand.
        """
        arrived = self.lake.days(days)
        if not arrived:
            raise DataInvalid(f"none of the days {days.start} to {days.end} has arrived in {self.lake.uri}")
        runs, refused = [], []
        for run in unbroken(arrived):
            try:
                runs.append(self._run_days(run))
            except DataInvalid as error:
                refused.append(error)
        if refused:
            self._bring_up(arrived, self._sound(arrived))
        partitions = self.store.partitions(TRANSACTIONS, arrived)
        return Ingested(
            days=len(arrived),
            rows=sum(partition.facts["rows"] for partition in partitions.values()),
            rejected=sum(sum(partition.facts["rejects"].values()) for partition in partitions.values()),
            missing=tuple(day for day in days if day not in arrived),
            dagster_run_ids=tuple(runs),
        )

    def retrain(self, as_of: date | None, trigger: Trigger, reason: str = "") -> Retrained:
        """One retrain: days that are missing or changed are ingested first.

        A gate that failed and data that is not usable are outcomes, with the error inside; anything else is raised.
        """
        as_of = as_of or self.latest_day()
        run_id = str(uuid4())
        tags = {TRIGGER_TAG: trigger.value, AS_OF_TAG: as_of.isoformat(), REASON_TAG: reason}
        tags |= {USER_TAG: getpass.getuser(), CHANNEL_TAG: CHANNEL}
        record_request(run_id, tags, self.settings, self.ledger)
        started = None
        try:
            self._make_ready(as_of)
            started = run_id
            self._run(RETRAIN, run_id, tags, partition=as_of)
        except (DataInvalid, GateFailed) as error:
            self._record_failure(as_of, trigger, error)
            return self._refused(as_of, trigger, started, error)
        except Busy:
            raise
        except RetrainingError as error:
            self._record_failure(as_of, trigger, error)
            raise
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

    def _record_failure(self, as_of: date, trigger: Trigger, error: RetrainingError) -> None:
        payload = {"trigger": trigger.value, "kind": type(error).__name__, "what": error.what}
        self.ledger.append(
            EventKind.RETRAIN_FAILED,
            actor="pipeline",
            channel=CHANNEL,
            as_of=as_of,
            payload={**payload, "culprits": list(error.culprits)},
        )

    def _make_ready(self, as_of: date) -> None:
        """Ingests what the retrain needs and the store does not hold as the lake has it now."""
        window = days_of_window(self.settings, as_of)
        needed = days_behind(self.settings, window.needed)
        arrived = self.lake.days(DayRange(start=needed[0], end=max(as_of, needed[-1])))
        if as_of not in arrived:
            raise DataInvalid(
                f"as-of day {as_of} has not arrived in {self.lake.uri}",
                culprits=[f"the last day that has is {max(arrived)}"] if arrived else [],
                remedy="an as-of day is the last day whose transactions are in; name an earlier one.",
            )
        arrived = {day: files for day, files in arrived.items() if day in needed}
        self._bring_up(arrived, [day for day in window.needed if day in arrived])

    def _bring_up(self, arrived: dict[date, DayFiles], featured: Sequence[date]) -> None:
        """Makes whatever is missing or stale of `arrived`, and of the features of the `featured` among them.

        Raises:
            DataInvalid: names every day that was refused; all others stand.
        """
        refused: list[DataInvalid] = []
        for days in unbroken(self._stale_days(arrived)):
            refused += self._attempt(days, [TRANSACTIONS, ENTITY_DAYS])
        if refused:
            for days in unbroken(self._sound(arrived)):
                refused += self._attempt(days, [ENTITY_DAYS])
        inventory = Inventory(self.store, self.settings, arrived)
        problems = inventory.unchecked(arrived)
        if refused or problems:
            raise _together(refused, problems)
        for days in unbroken(inventory.stale_features(featured)):
            self._run_days(days, [FEATURES])

    def _stale_days(self, arrived: dict[date, DayFiles]) -> list[date]:
        inventory = Inventory(self.store, self.settings, arrived)
        unreported = {day for day in inventory.transactions if inventory.report(day) is None}
        stale = {*inventory.stale_transactions(arrived), *inventory.stale_entity_days(), *unreported}
        return sorted(day for day in stale if day in arrived)

    def _sound(self, arrived: Iterable[date]) -> list[date]:
        inventory = Inventory(self.store, self.settings, arrived)
        return [day for day in inventory.transactions if not inventory.unchecked([day])]

    def _attempt(self, days: DayRange, assets: Sequence[str]) -> list[DataInvalid]:
        try:
            self._run_days(days, assets)
        except DataInvalid as error:
            return [error]
        return []

    def _run_days(self, days: DayRange, assets: Sequence[str] | None = None) -> str:
        run_id = str(uuid4())
        tags = {RANGE_START: days.start.isoformat(), RANGE_END: days.end.isoformat()}
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
        """Executes a job in this process.

        Raises:
            RetrainingError: as the assets raised it; `DataInvalid` or `GateFailed` where a blocking check failed.
        """
        try:
            self._definitions.resolve_job_def(job).execute_in_process(
                run_config=self._run_config,
                instance=self.instance,
                partition_key=partition.isoformat() if partition else None,
                tags=tags,
                run_id=run_id,
                asset_selection=[dg.AssetKey(name) for name in assets] if assets else None,
            )
        except DagsterAssetCheckFailedError as error:
            raise self._blocked(tags, partition) from error
        except DagsterUserCodeExecutionError as error:
            if isinstance(error.user_exception, RetrainingError):
                raise error.user_exception from error
            raise

    def _blocked(self, tags: dict[str, str], as_of: date | None) -> RetrainingError:
        """The typed error behind a blocking check that failed, from the report that the check left."""
        if as_of is None:
            days = DayRange(start=tags[RANGE_START], end=tags[RANGE_END])
            problems = Inventory(self.store, self.settings, days).unchecked(days)
            return _unfit(problems)
        report = self.store.read_document(WINDOW_REPORT, as_of.isoformat())
        found = Report.model_validate_json(report) if report is not None else None
        if found is not None and found.failed:
            return DataInvalid(
                f"the training window as of {as_of} is not fit to be trained on",
                culprits=[f"{result.name}: {result.message}" for result in found.failed],
                remedy=THRESHOLDS,
            )
        evaluation: Evaluation = self._document(EVALUATION, as_of, Evaluation)
        return GateFailed(
            f"the candidate as of {as_of} did not pass its gates",
            culprits=[f"{gate.name}: {gate.message}" for gate in evaluation.verdict.failed],
            remedy="the champion stays; the thresholds stand under gates in the settings.",
        )

    def _document(self, asset: str, as_of: date, kind: type[BaseModel]) -> Any:
        return read_document(self.store, asset, as_of.isoformat(), kind)

    def _answer(self, as_of: date, trigger: Trigger, run_id: str) -> Retrained:
        outcome: ReleaseOutcome = self._document(PRODUCTION, as_of, ReleaseOutcome)
        judged = self._judged(as_of, trigger, run_id)
        return replace(judged, status=outcome.status, outcome=outcome, message=outcome.reason)

    def _judged(self, as_of: date, trigger: Trigger, run_id: str | None) -> Retrained:
        return Retrained(
            as_of=as_of,
            status=RetrainStatus.GATE_FAILED,
            trigger=trigger,
            window=self._document(WINDOW, as_of, TrainingWindow),
            model=self._document(MODEL, as_of, TrainedModel),
            evaluation=self._document(EVALUATION, as_of, Evaluation),
            dagster_run_id=run_id,
        )

    def _refused(self, as_of: date, trigger: Trigger, run_id: str | None, error: DataInvalid | GateFailed) -> Retrained:
        if isinstance(error, GateFailed):
            return replace(self._judged(as_of, trigger, run_id), error=error, message=str(error))
        return Retrained(
            as_of=as_of,
            status=RetrainStatus.DATA_INVALID,
            trigger=trigger,
            dagster_run_id=run_id,
            error=error,
            message=str(error),
        )


def trigger_named(name: str) -> Trigger:
    """The trigger of that name.

    Raises:
        SettingsError: there is none.
    """
    try:
        return Trigger(name)
    except ValueError:
        raise SettingsError(f"there is no trigger {name!r}", remedy=f"triggers are {', '.join(Trigger)}.") from None


def _unfit(problems: Sequence[str]) -> DataInvalid:
    return DataInvalid("days did not pass their checks", culprits=problems, remedy=THRESHOLDS)


def _together(refused: Sequence[DataInvalid], problems: Sequence[str]) -> DataInvalid:
    """One error for everything that stands in the way: days that were refused, and days whose checks failed."""
    if len(refused) == 1 and not problems:
        return refused[0]
    unread = [error for error in refused if not set(error.culprits) & set(problems)]
    culprits = [" ".join([error.what, *error.culprits]) for error in unread] + list(problems)
    return DataInvalid("days cannot be used", culprits=culprits, remedy=THRESHOLDS)
