"""The definitions load, know every asset, check and job, and cost little to import."""

import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from fraud_retraining.definitions import build_definitions, build_repositories
from fraud_retraining.domain.data.day_checks import DAY_CHECKS
from fraud_retraining.domain.evaluation.gates import GATES
from fraud_retraining.domain.features.column_lineage import RAW
from fraud_retraining.domain.training.window_checks import WINDOW_CHECKS
from fraud_retraining.orchestration.assets.specs import AS_OF_GROUPS, TAG_DAY, TAG_PERSONAL
from fraud_retraining.orchestration.assets.training import RetrainForm
from fraud_retraining.orchestration.names import (
    JUDGE_AGAIN,
    MATURED,
    MATURED_VERDICT_SENSOR,
    MODEL_TAG,
    MONITOR,
    PRIORITY_TAG,
    RETRAIN_PRIORITY,
)
from fraud_retraining.orchestration.state.readiness import days_of_window
from fraud_retraining.settings import Settings

GROUPS = {
    "raw_transactions": "ingestion",
    "transactions": "ingestion",
    "entity_days": "features",
    "transaction_features": "features",
    "online_state": "serving",
    "training_window": "training",
    "fraud_model": "training",
    "model_evaluation": "evaluation",
    "registered_model": "promotion",
    "production_model": "promotion",
    "scored_transactions": "monitoring",
    "drift_report": "monitoring",
    "production_performance": "monitoring",
    "served_skew": "monitoring",
    "shadow_scores": "monitoring",
    "promotion_watch": "monitoring",
}
DRIFT_GROUPS = ("transaction", "customer", "terminal", "terminal_labels", "scores", "fraud_rate")


def test_dg_dagster_and_the_workspace_load_the_same_module() -> None:
    """`make lint` loads the one that `dg` names."""
    root = Path(__file__).parents[1]
    tools = tomllib.loads((root / "pyproject.toml").read_text())["tool"]
    (workspace,) = yaml.safe_load((root / "workspace.yaml").read_text())["load_from"]
    by_dg = tools["dg"]["project"]["code_location_target_module"]
    assert tools["dagster"]["module_name"] == by_dg == workspace["python_module"]["module_name"]
    assert tools["dagster"]["code_location_name"] == workspace["python_module"]["location_name"]


@pytest.fixture(scope="module")
def graph() -> AssetGraph:
    return build_definitions(Settings()).resolve_asset_graph()


def test_every_asset_is_there_in_its_group_and_partitioned(graph: AssetGraph) -> None:
    found = {key.to_user_string(): graph.get(key) for key in graph.get_all_asset_keys()}
    assert {name: node.group_name for name, node in found.items()} == GROUPS
    assert all(node.partitions_def is not None for node in found.values())


def test_lineage_runs_from_the_lake_to_production(graph: AssetGraph) -> None:
    assert upstream(graph, "production_model") == {
        name for name, group in GROUPS.items() if group not in ("monitoring", "serving")
    }


def test_monitoring_looks_at_days_and_not_at_windows(graph: AssetGraph) -> None:
    days = {name for name, group in GROUPS.items() if group in ("ingestion", "features")}
    assert upstream(graph, "drift_report") == days | {"scored_transactions", "drift_report"}
    assert upstream(graph, "production_performance") == days | {"scored_transactions", "production_performance"}


def upstream(graph: AssetGraph, asset: str) -> set[str]:
    seen, todo = set(), [dg.AssetKey(asset)]
    while todo:
        key = todo.pop()
        seen.add(key.to_user_string())
        todo += graph.get(key).parent_keys
    return seen


def test_every_rule_and_every_gate_is_an_asset_check(graph: AssetGraph) -> None:
    found = {(key.asset_key.to_user_string(), key.name) for key in graph.asset_check_keys}
    assert found == {
        *(("transactions", name) for name in DAY_CHECKS),
        *(("training_window", name) for name in WINDOW_CHECKS),
        *(("model_evaluation", name) for name in GATES),
        ("model_evaluation", "fixed_set_age"),
        *(("drift_report", name) for name in DRIFT_GROUPS),
        ("production_performance", "live_performance"),
        ("served_skew", "served_skew"),
    }


def test_checks_of_monitoring_never_block(graph: AssetGraph) -> None:
    warn = ("drift_report", "production_performance", "served_skew")
    checks = [graph.get(key) for key in graph.asset_check_keys if key.asset_key.to_user_string() in warn]
    assert len(checks) == len(DRIFT_GROUPS) + 2
    assert not any(check.blocking for check in checks)


def test_days_of_a_range_take_one_run_and_as_of_days_one_each(graph: AssetGraph) -> None:
    policies = {key.to_user_string(): graph.get(key).backfill_policy for key in graph.executable_asset_keys}
    single = {name for name, policy in policies.items() if policy and policy.max_partitions_per_run is None}
    day_groups = ("ingestion", "features", "serving", "monitoring")
    assert single == {name for name, group in GROUPS.items() if group in day_groups} - {"raw_transactions"}
    assert {name for name, policy in policies.items() if policy is None} == set(GROUPS) - single - {RAW}


