"""Each module has its test file at the same path, and each test file below a package is about one module.

Each package says what does not belong in it, and its public names. Exceptions stand here with their reason. Migrations
are covered by `adapters/ledger/test_older_ledger.py`.
"""

import ast
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "fraud_retraining"

# Module: the reason why it has no test file of its own, with the path of the test that covers it.
COVERED_ELSEWHERE: dict[str, str] = {
    "orchestration/checks/label_checks": "through the ingest job: orchestration/test_label_feed.py",
    "adapters/online/published_state": "published by an ingest and opened: orchestration/assets/test_online_state.py",
    "adapters/days/day_drift": "drift reports of days: orchestration/assets/test_monitoring.py",
    "commands/implementation/champion_import": "from file to champion: commands/test_import_champion.py",
    "commands/implementation/replay_answers": "questions of real days: commands/test_replay.py",
    "commands/implementation/replay_decisions": "the same mappings and thresholds as retrains: "
    "orchestration/assets/test_score_contract.py; on served days: commands/test_replay.py",
    "commands/implementation/replay_drift": "the trigger drift on real days: commands/test_replay.py",
    "commands/implementation/replay_files": "what is kept, and a kill: commands/test_replay.py",
    "commands/implementation/replay_output": "as it is called: commands/test_replay.py",
    "commands/implementation/replay_served": "triggers on served days: commands/test_replay.py",
    "commands/implementation/replay_run": "one process and two: commands/test_replay.py",
    "adapters/days/judged_days": "a candidate beside every kind of champion: test_not_compared.py",
    "orchestration/state/window_assembly": "window and model of a retrain: orchestration/runs/test_mlflow_run.py",
    "adapters/days/known_labels": "labels of a feed in windows: orchestration/test_label_feed.py",
    "adapters/days/stored_days": "days that were rewritten: orchestration/state/test_reproducibility.py",
    "orchestration/state/fresh_verdicts": "what is due and what waits: orchestration/assets/test_matured_verdicts.py",
    "services/candidate_shadows": "which candidate, its figures: orchestration/assets/test_promotion_watch.py",
    "services/matured_verdicts": "measured, recorded and refused: orchestration/assets/test_matured_verdicts.py",
    "orchestration/state/promotion_watch": "what is due and scored: orchestration/assets/test_promotion_watch.py",
    "orchestration/assets/labels": "through the ingest job: orchestration/test_label_feed.py",
    "orchestration/state/label_days": "through readiness: orchestration/test_label_feed.py",
    "orchestration/state/label_use": "a champion of the other use of labels: orchestration/test_label_feed.py",
    "orchestration/state/window_labels": "through windows: orchestration/test_label_feed.py",
    "adapters/alerts/pagerduty": "sent to a real server, with its refusals: services/test_delivery.py",
    "adapters/alerts/registry": "a list; a destination that is added to it: services/test_own_destination.py",
    "adapters/alerts/slack": "sent to a real server, with its refusals: services/test_delivery.py",
    "adapters/ledger/append_only_triggers": "guards that are taken away or altered: services/test_record_attacks.py",
    "adapters/days/spark_counts": "counts of days on Spark: adapters/storage/test_spark_days.py",
    "adapters/storage/spark_ingestion": "an awkward lake on Spark: adapters/storage/test_spark_days.py",
    "adapters/storage/spark_parts": "tables that workers write: adapters/storage/test_spark_days.py",
    "adapters/storage/s3": "each kind of location passes the same tests: adapters/storage/test_locations.py",
    "adapters/alerts/delivery_queue": "a part of Outbox: adapters/alerts/test_outbox.py",
    "adapters/alerts/records": "values that the outbox gives: adapters/alerts/test_outbox.py",
    "adapters/alerts/statements": "the SQL of the outbox: adapters/alerts/test_outbox.py",
    "adapters/ledger/automation": "a part of Ledger, tested as a whole: adapters/ledger/test_ledger.py",
    "adapters/ledger/decisions": "a part of Ledger: adapters/ledger/test_ledger.py",
    "adapters/ledger/engines": "opening and migrating, seen through a database: adapters/ledger/test_database.py",
    "adapters/ledger/failures": "failures need a real database that fails: adapters/ledger/test_database.py",
    "adapters/ledger/promotions": "a part of Ledger: adapters/ledger/test_ledger.py",
    "adapters/ledger/releases": "a part of Ledger: adapters/ledger/test_ledger.py",
    "adapters/ledger/statements": "the SQL of Ledger: adapters/ledger/test_ledger.py",
    "adapters/ledger/tables": "compared with what the migrations make: adapters/ledger/test_database.py",
    "adapters/ledger/verification": "a part of Ledger: adapters/ledger/test_ledger.py",
    "adapters/mlflow/aliases": "a part of Registry, tested as a whole: adapters/mlflow/test_registry.py",
    "adapters/mlflow/artifacts": "a part of Registry: adapters/mlflow/test_registry.py",
    "adapters/mlflow/connection": "a part of Registry: adapters/mlflow/test_registry.py",
    "adapters/mlflow/chain_head_tags": "a part of Registry; heads that are compared: services/test_registry_attacks.py",
    "adapters/mlflow/logged_models": "a part of Registry: adapters/mlflow/test_registry.py",
    "adapters/mlflow/runs": "a part of Registry: adapters/mlflow/test_registry.py",
    "adapters/mlflow/tags": "names only; a stored name that changes: adapters/mlflow/test_registry.py",
    "adapters/mlflow/versions": "a part of Registry: adapters/mlflow/test_registry.py",
    "settings_checks": "each problem as `load_settings` reports it, in test_settings.py",
    "domain/data/canonical": "conversions through ingestion, in domain/data/test_ingestion.py",
    "domain/data/lake_columns": "types and columns of delivered files, in domain/data/test_ingestion.py",
    "domain/data/lake_mapping": "mappings that are refused, in domain/data/test_ingestion.py",
    "commands/implementation/models_state": "several models in one home: test_several_models.py",
    "commands/implementation/examination": "as it is called: commands/test_doctor.py",
    "commands/implementation/first_settings": "as it is called: commands/test_init.py",
    "commands/serve_scores": "the real server: serving/test_score_app.py",
    "commands/implementation/mlflow_scorer": "through MLflow's own server: commands/test_export_scorer.py",
    "adapters/online/redis_layout": "bytes and script as they are used: adapters/online/test_redis_states.py",
    "adapters/online/redis_server": "a real server, gone, late and refused: adapters/online/test_redis_states.py",
    "commands/implementation/worker_processes": "a worker that is killed: serving/test_shared_state.py",
    "domain/features/local_states": "one process, by any order and day: domain/features/test_live.py",
    "commands/implementation/listening": "a port that is taken: commands/implementation/test_approvals_server.py",
    "commands/approve": "as it is called, in commands/implementation/test_release_decisions.py",
    "commands/reject": "as it is called, in commands/implementation/test_release_decisions.py",
    "commands/rollback": "as it is called, in commands/implementation/test_release_decisions.py",
    "commands/pending": "as it is called, in commands/implementation/test_release_decisions.py",
    "commands/resume": "as it is called, in commands/implementation/test_release_decisions.py",
    "commands/link": "as it is called, in commands/implementation/test_release_decisions.py",
    "commands/implementation/reviewer_links": "as it is called, in commands/implementation/test_release_decisions.py",
    "commands/support/decisions": "tokens, terminals and answers in commands/implementation/test_release_decisions.py",
    "commands/implementation/audit_trail": "as it is called, in commands/test_audit.py",
    "commands/implementation/audit_tables": "as it is called, in commands/test_audit.py",
    "commands/retire_champion": "as it is called, in services/test_registry_attacks.py",
    "commands/ingest": "as it is called, in test_cli.py",
    "commands/backfill": "as it is called, in test_cli.py",
    "commands/status": "called in test_cli.py, its sentences in commands/implementation/test_current_state.py",
    "commands/implementation/day_ingest": "stale, missing and refused days in test_cli.py and test_foreign_lake.py",
    "commands/implementation/job_runner": "runs that end, fail and are interrupted in test_cli.py and test_faults.py",
    "commands/implementation/pipeline": "retrains, backfills and refusals in test_cli.py and test_end_to_end.py",
    "commands/implementation/retrain_output": "tables in orchestration/test_side_by_side.py, JSON in test_cli.py",
    "commands/clean": "as it is called, in test_cli_limits.py",
    "commands/simulate": "called in test_cli.py, its lake in commands/implementation/test_simulated_lake.py",
    "commands/demo": "its settings in commands/implementation/test_demonstration.py; it takes minutes: `make demo`",
    "commands/dev": "the servers it starts in commands/implementation/test_development_servers.py",
    "commands/serve_approvals": "the server it starts in commands/implementation/test_approvals_server.py",
    "domain/values/interval": "a value without rules; its numbers in domain/evaluation/test_comparison.py",
    "serving/release_site": "histories, pictures and decisions over HTTP in serving/test_release_app.py",
    "serving/slack_actions": "clicks, signatures and messages over HTTP in serving/test_release_app.py",
    "orchestration/assets/evaluation": "a candidate beside every kind of champion: test_not_compared.py",
    "orchestration/assets/features": "features of days, made again if stale: orchestration/sensors/test_next_runs.py",
    "orchestration/assets/promotion": "every outcome of a release: test_retrain_releases.py",
    "orchestration/assets/specs": "owners, kinds, tags, columns and freshness in the catalogue: test_definitions.py",
    "orchestration/assets/training": "window and model of a retrain: orchestration/runs/test_mlflow_run.py",
    "orchestration/checks/drift_checks": "one check a group that warns: orchestration/assets/test_monitoring.py",
    "orchestration/checks/performance_checks": "the check of decay: orchestration/assets/test_monitoring.py",
    "orchestration/checks/skew_checks": "the check of served skew: orchestration/assets/test_served_skew.py",
    "orchestration/names": "names only; their use in the definitions: test_definitions.py",
    "orchestration/release_notifier": "requests, threads and alarms: serving/test_release_app.py",
    "orchestration/runs/failed_runs": "runs that Dagster or a kill ended: orchestration/runs/test_outcomes.py",
    "orchestration/runs/resource_definitions": "resources as runs get them: orchestration/runs/test_retrain_lease.py",
    "orchestration/sensors/alerts": "the three sensors in a daemon: orchestration/test_daemon.py",
    "orchestration/sensors/triggering": "ticks of the three sensors: orchestration/sensors/test_next_runs.py",
    "orchestration/state/inventory": "stale, damaged and refused days: orchestration/sensors/test_next_runs.py",
    "orchestration/state/monitoring": "what is due, scored and measured: orchestration/assets/test_monitoring.py",
    "orchestration/state/sources": "a bundle of resources without behaviour: orchestration/test_resources.py",
    "domain/alerts/composer": "a protocol; a destination that a test adds obeys it: services/test_own_destination.py",
    "domain/alerts/file": "entries as the file holds them: services/test_delivery.py",
    "domain/alerts/mail": "mails as a real server gets them, with hostile text: adapters/alerts/test_mail.py",
    "domain/alerts/pagerduty": "limits, hostile text and secrets over all forms: domain/alerts/test_routing.py",
    "domain/alerts/slack": "limits, hostile text and secrets over all forms: domain/alerts/test_routing.py",
    "domain/alerts/slack_markup": "escaping against Slack's own rules: domain/alerts/test_routing.py",
    "domain/alerts/webhook": "payload and signature as a receiver gets them: adapters/alerts/test_webhook.py",
    "domain/release_messages/slack_request": "messages, buttons and links over HTTP: serving/test_release_app.py",
    "domain/audit/history": "histories of whole ledgers: services/test_release_history.py",
    "domain/audit/period": "every table of a period, as its page shows it: adapters/pages/test_html.py",
    "domain/audit/stored_state": "working rows and tags that were changed: services/test_record_attacks.py",
    "adapters/ledger/signing": "signing begins, rows are declared void: adapters/ledger/test_signed_rows.py",
    "domain/audit/state_replay": "each kind of forged event: services/test_record_attacks.py",
    "domain/releases/candidate": "values without rules; stages that pass them on: test_retrain_releases.py",
    "domain/releases/release": "values without rules; states and moves: domain/releases/test_lifecycle.py",
    "domain/releases/champions": "the age on the holdout decides: domain/evaluation/test_ageing.py",
    "domain/retraining/requesters": "requests as a ledger records them: orchestration/runs/test_requests.py",
    "domain/retraining/retrain_status": "names only; every status as an outcome: test_retrain_releases.py",
    "domain/review/model_card": "cards of real versions: services/test_model_cards.py",
    "domain/review/report": "values; a whole report and its JSON: domain/review/test_assembly.py",
}

