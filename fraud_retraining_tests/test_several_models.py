"""Several models in one home: each with its own window, champion, releases and failures, over shared days."""

import os
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest
import yaml

from fraud_retraining.adapters.days.monitoring_reports import SKEW, report_of
from fraud_retraining.adapters.storage.model_store import ModelStore
from fraud_retraining.commands.implementation.models_state import Division
from fraud_retraining.commands.implementation.scores_server import scorer_of
from fraud_retraining.definitions import build_repositories
from fraud_retraining.domain.ledger.events import EventKind
from fraud_retraining.domain.ledger.hash_chain import Head
from fraud_retraining.domain.monitoring.served_skew import ServedSkew
from fraud_retraining.domain.training.windows import TrainingWindow
from fraud_retraining.domain.values.errors import DataInvalid
from fraud_retraining.orchestration.instance import open_instance
from fraud_retraining.orchestration.names import MODEL_TAG, MONITOR, RANGE_END, RANGE_START, SCORED
from fraud_retraining.orchestration.resources import (
    open_lake,
    open_ledger,
    open_location_of,
    open_own_location,
    open_registry,
    open_store,
)
from fraud_retraining.orchestration.state.monitoring import MonitoringState, ServedBy, serving
from fraud_retraining.settings import CONFIG_VARIABLE, Settings, load_settings
from fraud_retraining_tests.support.command_line import run
from fraud_retraining_tests.support.project_homes import AS_OF, ProjectHome, use_home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MODELS: list[dict[str, Any]] = [
    {"name": "small", "where": {"TX_AMOUNT": {"below": 60}}, "promotion": {"mode": "auto"}, "window": {"days": 6}},
    {"name": "large", "where": {"TX_AMOUNT": {"at_least": 60}}, "promotion": {"mode": "manual", "reviewers": []}},
    {"name": "rare", "where": {"TX_AMOUNT": {"at_least": 100_000}}},
    {"name": "misspelt", "where": {"TX_CHANEL": "online"}},
]

MODEL_NAMES = [str(one["name"]) for one in MODELS]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, small_lake: Path) -> Iterator[Settings]:
    """A home in which each of the models was retrained once."""
    project = ProjectHome(tmp_path_factory.mktemp("several"))
    project.lake.symlink_to(small_lake)
    project.configure(validation={"min_rows": 200}, models=MODELS)
    with pytest.MonkeyPatch.context() as patch:
        use_home(project, patch)
        assert run("retrain")[0] == 2, "a command about one model says so"
        answers = {name: run("retrain", "--as-of", str(AS_OF), "--model", name) for name in MODEL_NAMES}
        assert {name: answer["status"] for name, (_, answer, _) in answers.items()} == {
            "small": "promoted",
            "large": "awaiting_approval",
            "rare": "data_invalid",
            "misspelt": "data_invalid",
        }
        yield load_settings()


def test_each_learns_from_its_own_rows_and_its_own_window(settings: Settings) -> None:
    small, large = settings.each_model()[:2]
    whole = open_store(settings)
    for one, days in ((small, 6), (large, settings.window.days)):
        event = open_ledger(one).last(EventKind.WINDOW_BUILT)
        assert event is not None
        window = TrainingWindow.model_validate(event.payload)
        assert len(window.training) == days
        for trained in window.training:
            record = whole.partition("transaction_features", trained.day)
            assert record is not None
            (path,) = whole.paths([record], "rows")
            amounts = pq.read_table(path, columns=["amount"])["amount"].to_numpy()
            assert trained.rows == int(((amounts < 60) if one is small else (amounts >= 60)).sum())