def test_every_asset_has_an_owner_a_code_version_tags_and_its_code(graph: AssetGraph) -> None:
    nodes = {key.to_user_string(): graph.get(key) for key in graph.get_all_asset_keys()}
    for name, node in nodes.items():
        assert node.owners == [
            "team:data-platform" if GROUPS[name] in ("ingestion", "features", "serving") else "team:fraud-models"
        ]
        assert {TAG_DAY, TAG_PERSONAL} <= set(node.tags)
        assert (node.code_version is None) is (name == "raw_transactions")
    references = {name: node.metadata["dagster/code_references"] for name, node in nodes.items() if name != RAW}
    files = {name: Path(found.code_references[0].file_path).name for name, found in references.items()}
    assert files["transactions"] == "ingestion.py" and files["fraud_model"] == "training.py"


@pytest.mark.parametrize(
    ("estimator", "kinds"),
    [
        ("xgboost", {"mlflow", "xgboost"}),
        ("catboost", {"mlflow", "catboost"}),
        ("logistic_regression", {"mlflow", "scikitlearn"}),
    ],
)
def test_kinds_name_what_is_really_used(estimator: str, kinds: set[str]) -> None:
    settings = Settings(model={"estimator": estimator, "params": {}})
    found = build_definitions(settings).resolve_asset_graph()
    assert found.get(dg.AssetKey("fraud_model")).kinds == kinds
    assert "scikitlearn" not in found.get(dg.AssetKey("model_evaluation")).kinds


def test_tables_have_a_schema_and_each_feature_its_columns(graph: AssetGraph) -> None:
    settings = Settings()
    metadata = graph.get(dg.AssetKey("transaction_features")).metadata
    columns = {column.name: column for column in metadata["dagster/column_schema"].columns}
    assert tuple(columns) == settings.feature_plan.columns
    lineage = metadata["dagster/column_lineage"].deps_by_column
    reported = {
        name: {(dep.asset_key.to_user_string(), dep.column_name) for dep in deps} for name, deps in lineage.items()
    }
    assert reported["hour"] == {("transactions", "timestamp")}
    assert ("entity_days", "terminal.frauds") in reported["terminal_fraud_share_7d"]
    assert ("entity_days", "terminal.frauds") not in reported["terminal_count_7d"]
    assert columns["hour"].description == "hour of the day, UTC; made of transactions (timestamp)", (
        "Dagster's open-source UI draws no lineage of columns"
    )
    assert "looks back 1 day; made of transactions (customer, timestamp, amount) and entity_days (customer.key" in (
        str(columns["customer_count_1d"].description)
    )
    for name, deps in reported.items():
        for table, column in deps:
            schema = graph.get(dg.AssetKey(table)).metadata["dagster/column_schema"]
            assert column in {one.name for one in schema.columns}, (
                f"{name} is made of {table}.{column}, which is not there"
            )


def test_as_of_days_begin_with_the_first_that_can_be_trained() -> None:
    settings = Settings(lake={"uri": "s3://nowhere/lake", "first_day": "2024-01-01"})
    found = build_definitions(settings).resolve_asset_graph()
    starts = {name: found.get(dg.AssetKey(name)).partitions_def.start.date() for name in GROUPS}
    assert {starts[name] for name, group in GROUPS.items() if group not in AS_OF_GROUPS} == {date(2024, 1, 1)}
    assert {starts[name] for name, group in GROUPS.items() if group in AS_OF_GROUPS} == {date(2024, 2, 13)}
    needed = days_of_window(settings, date(2024, 2, 13)).needed
    assert needed[0] == date(2024, 1, 1)


def test_what_should_be_new_by_when_is_stated(graph: AssetGraph) -> None:
    policies = {key.to_user_string(): graph.get(key).freshness_policy for key in graph.get_all_asset_keys()}
    stated = {name for name, policy in policies.items() if policy is not None}
    assert stated == {name for name, group in GROUPS.items() if group not in ("monitoring",)} - {RAW}
    unscheduled = build_definitions(Settings(triggers={"schedule": None})).resolve_asset_graph()
    assert unscheduled.get(dg.AssetKey("fraud_model")).freshness_policy is None


def test_the_launch_form_of_a_retrain_describes_its_knobs(graph: AssetGraph) -> None:
    fields = RetrainForm.to_config_schema().as_field().config_type.fields
    assert set(fields) == {"reason", "window_days"}
    assert all(field.description and not field.is_required for field in fields.values())


def test_a_code_location_takes_them_whole() -> None:
    repository = build_definitions(Settings()).get_repository_def()
    repository.load_all_definitions()
    assert {"ingest", "retrain", "clean"} <= set(repository.job_names)


