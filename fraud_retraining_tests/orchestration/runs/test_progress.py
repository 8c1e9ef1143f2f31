"""Progress in the log comes at every tenth part, however many units a task has."""

import logging

import pytest

from fraud_retraining.orchestration.runs.progress import LogProgress


def logged(total: int, caplog: pytest.LogCaptureFixture) -> list[str]:
    progress = LogProgress()
    with caplog.at_level(logging.INFO, logger="fraud_retraining.progress"):
        progress.start("days", total)
        for done in range(1, total + 1):
            progress.advance("days", done)
    return [record.getMessage() for record in caplog.records]


def test_a_long_task_is_logged_ten_times_and_ends_with_its_total(caplog: pytest.LogCaptureFixture) -> None:
    messages = logged(1000, caplog)
    assert len(messages) == 10
    assert messages[0] == "days: 100 of 1000"
    assert messages[-1] == "days: 1000 of 1000"


@pytest.mark.parametrize("total", [1, 3, 10])
def test_a_short_task_is_logged_at_each_unit(total: int, caplog: pytest.LogCaptureFixture) -> None:
    assert logged(total, caplog) == [f"days: {done} of {total}" for done in range(1, total + 1)]


def test_a_task_of_nothing_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    assert logged(0, caplog) == []
