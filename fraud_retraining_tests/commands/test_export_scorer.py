"""Raw transactions through MLflow's own server get the scores and features of the batch, and are in the serving log."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
from mlflow.pyfunc import PythonModelContext

from fraud_retraining.adapters.online.served_days import ServedDays
from fraud_retraining.domain.features.row_digests import RowDigests
from fraud_retraining.domain.values.errors import SettingsError
from fraud_retraining.orchestration.resources import open_ledger, open_location_of, open_registry
from fraud_retraining.services.recorded_versions import recorded_champion
from fraud_retraining.settings import load_settings
from fraud_retraining_tests.serving.test_score_app import CHANGES, batch_features, ingest, raw_rows
from fraud_retraining_tests.support.command_line import run
from fraud_retraining_tests.support.project_homes import AS_OF, LOOKED_BACK_ON, ProjectHome

NEXT = AS_OF + timedelta(days=1)


def ask(port: int, rows: list[Any]) -> tuple[int, Any]:
    request = Request(
        f"http://127.0.0.1:{port}/invocations",
        json.dumps({"inputs": rows}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        return error.code, json.loads(error.read())


def answers(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/ping", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


@contextmanager
def mlflow_server(model: Path, log: Path) -> Iterator[int]:
    """MLflow's own server of a model, in an environment that knows nothing of this project's settings."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = ("FRAUD_RETRAINING_HOME", "FRAUD_RETRAINING_CONFIG")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "-p", str(port)]
    with log.open("w") as out:
        process = subprocess.Popen(
            [*command, "--env-manager", "local"],
            stdout=out,
            stderr=out,
            env={**environment, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
            cwd=log.parent,
            start_new_session=True,
        )
        try:
            until = time.monotonic() + 120
            while not answers(port):
                assert process.poll() is None and time.monotonic() < until, log.read_text()[-2000:]
                time.sleep(0.25)
            yield port
        finally:
            # To the group, as a terminal does: MLflow's command starts uvicorn, and is not held to hand signals on.
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def test_a_scorer_of_a_model_that_the_settings_no_longer_name_serves_no_other(project: ProjectHome) -> None:
    # Imported here: it makes itself MLflow's model of this process.
    from fraud_retraining.commands.implementation.mlflow_scorer import TransactionScorer

    small: dict[str, Any] = {"models": [{"name": "small"}]}
    for models, model in (({}, "gone"), (small, "gone"), (small, None)):
        project.configure(**models)
        context = PythonModelContext({}, {"settings": str(project.config), "model": model})
        with pytest.raises(SettingsError, match="model"):
            TransactionScorer().load_context(context)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_raw_transactions_get_the_scores_and_features_of_the_batch(home: ProjectHome, tmp_path: Path) -> None:
    home.configure(**CHANGES)
    ingest(LOOKED_BACK_ON, AS_OF)
    rows = raw_rows(home, NEXT)
    code, written, _ = run("export-scorer", "--out", str(tmp_path / "scorer"))
    assert (code, written) == (0, {"written": str(tmp_path / "scorer")})
    assert run("export-scorer", "--out", str(tmp_path / "scorer"))[0] == 5
    found: list[dict[str, Any]] = []
    with mlflow_server(tmp_path / "scorer", tmp_path / "log") as port:
        for first in range(0, len(rows), 150):
            status, answer = ask(port, rows[first : first + 150])
            assert status == 200, answer
            found += answer["predictions"]
        status, answer = ask(port, [{**rows[0], "TX_AMOUNT": -5}])
        assert status == 400 and "row 0, TX_AMOUNT: negative" in answer["message"]
        status, answer = ask(port, rows[:1] * 201)
        assert status == 400 and "at most 200" in answer["message"]
        settings = load_settings()
        log, until = ServedDays(open_location_of(settings, settings.store_uri)), time.monotonic() + 30
        while (kept := log.read(NEXT)) is None or kept.num_rows < len(rows):
            assert time.monotonic() < until, "the answers are not in the serving log"
            time.sleep(0.5)
    assert "CUSTOMER_ID" not in (tmp_path / "log").read_text()
    ingest(NEXT, NEXT)
    champion = recorded_champion(open_registry(settings), open_ledger(settings))
    assert champion is not None
    features = batch_features(NEXT)
    ids = features["transaction_id"].to_pylist()
    model = open_registry(settings).load(champion.run_id, expected_digest=champion.artifact_digest)
    wanted = dict(zip(ids, RowDigests(settings.feature_plan).of_table(features), strict=True))
    assert {one["transaction_id"]: one["features_digest"] for one in found} == wanted
    assert {one["transaction_id"]: one["score"] for one in found} == dict(
        zip(ids, model.predict(features).tolist(), strict=True)
    )
    assert {one["model_version"] for one in found} == {champion.version}
