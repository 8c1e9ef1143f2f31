"""A day asset over one partition or a range of them in one run.

Here: what is reported to Dagster for each day, and what happens to the other days when one is refused. Not here: how a
day is made.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

import dagster as dg

from fraud_retraining.adapters.storage.engine import Engine
from fraud_retraining.adapters.storage.lake import Lake
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.data.refused_days import problem_lines, remedy_of
from fraud_retraining.domain.values.digests import digest
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.orchestration.names import own_key
from fraud_retraining.orchestration.partitions import days_of
from fraud_retraining.orchestration.resources import ResourceBundle
from fraud_retraining.orchestration.runs.progress import Progress
from fraud_retraining.orchestration.state.monitoring import NotMade
from fraud_retraining.settings import Settings

COLUMN_LINEAGE = "dagster/column_lineage"


def _nothing_ahead(days: Sequence[date]) -> None:
    """For engines that make each day when its turn comes."""


def _nothing_stale(days: Sequence[date]) -> list[date]:
    """For assets that no job makes."""
    return []


def _settle_nothing(done: list[Partition]) -> None:
    """For assets with nothing left to do after their days."""


class DayWork(NamedTuple):
    """How an asset is made for a day, the metadata of a made day, and what is done once with all of them.

    `ahead` gets the days of the run before the first of them is made: Spark computes them together. `stale` are those
    of some days that `refresh` would make; a day that it would refuse before is none of them.
    """

    refresh: Callable[[date], Partition]
    metadata: Callable[[Partition], dict[str, Any]]
    settle: Callable[[list[Partition]], None] = _settle_nothing
    ahead: Callable[[Sequence[date]], None] = _nothing_ahead
    stale: Callable[[Sequence[date]], list[date]] = _nothing_stale


@dataclass(frozen=True)
class DayParts(ResourceBundle):
    """What days are made with."""

    settings: Settings
    lake: Lake
    store: Store
    engine: Engine


def materialize_days(
    context: dg.AssetExecutionContext,
    asset: str,
    work: DayWork,
    progress: Progress,
    days: Sequence[date] | None = None,
) -> Iterator[dg.MaterializeResult]:
    """Refreshes the run's days, oldest first, and reports each with its digest as the data version.

    `days` are those of them that are made, where it is not all of them.
    A day whose data is refused does not stop the others: they stay, and are reported, before the error is raised.

    Raises:
        DataInvalid: names every day that was refused, with the reason.
    """
    every = days_of(context)
    done, refused = _refreshed(context, asset, work, progress, every if days is None else days)
    work.settle(done)
    lineage = column_lineage(context, asset)
    metadata = {day.day: {**work.metadata(day), **(lineage if day is done[-1] else {})} for day in done}
    if refused:
        # Reported before the error: Dagster drops the result of a failed step, and with it the days that were made.
        _report_each(context, asset, done, metadata)
        raise _refusal(asset, refused)
    if len(done) < len(every):
        # Dagster takes a result for the whole range of the run.
        _report_each(context, asset, done, metadata)
        return
    for partition in done:
        context.add_asset_metadata(metadata[partition.day], partition_key=partition.day.isoformat())
    # Before the single days: Dagster shows the last event of a partition, and that has to be the day's own.
    yield dg.MaterializeResult(data_version=dg.DataVersion(_version(done)))
    if len(done) > 1:
        _report_each(context, asset, done, metadata)


def _refreshed(
    context: dg.AssetExecutionContext, asset: str, work: DayWork, progress: Progress, days: Sequence[date]
) -> tuple[list[Partition], dict[date, DataInvalid]]:
    done: list[Partition] = []
    refused: dict[date, DataInvalid] = {}
    progress.start(asset, len(days))
    work.ahead(days)
    for count, day in enumerate(days, start=1):
        try:
            done.append(work.refresh(day))
        # Only bad data: an outage must end the run, so that it is tried again as a whole.
        except DataInvalid as error:
            refused[day] = error
            context.log.error(f"{asset} of {day} is refused: {error}")
        progress.advance(asset, count)
    return done, refused


def column_lineage(context: dg.AssetExecutionContext, asset: str) -> dict[str, Any]:
    """The column lineage of the asset's definition, for its newest day: Dagster's UI reads it from the last event."""
    defined = context.assets_def.metadata_by_key.get(own_key(context.assets_def.keys, asset), {})
    return {name: value for name, value in defined.items() if name == COLUMN_LINEAGE}


class Maker(NamedTuple):
    """How one of several assets of a step is made for a day, and the metadata of a made day."""

    make: Callable[[date], Partition | NotMade]
    metadata: Callable[[Partition], dict[str, Any]]


@dataclass
class _Made:
    """The days of one asset: made ones with their metadata, and refused ones."""

    done: list[Partition] = field(default_factory=list)
    refused: dict[date, DataInvalid] = field(default_factory=dict)
    metadata: dict[date, dict[str, Any]] = field(default_factory=dict)


def materialize_assets(
    context: dg.AssetExecutionContext, makers: Mapping[str, Maker], progress: Progress
) -> Iterator[dg.MaterializeResult]:
    """Materializes several assets of one step, in order; for some days there may be nothing to make.

    Such a day is reported in the log and as an observation with the reason, and is not an error.

    Raises:
        DataInvalid: names every asset and day that was refused, with the reason.
    """
    days = days_of(context)
    made = {}
    for asset, maker in makers.items():
        made[asset] = found = _make_days(context, asset, days, maker, progress)
        # Dagster takes a result for the whole range of the run: one that lacks a day may not be reported as such.
        if len(found.done) == len(days):
            yield _result(context, asset, found)
    for asset, found in made.items():
        if len(days) > 1:
            _report_each(context, asset, found.done, found.metadata)
    _raise_refused(made)


def _make_days(
    context: dg.AssetExecutionContext,
    asset: str,
    days: Sequence[date],
    maker: Maker,
    progress: Progress,
) -> _Made:
    found = _Made()
    progress.start(asset, len(days))
    for count, day in enumerate(days, start=1):
        try:
            partition = maker.make(day)
        except DataInvalid as error:
            found.refused[day] = error
            context.log.error(f"{asset} of {day} is refused: {error}")
        else:
            if isinstance(partition, NotMade):
                _report_not_made(context, asset, day, partition)
            else:
                found.done.append(partition)
                found.metadata[day] = maker.metadata(partition)
        progress.advance(asset, count)
    return found


def _result(context: dg.AssetExecutionContext, asset: str, found: _Made) -> dg.MaterializeResult:
    key = own_key(context.assets_def.keys, asset)
    for day, metadata in found.metadata.items():
        context.add_asset_metadata(metadata, asset_key=key, partition_key=day.isoformat())
    return dg.MaterializeResult(asset_key=key, data_version=dg.DataVersion(_version(found.done)))


def _report_not_made(context: dg.AssetExecutionContext, asset: str, day: date, nothing: NotMade) -> None:
    context.log.info(f"{asset} of {day} is not made: {nothing.reason}")
    context.log_event(
        dg.AssetObservation(
            own_key(context.assets_def.keys, asset),
            partition=day.isoformat(),
            metadata={"not made, because": nothing.reason},
        )
    )


def _raise_refused(made: Mapping[str, _Made]) -> None:
    refused = [(asset, day, error) for asset, found in made.items() for day, error in found.refused.items()]
    # One cause behind several assets of a day, such as missing features, is raised once and as itself.
    if len({(day, str(error)) for _, day, error in refused}) == 1:
        raise refused[0][2]
    if refused:
        raise DataInvalid(
            f"{len(refused)} partitions are refused; the others stand.",
            culprits=[f"{asset} of {day}: {' '.join(str(error).split())}" for asset, day, error in refused],
            remedy="each says what to do; then materialize them again.",
        )


def _version(done: list[Partition]) -> str:
    return done[0].digest if len(done) == 1 else digest([partition.digest for partition in done])


def _report_each(
    context: dg.AssetExecutionContext,
    asset: str,
    done: list[Partition],
    metadata: Mapping[date, dict[str, Any]],
) -> None:
    """One event a day: the run's own result has one data version for its whole range."""
    for partition in done:
        context.log_event(
            dg.AssetMaterialization(
                own_key(context.assets_def.keys, asset),
                partition=partition.day.isoformat(),
                metadata=metadata[partition.day],
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
        culprits=problem_lines(refused),
        remedy=remedy_of(refused.values())
        or "deliver those days again; they are ingested anew once their files change.",
        days=refused,
    )
