"""Names of assets, jobs, schedules, sensors and tags in Dagster.

Here: names and keys only. Dashboards, alerts and stored runs refer to them: for Dagster a changed name is another
object.
"""

from collections.abc import Iterable

import dagster as dg

from fraud_retraining.adapters.days.monitoring_reports import DRIFT, MISSED, PERFORMANCE, SCORED, SHADOW, SKEW
from fraud_retraining.domain.features.column_lineage import (
    ENTITY_DAYS,
    ENTITY_LABEL_DAYS,
    FEATURES,
    LABELS,
    ONLINE_STATE,
    RAW,
    TRANSACTIONS,
)

WINDOW = "training_window"
MODEL = "fraud_model"
EVALUATION = "model_evaluation"
MATURED = "matured_verdict"
REGISTERED = "registered_model"
PRODUCTION = "production_model"
WINDOW_REPORT = "training_window_checks"
"""The document beside the window that holds the results of its checks."""

INGEST = "ingest"
RETRAIN = "retrain"
MONITOR = "monitor"
JUDGE_AGAIN = "judge_again"
DECIDE = "decide_release"
CLEAN = "clean"
RETRAIN_POOL = "retrain"

DAILY_INGEST = "daily_ingest"
DAILY_CLEAN = "daily_clean"
RETRAIN_SCHEDULE = "retrain_schedule"

INGEST_SENSOR = "ingest_sensor"
RETRAIN_SENSOR = "retrain_sensor"
MONITORING_SENSOR = "monitoring_sensor"
MATURED_VERDICT_SENSOR = "matured_verdict_sensor"
RELEASES_SENSOR = "releases_sensor"
CHAMPION_SENSOR = "champion_sensor"
FAILED_RUNS_SENSOR = "failed_runs_sensor"
DEAD_RUNS_SENSOR = "dead_runs_sensor"
NOTICES_SENSOR = "notices_sensor"
MODEL_CARDS_SENSOR = "model_cards_sensor"

MONITORING_PRIORITY, RETRAIN_PRIORITY, BACKFILL_PRIORITY = "1", "0", "-1"
"""Priorities in the queue of runs. A day is scored by the version that served it, before a retrain promotes another
one; and what a trigger asked for tonight does not stand behind a year of backfills, which have the job's own."""

RETRAIN_TAG = "fraud_retraining/retrain"
TRIGGER_TAG = "trigger"
AS_OF_TAG = "as_of"
REASON_TAG = "fraud_retraining/reason"
INPUTS_TAG = "fraud_retraining/inputs"
DRIFT_TAG = "fraud_retraining/drift_since"
DECISION_TAG = "fraud_retraining/decision"
CHANNEL_TAG = "fraud_retraining/channel"
INGEST_SECONDS_TAG = "fraud_retraining/ingest_seconds"
FINGERPRINT_TAG = "fingerprint"
MODEL_TAG = "fraud_retraining/model"
"""The name of the model that a run is about; runs of days that several models share name none."""
POD_TAG = "dagster-k8s/config"
IMPORTED_TAG = "fraud_retraining/imported"
SPARK_JOB_TAG = "fraud_retraining/spark_job"
"""The fingerprint of the imported model that a run is about; the ledger has to know it."""
PARTITION_TAG = "dagster/partition"
PRIORITY_TAG = "dagster/priority"
BACKFILL_TAG = "dagster/backfill"
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def model_key(asset: str, segment: str) -> dg.AssetKey:
    """The key of a model's asset; `segment` is the model where it is one of several, and its first part then."""
    return dg.AssetKey([segment, asset] if segment else [asset])


def own_key(keys: Iterable[dg.AssetKey], asset: str) -> dg.AssetKey:
    """The key among those of a definition that ends in the name of an asset."""
    return next((key for key in keys if key.path[-1] == asset), dg.AssetKey(asset))


__all__ = [
    "AS_OF_TAG",
    "BACKFILL_PRIORITY",
    "BACKFILL_TAG",
    "CHAMPION_SENSOR",
    "CHANNEL_TAG",
    "CLEAN",
    "DAILY_CLEAN",
    "DAILY_INGEST",
    "DEAD_RUNS_SENSOR",
    "DECIDE",
    "DECISION_TAG",
    "DRIFT",
    "DRIFT_TAG",
    "ENTITY_DAYS",
    "ENTITY_LABEL_DAYS",
    "EVALUATION",
    "FAILED_RUNS_SENSOR",
    "FEATURES",
    "FINGERPRINT_TAG",
    "IMPORTED_TAG",
    "INGEST",
    "INGEST_SECONDS_TAG",
    "INGEST_SENSOR",
    "INPUTS_TAG",
    "JUDGE_AGAIN",
    "LABELS",
    "MATURED",
    "MATURED_VERDICT_SENSOR",
    "MISSED",
    "MODEL",
    "MODEL_CARDS_SENSOR",
    "MODEL_TAG",
    "MONITOR",
    "MONITORING_PRIORITY",
    "MONITORING_SENSOR",
    "NOTICES_SENSOR",
    "ONLINE_STATE",
    "PARTITION_TAG",
    "PERFORMANCE",
    "POD_TAG",
    "PRIORITY_TAG",
    "PRODUCTION",
    "RANGE_END",
    "RANGE_START",
    "RAW",
    "REASON_TAG",
    "REGISTERED",
    "RELEASES_SENSOR",
    "RETRAIN",
    "RETRAIN_POOL",
    "RETRAIN_PRIORITY",
    "RETRAIN_SCHEDULE",
    "RETRAIN_SENSOR",
    "RETRAIN_TAG",
    "SCORED",
    "SHADOW",
    "SKEW",
    "SPARK_JOB_TAG",
    "TRANSACTIONS",
    "TRIGGER_TAG",
    "WINDOW",
    "WINDOW_REPORT",
    "model_key",
    "own_key",
]  # fmt: skip
