"""No secret of the settings or the environment is ever written down: not where things go well, nor where they fail."""

import json
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import make_url

from fraud_retraining_tests.support.command_line import ledger
from fraud_retraining_tests.support.faults import run_undisturbed
from fraud_retraining_tests.support.project_homes import AS_OF, ProjectHome

pytest_plugins = ("fraud_retraining_tests.support.databases",)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SECRETS = {
    "SLACK_BOT_TOKEN": "xoxb-1-planted-slack-bot",
    "SLACK_SIGNING_SECRET": "planted-signing-5f3a",
    "PAGERDUTY_ROUTING_KEY": "planted0routing0key0000000000000",
    "ALERTS_SMTP_USER": "planted-smtp-user",
    "ALERTS_SMTP_PASSWORD": "planted-smtp-password",
    "ALERTS_WEBHOOK_SECRET": "planted-webhook-secret-0123456789abcdef",
    "RELEASES_LINK_SECRET": "planted-link-secret-0123456789abcdef",
    "AWS_SECRET_ACCESS_KEY": "planted/aws/secret",
    "MLFLOW_TRACKING_PASSWORD": "planted-mlflow-password",
    "FRAUD_RETRAINING_REVIEWER_TOKEN": "planted-reviewer-token",
}


def written(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Everything under a folder: files as they are, and what databases hold, unpacked."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield str(path), path.read_bytes()
            if path.suffix == ".db":
                yield from ((str(path), value) for value in cells(path))


def cells(path: Path) -> Iterator[bytes]:
    with closing(sqlite3.connect(path)) as db:
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in db.execute(f'SELECT * FROM "{table}"'):
                for value in row:
                    if isinstance(value, bytes):
                        with suppress(zlib.error):
                            yield zlib.decompress(value)
                        yield value
                    elif value is not None:
                        yield str(value).encode()


def forms(secret: str) -> set[bytes]:
    """A secret as it is, and as it stands in an address."""
    return {secret.encode(), quote(secret).encode(), quote(secret, safe="").encode()}


def require_unwritten(project: ProjectHome, secrets: dict[str, str], outputs: str) -> None:
    texts = [*written(project.folder), ("the output", outputs.encode())]
    texts += [("the ledger", json.dumps(event.payload).encode()) for event in ledger().events()]
    assert len(texts) > 100
    found = {
        (name, where)
        for where, text in texts
        for name, secret in secrets.items()
        if any(f in text for f in forms(secret))
    }
    assert not found


def test_no_secret_is_written_where_all_goes_well_or_anything_fails(
    project: ProjectHome, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    monkeypatch.setenv("FRAUD_RETRAINING_LEDGER__URL", postgres_url)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "fraud")
    secrets = {**SECRETS, "the ledger's password": str(make_url(postgres_url).password)}
    channels = {key: ["oncall@bank.example"] for key in ("data", "model", "oncall")}
    alerts = {
        "slack": {"api_url": "http://127.0.0.1:9/"},
        "pagerduty": {"api_url": "https://127.0.0.1:9"},
        "email": {"host": "127.0.0.1", "port": 9, "sender": "alerts@bank.example", "channels": channels},
        "webhook": {"url": "http://127.0.0.1:9/hook"},
    }
    project.configure(promotion={"mode": "auto"}, alerts=alerts)
    outputs = []

    code, answer = run_undisturbed("retrain", "--as-of", str(AS_OF))
    assert (code, answer["status"]) == (0, "promoted"), answer
    outputs.append(answer)

    project.configure(promotion={"mode": "auto"}, alerts=alerts, validation={"min_rows": 10_000_000})
    outputs.append(run_undisturbed("retrain", "--as-of", str(AS_OF))[1])
    mlflow = "http://fraud:planted-in-an-address@127.0.0.1:9"
    monkeypatch.setenv("FRAUD_RETRAINING_MLFLOW__TRACKING_URI", mlflow)
    monkeypatch.setenv("FRAUD_RETRAINING_MLFLOW__TIMEOUT_SECONDS", "2")
    code, answer = run_undisturbed("retrain", "--as-of", str(AS_OF))
    assert code == 7, answer
    outputs += [answer, *(run_undisturbed(*command)[1] for command in (("status",), ("audit", "list")))]
    secrets["MLflow's address"] = "planted-in-an-address"
    require_unwritten(project, secrets, json.dumps(outputs))

    lost = postgres_url.rpartition(":")[0] + ":9/nowhere"
    monkeypatch.setenv("FRAUD_RETRAINING_LEDGER__URL", lost)
    code, answer = run_undisturbed("status")
    assert code == 7, answer
    monkeypatch.setenv("FRAUD_RETRAINING_LEDGER__URL", postgres_url)
    require_unwritten(project, secrets, json.dumps(answer))