def test_releases_failures_and_alerts_of_one_are_not_those_of_another(settings: Settings) -> None:
    code, state, _ = run("status")
    assert code == 0
    assert {name: (one["champion"] or {}).get("version") for name, one in state["models"].items()} == {
        "small": 1,
        "large": None,
        "rare": None,
        "misspelt": None,
    }
    assert state["models"]["large"]["candidate"]["state"] == "awaiting_approval"
    assert "not fit to be trained on" in state["models"]["rare"]["runs"][0]["came_to"]
    assert [bool(one["alerts"]["open"]) for one in state["models"].values()] == [False, False, True, True]
    # The failed run of one is in its own record, and missing in nobody's.
    assert not [problem for problem in state["problems"] if "not in the ledger" in problem]
    assert run("approve", "1", "--model", "small", "--by", "ann")[0] == 5, "what waits is another model's version 1"
    assert run("approve", "1", "--model", "large", "--by", "ann")[0] == 0
    assert [open_ledger(one).champion() is not None for one in settings.each_model()] == [True, True, False, False]
    assert run("audit", "verify")[1]["ok"]


def test_the_days_rows_are_divided_and_what_nobody_takes_is_told(settings: Settings) -> None:
    _, state, _ = run("status")
    division = state["division"]
    assert sum(division["by_model"].values()) == division["rows"]
    assert (division["of_none"], division["of_several"]) == (0, 0)
    assert any("rare: its where takes none of the" in one for one in state["problems"])


def test_a_column_that_one_model_misspells_fails_that_model_alone_and_everywhere_by_name(settings: Settings) -> None:
    _, state, _ = run("status")
    (open_alert,) = state["models"]["misspelt"]["alerts"]["open"]
    why = open_alert["notice"]["why"]
    assert "lacks what models.misspelt.where asks for" in why[0]
    assert why[1] == "TX_CHANEL is missing; TX_CHANNEL is nearest"
    assert "TX_CHANNEL" in why[2]
    assert "correct models.misspelt.where" in open_alert["notice"]["todo"].lower()
    division = state["division"]
    assert set(division["by_model"]) == {"small", "large", "rare"}
    assert "TX_CHANEL is missing" in division["uncounted"]["misspelt"]
    columns = {one["check"]: one for one in run("doctor")[1]["checks"] if "columns" in one["check"]}
    assert {name: one["state"] for name, one in columns.items()} == {"columns": "ok", "misspelt: columns": "fail"}
    assert "TX_CHANEL is missing" in columns["misspelt: columns"]["found"]
    report = open_store(settings).annotation("transactions", date.fromisoformat(division["day"]), "checks")
    assert report is not None
    assert "TX_CHANEL" in next(one["message"] for one in report["results"] if one["name"] == "new_columns")


def test_days_that_lack_the_column_of_a_champion_are_due_so_that_its_run_says_why(settings: Settings) -> None:
    small = settings.of_model("small")
    location, own = open_location_of(small, small.store_uri), open_own_location(small)
    asked = {"TX_CHANEL": "models.small.where"}
    store = ModelStore(location, small.home / "s", own=own, model="small", where=small.segment_where, asked=asked)
    days = list(open_store(small).readable("transaction_features", [AS_OF - timedelta(days=n) for n in range(9)]))
    state = MonitoringState(small, open_lake(small), store, ServedBy(serving(open_ledger(small))), days)
    assert state.due() == dict.fromkeys(days, (SCORED,))
    for ask in (state.scores, state.drift, state.features):
        with pytest.raises(DataInvalid, match=r"lacks what models\.small\.where asks for"):
            ask(days[-1])


def test_a_day_that_cannot_be_told_apart_for_one_model_is_a_problem_of_that_one() -> None:
    day = Division(day=AS_OF, rows=9, by_model={"a": 3}, of_none=6, of_several=0, uncounted={"b": "no COUNTRY"})
    assert list(day.problems()) == [f"b: its rows of {AS_OF} cannot be told: no COUNTRY"]
    told = day.model_copy(update={"uncounted": {}})
    assert list(told.problems()) == [f"6 of 9 rows of {AS_OF} belong to no model"]


