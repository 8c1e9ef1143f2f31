"""The command line as a user sees it: answers, exit codes, messages, and a champion that no failure touches."""

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from fraud_retraining import cli
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.retraining.triggers.registry import trigger_names
from fraud_retraining.orchestration.runs.progress import LogProgress
from fraud_retraining.orchestration.state.readiness import first_trainable
from fraud_retraining.settings import HOME_VARIABLE, load_settings
from fraud_retraining_tests.support.command_line import champion, ledger, retrain, run
from fraud_retraining_tests.support.project_homes import AS_OF, DAYS, START, ProjectHome, use_home

USED = AS_OF - timedelta(days=8)
"""A day of the training window as of `AS_OF`."""


class TestRetrain:
    def test_a_first_retrain_waits_for_a_human_and_says_everything(self, project: ProjectHome) -> None:
        code, answer, _ = retrain()
        assert (code, answer["status"], answer["model_version"]) == (0, "awaiting_approval", 1)
        window = answer["window"]
        assert (window["train_start"], window["train_end"]) == ("2024-02-10", "2024-02-17")
        assert (window["holdout_start"], window["holdout_end"]) == ("2024-02-18", "2024-02-21")
        assert 12_000 < window["rows"] < 20_000
        assert window["missing_days"] == []
        assert set(answer["metrics"]["candidate"]) >= {"average_precision", "roc_auc", "card_precision_at_100"}
        assert answer["metrics"]["champion"] is None
        assert all({"name", "passed", "value", "threshold", "message"} <= set(gate) for gate in answer["gates"])
        assert champion() is None

        code, status, _ = run("status")
        assert code == 0
        assert status["candidate"]["state"] == "awaiting_approval"
        assert "2024-02-25" in status["next"]["why"]

    def test_the_same_again_trains_nothing_and_registers_nothing(self, home: ProjectHome) -> None:
        before = champion()
        code, answer, _ = retrain()
        assert (code, answer["status"], answer["model_version"]) == (0, "already_trained", 1)
        assert champion() == before
        assert len(ledger().releases()) == 1

    @pytest.mark.slow
    def test_one_changed_row_of_a_used_day_makes_another_model_and_the_ledger_names_the_day(
        self, home: ProjectHome
    ) -> None:
        fingerprint = retrain()[1]["fingerprint"]
        table = home.read_day(USED)
        amounts = table["TX_AMOUNT"].to_pylist()
        amounts[0] += 1.0
        position = table.schema.get_field_index("TX_AMOUNT")
        home.write_day(USED, table.set_column(position, "TX_AMOUNT", pa.array(amounts)))

        code, answer, _ = retrain()
        assert answer["fingerprint"] != fingerprint
        assert code in (0, 4)
        changed = [event.subject for event in ledger().events("day_changed")]
        assert changed == [str(USED)]
        assert ledger().verify().ok

    @pytest.mark.slow
    def test_a_later_day_is_judged_against_the_champion_on_the_same_rows(self, home: ProjectHome) -> None:
        code, answer, _ = retrain(AS_OF + timedelta(days=2))
        regression = next(gate for gate in answer["gates"] if gate["name"] == "no_regression")
        assert regression["applicable"]
        assert answer["metrics"]["champion"]["average_precision"] is not None
        aged = ledger().last(EventKind.MODEL_EVALUATED).payload["aged"]
        assert (aged["version"], aged["age_days"]) == (1, 4.5), "the champion of two days before is as old as that"
        assert aged["average_precision"]["low"] < aged["average_precision"]["high"]
        assert (code, answer["status"]) in {(0, "promoted"), (4, "gate_failed")}

    @pytest.mark.slow
    def test_a_backfill_gives_each_day_its_model_and_never_replaces_a_newer_champion(self, home: ProjectHome) -> None:
        before = champion()
        first = AS_OF - timedelta(days=4)
        code, answer, _ = run("backfill", "--from", str(first), "--to", str(AS_OF - timedelta(days=1)), "--every", "2")
        assert code == 0
        statuses = [(one["as_of"], one["status"]) for one in answer["retrains"]]
        assert statuses == [(str(first), "judged"), (str(first + timedelta(days=2)), "judged")]
        assert all("judged, not promotable" in one["message"] for one in answer["retrains"])
        assert len({one["fingerprint"] for one in answer["retrains"]}) == 2
        assert champion() == before

    @pytest.mark.slow
    @pytest.mark.timeout(900)
    def test_an_older_day_is_judged_against_the_champion_of_its_time_and_its_failed_gates_are_no_incident(
        self, home: ProjectHome
    ) -> None:
        lenient = {"max_regression": 1, "max_unproven_regression": 1, "max_slice_regression": 1}
        home.configure(promotion={"mode": "auto"}, gates=lenient)
        assert retrain(AS_OF + timedelta(days=2))[1]["status"] == "promoted"
        before, events = champion(), ledger().head().seq
        home.configure(promotion={"mode": "auto"}, gates={"min_average_precision": 0.999, "advisory": ["calibration"]})
        day = str(AS_OF + timedelta(days=1))
        code, answer, _ = run("backfill", "--from", day, "--to", day)
        (one,) = answer["retrains"]
        assert (code, one["status"], one["error"]) == (0, "judged", None)
        assert "judged, not promotable: its gates did not pass, and champion version 2 is newer" in one["message"]
        assert one["metrics"]["champion"] is not None
        assert [gate["name"] for gate in one["gates"] if not gate["passed"]][:1] == ["average_precision_floor"]
        judged = ledger().verdict(ledger().release_by_version(one["model_version"]))
        assert (judged.champion_version, judged.newer_champion) == (1, 2)
        kinds = [event.kind for event in ledger().events() if event.seq > events]
        assert not {EventKind.RETRAIN_FAILED, EventKind.NOTICE_OPENED} & set(kinds)
        assert champion() == before

    @pytest.mark.slow
    def test_a_candidate_below_a_floor_is_refused_with_every_number(self, home: ProjectHome) -> None:
        before = champion()
        home.configure(promotion={"mode": "auto"}, gates={"min_average_precision": 0.999})
        code, answer, _stderr = retrain(AS_OF + timedelta(days=1))
        assert (code, answer["status"], answer["model_version"]) == (4, "gate_failed", None)
        failed = [gate["name"] for gate in answer["gates"] if not gate["passed"]]
        assert "average_precision_floor" in failed
        assert champion() == before

    @pytest.mark.slow
    def test_days_are_ingested_in_one_run_and_only_once(self, project: ProjectHome) -> None:
        last = START + timedelta(days=5)
        code, answer, _ = run("ingest", "--from", str(START), "--to", str(last))
        assert (code, answer["days"], len(answer["dagster_run_ids"])) == (0, 6, 1)
        assert answer["labels"] is None, "labels count once they are mature"
        records = sorted((project.home / "store" / "transaction_features").rglob("_partition.json"))
        before = [record.stat().st_mtime_ns for record in records]
        assert len(before) == 6
        run("ingest", "--from", str(START), "--to", str(last))
        assert [record.stat().st_mtime_ns for record in records] == before


