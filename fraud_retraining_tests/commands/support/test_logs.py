"""Log lines of a command as people read them."""

import logging

import pytest

from fraud_retraining.commands.support.logs import PlainLines


@pytest.mark.parametrize(
    ("logger", "line"),
    [
        ("fraud_retraining.alerts", "alert: Data refused"),
        ("fraud_retraining.outcomes", "Data refused"),
        ("mlflow.store", "mlflow.store: Data refused"),
    ],
)
def test_a_log_line_begins_with_its_message_and_not_with_its_level(logger: str, line: str) -> None:
    record = logging.LogRecord(logger, logging.ERROR, "file", 1, "%s refused", ("Data",), None)
    assert PlainLines().format(record) == line