def test_monitoring_of_one_scores_its_rows_under_its_own_keys(settings: Settings) -> None:
    small = settings.of_model("small")
    day = AS_OF + timedelta(days=1)
    assert run("ingest", "--from", str(day - timedelta(days=8)), "--to", str(day))[0] == 0
    job = build_repositories(settings)["small"].get_job(MONITOR)
    tags = {RANGE_START: str(day), RANGE_END: str(day)}
    with open_instance() as instance:
        done = job.execute_in_process(instance=instance, tags=tags)
        assert done.success
        record = instance.get_run_by_id(done.run_id)
        assert record is not None
        assert record.tags[MODEL_TAG] == "small"
        assert instance.get_latest_materialization_event(dg.AssetKey(["small", SCORED])) is not None
        assert instance.get_latest_materialization_event(dg.AssetKey(SCORED)) is None
    # What was published of shared days is found by the scorer of a model.
    scorer = scorer_of(small)
    scorer.follow()
    assert scorer.state_day == day
    at = f"{day + timedelta(days=1)}T10:00:00Z"
    asked = {"TRANSACTION_ID": 1, "TX_DATETIME": at, "CUSTOMER_ID": 1, "TERMINAL_ID": 1}
    assert len(scorer.score([{**asked, "TX_AMOUNT": 59.99}]).answers) == 1
    refused = scorer.score([{**asked, "TX_AMOUNT": 60}])
    assert not refused.answers
    assert [(one.row, one.field) for one in refused.problems] == [(0, "TX_AMOUNT")]
    assert "belongs to no transaction of model small" in refused.problems[0].problem
    scored = open_store(small).partition(SCORED, day)
    whole, own = open_store(settings).partition("transactions", day), open_store(small).partition("transactions", day)
    assert scored is not None
    assert whole is not None
    assert own is not None
    assert 0 < scored.facts["rows"] == own.facts["rows"] < whole.facts["rows"]


def test_answers_of_a_scorer_with_an_earlier_condition_are_told_apart_and_need_a_person(settings: Settings) -> None:
    small = settings.of_model("small")
    day = AS_OF + timedelta(days=2)
    assert run("ingest", "--from", str(day - timedelta(days=9)), "--to", str(day - timedelta(days=1)))[0] == 0
    raw = pq.read_table(Path(settings.lake_uri) / f"year={day:%Y}" / f"month={day:%m}" / f"day={day:%d}")
    rows = raw.sort_by("TX_DATETIME").slice(0, 60).to_pylist()
    earlier = scorer_of(small.with_overrides({"model": {"where": {"TX_AMOUNT": {"below": 1_000_000}}}}))
    earlier.follow()
    assert len(earlier.score([{**row, "TX_DATETIME": row["TX_DATETIME"].isoformat()} for row in rows]).answers) == 60
    earlier.flush(last=True)
    assert run("ingest", "--from", str(day), "--to", str(day))[0] == 0
    with open_instance() as instance:
        job = build_repositories(settings)["small"].get_job(MONITOR)
        assert job.execute_in_process(instance=instance, tags={RANGE_START: str(day), RANGE_END: str(day)}).success
    record = open_store(small).partition(SKEW, day)
    assert record is not None
    found = report_of(record, ServedSkew)
    others = sum(row["TX_AMOUNT"] >= 60 for row in rows)
    # Beside them the log may have the invented transaction of another test.
    assert (found.distinct - found.not_in_lake, found.other_segment) == (60, others)
    assert 0 < others < 60
    assert found.needs_person


def test_the_record_of_an_entry_that_was_removed_is_told_and_its_heads_are_still_compared(settings: Settings) -> None:
    """Last in this module: the settings are others afterwards."""
    small = settings.of_model("small")
    assert run("clean", "--model", "shared", "--dry-run")[1] == {"dry_run": True, "removed": [], "dagster_runs": 0}
    config = Path(os.environ[CONFIG_VARIABLE])
    values = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**values, "models": MODELS[1:]}))
    _, state, _ = run("status")
    assert any(
        "model small (version 1 is champion), which the settings do not name" in one for one in state["former_models"]
    )
    assert run("audit", "show", "1", "--model", "small")[0] == 0
    assert run("audit", "verify")[1]["ok"]
    open_registry(small).pin_head(Head(seq=open_ledger(small).head().seq + 1, hash="0" * 64))
    code, found, _ = run("audit", "verify")
    assert code != 0
    assert not found["ok"]