def _without_day(home: ProjectHome) -> None:
    home.day_file(USED).unlink()


def _empty_day(home: ProjectHome) -> None:
    home.write_day(USED, home.read_day(USED).slice(0, 0))


def _corrupt_day(home: ProjectHome) -> None:
    file = home.day_file(USED)
    file.write_bytes(file.read_bytes()[:-200] + b"x" * 200)


def _without_column(home: ProjectHome) -> None:
    home.write_day(USED, home.read_day(USED).drop_columns(["TERMINAL_ID"]))


def _retyped_column(home: ProjectHome) -> None:
    table = home.read_day(USED)
    position = table.schema.get_field_index("TX_AMOUNT")
    home.write_day(USED, table.set_column(position, "TX_AMOUNT", pc.cast(table["TX_AMOUNT"], pa.string())))


def _all_fraud(home: ProjectHome) -> None:
    table = home.read_day(USED)
    position = table.schema.get_field_index("TX_FRAUD")
    home.write_day(USED, table.set_column(position, "TX_FRAUD", pa.array([1] * len(table), pa.int8())))


def _tenfold_day(home: ProjectHome) -> None:
    table = home.read_day(USED)
    position = table.schema.get_field_index("TRANSACTION_ID")
    copies = [
        table.set_column(position, "TRANSACTION_ID", pc.add(table["TRANSACTION_ID"], 10**12 * n)) for n in range(10)
    ]
    home.write_day(USED, pa.concat_tables(copies))


def _no_lake(home: ProjectHome) -> None:
    home.configure(lake={"uri": str(home.folder / "nowhere")})


def _too_few_rows(home: ProjectHome) -> None:
    home.configure(validation={"min_rows": 10_000_000})


def _unknown_key(home: ProjectHome) -> None:
    home.configure(windw={"days": 8}, holdout={"days": 99})


def _forbidden_feature(home: ProjectHome) -> None:
    home.configure(features={"numeric": ["TX_FRAUD_SCENARIO"]})


def _mlflow_down(home: ProjectHome) -> None:
    home.configure(mlflow={"tracking_uri": "http://127.0.0.1:9", "timeout_seconds": 4})


