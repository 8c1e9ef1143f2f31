"""A day asset over one partition or a range of them in one run.

Here: what is told to Dagster for each day, and what happens to the other days when one is refused. Not here: what is
done for a day.
"""

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import dagster as dg

from fraud_retraining.adapters.store import Partition
from fraud_retraining.domain.errors import DataInvalid
from fraud_retraining.domain.fingerprint import digest
from fraud_retraining.orchestration.partitions import days_of
from fraud_retraining.orchestration.progress import Progress


def materialize_days(
    context: dg.AssetExecutionContext,
    asset: str,
    refresh: Callable[[date], Partition],
    progress: Progress,
    metadata: Callable[[Partition], dict[str, Any]],
    settle: Callable[[list[Partition]], None] = lambda done: None,
) -> Iterator[dg.MaterializeResult]:
    """Refreshes the run's days, oldest first, and reports each with its digest as the data version.

    A day whose data is refused does not stop the others: they stand, and are reported, before the error is raised.
    `settle` is told of them all before.

    Raises:
        DataInvalid: names every day that was refused, with the reason.
    """
    done: list[Partition] = []
    refused: dict[date, DataInvalid] = {}
    days = days_of(context)
    progress.start(asset, len(days))
    for count, day in enumerate(days, start=1):
        try:
            done.append(refresh(day))
        except DataInvalid as error:
            refused[day] = error
            context.log.error(f"{asset} of {day} is refused: {error}")
        progress.advance(asset, count)
    settle(done)
    if refused:
        _report_each(context, asset, done, metadata)
        raise _refusal(asset, refused)
    for partition in done:
        context.add_asset_metadata(metadata(partition), partition_key=partition.day.isoformat())
    yield dg.MaterializeResult(data_version=dg.DataVersion(_version(done)))
    if len(done) > 1:
        _report_each(context, asset, done, metadata)


def _version(done: list[Partition]) -> str:
    return done[0].digest if len(done) == 1 else digest([partition.digest for partition in done])


def _report_each(
    context: dg.AssetExecutionContext,
    asset: str,
    done: list[Partition],
    metadata: Callable[[Partition], dict[str, Any]],
) -> None:
    """One event a day: the run's own result carries one data version for its whole range."""
    for partition in done:
        context.log_event(
            dg.AssetMaterialization(
                asset,
                partition=partition.day.isoformat(),
                metadata=metadata(partition),
                tags={
                    "dagster/data_version": partition.digest,
                    "dagster/data_version_is_user_provided": "true",
                },
            )
        )


def _refusal(asset: str, refused: dict[date, DataInvalid]) -> DataInvalid:
    if len(refused) == 1:
        ((day, error),) = refused.items()
        named = error.what if day.isoformat() in error.what else f"{asset} of {day}: {error.what}"
        return DataInvalid(named, culprits=error.culprits, remedy=error.remedy, days=refused)
    return DataInvalid(
        f"{asset}: {len(refused)} days are refused; the other days stand.",
        culprits=[f"{day}: {' '.join(str(error).split())}" for day, error in refused.items()],
        remedy="deliver those days again; they are ingested anew once their files change.",
        days=refused,
    )
