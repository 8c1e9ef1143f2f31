"""The command line as tests call it, and what they look at afterwards."""

import json
from typing import Any

from typer.testing import CliRunner

from fraud_retraining.adapters.ledger.ledger import Ledger
from fraud_retraining.cli import app
from fraud_retraining.orchestration.resources import open_ledger, open_registry
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.support.project_homes import AS_OF


def run(*arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, the JSON object on stdout, and stderr."""
    result = CliRunner().invoke(app, [*arguments, "--json"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.stdout.count("\n") == 1, f"stdout is not one line: {result.stdout}"
    return result.exit_code, json.loads(result.stdout), result.stderr


def retrain(as_of: object = AS_OF) -> tuple[int, dict[str, Any], str]:
    return run("retrain", "--as-of", str(as_of))


def ledger() -> Ledger:
    return open_ledger(load_settings())


def champion() -> tuple[int, str] | None:
    """Version and artifact digest of what serves, the artifact verified."""
    registry = open_registry(load_settings())
    serving = registry.champion()
    if serving is None:
        return None
    registry.download(serving.version)
    return serving.version, serving.artifact_digest