BAD_INPUT = {
    "no lake": (_no_lake, 3, "nowhere"),
    "missing day": (_without_day, 3, str(USED)),
    "empty day": (_empty_day, 3, str(USED)),
    "corrupt Parquet": (_corrupt_day, 3, "transactions.parquet"),
    "missing column": (_without_column, 3, "TERMINAL_ID"),
    "wrong type": (_retyped_column, 3, "TX_AMOUNT"),
    "all fraud": (_all_fraud, 3, "fraud_rate"),
    "ten-fold day": (_tenfold_day, 3, "row_count"),
    "too few rows": (_too_few_rows, 3, "minimum_rows"),
    "two mistakes in the settings": (_unknown_key, 2, "windw"),
    "forbidden feature": (_forbidden_feature, 2, "TX_FRAUD_SCENARIO"),
    "MLflow unreachable": (_mlflow_down, 7, "127.0.0.1:9"),
}


def test_a_window_that_is_not_fit_is_shown_with_its_days_and_rows(home: ProjectHome) -> None:
    _too_few_rows(home)
    code, answer, _ = retrain()
    assert (code, answer["status"]) == (3, "data_invalid")
    assert (answer["window"]["train_end"], answer["window"]["missing_days"]) == ("2024-02-17", [])
    assert 0 < answer["window"]["frauds"] < answer["window"]["rows"]


@pytest.mark.slow
def test_an_ingest_names_the_days_that_cannot_be_read_beside_those_that_fail_a_check(project: ProjectHome) -> None:
    _retyped_column(project)
    other = USED + timedelta(days=2)
    project.write_day(other, project.read_day(other).slice(0, 20))
    code, answer, _ = run("ingest", "--from", str(START), "--to", str(other + timedelta(days=1)))
    assert code == 3
    culprits = answer["error"]["culprits"]
    assert any(str(USED) in line and "TX_AMOUNT" in line for line in culprits), culprits
    assert any(str(other) in line and "row_count" in line for line in culprits), culprits
    assert not any("gave no result" in line for line in culprits)


@pytest.mark.slow
def test_features_are_removed_by_retiring_them_first(home: ProjectHome) -> None:
    later = AS_OF + timedelta(days=2)
    home.configure(entities={"terminal": {"windows_days": [1]}})
    code, answer, _ = retrain(later)
    assert code == 3
    assert "terminal_count_3d" in answer["error"]["culprits"]
    assert "features.retired" in answer["error"]["remedy"]

    home.configure(features={"retired": ["terminal_*_3d"]})
    code, answer, _ = retrain(later)
    assert code in (0, 4), answer["message"]
    assert answer["metrics"]["champion"]["average_precision"] is not None
    trained = ledger().last(EventKind.MODEL_TRAINED, fingerprint=answer["fingerprint"])
    assert trained is not None
    learnt = set(trained.payload["importance"])
    assert "terminal_count_1d" in learnt
    assert not {name for name in learnt if name.startswith("terminal_") and name.endswith("_3d")}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_refused_by_name_and_touches_no_champion(case: str, home: ProjectHome) -> None:
    spoil, code, culprit = BAD_INPUT[case]
    before = champion()
    spoil(home)
    got, answer, _ = retrain()
    text = json.dumps(answer)
    assert got == code, text
    assert culprit in text, text
    if code == 3:
        assert answer["status"] == "data_invalid"
        assert answer["model_version"] is None
    home.configure(promotion={"mode": "auto"})
    assert champion() == before


@pytest.mark.parametrize(
    ("spoil", "culprit"),
    [
        (
            lambda home: next((home.home / "store/transactions" / f"day={USED}").glob("checks.json")).unlink(),
            "no result",
        ),
    ],
    ids=["checks that gave no result"],
)
def test_a_day_without_a_passed_check_stops_a_window_built_alone(
    home: ProjectHome, spoil: Callable[[ProjectHome], None], culprit: str
) -> None:
    from fraud_retraining.definitions import build_definitions
    from fraud_retraining.domain.values.errors import DataInvalid
    from fraud_retraining.orchestration.instance import open_instance

    spoil(home)
    job = build_definitions(load_settings()).resolve_job_def("retrain")
    with pytest.raises(DataInvalid) as caught:
        job.execute_in_process(instance=open_instance(), partition_key=str(AS_OF))
    assert culprit in str(caught.value)
    assert str(USED) in str(caught.value)


