"""Days of an asset that a Spark job of another service makes, while the step waits for it (`engine.submit`).

Here: the request that the job gets through Dagster Pipes, its answer, and the proof that every day was made: the store
has to hold it afterwards, whatever the job says. Not here: the job (`days_job.py`), and the calls of the services
(`adapters/storage/spark_jobs.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any, Final

import dagster as dg

from fraud_retraining.adapters.mlflow.code_versions import code_version
from fraud_retraining.adapters.storage.store import Partition
from fraud_retraining.domain.data.refused_days import ranges
from fraud_retraining.domain.values.errors import (
    DataInvalid,
    DependencyUnreachable,
    IntegrityError,
    RetrainingError,
    SettingsError,
)
from fraud_retraining.orchestration.assets.day_runs import DayWork
from fraud_retraining.orchestration.names import SPARK_JOB_TAG
from fraud_retraining.orchestration.resources import job_service, s3_resource
from fraud_retraining.settings import GivenSettings, Settings

PARTS_OF_DAYS = ("ingestion", "labels", "features")
NOT_FOR_DAYS: Final = frozenset({"ledger", "mlflow", "alerts", "engine"})
"""Settings that a job does not get: their addresses may hold a password, and no day depends on them."""
_KINDS: Mapping[str, type[RetrainingError]] = {
    kind.__name__: kind for kind in (SettingsError, DataInvalid, DependencyUnreachable, IntegrityError)
}

Refused = Mapping[date, DataInvalid]


def made_by_jobs(
    context: dg.AssetExecutionContext, asset: str, build: Callable[[], DayWork], settings: Settings
) -> DayWork:
    """The work of an asset; where jobs are submitted, one makes all its days and the step verifies them."""
    work = build()
    if settings.engine.submit is None:
        return work
    days = SubmittedDays(asset, work, build, partial(_run, context, asset, settings))
    return work._replace(ahead=days.ahead, refresh=days.refresh)


@dataclass
class SubmittedDays:
    """Days that a job makes: `run` gets them and gives those that the job refused; `build` looks at the store anew."""

    asset: str
    work: DayWork
    build: Callable[[], DayWork]
    run: Callable[[Sequence[date]], Refused]
    refused: Refused = field(default_factory=dict)

    def ahead(self, days: Sequence[date]) -> None:
        """Has the days made, if one of them is stale.

        Raises:
            DependencyUnreachable: the job has ended, and names every day of which the store has no record.
        """
        if not self.work.stale(days):
            return
        self.refused = self.run(days)
        self.work = self.build()
        missing = [day for day in self.work.stale(days) if day not in self.refused]
        if missing:
            raise DependencyUnreachable(
                f"the job ended and says that it succeeded, but has not made {self.asset} of {ranges(missing)}",
                remedy="its driver died, or its files changed meanwhile: the next attempt makes these days.",
                days=missing,
            )

    def refresh(self, day: date) -> Partition:
        """The partition of a day as the job left it.

        Raises:
            DataInvalid: the job refused the day.
        """
        if day in self.refused:
            raise self.refused[day]
        return self.work.refresh(day)


def request_of(asset: str, days: Sequence[date], settings: Settings) -> dict[str, Any]:
    """What a job is asked for, as plain values: days of an asset, under settings, by this version of the code."""
    given = settings.model_dump(mode="json", exclude_unset=True, exclude=set(NOT_FOR_DAYS))
    engine = {"kind": "spark", "master": None, "config": settings.engine.config}
    return {
        "asset": asset,
        "days": [day.isoformat() for day in days],
        "settings": {**given, "engine": engine},
        "code": code_version(*PARTS_OF_DAYS),
    }


def requested_settings(request: Mapping[str, Any]) -> Settings:
    """The settings of a request.

    Raises:
        SettingsError: other code is installed here, so that days would be others than those that are asked for.
    """
    if request["code"] != code_version(*PARTS_OF_DAYS):
        raise SettingsError(
            "the job has another version of fraud_retraining than the step that submitted it",
            remedy="install the same version in the job's image or archive.",
        )
    return GivenSettings(**request["settings"])


def as_answer(refused: Refused, error: RetrainingError | None = None) -> dict[str, Any]:
    """What a job reports: the days that it refused, and what ended it."""
    return {
        "refused": {day.isoformat(): one.answer for day, one in refused.items()},
        "error": None if error is None else {**error.answer, "days": [day.isoformat() for day in error.days]},
    }


def read_answers(answers: Sequence[Any]) -> tuple[dict[date, DataInvalid], RetrainingError | None]:
    """The days that a job refused, and what ended it, from the messages of Pipes.

    Other messages than ours are passed over: what was made is read from the store.
    """
    refused: dict[date, DataInvalid] = {}
    error: RetrainingError | None = None
    for answer in answers:
        if not isinstance(answer, Mapping):
            continue
        for day, one in (answer.get("refused") or {}).items():
            refused[date.fromisoformat(day)] = DataInvalid(
                one["message"], culprits=one["culprits"], remedy=one["remedy"], days=[date.fromisoformat(day)]
            )
        if one := answer.get("error"):
            kind = _KINDS.get(one["kind"], DependencyUnreachable)
            days = [date.fromisoformat(day) for day in one["days"]]
            error = kind(one["message"], culprits=one["culprits"], remedy=one["remedy"], days=days)
    return refused, error


def _run(context: dg.AssetExecutionContext, asset: str, settings: Settings, days: Sequence[date]) -> Refused:
    from dagster_aws.pipes import PipesS3ContextInjector, PipesS3MessageReader

    from fraud_retraining.adapters.storage.spark_jobs import run_job

    submit = settings.engine.submit
    assert submit is not None, "only called where jobs are submitted"
    service, s3 = job_service(settings), s3_resource(settings).get_client()

    def started(job: str) -> None:
        context.log.info(f"{service.name} runs the job {job}: {asset} of {ranges(days)}")
        context.instance.add_run_tags(context.run_id, {f"{SPARK_JOB_TAG}_{asset}": job})

    failure: DependencyUnreachable | None = None
    with dg.open_pipes_session(
        context=context,
        context_injector=PipesS3ContextInjector(bucket=submit.bucket, client=s3),
        message_reader=PipesS3MessageReader(bucket=submit.bucket, client=s3, interval=submit.poll_seconds),
        extras=request_of(asset, days, settings),
    ) as session:
        try:
            run_job(service, session.get_bootstrap_cli_arguments(), session.default_remote_invocation_info, started)
        # The session ends as usual: it deletes what it wrote, and the job may have said why it failed.
        except DependencyUnreachable as error:
            failure = error
    refused, reported = read_answers(session.get_custom_messages())
    if reported is not None:
        raise reported
    if failure is not None:
        raise failure
    return refused
