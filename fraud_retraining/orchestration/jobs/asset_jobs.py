"""The jobs: the day assets, and the chain of an as-of day.

Here: which assets run together. Not here: when (`orchestration/sensors`).
"""

import json
import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from fraud_retraining.domain.retraining.run_resources import KubernetesPolicy
from fraud_retraining.orchestration.names import (
    BACKFILL_PRIORITY,
    INGEST,
    JUDGE_AGAIN,
    MATURED,
    MODEL_TAG,
    MONITOR,
    MONITORING_PRIORITY,
    POD_TAG,
    PRIORITY_TAG,
    RETRAIN,
    RETRAIN_TAG,
    model_key,
)
from fraud_retraining.settings import Settings

DAY_ASSETS = dg.AssetSelection.groups("ingestion", "features", "serving") - dg.AssetSelection.assets("raw_transactions")
MONITORING_ASSETS = dg.AssetSelection.groups("monitoring")
AS_OF_ASSETS = dg.AssetSelection.groups("training", "evaluation", "promotion")


def build_day_jobs(hooks: AbstractSet[dg.HookDefinition] = frozenset()) -> list[UnresolvedAssetJobDefinition]:
    """The jobs of days, which all models share; `hooks` run when their steps end."""
    return [
        dg.define_asset_job(
            INGEST,
            selection=DAY_ASSETS,
            hooks=hooks,
            # Dagster's default executor starts a process a step, whose imports take longer than most of the steps.
            executor_def=dg.in_process_executor,
            description="Ingest, check, sum up and featurize a day or a range of days in one run.",
        )
    ]


def build_model_jobs(
    settings: Settings, hooks: AbstractSet[dg.HookDefinition] = frozenset()
) -> list[UnresolvedAssetJobDefinition]:
    """The jobs of a model; `hooks` run when their steps end."""
    of_model = {MODEL_TAG: settings.model.name}
    verdicts = dg.AssetSelection.assets(model_key(MATURED, settings.segment))
    return [
        dg.define_asset_job(
            RETRAIN,
            selection=AS_OF_ASSETS,
            hooks=hooks,
            executor_def=dg.in_process_executor,
            # A last resort: it marks the run as failed, and its process may live on; the lease stops what that one
            # writes.
            tags={
                RETRAIN_TAG: "1",
                **of_model,
                PRIORITY_TAG: BACKFILL_PRIORITY,
                "dagster/max_runtime": str(max_runtime(settings)),
                **pod_tags(settings.kubernetes),
            },
            description="Window, model, evaluation, release of one as-of day.",
        ),
        dg.define_asset_job(
            MONITOR,
            selection=MONITORING_ASSETS - verdicts if settings.judges_fresh else MONITORING_ASSETS,
            hooks=hooks,
            executor_def=dg.in_process_executor,
            tags={PRIORITY_TAG: MONITORING_PRIORITY, **of_model},
            description="The champion's scores, drift, live performance and served skew of days in one run.",
        ),
        *([_judge_again(verdicts, of_model, hooks)] if settings.judges_fresh else []),
    ]


def _judge_again(
    verdicts: dg.AssetSelection, tags: Mapping[str, str], hooks: AbstractSet[dg.HookDefinition]
) -> UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        JUDGE_AGAIN,
        selection=verdicts,
        hooks=hooks,
        tags=tags,
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