# Test file below a package: what it tests that is more than one module.
ACROSS_MODULES: dict[str, str] = {
    "orchestration/assets/test_served_skew.py": "what was served beside the batch, over monitoring, notices, promotion",
    "orchestration/test_label_feed.py": "labels of a feed, over assets, readiness, windows and commands",
    "domain/evaluation/test_report_weights.py": "weights of known frauds, over judged rows, metrics and resamples",
    "domain/evaluation/test_row_weights.py": "weights of a control group, over judged rows, metrics and resamples",
    "domain/features/test_labels_as_known.py": "label features as known, over features and the inputs of their days",
    "adapters/storage/test_missing_numbers.py": "NaN and null from files through ingestion, checks, features and drift",
    "adapters/ledger/test_ledger_machine.py": "any order of calls: a state machine over ledger, event log and guards",
    "adapters/ledger/test_older_ledger.py": "a database of an earlier version is migrated, and reads as before",
    "adapters/ledger/test_tampering.py": "rows changed behind the ledger's back, over ledger, guards and pinned heads",
    "orchestration/test_blocked_transactions.py": "blocked transactions, from files over windows to the review",
    "orchestration/test_daemon.py": "the daemon runs sensors, schedules and runs together",
    "orchestration/test_killed_between_writes.py": "a process killed between any two writes",
    "orchestration/test_large_days.py": "limits of rows and memory, over lake, ingestion and inventory",
    "orchestration/test_one_at_a_time.py": "lease, queue and sensors together keep retrains apart",
    "orchestration/test_queue.py": "Dagster's queue with our limits",
    "orchestration/test_side_by_side.py": "two processes on one home",
    "services/test_own_destination.py": "a destination that a test adds, through outbox, draining and escalation",
    "services/test_record_attacks.py": "attacks on the record that approvals and promotion rest on",
    "services/test_unsigned_rows.py": "rows that nobody signed, over ledger, approvals, promotion, watch and scorer",
    "services/test_registry_attacks.py": "attacks on MLflow's registry that promotion rests on",
    "services/test_release_faults.py": "faults of database and registry in approvals, promotion and release watch",
    "serving/test_shared_state.py": "several scorers that share a Redis, over server, processes and states",
    "serving/test_release_pages_in_browser.py": "pages, scripts and forms of releases in a browser",
    "domain/monitoring/test_wide_drift.py": "many features together, over drift, heavy keys and bins",
}

