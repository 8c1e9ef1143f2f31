"""Log lines of a command on stderr."""

import logging
import os
import sys
import warnings


class PlainLines(logging.Formatter):
    """Log lines for people: the message, after the logger's name where that is another library's."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, with the traceback where there is one."""
        line = super().format(record)
        if record.name == "fraud_retraining.alerts":
            return f"alert: {line}"
        return line if record.name.startswith("fraud_retraining") else f"{record.name}: {line}"


def set_up_logging(verbose: bool) -> None:
    """Send errors to stderr as plain lines; with `verbose` everything from INFO on, as libraries write it."""
    warnings.simplefilter("ignore")
    # MLflow reads its level once, when it is imported.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "INFO" if verbose else "ERROR")
    logging.basicConfig(stream=sys.stderr, level=logging.INFO if verbose else logging.ERROR)
    if not verbose:
        for handler in logging.getLogger().handlers:
            handler.setFormatter(PlainLines())
    for name in ("mlflow", "alembic", "dagster", "urllib3", "botocore"):
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.ERROR)
    for name in ("fraud_retraining.lease", "fraud_retraining.scores"):
        logging.getLogger(name).setLevel(logging.INFO)
