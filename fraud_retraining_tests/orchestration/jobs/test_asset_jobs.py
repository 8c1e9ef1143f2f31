"""Jobs: which assets run together, and how long a retrain may take in Dagster."""

import json

import pytest

from fraud_retraining.definitions import build_definitions
from fraud_retraining.orchestration.jobs.asset_jobs import max_runtime
from fraud_retraining.orchestration.names import INGEST, MONITOR, POD_TAG, RETRAIN, RETRAIN_TAG
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


def test_on_kubernetes_the_pods_of_retrains_alone_have_resources_of_their_own() -> None:
    amounts = {"requests": {"cpu": "4", "memory": "16Gi"}, "limits": {"cpu": "8", "memory": "32Gi"}}
    defs = build_definitions(Settings.model_validate({"kubernetes": {"retrain": amounts}}))
    tag = defs.resolve_job_def(RETRAIN).tags[POD_TAG]
    assert json.loads(tag) == {"container_config": {"resources": amounts}}
    assert POD_TAG not in defs.resolve_job_def(INGEST).tags | defs.resolve_job_def(MONITOR).tags
    assert POD_TAG not in build_definitions(Settings()).resolve_job_def(RETRAIN).tags