# Modules without a test file, and test files without a module, that are still to be brought into order.
TO_DO: frozenset[str] = frozenset()

MODULES = {
    path.relative_to(PACKAGE).with_suffix("").as_posix()
    for path in PACKAGE.rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py") and "migrations" not in path.parts
}
TEST_FILES = {path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py")}


def mirrored(module: str) -> str:
    """Path of the test file of a module."""
    folder, _, name = module.rpartition("/")
    return f"{folder}/test_{name}.py" if folder else f"test_{name}.py"


def test_every_module_has_its_test_file_or_a_reason() -> None:
    without = {module for module in MODULES if mirrored(module) not in TEST_FILES}
    assert sorted(without - COVERED_ELSEWHERE.keys() - TO_DO) == []


def test_every_test_file_below_a_package_is_about_one_module_or_says_why_not() -> None:
    below = {path for path in TEST_FILES if "/" in path}
    assert sorted(below - {mirrored(module) for module in MODULES} - ACROSS_MODULES.keys() - TO_DO) == []


def test_a_module_that_is_covered_elsewhere_names_the_test() -> None:
    for module, reason in COVERED_ELSEWHERE.items():
        named = re.findall(r"[\w/]*\btest_\w+\.py", reason)
        assert named, f"{module}: the reason names no test file"
        assert [path for path in named if path not in TEST_FILES] == [], module


def test_no_exception_is_without_need() -> None:
    assert sorted(COVERED_ELSEWHERE.keys() - MODULES) == []
    assert sorted(module for module in COVERED_ELSEWHERE if mirrored(module) in TEST_FILES) == []
    assert sorted(ACROSS_MODULES.keys() - TEST_FILES) == []
    assert sorted(ACROSS_MODULES.keys() & {mirrored(module) for module in MODULES}) == []


PACKAGES = sorted(path.parent for path in [*PACKAGE.rglob("__init__.py"), TESTS / "support" / "__init__.py"])
WITHOUT_NAMES = {PACKAGE / "adapters/ledger/migrations/versions"}


def _defined(module: Path) -> set[str]:
    """Names that a module defines or imports at its top."""
    found: set[str] = set()
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found.update(name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))
    return found


def _exists(package: Path, public: str) -> bool:
    """Whether a package has this module, sub-package or name, as `module`, `module.name` or `name`."""
    module, _, name = public.partition(".")
    file, folder = package / f"{module}.py", package / module
    if name:
        return file.is_file() and any(fnmatch(one, name) for one in _defined(file))
    return file.is_file() or (folder / "__init__.py").is_file() or module in _defined(package / "__init__.py")


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: str(package.relative_to(TESTS.parent)))
def test_each_package_says_what_does_not_belong_in_it_and_which_of_its_names_are_public(package: Path) -> None:
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    assert text, f"{package.name}/__init__.py has no docstring"
    if package in WITHOUT_NAMES:
        return
    assert "Not here:" in text, f"{package.name}/__init__.py: say what does not belong here"
    public = text.partition("Public:")[2].partition("\n\n")[0].partition("Not here:")[0]
    names = [name for name in re.findall(r"`([\w.*]+)`", public) if name not in ("__all__",)]
    assert names, f"{package.name}/__init__.py: name what others use after `Public:`"
    assert [name for name in names if not _exists(package, name)] == [], (
        f"{package.name}/__init__.py names what is gone"
    )