class TestUsage:
    def test_a_simulated_lake_lies_where_the_settings_say(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project = ProjectHome(tmp_path)
        project.configure()
        use_home(project, monkeypatch)
        code, answer, _ = run(
            "simulate", "--start", "2024-03-01", "--days", "2", "--transactions-per-day", "500", "--seed", "3"
        )
        assert (code, answer["days"]) == (0, 2)
        assert project.read_day(START.replace(month=3, day=2)).num_rows > 300

    def test_an_impossible_argument_is_a_usage_error(self, project: ProjectHome) -> None:
        assert run("ingest", "--from", "2024-02-05", "--to", "2024-02-01")[0] == 2
        assert run("retrain", "--trigger", "boredom")[0] == 2

    @pytest.mark.parametrize(
        "words", [(), ("--from", "2024-02-05"), ("--latest", "2", "--to", "2024-02-05"), ("--latest", "0")]
    )
    def test_days_to_ingest_are_a_range_or_a_number_of_the_latest(
        self, words: tuple[str, ...], project: ProjectHome
    ) -> None:
        assert run("ingest", *words)[0] == 2

    def test_the_latest_days_end_with_the_last_that_has_arrived(self, project: ProjectHome) -> None:
        from fraud_retraining.commands.implementation.pipeline import Pipeline

        last = START + timedelta(days=DAYS - 1)
        found = Pipeline(load_settings(), LogProgress()).latest_days(3)
        assert (found.start, found.end) == (last - timedelta(days=2), last)

    def test_an_as_of_day_that_is_too_early_names_the_first_that_can_be_trained(self, project: ProjectHome) -> None:
        code, answer, _ = retrain(START + timedelta(days=5))
        assert (code, answer["status"]) == (3, "data_invalid")
        first = START + timedelta(days=13)
        assert "is too early" in answer["message"] and f"retrain as of {first} or later" in answer["message"]
        assert first_trainable(load_settings(), [START + timedelta(days=n) for n in range(DAYS)]) == first

    def test_an_as_of_day_that_has_not_arrived_is_named(self, project: ProjectHome) -> None:
        code, answer, _ = retrain(START + timedelta(days=DAYS))
        assert (code, answer["status"]) == (3, "data_invalid")
        assert "has not arrived" in answer["message"]
        assert answer["error"]["culprits"] == [f"the last day that has is {START + timedelta(days=DAYS - 1)}"]
        assert answer["error"]["exit_code"] == 3

    def test_a_lake_that_is_not_there_has_no_latest_day_and_is_answered_like_any_bad_data(
        self, project: ProjectHome
    ) -> None:
        _no_lake(project)
        code, answer, _ = run("retrain")
        assert (code, answer["status"], answer["as_of"]) == (3, "data_invalid", None)

    @pytest.mark.parametrize("arguments", [("retrain", "--as-of", "yesterday"), ("approve",), ("frobnicate",)])
    def test_a_usage_error_is_json_too(self, arguments: tuple[str, ...]) -> None:
        code, answer, _ = run(*arguments)
        assert (code, answer["error"]["kind"], answer["error"]["exit_code"]) == (2, "UsageError", 2)
        assert arguments[-1] in answer["error"]["message"] or "version" in answer["error"]["message"]

    def test_a_home_that_cannot_be_made_is_unreachable_and_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "file").touch()
        monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "file" / "home"))
        code, answer, _ = run("status")
        assert (code, answer["error"]["kind"]) == (7, "DependencyUnreachable")
        assert str(tmp_path / "file" / "home") in answer["error"]["message"]


class TestForPeople:
    def test_the_version_is_printed(self) -> None:
        result = CliRunner().invoke(cli.app, ["--version"])
        assert (result.exit_code, result.stdout.split()) == (0, ["fraud-retraining", version("fraud-retraining")])

    def test_shells_complete_commands(self) -> None:
        environment = {
            "_FRAUD_RETRAINING_COMPLETE": "complete_bash",
            "COMP_WORDS": "fraud-retraining re",
            "COMP_CWORD": "1",
        }
        result = CliRunner().invoke(cli.app, [], env=environment, prog_name="fraud-retraining")
        assert result.stdout.split() == ["retrain", "replay", "reject", "retire-champion", "resume"]


def test_help_loads_no_heavy_library() -> None:
    """The program answers help and completion at once."""
    heavy = {"dagster", "mlflow", "duckdb", "pandas", "numpy", "pyarrow", "sqlalchemy", "ibis", "xgboost", "matplotlib"}
    program = (
        "import sys; from typer.testing import CliRunner; from fraud_retraining.cli import app\n"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0\n"
        f"print(*sorted({heavy!r} & set(sys.modules)))"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert loaded.stdout.split() == []


def test_serve_is_an_alias_of_serve_approvals() -> None:
    commands = get_command(cli.app).commands
    alias, command = commands["serve"], commands["serve-approvals"]
    assert inspect.unwrap(alias.callback) is inspect.unwrap(command.callback)
    assert alias.hidden


def test_the_help_of_trigger_names_every_trigger() -> None:
    (trigger,) = (one for one in get_command(cli.app).commands["retrain"].params if one.name == "trigger")
    assert re.findall(r"\w+", trigger.help.replace(" or ", " ")) == list(trigger_names())
