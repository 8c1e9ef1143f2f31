"""Output of commands: one JSON object in one line, and numbers for people."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from fraud_retraining.commands.support.output import first_names, metric_text, metrics_table, print_json


def test_an_answer_is_one_line_of_json_with_days_and_times_in_iso_format(capsys: pytest.CaptureFixture[str]) -> None:
    print_json(
        {"day": date(2024, 3, 1), "at": datetime(2024, 3, 1, 21, tzinfo=UTC), "home": Path("/home"), "why": "a\nb"}
    )
    printed = capsys.readouterr().out
    assert printed.count("\n") == 1
    assert json.loads(printed) == {
        "day": "2024-03-01",
        "at": "2024-03-01T21:00:00+00:00",
        "home": "/home",
        "why": "a\nb",
    }


def test_a_number_that_json_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        print_json({"average_precision": float("nan")})


def test_a_list_of_names_is_cut_after_five() -> None:
    assert first_names(range(5)) == "0, 1, 2, 3, 4"
    assert first_names(range(6)) == "0, 1, 2, 3, 4, ..."


def test_a_metric_that_the_champion_lacks_is_a_dash_beside_the_candidates() -> None:
    table = metrics_table({"average_precision": 0.5, "roc_auc": None}, {"average_precision": 0.25})
    assert [list(column.cells) for column in table.columns] == [
        ["average_precision", "roc_auc"],
        ["0.5000", "-"],
        ["0.2500", "-"],
    ]


def test_zero_is_a_metric_and_no_dash() -> None:
    assert metric_text(0.0) == "0.0000"
