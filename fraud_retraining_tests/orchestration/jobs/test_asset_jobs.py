"""Jobs: which assets run together, and how long a retrain may take in Dagster."""

import pytest

from fraud_retraining.definitions import build_definitions
from fraud_retraining.orchestration.jobs.asset_jobs import max_runtime
from fraud_retraining.orchestration.names import INGEST, MONITOR, RETRAIN, RETRAIN_TAG
from fraud_retraining.settings import Settings


@pytest.mark.parametrize(
    ("job", "assets"),
    [
        (INGEST, {"transactions", "entity_days", "transaction_features", "online_state"}),
        (
            MONITOR,
            {
                "scored_transactions",
                "drift_report",
                "production_performance",
                "served_skew",
                "shadow_scores",
                "promotion_watch",
            },
        ),
        (
            RETRAIN,
            {"training_window", "fraud_model", "model_evaluation", "registered_model", "production_model"},
        ),
    ],
)
def test_each_job_makes_its_groups_of_assets(job: str, assets: set[str]) -> None:
    layer = build_definitions(Settings()).resolve_job_def(job).asset_layer
    assert {key.to_user_string() for key in layer.executable_asset_keys} == assets


def test_a_retrain_is_tagged_for_the_queue_and_ends_when_its_budget_is_over() -> None:
    settings = Settings()
    tags = build_definitions(settings).resolve_job_def(RETRAIN).tags
    assert (tags[RETRAIN_TAG], tags["dagster/max_runtime"]) == ("1", str(max_runtime(settings)))


def test_a_retrain_that_may_wait_for_another_one_has_twice_the_time() -> None:
    waits, skips = (
        Settings.model_validate({"triggers": {"when_busy": when_busy}, "budget": {"max_hours": 0.5}})
        for when_busy in ("queue", "skip")
    )
    assert (max_runtime(skips), max_runtime(waits)) == (1800, 3600)
