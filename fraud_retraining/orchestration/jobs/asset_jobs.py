"""The jobs: the day assets, and the chain of an as-of day.

Here: which assets run together. Not here: when (`orchestration/sensors`).
"""

import json
import math
from collections.abc import Set as AbstractSet

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from fraud_retraining.domain.retraining.run_resources import KubernetesPolicy
from fraud_retraining.orchestration.names import INGEST, JUDGE_AGAIN, MATURED, MONITOR, POD_TAG, RETRAIN, RETRAIN_TAG
from fraud_retraining.settings import Settings

BEFORE_RETRAINS = "1"
"""Priority in the queue: a day is scored by the version that served it, before a retrain promotes another one."""

DAY_ASSETS = dg.AssetSelection.groups("ingestion", "features", "serving") - dg.AssetSelection.assets("raw_transactions")
MATURED_VERDICTS = dg.AssetSelection.assets(MATURED)
MONITORING_ASSETS = dg.AssetSelection.groups("monitoring")
AS_OF_ASSETS = dg.AssetSelection.groups("training", "evaluation", "promotion")


def build_jobs(
    settings: Settings, hooks: AbstractSet[dg.HookDefinition] = frozenset()
) -> list[UnresolvedAssetJobDefinition]:
    """The jobs of the project; `hooks` run when their steps end."""
    return [
        dg.define_asset_job(
            INGEST,
            selection=DAY_ASSETS,
            hooks=hooks,
            # Dagster's default executor starts a process a step, whose imports take longer than most of the steps.
            executor_def=dg.in_process_executor,
            description="Ingest, check, sum up and featurize a day or a range of days in one run.",
        ),
        dg.define_asset_job(
            RETRAIN,
            selection=AS_OF_ASSETS,
            hooks=hooks,
            executor_def=dg.in_process_executor,
            # A last resort: it marks the run as failed, and its process may live on; the lease stops what that one
            # writes.
            tags={
                RETRAIN_TAG: "1",
                "dagster/max_runtime": str(max_runtime(settings)),
                **pod_tags(settings.kubernetes),
            },
            description="Window, model, evaluation, release of one as-of day.",
        ),
        dg.define_asset_job(
            MONITOR,
            selection=MONITORING_ASSETS - MATURED_VERDICTS if settings.judges_fresh else MONITORING_ASSETS,
            hooks=hooks,
            executor_def=dg.in_process_executor,
            tags={"dagster/priority": BEFORE_RETRAINS},
            description="The champion's scores, drift, live performance and served skew of days in one run.",
        ),
        *([_judge_again(hooks)] if settings.judges_fresh else []),
    ]


def _judge_again(hooks: AbstractSet[dg.HookDefinition]) -> UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        JUDGE_AGAIN,
        selection=MATURED_VERDICTS,
        hooks=hooks,
        executor_def=dg.in_process_executor,
        description="The comparison of an as-of day's release with its champion again, with mature labels.",
    )


def max_runtime(settings: Settings) -> int:
    """Seconds after which Dagster ends a retrain; twice the budget where it may wait for another one first."""
    waits = settings.triggers.when_busy == "queue"
    return math.ceil(settings.budget.max_seconds * (2 if waits else 1))


def pod_tags(policy: KubernetesPolicy) -> dict[str, str]:
    """The tag that gives the pod of a retrain its resources, over those of the launcher; none where none are set."""
    if policy.retrain is None:
        return {}
    return {POD_TAG: json.dumps({"container_config": {"resources": policy.retrain.model_dump()}})}
