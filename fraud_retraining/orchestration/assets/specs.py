"""Attributes of assets in Dagster's catalogue: owners, kinds, tags, code, columns, freshness.

Here: attributes that follow from the settings, added to all assets in one place. Not here: the assets themselves.
"""

import inspect
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import cache
from importlib.metadata import version
from typing import Any

import dagster as dg

from fraud_retraining.adapters.mlflow.code_versions import code_version
from fraud_retraining.adapters.mlflow.environment import PACKAGE
from fraud_retraining.domain.features.column_lineage import (
    ENTITY_DAYS,
    ENTITY_LABEL_DAYS,
    FEATURES,
    LABELS,
    ONLINE_STATE,
    RAW,
    TRANSACTIONS,
    Column,
    table_columns,
)
from fraud_retraining.domain.training.estimators.registry import ESTIMATORS
from fraud_retraining.orchestration.assets.day_runs import COLUMN_LINEAGE
from fraud_retraining.orchestration.names import (
    MATURED,
    MODEL,
    SCORED,
    SHADOW,
    model_key,
)
from fraud_retraining.orchestration.state.window_assembly import MODEL_CODE
from fraud_retraining.settings import Settings

DATA_GROUPS = ("ingestion", "features", "serving")
AS_OF_GROUPS = ("training", "evaluation", "promotion")
WITH_PERSONAL_DATA = (RAW, TRANSACTIONS, LABELS, ENTITY_DAYS, ENTITY_LABEL_DAYS, FEATURES, ONLINE_STATE, SCORED, SHADOW)
TAG_DAY, TAG_PERSONAL = "fraud_retraining/partitioned_by", "fraud_retraining/personal_data"
CODE = {
    TRANSACTIONS: ("ingestion",),
    LABELS: ("labels",),
    ENTITY_DAYS: ("features",),
    ENTITY_LABEL_DAYS: ("labels",),
    FEATURES: ("features",),
    ONLINE_STATE: ("features",),
    MODEL: MODEL_CODE,
}
CODE_LENGTH = 12


def described(
    assets: Iterable[dg.AssetsDefinition | dg.AssetSpec], settings: Settings
) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The assets with owners, kinds, tags, code version, columns, freshness, and where their code is."""
    # Tables with columns are days, which a model among several only reads.
    columns = {} if settings.segment else table_columns(settings.mapping, settings.feature_plan)

    def describe(spec: dg.AssetSpec) -> dg.AssetSpec:
        name = spec.key.path[-1]
        return spec.replace_attributes(
            owners=list(_owners(spec, settings)),
            kinds=_kinds(spec, settings),
            tags={**_own_tags(spec), **_tags(spec)},
            code_version=None if name == RAW else _code_version(name),
            freshness_policy=_freshness(spec, settings),
            metadata={**spec.metadata, **_table(columns.get(name, ())), **code.get(name, {})},
        )

    given = list(assets)
    made = [one for one in given if isinstance(one, dg.AssetsDefinition)]
    code = {key.path[-1]: _code_reference(one) for one in made for key in one.keys}
    return [*dg.map_asset_specs(describe, given)]


def of_segment(assets: Iterable[dg.AssetsDefinition | dg.AssetSpec], segment: str) -> list[Any]:
    """Assets or checks of a model, their keys under its name where it is one of several."""
    given = [one for one in assets if isinstance(one, dg.AssetsDefinition)]
    if not segment:
        return given
    keys = {key for one in given for key in (*one.keys, *(check.asset_key for check in one.check_keys))}
    renamed = {key: model_key(key.path[-1], segment) for key in keys}
    return [one.with_attributes(asset_key_replacements=renamed) for one in given]


def _owners(spec: dg.AssetSpec, settings: Settings) -> tuple[str, ...]:
    return settings.owners.data if spec.group_name in DATA_GROUPS else settings.owners.model


def _kinds(spec: dg.AssetSpec, settings: Settings) -> set[str]:
    """Kinds of the asset itself, and of the estimator where it is fitted or scores."""
    fitted = spec.key.path[-1] in (MODEL, SCORED)
    return {*spec.kinds, *({ESTIMATORS[settings.model.estimator].kind} if fitted else ())}


def _own_tags(spec: dg.AssetSpec) -> Mapping[str, str]:
    return {name: value for name, value in spec.tags.items() if not name.startswith("dagster/kind/")}


def _tags(spec: dg.AssetSpec) -> dict[str, str]:
    return {
        TAG_DAY: "as_of_day" if spec.group_name in AS_OF_GROUPS or spec.key.path[-1] == MATURED else "day",
        TAG_PERSONAL: "yes" if spec.key.path[-1] in WITH_PERSONAL_DATA else "no",
    }


@cache
def _code_version(name: str) -> str:
    """Digest of the code of an asset's rows; for other assets the version of the package."""
    parts = CODE.get(name)
    return code_version(*parts)[:CODE_LENGTH] if parts else version(PACKAGE)


def _freshness(spec: dg.AssetSpec, settings: Settings) -> dg.FreshnessPolicy | None:
    """The time in which a new partition is expected: each day, or as often as the schedule retrains.

    Monitoring has no policy: it waits for days and labels, and reports itself which are missing.
    """
    if spec.key.path[-1] in (TRANSACTIONS, LABELS, ENTITY_DAYS, ENTITY_LABEL_DAYS, FEATURES, ONLINE_STATE):
        late = timedelta(hours=settings.validation.max_arrival_hours)
        return dg.FreshnessPolicy.time_window(fail_window=timedelta(days=1) + late, warn_window=timedelta(hours=30))
    schedule = settings.triggers.schedule
    if spec.group_name not in AS_OF_GROUPS or schedule is None:
        return None
    # One missed retrain is a warning, two are a failure; a day more, because the as-of day is complete a day later.
    every = timedelta(hours=schedule.every_hours)
    return dg.FreshnessPolicy.time_window(
        fail_window=2 * every + timedelta(days=1), warn_window=every + timedelta(days=1)
    )


def _code_reference(asset: dg.AssetsDefinition) -> dict[str, Any]:
    """File and line of the asset's function; Dagster's own search stops at the decorator `retried`."""
    function = inspect.unwrap(asset.op.compute_fn.decorated_fn).__code__  # type: ignore[union-attr]
    place = dg.LocalFileCodeReference(file_path=function.co_filename, line_number=function.co_firstlineno)
    return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[place])}


def _table(columns: Iterable[Column]) -> dict[str, Any]:
    found = list(columns)
    if not found:
        return {}
    schema = [dg.TableColumn(one.name, type=one.type, description=one.summary) for one in found]
    deps = {
        one.name: [dg.TableColumnDep(asset_key=dg.AssetKey(table), column_name=name) for table, name in one.made_of]
        for one in found
        if one.made_of
    }
    metadata: dict[str, Any] = {"dagster/column_schema": dg.TableSchema(columns=schema)}
    if deps:
        metadata[COLUMN_LINEAGE] = dg.TableColumnLineage(deps_by_column=deps)
    return metadata
