"""The definitions load, know every asset, check and job, and cost little to import."""

import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from fraud_retraining.definitions import build_definitions
from fraud_retraining.domain.day_checks import DAY_CHECKS
from fraud_retraining.domain.gates import GATES
from fraud_retraining.domain.window_checks import WINDOW_CHECKS
from fraud_retraining.settings import Settings

GROUPS = {
    "raw_transactions": "ingestion",
    "transactions": "ingestion",
    "entity_days": "features",
    "transaction_features": "features",
    "training_window": "training",
    "fraud_model": "training",
    "model_evaluation": "evaluation",
    "registered_model": "promotion",
    "production_model": "promotion",
    "scored_transactions": "monitoring",
    "drift_report": "monitoring",
    "production_performance": "monitoring",
}
DRIFT_GROUPS = ("transaction", "customer", "terminal", "terminal_labels", "scores", "fraud_rate")


@pytest.fixture(scope="module")
def graph() -> AssetGraph:
    return build_definitions(Settings()).resolve_asset_graph()


def test_every_asset_is_there_in_its_group_and_partitioned(graph: AssetGraph) -> None:
    found = {key.to_user_string(): graph.get(key) for key in graph.get_all_asset_keys()}
    assert {name: node.group_name for name, node in found.items()} == GROUPS
    assert all(node.partitions_def is not None for node in found.values())


def test_lineage_runs_from_the_lake_to_production(graph: AssetGraph) -> None:
    assert upstream(graph, "production_model") == {name for name, group in GROUPS.items() if group != "monitoring"}


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
        *(("drift_report", name) for name in DRIFT_GROUPS),
        ("production_performance", "live_performance"),
    }


def test_drift_and_decay_warn_and_never_block(graph: AssetGraph) -> None:
    warn = ("drift_report", "production_performance")
    checks = [graph.get(key) for key in graph.asset_check_keys if key.asset_key.to_user_string() in warn]
    assert len(checks) == len(DRIFT_GROUPS) + 1
    assert not any(check.blocking for check in checks)


def test_days_of_a_range_take_one_run_and_as_of_days_one_each(graph: AssetGraph) -> None:
    policies = {key.to_user_string(): graph.get(key).backfill_policy for key in graph.executable_asset_keys}
    single = {name for name, policy in policies.items() if policy and policy.max_partitions_per_run is None}
    day_groups = ("ingestion", "features", "monitoring")
    assert single == {name for name, group in GROUPS.items() if group in day_groups} - {"raw_transactions"}


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
