"""The Spark job that makes days of an asset on EMR Serverless or Glue: `deploy/spark/days_job.py` starts it.

Here: the job's side of Dagster Pipes, and the same code of the days that a step runs by itself. Not here: the step that
submits the job (`submitted_days.py`). The job needs lake and store; it has no ledger and no MLflow.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from tempfile import mkdtemp
from typing import Any

from fraud_retraining.domain.values.errors import DataInvalid, RetrainingError
from fraud_retraining.orchestration.assets.day_runs import DayParts, DayWork
from fraud_retraining.orchestration.assets.features import entity_days_work, features_work
from fraud_retraining.orchestration.assets.ingestion import transactions_work
from fraud_retraining.orchestration.assets.labels import label_sums_work, labels_work
from fraud_retraining.orchestration.assets.submitted_days import as_answer, requested_settings
from fraud_retraining.orchestration.names import ENTITY_DAYS, ENTITY_LABEL_DAYS, FEATURES, LABELS, TRANSACTIONS
from fraud_retraining.orchestration.resources import open_engine, open_lake, open_store
from fraud_retraining.settings import HOME_VARIABLE

Log = Callable[[str], None]
WORKS: Mapping[str, Callable[[Sequence[date], DayParts], DayWork]] = {
    TRANSACTIONS: transactions_work,
    LABELS: labels_work,
    ENTITY_DAYS: lambda days, parts: entity_days_work(days, parts.settings, parts.store, parts.engine),
    ENTITY_LABEL_DAYS: lambda days, parts: label_sums_work(days, parts.settings, parts.store, parts.engine),
    FEATURES: lambda days, parts: features_work(days, parts.settings, parts.store, parts.engine),
}
"""How the days of each asset are made."""


def main() -> int:
    """Runs what the step asked for, and gives the exit code: 0 if nothing went wrong but days that were refused."""
    import boto3
    from dagster_pipes import PipesCliArgsParamsLoader, PipesS3ContextLoader, PipesS3MessageWriter, open_dagster_pipes

    loader: Any = PipesCliArgsParamsLoader
    loader = loader()
    if not loader.is_dagster_pipes_process():
        print("this job is started by a step of Dagster (engine.submit), which says what to do", file=sys.stderr)
        return 2
    s3 = boto3.client("s3")
    with open_dagster_pipes(
        params_loader=loader, context_loader=PipesS3ContextLoader(s3), message_writer=PipesS3MessageWriter(s3)
    ) as pipes:
        answer = answered(pipes.extras, pipes.log.info)
        pipes.report_custom_message(answer)
    return 0 if answer["error"] is None else 1


def answered(request: Mapping[str, Any], log: Log) -> dict[str, Any]:
    """Makes what a request asks for; a failure of known meaning is part of the answer."""
    try:
        return as_answer(made(request, log))
    except RetrainingError as error:
        return as_answer({}, error)


def made(request: Mapping[str, Any], log: Log) -> dict[date, DataInvalid]:
    """Makes and commits the days of a request, oldest first; gives those that were refused, with the reason.

    Raises:
        RetrainingError: the work ended; days that were committed before stand.
    """
    settings = requested_settings(request)
    if HOME_VARIABLE not in os.environ:
        # For what is fetched and spilled; nothing of it outlives the job.
        os.environ[HOME_VARIABLE] = mkdtemp(prefix="fraud_retraining-")
    days = [date.fromisoformat(day) for day in request["days"]]
    refused: dict[date, DataInvalid] = {}
    with open_engine(settings) as engine:
        work = WORKS[request["asset"]](days, DayParts(settings, open_lake(settings), open_store(settings), engine))
        work.ahead(days)
        for day in days:
            try:
                partition = work.refresh(day)
            except DataInvalid as error:
                refused[day] = error
                log(f"{request['asset']} of {day} is refused: {error.what}")
            else:
                log(f"{request['asset']} of {day}: {partition.digest}")
    return refused


if __name__ == "__main__":
    sys.exit(main())