def test_loading_them_imports_no_heavy_library(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from fraud_retraining.definitions import build_definitions\n"
        "from fraud_retraining.settings import Settings\n"
        "build_definitions(Settings()).get_repository_def()\n"
        "heavy = {'sklearn', 'mlflow', 'xgboost', 'pandera', 'matplotlib', 'scipy', 'sqlalchemy.orm', 's3fs'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    allowed = {"sqlalchemy.orm"}  # Dagster's own storage.
    assert set(eval(done.stdout)) <= allowed, done.stdout


@pytest.mark.parametrize(
    ("labels", "again"),
    [({}, False), ({"use": "as_known", "uri": "/feed"}, True), ({"use": "as_known"}, False)],
)
def test_verdicts_are_judged_again_only_where_label_times_are_known(labels: dict[str, str], again: bool) -> None:
    settings = Settings(labels=labels)
    found = build_definitions(settings)
    names = {key.to_user_string() for key in found.resolve_asset_graph().get_all_asset_keys()}
    sensors = {sensor.name for sensor in found.sensors or ()}
    jobs = set(found.get_repository_def().job_names)
    assert [MATURED in names, MATURED_VERDICT_SENSOR in sensors, JUDGE_AGAIN in jobs] == [again] * 3
    if again:
        selected = found.resolve_job_def(MONITOR).asset_layer.executable_asset_keys
        assert dg.AssetKey(MATURED) not in selected, "its partitions are as-of days"


# Several models

SHARED_ASSETS = {"raw_transactions", "transactions", "entity_days", "transaction_features", "online_state"}


def models(*names: str) -> Settings:
    entries = [{"name": name, "where": {"COUNTRY": name}} for name in names]
    return Settings.model_validate({"models": entries, "triggers": {"poll_seconds": 60}})


def keys_of(repository: dg.RepositoryDefinition) -> set[str]:
    graph = repository.asset_graph
    return {key.to_user_string() for key in graph.get_all_asset_keys() if graph.get(key).is_materializable}


def test_each_of_several_models_has_its_assets_under_its_name_and_days_are_there_once() -> None:
    found = build_repositories(models("de", "fr"))
    assert list(found) == ["shared", "de", "fr"]
    assert keys_of(found["shared"]) == SHARED_ASSETS - {"raw_transactions"}
    own = set(GROUPS) - SHARED_ASSETS
    for name in ("de", "fr"):
        assert keys_of(found[name]) == {f"{name}/{asset}" for asset in own}
        checks = {key.asset_key.path[0] for key in found[name].asset_graph.asset_check_keys}
        assert checks == {name}
    single = build_definitions(Settings()).get_repository_def()
    assert keys_of(single) == set(GROUPS) - {"raw_transactions"}
    jobs = {"shared": {"ingest"}, "de": {"retrain", "monitor", "decide_release"}}
    for name, expected in jobs.items():
        assert {one for one in found[name].job_names if not one.startswith("__")} == {*expected, "clean"}


def test_a_model_reads_the_days_of_the_shared_part() -> None:
    graph = build_repositories(models("de"))["de"].asset_graph
    parents = graph.get(dg.AssetKey(["de", "training_window"])).parent_keys
    assert parents == {dg.AssetKey("transaction_features")}
    assert not graph.get(dg.AssetKey("transaction_features")).is_materializable
    assert graph.get(dg.AssetKey(["de", "fraud_model"])).parent_keys == {dg.AssetKey(["de", "training_window"])}


def test_runs_of_a_model_are_tagged_with_it_and_wait_behind_those_that_a_trigger_asks_for() -> None:
    found = build_repositories(models("de"))["de"]
    tags = {name: found.get_job(name).tags for name in found.job_names if not name.startswith("__")}
    assert {name: one[MODEL_TAG] for name, one in tags.items()} == dict.fromkeys(tags, "de")
    assert int(tags["retrain"][PRIORITY_TAG]) < int(RETRAIN_PRIORITY) < int(tags["monitor"][PRIORITY_TAG])


def test_twenty_models_are_built_and_look_less_often() -> None:
    names = [f"m{number}" for number in range(20)]
    found = build_repositories(models(*names))
    own = len(set(GROUPS) - SHARED_ASSETS)
    assert sum(len(keys_of(one)) for one in found.values()) == 20 * own + len(SHARED_ASSETS) - 1
    (sensor,) = (one for one in found["m7"].sensor_defs if one.name == "retrain_sensor")
    (ingest,) = (one for one in found["shared"].sensor_defs if one.name == "ingest_sensor")
    assert (sensor.minimum_interval_seconds, ingest.minimum_interval_seconds) == (120, 60)


def test_dagster_finds_a_repository_a_model_in_the_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "retraining.yaml").write_text("models: [{name: checks, where: {COUNTRY: DE}}, {name: jobs}]")
    monkeypatch.setenv("FRAUD_RETRAINING_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FRAUD_RETRAINING_CONFIG", str(tmp_path / "retraining.yaml"))
    # In a process of its own: what the module gives is found once in each.
    code = (
        "from dagster._core.workspace.autodiscovery import loadable_targets_from_loaded_module as load;"
        "import fraud_retraining.definitions as module;"
        "print(*[(one.attribute, one.target_definition.name) for one in load(module)]);"
        # A model of such a name would be shadowed, and missing without a word.
        "print([name for name in vars(module) if name.startswith(module.REPOSITORY)])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found_names, shadowing = found.stdout.splitlines()
    assert found_names == " ".join(str((f"repository_of_{name}", name)) for name in ("checks", "jobs", "shared"))
    assert shadowing == "[]"
