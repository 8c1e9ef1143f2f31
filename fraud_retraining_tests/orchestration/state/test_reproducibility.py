"""A version whose days were rewritten says so: in the ledger once, in MLflow, in `status` and in `audit show`."""

from datetime import timedelta

import pyarrow as pa
import pytest
from mlflow import MlflowClient

from fraud_retraining.orchestration.resources import open_registry
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.command_line import ledger, retrain, run
from fraud_retraining_tests.support.project_homes import AS_OF, ProjectHome

TRAINING = AS_OF - timedelta(days=8)
HOLDOUT = AS_OF - timedelta(days=3)
HISTORY = AS_OF - timedelta(days=14)
AFTERWARDS = AS_OF - timedelta(days=1)


def rewrite(home: ProjectHome, day: object) -> pa.Table:
    """One amount of the day becomes another; gives the table that was there."""
    before = home.read_day(day)
    amounts = before["TX_AMOUNT"].to_pylist()
    amounts[0] += 1.0
    position = before.schema.get_field_index("TX_AMOUNT")
    home.write_day(day, before.set_column(position, "TX_AMOUNT", pa.array(amounts)))
    return before


def ingest(first: object, last: object | None = None) -> None:
    code, answer, _ = run("ingest", "--from", str(first), "--to", str(last or first))
    assert code == 0, answer


def tags() -> dict[str, str]:
    return open_registry(load_settings()).version(1).tags


def reported() -> list[dict]:
    return [event.payload for event in ledger().events("reproducibility_changed", version=1)]


@pytest.mark.parametrize("day", [TRAINING, HOLDOUT, HISTORY], ids=["training", "holdout", "history"])
def test_a_day_that_is_rewritten_after_it_was_used_marks_the_version(home: ProjectHome, day: object) -> None:
    rewrite(home, day)
    ingest(day)
    ingest(day)
    reason = f"day {day} was rewritten"
    assert reported() == [{"reproducible": False, "rewritten": [str(day)], "reason": reason}]
    assert (tags()["reproducible"], tags()["not_reproducible_because"]) == ("false", reason)
    assert run("status")[1]["not_reproducible"] == {"1": reason}
    assert run("audit", "show", "1")[1]["rewritten"] == [str(day)]
    assert ledger().verify().ok


def test_a_version_whose_days_are_intact_is_untouched(home: ProjectHome) -> None:
    rewrite(home, AFTERWARDS)
    ingest(AFTERWARDS)
    assert reported() == []
    assert not {"reproducible", "not_reproducible_because"} & set(tags())
    assert run("status")[1]["not_reproducible"] == {}


def test_files_that_are_delivered_again_as_they_were_mark_nothing(home: ProjectHome) -> None:
    home.write_day(TRAINING, home.read_day(TRAINING))
    ingest(TRAINING)
    assert reported() == []


@pytest.mark.slow
def test_the_next_retrain_makes_up_for_a_tag_that_a_crash_left_out(home: ProjectHome) -> None:
    rewrite(home, TRAINING)
    ingest(TRAINING)
    settings = load_settings()
    client = MlflowClient(settings.tracking_uri)
    for name in ("reproducible", "not_reproducible_because"):
        client.delete_model_version_tag(settings.model.name, "1", name)
    retrain(AS_OF + timedelta(days=1))
    assert tags()["reproducible"] == "false"
    assert len(reported()) == 1


@pytest.mark.slow
def test_a_day_that_is_put_back_makes_the_version_reproducible_again(home: ProjectHome) -> None:
    before = rewrite(home, TRAINING)
    ingest(TRAINING)
    home.write_day(TRAINING, before)
    ingest(TRAINING)
    assert [one["reproducible"] for one in reported()] == [False, True]
    assert (tags()["reproducible"], tags()["not_reproducible_because"]) == ("true", "")
    assert run("status")[1]["not_reproducible"] == {}
    assert retrain()[1]["status"] == "already_trained"


@pytest.mark.slow
def test_days_that_are_read_by_other_settings_are_not_rewritten(home: ProjectHome) -> None:
    home.configure(promotion={"mode": "auto"}, features={"numeric": ["TX_DISTANCE_KM"]})
    retrain()
    assert reported() == []
    assert list(ledger().events("day_changed")) == []
    rewrite(home, TRAINING)
    ingest(TRAINING)
    assert [one["rewritten"] for one in reported()] == [[str(TRAINING)]]
