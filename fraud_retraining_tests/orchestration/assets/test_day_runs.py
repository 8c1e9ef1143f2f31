"""A refused day stops no other day of its run: the others are made, reported, and kept before the error is raised."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from fraud_retraining.adapters.storage.locations import FolderLocation
from fraud_retraining.adapters.storage.store import Partition, Store
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.orchestration.assets.day_runs import DayWork, Maker, materialize_assets, materialize_days
from fraud_retraining.orchestration.names import RANGE_END, RANGE_START
from fraud_retraining.orchestration.partitions import BACKFILL_DAYS_IN_ONE_RUN, day_partitions
from fraud_retraining.orchestration.runs.progress import LogProgress
from fraud_retraining.orchestration.state.monitoring import NotMade

FIRST, SECOND, THIRD = (date(2024, 3, day) for day in (1, 2, 3))
DAYS = day_partitions(FIRST)
ASSET = "numbers"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(FolderLocation(tmp_path / "store"), scratch=tmp_path / "scratch")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


def made(store: Store, day: date) -> Partition:
    return store.write(ASSET, day, {"rows": pa.table({"n": [day.day]})}, digest=f"d{day.day}", inputs={}, facts={})


def run(asset: dg.AssetsDefinition, instance: dg.DagsterInstance, last: date) -> dg.ExecuteInProcessResult:
    tags = {RANGE_START: str(FIRST), RANGE_END: str(last)}
    return dg.materialize([asset], instance=instance, tags=tags, raise_on_error=False)


def reported(instance: dg.DagsterInstance) -> dict[str, str]:
    """The latest data version of each partition."""
    records = instance.fetch_materializations(dg.AssetKey(ASSET), limit=100).records
    events = [record.asset_materialization for record in reversed(records) if record.asset_materialization]
    return {one.partition: (one.tags or {}).get("dagster/data_version", "") for one in events if one.partition}


def ingesting(store: Store, refused: set[date], settled: list[list[date]]) -> dg.AssetsDefinition:
    def refresh(day: date) -> Partition:
        if day in refused:
            raise DataInvalid(f"{day} cannot be read", remedy="deliver it again.")
        return made(store, day)

    @dg.asset(name=ASSET, partitions_def=DAYS, backfill_policy=BACKFILL_DAYS_IN_ONE_RUN)
    def numbers(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        work = DayWork(
            refresh, lambda partition: {"n": partition.day.day}, lambda done: settled.append([d.day for d in done])
        )
        yield from materialize_days(context, ASSET, work, LogProgress())

    return numbers


def test_each_day_of_a_range_has_its_own_digest_as_data_version(store: Store, instance: dg.DagsterInstance) -> None:
    settled: list[list[date]] = []
    assert run(ingesting(store, set(), settled), instance, THIRD).success
    assert reported(instance) == {str(FIRST): "d1", str(SECOND): "d2", str(THIRD): "d3"}
    assert settled == [[FIRST, SECOND, THIRD]]


def test_days_beside_a_refused_one_are_made_reported_and_settled(store: Store, instance: dg.DagsterInstance) -> None:
    settled: list[list[date]] = []
    done = run(ingesting(store, {SECOND}, settled), instance, THIRD)
    assert not done.success
    assert reported(instance) == {str(FIRST): "d1", str(THIRD): "d3"}
    assert settled == [[FIRST, THIRD]]
    assert set(store.partitions(ASSET, [FIRST, SECOND, THIRD])) == {FIRST, THIRD}


def test_several_refused_days_are_named_in_one_error(store: Store, instance: dg.DagsterInstance) -> None:
    done = run(ingesting(store, {FIRST, THIRD}, []), instance, THIRD)
    (failure,) = done.get_step_failure_events()
    message = str(failure.step_failure_data.error)
    assert "2 days are refused; the other days stand" in message
    assert f"{FIRST} cannot be read" in message and f"{THIRD} cannot be read" in message


def test_a_day_with_nothing_to_make_is_an_observation_and_no_error(store: Store, instance: dg.DagsterInstance) -> None:
    def make(day: date) -> Partition | NotMade:
        return NotMade("there is no champion yet") if day == SECOND else made(store, day)

    @dg.multi_asset(
        specs=[dg.AssetSpec(ASSET, skippable=True)], partitions_def=DAYS, backfill_policy=BACKFILL_DAYS_IN_ONE_RUN
    )
    def monitored(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        yield from materialize_assets(context, {ASSET: Maker(make, lambda partition: {})}, LogProgress())

    assert run(monitored, instance, THIRD).success
    assert reported(instance) == {str(FIRST): "d1", str(THIRD): "d3"}
    (seen,) = instance.fetch_observations(dg.AssetKey(ASSET), limit=10).records
    assert seen.asset_observation is not None
    assert seen.asset_observation.partition == str(SECOND)
