"""Partitions of days, and mappings to the earlier days that a day looks back on.

Here: partitions and partition mappings, for lineage. Not here: which days a retrain really reads; that is decided in
`domain/training/windows.py` and asserted by the assets. Mappings are documentation only.
"""

from datetime import date

import dagster as dg

from fraud_retraining.domain.features.column_lineage import ENTITY_DAYS, ENTITY_LABEL_DAYS, TRANSACTIONS
from fraud_retraining.domain.features.plan import FeaturePlan
from fraud_retraining.domain.training.windows import ExpandingWindow, HoldoutPolicy, WindowPolicy

DEFAULT_FIRST_DAY = date(2015, 1, 1)
BACKFILL_DAYS_IN_ONE_RUN = dg.BackfillPolicy.single_run()
"""As-of days have no policy: Dagster then gives each its own run, with a partition and not a range of one."""


def day_partitions(first_day: date) -> dg.DailyPartitionsDefinition:
    """Every whole UTC day from `first_day` to today: days of the lake, or as-of days."""
    # `end_offset`: the current day is a partition too, because its files arrive before it is over.
    return dg.DailyPartitionsDefinition(start_date=first_day.isoformat(), timezone="UTC", end_offset=1)


def looking_back(first: int, last: int = 0) -> dg.TimeWindowPartitionMapping:
    """Days D-first .. D-last of the asset that is read."""
    return dg.TimeWindowPartitionMapping(
        # The first days of a lake look back on days before it; Dagster would refuse their partitions.
        start_offset=-first,
        end_offset=-last,
        allow_nonexistent_upstream_partitions=True,
    )


def feature_mappings(plan: FeaturePlan) -> dict[str, dg.PartitionMapping]:
    """Days of `transactions` and of `entity_days` that `transaction_features`[D] reads."""
    delayed = any(entity.fraud_share for entity in plan.entities.values())
    longest = max((max(entity.windows_days) for entity in plan.entities.values()), default=1)
    delay = plan.label_lag_days if delayed else 0
    return {
        TRANSACTIONS: looking_back(1),
        ENTITY_DAYS: looking_back(delay + longest, 1),
        ENTITY_LABEL_DAYS: looking_back(longest, 1),
    }


def state_mappings(plan: FeaturePlan) -> dict[str, dg.PartitionMapping]:
    """Days that `online_state`[D] reads: those that `transaction_features`[D+1] reads of the past."""
    delayed = any(entity.fraud_share for entity in plan.entities.values())
    longest = max((max(entity.windows_days) for entity in plan.entities.values()), default=1)
    delay = plan.label_lag_days if delayed else 0
    return {
        TRANSACTIONS: looking_back(0),
        ENTITY_DAYS: looking_back(delay + longest - 1),
        ENTITY_LABEL_DAYS: looking_back(longest - 1),
    }


def window_mapping(window: WindowPolicy, holdout: HoldoutPolicy, label_lag_days: int) -> dg.PartitionMapping:
    """Days of `transaction_features` that `training_window`[A] reads."""
    if isinstance(window, ExpandingWindow):
        # Dagster has no mapping that begins at a fixed day and ends at a moving one.
        return dg.AllPartitionMapping()
    return looking_back(label_lag_days + holdout.longest + window.days - 1, label_lag_days)


def days_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> list[date]:
    """The days of this run's partition or range of partitions, in order."""
    return [date.fromisoformat(key) for key in sorted(context.partition_keys)]
